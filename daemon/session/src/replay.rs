//! After a resumption: what the client has not acknowledged is sent again, in its order (XEP-0198 §5).
//!
//! Inline stanzas come from memory, stored ones from the archive through the host, a run at a time. Until the
//! replay is through, nothing new is written: new stanzas queue behind, and stored ones wait in the archive.

use crate::connection::State;
use crate::outbound::report_acked;
use crate::{Connection, Cx, FeedRow, Request, Unacked};

/// Positions in one request.
const REPLAY_ROWS_MAX: usize = 100;

/// How far it has come, as indices into `unacked`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Stanzas before this one were sent again.
    pub next: u32,
    /// So many stored ones from there on were asked for.
    pub awaiting: u32,
}

impl Connection {
    /// Goes on until stored messages have to be read, the send queue is full, or all is sent.
    pub(crate) fn replay_on(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        while let Some(replay) = &mut self.link.replay {
            if self.link.resuming || self.link.congested || replay.awaiting > 0 {
                return;
            }
            match bound.unacked.get(replay.next as usize) {
                Some(Unacked::Inline(bytes)) => {
                    cx.out.bytes.extend_from_slice(bytes);
                    replay.next += 1;
                }
                Some(Unacked::Stored(_)) => {
                    let run: Vec<u64> = bound
                        .unacked
                        .iter()
                        .skip(replay.next as usize)
                        .map_while(|u| if let Unacked::Stored(seq) = u { Some(*seq) } else { None })
                        .take(REPLAY_ROWS_MAX)
                        .collect();
                    replay.awaiting = u32::try_from(run.len()).unwrap_or(u32::MAX);
                    cx.out.requests.push(Request::Replay(run));
                    return;
                }
                None => {
                    self.link.replay = None;
                    self.request_ack_once(cx);
                    return self.pump(cx);
                }
            }
        }
    }

    /// Rows that were asked for. A row that is gone from the archive (expired, removed) was not sent on this
    /// stream, so it must not be counted either: the client counts what arrives.
    pub(crate) fn replay_page(&mut self, rows: &[FeedRow], cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let Some(replay) = &mut self.link.replay else { return };
        let mut rows = rows.iter().peekable();
        let mut gone = Vec::new();
        for _ in 0..std::mem::take(&mut replay.awaiting) {
            let at = replay.next as usize;
            let Some(Unacked::Stored(seq)) = bound.unacked.get(at) else { break };
            match rows.next_if(|row| row.seq == *seq) {
                Some(row) => {
                    cx.out.bytes.extend_from_slice(&row.bytes);
                    replay.next += 1;
                }
                None => {
                    gone.push(*seq);
                    bound.unacked.remove(at);
                }
            }
        }
        report_acked(gone, cx);
        self.replay_on(cx);
    }
}
