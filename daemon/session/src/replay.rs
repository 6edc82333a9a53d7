//! Stanzas that are in `unacked` and not on this connection yet: after a resumption what the client has not
//! acknowledged (XEP-0198 §5), otherwise what waits for its record (`ledger`). They go out in their order.
//!
//! Inline stanzas come from memory; stored ones are kept while they wait, or read from the archive through
//! the host, a run at a time. Until all is out nothing newer is written: new stanzas queue behind, and
//! stored ones wait in the archive.

use crate::connection::State;
use crate::outbound::report_acked;
use crate::{Connection, Cx, FeedRow, Request, Unacked};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Positions in one request.
const REPLAY_ROWS_MAX: usize = 100;
/// Bytes of stored messages kept while they wait; what is beyond is read again.
const KEPT_BYTES_MAX: usize = 512 * 1024;

/// How far it has come, as indices into `unacked`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// Stanzas before this one are out.
    pub next: u32,
    /// So many stored ones from there on were asked for.
    pub awaiting: u32,
}

/// Stored messages that wait, in their order.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    rows: VecDeque<(u64, Arc<[u8]>)>,
    bytes: usize,
}

impl Kept {
    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Kept>() + self.bytes + self.rows.capacity() * size_of::<(u64, Arc<[u8]>)>()
    }

    fn take(&mut self, seq: u64) -> Option<Arc<[u8]>> {
        self.rows.front().filter(|(first, _)| *first == seq)?;
        let (_, bytes) = self.rows.pop_front()?;
        self.bytes -= bytes.len();
        Some(bytes)
    }
}

impl Connection {
    /// Keeps a stored message until its turn comes.
    pub(crate) fn keep(&mut self, seq: u64, bytes: Arc<[u8]>) {
        let kept = self.kept.get_or_insert_default();
        if kept.bytes.saturating_add(bytes.len()) <= KEPT_BYTES_MAX {
            kept.bytes += bytes.len();
            kept.rows.push_back((seq, bytes));
        }
    }

    /// The newest stanza waits for its turn; its record is asked for unless more are about to come.
    pub(crate) fn wait_in_turn(&mut self, batch_ends: bool, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        if self.link.replay.is_none() {
            self.link.replay = Some(Replay { next: bound.unacked_len().saturating_sub(1), awaiting: 0 });
        }
        if batch_ends {
            self.record(cx);
        }
    }

    /// Goes on until stored messages have to be read, a record has to be written, the send queue is full, or
    /// all is out.
    pub(crate) fn replay_on(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        while let Some(replay) = &mut self.link.replay {
            if self.link.resuming || self.link.congested || replay.awaiting > 0 {
                return;
            }
            let Some(next) = bound.unacked.get(replay.next as usize) else {
                self.link.replay = None;
                self.kept = None;
                self.request_ack_once(cx);
                return self.pump(cx);
            };
            let recorded = bound.ledger().map_or(u32::MAX, |ledger| ledger.recorded);
            if replay.next >= recorded {
                return self.record(cx);
            }
            match next {
                Unacked::Inline(bytes) => {
                    cx.out.bytes.extend_from_slice(bytes);
                    replay.next += 1;
                }
                Unacked::Stored(seq) => {
                    if let Some(bytes) = self.kept.as_mut().and_then(|kept| kept.take(*seq)) {
                        cx.out.bytes.extend_from_slice(&bytes);
                        cx.out.sent.push(*seq);
                        replay.next += 1;
                        continue;
                    }
                    self.kept = None;
                    let run: Vec<u64> = bound
                        .unacked
                        .iter()
                        .take(recorded as usize)
                        .skip(replay.next as usize)
                        .map_while(|u| if let Unacked::Stored(seq) = u { Some(*seq) } else { None })
                        .take(REPLAY_ROWS_MAX)
                        .collect();
                    replay.awaiting = u32::try_from(run.len()).unwrap_or(u32::MAX);
                    cx.out.requests.push(Request::Replay(run));
                    return;
                }
            }
        }
    }

    /// Rows that were asked for. A row that is gone from the archive (expired, removed) was not sent on this
    /// stream, so it must not be counted either: the client counts what arrives.
    pub(crate) fn replay_page(&mut self, rows: Vec<FeedRow>, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let Some(replay) = &mut self.link.replay else { return };
        let mut rows = rows.into_iter().peekable();
        let mut gone = Vec::new();
        for _ in 0..std::mem::take(&mut replay.awaiting) {
            let at = replay.next as usize;
            let Some(Unacked::Stored(seq)) = bound.unacked.get(at) else { break };
            let seq = *seq;
            match rows.next_if(|row| row.seq == seq) {
                // What comes behind one that is gone has another number now, so it waits for a new record.
                Some(row) if gone.is_empty() || bound.ledger().is_none() => {
                    cx.out.bytes.extend_from_slice(&row.bytes);
                    cx.out.sent.push(seq);
                    replay.next += 1;
                }
                Some(_) => break,
                None => {
                    gone.push(seq);
                    bound.unacked.remove(at);
                    bound.renumber_from(replay.next);
                }
            }
        }
        report_acked(gone, cx);
        self.replay_on(cx);
    }
}
