//! What the store knows of a resumable session, so that it can be resumed after the daemon itself has died.
//!
//! After a crash the client says how many stanzas it has received (XEP-0198 §5, `h`). To know *which* these
//! were, the order of what was sent must be in the store. Stored messages in the archive's order are found
//! there again and cost nothing. Everything else (what is in no archive, and stored messages out of that
//! order) is sent only after a [`Record`] that names it is durable: until then it waits in `unacked`, sent as
//! a replay is. So `h` always has one meaning, and nothing is lost or comes twice.
//!
//! In the other direction an `h` of ours is sent only once the store has it: the count goes with the
//! stanza's own transaction, or is written by itself when the client asks and it lags behind.

use crate::connection::State;
use crate::{Bound, Connection, Cx, FeedMode, Request, Unacked};
use serde::{Deserialize, Serialize};

/// After so many acknowledged stanzas the record is brought up to date, so that little of the archive has to
/// be counted after a crash.
const REFRESH_EVERY: u16 = 256;

/// How far the store is behind the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The client's stanzas whose handling the store knows of, modulo 2^32: the `h` that may be sent.
    pub handled: u32,
    /// A write of `handled` was asked for and is under way.
    pub asking: bool,
    /// So many of `unacked`, from the oldest on, are in a durable record or need none: they may be sent.
    pub recorded: u32,
    /// The record that is under way.
    pub under_way: Option<UnderWay>,
    /// A durable record says that the session reads its archive on from where the record ends, so that
    /// regular messages need no mention.
    pub implicit: bool,
    /// Stanzas acknowledged since the last record.
    since: u16,
    /// As [`Record::pushed`].
    pub pushed: u64,
    /// Something was not taken that nothing in the store speaks of: the host writes nothing until the client
    /// has acknowledged the error. One more than how many of `unacked` these are, from the oldest on; 0: no.
    broken: u32,
}

/// A record on its way to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// It covers so many of `unacked`.
    upto: u32,
    /// It says that the archive is read on from there.
    implicit: bool,
}

/// What was sent and not acknowledged, without the bytes. Runs, because it is mostly presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// A stored message.
    Stored(u64),
    /// So many presence stanzas: what they said can be asked for again.
    Presence(u32),
    /// So many other stanzas that are in no archive: lost with the daemon.
    Other(u32),
}

/// The durable side of a session's output at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Stanzas that the client had acknowledged, modulo 2^32.
    pub acked: u32,
    /// Sent, or about to be, after those.
    pub sent: Vec<Sent>,
    /// Place in the archive behind them.
    pub last: u64,
    /// Messages to the bare JID up to here are not new to the session: they are in `sent` or not for it.
    pub new_after: u64,
    /// The session reads its archive on from `last`.
    pub reads: bool,
    /// Positions beyond `last` that were sent already.
    pub ahead: Vec<u64>,
    /// Version of the newest roster push among all that was sent; 0 for none.
    pub pushed: u64,
}

/// A record and the client's `h` put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Continued {
    /// Stanzas acknowledged in all, modulo 2^32; less than `h` if the client claims more than there were.
    pub acked: u32,
    /// Stored messages that the client has.
    pub has: Vec<u64>,
    /// Stored messages to send again.
    pub again: Vec<u64>,
    /// Place in the archive from which to read on.
    pub last: u64,
    /// Stanzas that it has not received and that cannot be sent again (presence not counted).
    pub lost: u32,
}

impl Record {
    /// How many regular messages behind `last` the client's `h` reaches over.
    pub fn reaches(&self, h: u32) -> u32 {
        h.wrapping_sub(self.acked).saturating_sub(self.len())
    }

    fn len(&self) -> u32 {
        let count = |sent: &Sent| match sent {
            Sent::Stored(_) => 1,
            Sent::Presence(n) | Sent::Other(n) => *n,
        };
        self.sent.iter().map(count).fold(0, u32::saturating_add)
    }

