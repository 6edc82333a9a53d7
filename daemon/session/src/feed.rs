//! Stored messages: live while the session is level with its archive, otherwise read from it page by page.
//!
//! `feed.last` says that everything up to there was sent or is not for this session; it only grows. A message
//! posted to a session whose feed is off (no presence yet, or a negative priority) is sent at once without a
//! look at gaps, and noted in `ahead`, so that `last` need not jump over what was not sent and the message is
//! not sent twice once the feed starts.

use crate::bound::Positions;
use crate::connection::State;
use crate::outbound::report_acked;
use crate::{Bound, Connection, Cx, FeedMode, FeedPage, Outgoing, Request, Stored, Unacked};
use godwit_wire::{StreamCondition, StreamError, stanza::splice};

/// Rows in one page.
pub(crate) const PAGE_ROWS_MAX: u32 = 100;
/// Positions kept in `ahead`. Beyond, the oldest is forgotten, and that message could come twice.
const AHEAD_MAX: usize = 256;

/// What to do with a stored message that was posted to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Send,
    Skip,
    Fetch,
}

impl Connection {
    /// A stored message, straight from the router.
    pub(crate) fn deliver_stored(&mut self, at: Stored, outgoing: &Outgoing, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        let may_send = self.may_send_stored(bound, cx);
        let State::Bound(bound) = &mut self.state else { return };
        let regular = at.regular && !at.again && bound.feed.mode != FeedMode::Off;
        match bound.judge(at, may_send) {
            Verdict::Skip => {}
            Verdict::Fetch => self.pump(cx),
            Verdict::Send => {
                let out = self.goes_out(regular);
                if out {
                    splice(&mut cx.out.bytes, &outgoing.bytes, &outgoing.extra);
                } else {
                    self.keep(at.seq, outgoing.complete());
                }
                self.sent(Unacked::Stored(at.seq), out, true, cx);
            }
        }
    }

    /// Feeding starts. A session that is being fed already knows better where it is.
    pub(crate) fn feed_from(&mut self, after: u64, new_after: u64, cx: &mut Cx<'_>) {
        if let State::Bound(bound) = &mut self.state {
            bound.feed_start(after, new_after);
        }
        self.record(cx);
        self.pump(cx);
    }

    /// Asks for the next page, if one is wanted and may be sent.
    pub(crate) fn pump(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        if !self.may_send_stored(bound, cx) {
            return;
        }
        let State::Bound(bound) = &mut self.state else { return };
        if let FeedMode::CatchUp { fetching: false, .. } = bound.feed.mode {
            // What was heard of until now will be looked at by this read: only what comes later can call for
            // another. Otherwise a message that is gone from the archive before it is read would be asked for
            // without end.
            bound.feed.mode = FeedMode::CatchUp { head: 0, fetching: true };
            bound.fetches = bound.fetches.wrapping_add(1);
            let (after, fetch) = (bound.feed.last, bound.fetches);
            cx.out.requests.push(Request::Fetch { after, rows_max: PAGE_ROWS_MAX, fetch });
        }
    }

    /// A page came. One that was asked for before the mode changed does no harm: it is either refused,
    /// because it does not join on to what was sent, or its rows are sent in their order once.
    pub(crate) fn feed_page(&mut self, page: FeedPage, cx: &mut Cx<'_>) {
        if page.failed {
            let error = StreamError::new(StreamCondition::InternalServerError);
            return self.fail(&error.with_text("the archive cannot be read"), cx);
        }
        if page.replay {
            return self.replay_page(page.rows, cx);
        }
        let State::Bound(bound) = &mut self.state else { return };
        let FeedMode::CatchUp { head, fetching: true } = bound.feed.mode else { return };
        if page.fetch != bound.fetches || page.after > bound.feed.last {
            return;
        }
        let upto = page.rows.last().map_or(page.upto, |row| row.seq.max(page.upto));
        let any = !page.rows.is_empty();
        if any {
            self.release(cx);
        }
        for row in page.rows {
            let State::Bound(bound) = &mut self.state else { return };
            if row.seq > bound.feed.last && !bound.was_sent_ahead(row.seq) {
                bound.advance(row.seq);
                let out = self.goes_out(row.regular);
                if out {
                    cx.out.bytes.extend_from_slice(&row.bytes);
                } else {
                    self.keep(row.seq, row.bytes.into());
                }
                self.sent(Unacked::Stored(row.seq), out, false, cx);
            }
        }
        let State::Bound(bound) = &mut self.state else { return };
        bound.advance(upto);
        bound.feed.mode = if page.end && head <= bound.feed.last {
            FeedMode::Live
        } else {
            FeedMode::CatchUp { head, fetching: false }
        };
        if self.link.replay.is_some() {
            self.record(cx);
        } else if any {
            self.request_ack_once(cx);
        }
        self.pump(cx);
    }