    /// What the client has by its `h`. `regular`: the first [`Record::reaches`] regular messages after
    /// `last`, ascending.
    pub fn continue_at(&self, h: u32, regular: impl IntoIterator<Item = u64>) -> Continued {
        let mut left = h.wrapping_sub(self.acked);
        let mut out = Continued { last: self.last, ..Continued::default() };
        for sent in &self.sent {
            match *sent {
                Sent::Stored(seq) if left > 0 => {
                    left -= 1;
                    out.has.push(seq);
                }
                Sent::Stored(seq) => out.again.push(seq),
                Sent::Presence(n) => left -= n.min(left),
                Sent::Other(n) => {
                    let got = n.min(left);
                    left -= got;
                    out.lost = out.lost.saturating_add(n - got);
                }
            }
        }
        for seq in regular {
            if left == 0 {
                break;
            }
            left -= 1;
            out.has.push(seq);
            out.last = out.last.max(seq);
        }
        out.acked = h.wrapping_sub(left);
        out
    }
}

impl Ledger {
    /// For a session of which so many stanzas are on the wire already, or `handled` of the client's are
    /// known to be handled.
    pub fn new(recorded: u32, handled: u32) -> Ledger {
        Ledger { recorded, handled, ..Ledger::default() }
    }

    /// With the version of the newest roster push that was sent.
    pub fn with_push(self, pushed: u64) -> Ledger {
        Ledger { pushed, ..self }
    }
}

impl Bound {
    /// The ledger of a session that may be resumed.
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.sm.as_ref()?.ledger.as_ref()
    }

    pub(crate) fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        self.sm.as_mut()?.ledger.as_mut()
    }

    /// The `h` that may be sent.
    pub fn durable_h(&self) -> u32 {
        self.ledger().map_or(self.handled, |ledger| ledger.handled)
    }

    /// The record of this moment.
    pub fn record(&self) -> Record {
        let mut record = Record {
            acked: self.sm.as_ref().map_or(0, |sm| sm.acked),
            sent: Vec::new(),
            last: self.feed.last,
            new_after: self.feed.new_after,
            reads: self.feed.mode != FeedMode::Off,
            ahead: self.ahead.as_ref().map(|ahead| ahead.list.iter().copied().collect()).unwrap_or_default(),
            pushed: self.ledger().map_or(0, |ledger| ledger.pushed),
        };
        for unacked in &self.unacked {
            match (unacked, record.sent.last_mut()) {
                (Unacked::Stored(seq), _) => record.sent.push(Sent::Stored(*seq)),
                (Unacked::Inline(bytes), Some(Sent::Presence(n))) if is_presence(bytes) => *n += 1,
                (Unacked::Inline(bytes), _) if is_presence(bytes) => record.sent.push(Sent::Presence(1)),
                (Unacked::Inline(_), Some(Sent::Other(n))) => *n += 1,
                (Unacked::Inline(_), _) => record.sent.push(Sent::Other(1)),
            }
        }
        record
    }

    /// Remembers the version of a roster push (RFC 6121 §2.1.6): it is how a revived session knows whether
    /// it missed one.
    pub(crate) fn note_push(&mut self, stanza: &[u8]) {
        if let Some(ledger) = self.ledger_mut()
            && let Some(version) = pushed_version(stanza)
        {
            ledger.pushed = ledger.pushed.max(version);
        }
    }

    /// A roster push that a later one has overtaken, while the session moved: what it says may be out of
    /// date, and nothing tells the client. It has to ask for its roster again, so the session ends.
    pub(crate) fn is_late_push(&self, stanza: &[u8]) -> bool {
        let newest = self.ledger().map_or(0, |ledger| ledger.pushed);
        newest > 0 && pushed_version(stanza).is_some_and(|version| version < newest)
    }

    /// A stanza was not taken, and its error is the last that was sent.
    pub(crate) fn failed(&mut self) {
        let all = self.unacked_len();
        if let Some(ledger) = self.ledger_mut() {
            ledger.broken = all.saturating_add(1);
        }
    }

    /// Nothing is to be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.ledger().is_some_and(|ledger| ledger.broken > 0)
    }

    /// The client has all such errors, and nothing is under way that could fail.
    fn is_mendable(&self) -> bool {
        self.ledger().is_some_and(|ledger| ledger.broken == 1 && !ledger.asking) && self.inflight() == 0
    }

    /// The feed starts or stops: until a new record says so, nothing goes without mention.
    pub(crate) fn feed_changed(&mut self) {
        if let Some(ledger) = self.ledger_mut() {
            ledger.implicit = false;
            if let Some(under_way) = &mut ledger.under_way {
                under_way.implicit = false;
            }
        }
    }

    /// A stanza at this place of `unacked` is not sent after all: what follows has another number now.
    pub(crate) fn renumber_from(&mut self, at: u32) {
        if let Some(ledger) = self.ledger_mut() {
            ledger.recorded = ledger.recorded.min(at);
            if ledger.broken > at.saturating_add(1) {
                ledger.broken -= 1;
            }
            if let Some(under_way) = &mut ledger.under_way {
                under_way.upto = under_way.upto.min(at);
            }
        }
    }

    /// The oldest were acknowledged.
    pub(crate) fn forgot(&mut self, count: u32) {
        if let Some(ledger) = self.ledger_mut() {
            ledger.recorded = ledger.recorded.saturating_sub(count);
            ledger.since = ledger.since.saturating_add(u16::try_from(count).unwrap_or(u16::MAX));
            ledger.broken = ledger.broken.saturating_sub(count).max(ledger.broken.min(1));
            if let Some(under_way) = &mut ledger.under_way {
                under_way.upto = under_way.upto.saturating_sub(count);
            }
        }
    }

    /// The record under way is durable, or has failed.
    pub(crate) fn recorded(&mut self, durable: bool) {
        let all = self.unacked_len();
        // Without the store nothing can be recorded (its disk is full), and yet errors have to be answered.
        // A session that has sent all there was in its archive may go on: after a crash its client's `h`
        // reaches further than the archive does, which tells. For what is archived once writing works again,
        // the store notes that records from before do not count (`schema::meta_gap`).
        let level = !matches!(self.feed.mode, FeedMode::CatchUp { .. });
        let Some(ledger) = self.ledger_mut() else { return };
        let Some(under_way) = ledger.under_way.take() else { return };
        if durable {
            ledger.recorded = ledger.recorded.max(under_way.upto);
            ledger.implicit = under_way.implicit;
            ledger.since = 0;
        } else if level {
            ledger.recorded = all;
        }
    }

    /// The store has this `h`, or could not write it.
    pub(crate) fn persisted(&mut self, h: u32, durable: bool) {
        if let Some(ledger) = self.ledger_mut() {
            ledger.asking = false;
            // The host writes nothing behind something that it could not write, but here nothing was lost.
            if !durable && ledger.broken == 0 {
                ledger.broken = 1;
            }
        }
        if durable {
            self.durable(h);
        }
    }

    /// The store has this `h`. What came with a later stanza's transaction may be newer.
    pub(crate) fn durable(&mut self, h: u32) {
        let handled = self.handled;
        let newer = handled.wrapping_sub(h) < handled.wrapping_sub(self.durable_h());
        if let Some(ledger) = self.ledger_mut().filter(|_| newer) {
            ledger.handled = h;
        }
    }
}

/// Version in a roster push as the server writes it.
fn pushed_version(stanza: &[u8]) -> Option<u64> {
    let rest = stanza.strip_prefix(b"<iq type='set'")?;
    let text = std::str::from_utf8(rest).ok()?;
    let (_, query) = text.split_once("<query xmlns='jabber:iq:roster' ver='")?;
    query.split('\'').next()?.parse().ok()
}

/// Presence is asked for again after a crash.
pub(crate) fn is_presence(stanza: &[u8]) -> bool {
    stanza.starts_with(b"<presence")
}

impl Connection {
    /// True if a stanza may go out at once; otherwise it waits behind older ones or for its record.
    /// `regular`: a stored message in the archive's order.
    pub(crate) fn goes_out(&self, regular: bool) -> bool {
        let State::Bound(bound) = &self.state else { return false };
        self.link.replay.is_none() && bound.ledger().is_none_or(|ledger| regular && ledger.implicit)
    }