    /// Sends the client's acknowledgement on to the host, and lets what waited for it go on.
    pub(crate) fn acked(&mut self, stored: Vec<u64>, cx: &mut Cx<'_>) {
        report_acked(stored, cx);
        self.mend(cx);
        self.answer_asked(cx);
        self.refresh_record(cx);
        self.pump(cx);
    }
}

impl Bound {
    fn judge(&mut self, at: Stored, may_send: bool) -> Verdict {
        let Stored { seq, prev, again, .. } = at;
        if again {
            return self.judge_again(seq);
        }
        if seq <= self.feed.last || self.was_sent_ahead(seq) {
            return Verdict::Skip;
        }
        match &mut self.feed.mode {
            FeedMode::Off => {
                self.note_ahead(seq);
                Verdict::Send
            }
            FeedMode::Live if prev <= self.feed.last && may_send => {
                self.advance(seq);
                Verdict::Send
            }
            FeedMode::Live => {
                self.feed.mode = FeedMode::CatchUp { head: seq, fetching: false };
                Verdict::Fetch
            }
            FeedMode::CatchUp { head, .. } => {
                *head = seq.max(*head);
                Verdict::Skip
            }
        }
    }

    /// A message that another resource had and never acknowledged: out of order by its nature, unless the
    /// session has not come so far yet. Then it is read in its turn, and a page that is under way is read
    /// anew, as it may have been read when the message was not for this session.
    fn judge_again(&mut self, seq: u64) -> Verdict {
        let waits = self.unacked.iter().any(|u| matches!(u, Unacked::Stored(sent) if *sent == seq));
        if waits || self.was_sent_ahead(seq) {
            return Verdict::Skip;
        }
        if seq <= self.feed.last {
            return Verdict::Send;
        }
        if self.feed.mode == FeedMode::Off {
            self.note_ahead(seq);
            return Verdict::Send;
        }
        self.feed.mode = FeedMode::CatchUp { head: seq, fetching: false };
        Verdict::Fetch
    }

    /// A stored message was posted while no connection is there: true if it is to be remembered as
    /// unacknowledged.
    pub(crate) fn note_stored(&mut self, at: Stored) -> bool {
        self.judge(at, false) == Verdict::Send
    }

    /// Feeding starts after this position, unless it goes on already.
    pub(crate) fn feed_start(&mut self, after: u64, new_after: u64) {
        if self.feed.mode == FeedMode::Off {
            self.feed_changed();
            self.advance(after);
            self.feed.new_after = new_after;
            self.feed.mode = FeedMode::CatchUp { head: 0, fetching: false };
        }
    }

    /// Feeding stops.
    pub(crate) fn feed_stop(&mut self) {
        self.feed_changed();
        self.feed.mode = FeedMode::Off;
    }

    /// After a resumption the archive is read from where the session was.
    pub(crate) fn feed_again(&mut self) {
        if self.feed.mode == FeedMode::Live {
            self.feed.mode = FeedMode::CatchUp { head: self.feed.last, fetching: false };
        }
    }

    fn advance(&mut self, upto: u64) {
        self.feed.last = self.feed.last.max(upto);
        if let Some(ahead) = &mut self.ahead {
            ahead.list.retain(|seq| *seq > self.feed.last);
            if ahead.list.is_empty() {
                self.ahead = None;
            }
        }
    }

    fn was_sent_ahead(&self, seq: u64) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.list.contains(&seq))
    }

    fn note_ahead(&mut self, seq: u64) {
        let ahead: &mut Positions = self.ahead.get_or_insert_default();
        if ahead.list.len() >= AHEAD_MAX {
            ahead.list.pop_front();
        }
        ahead.list.push_back(seq);
    }
}