    /// Something that could be sent waits for a record.
    pub(crate) fn waits_for_record(&self) -> bool {
        let State::Bound(bound) = &self.state else { return false };
        self.link.replay.is_some()
            && bound.ledger().is_some_and(|ledger| ledger.recorded < bound.unacked_len())
    }

    /// Has the session recorded, unless a record is under way: then its end looks again.
    pub(crate) fn record(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let (upto, implicit) = (bound.unacked_len(), bound.feed.mode != FeedMode::Off);
        let Some(ledger) = bound.ledger_mut().filter(|ledger| ledger.under_way.is_none()) else { return };
        ledger.under_way = Some(UnderWay { upto, implicit });
        cx.out.requests.push(Request::Record(Box::new(bound.record())));
    }

    /// The record is durable, or has failed: what it covers goes out.
    pub(crate) fn after_recorded(&mut self, durable: bool, cx: &mut Cx<'_>) {
        self.replay_on(cx);
        self.answer_asked(cx);
        let State::Bound(bound) = &self.state else { return };
        let Some(ledger) = bound.ledger() else { return };
        let unsaid = !ledger.implicit && bound.feed.mode != FeedMode::Off;
        if durable && (unsaid || ledger.recorded < bound.unacked_len()) {
            self.record(cx);
        }
    }

    /// Brings the record up to date once in a while.
    pub(crate) fn refresh_record(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        if bound.ledger().is_some_and(|ledger| ledger.since >= REFRESH_EVERY) {
            self.record(cx);
        }
    }

    /// Lets the host write again, once the client knows what was not taken.
    pub(crate) fn mend(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        if !bound.is_mendable() {
            return;
        }
        if let Some(ledger) = bound.ledger_mut() {
            ledger.broken = 0;
        }
        cx.out.requests.push(Request::Mend);
    }

    /// Has the host write how much is handled, unless that is under way, or must not be written.
    pub(crate) fn persist_h(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let handled = bound.handled;
        let may = |ledger: &&mut Ledger| !ledger.asking && ledger.broken == 0;
        if let Some(ledger) = bound.ledger_mut().filter(may) {
            ledger.asking = true;
            cx.out.requests.push(Request::Persist(handled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        let sent = vec![Sent::Stored(5), Sent::Presence(2), Sent::Other(1), Sent::Stored(7)];
        Record { acked: u32::MAX, sent, last: 8, new_after: 4, reads: true, ahead: Vec::new(), pushed: 0 }
    }

    #[test]
    fn h_says_what_the_client_has_and_what_is_lost() {
        let at = |h: u32| record().continue_at(h, [9, 12]);
        assert_eq!((at(u32::MAX).again, at(u32::MAX).lost), (vec![5, 7], 1));
        assert_eq!((at(0).has, at(0).again, at(0).lost), (vec![5], vec![7], 1), "over the wrap");
        assert_eq!((at(2).again, at(2).lost), (vec![7], 1), "presence is not counted as lost");
        assert_eq!((at(3).has, at(3).lost, at(3).last), (vec![5], 0, 8));
        assert_eq!((at(5).has, at(5).again, at(5).last), (vec![5, 7, 9], vec![], 9));
        assert_eq!(record().reaches(5), 1);
        assert_eq!(record().reaches(2), 0);
    }

    #[test]
    fn a_claim_beyond_what_there_was_is_not_believed() {
        let at = record().continue_at(9, [9, 12]);
        assert_eq!(at.acked, 6, "the session sees that h is higher");
    }

    proptest! {
        #[test]
        fn every_h_splits_the_stored_messages_in_order(h in 0u32..12, rows in 0u64..6) {
            let at = record().continue_at(h, (0..rows).map(|n| 9 + n));
            let mut all = at.has.clone();
            all.extend(&at.again);
            prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
            prop_assert!(at.has.last().is_none_or(|last| *last <= at.last || at.last == 8));
        }
    }
}
