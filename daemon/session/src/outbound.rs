//! Stanzas to a bound client: written, and remembered until they are acknowledged.

use crate::connection::State;
use crate::{Bound, Connection, Cx, Outgoing, Request, Unacked};
use godwit_wire::{StreamCondition, StreamError};
use std::sync::Arc;

impl Connection {
    /// A stanza for the session. Stored messages come in the archive's order, the others at once.
    pub(crate) fn deliver(&mut self, outgoing: Outgoing, cx: &mut Cx<'_>) {
        let Some(outgoing) = self.hold(outgoing, cx) else { return };
        match outgoing.stored {
            Some(at) => self.deliver_stored(at, &outgoing, cx),
            None => self.send_inline(outgoing.complete(), outgoing.answers(), cx),
        }
    }

    /// Sends a stanza that is in no archive. While older ones are being sent again, or wait for their record
    /// (`ledger`), it takes its place behind them: the client's `h` counts in the order of arrival.
    /// `answers`: a stanza of the session's own.
    pub(crate) fn send_inline(&mut self, bytes: Arc<[u8]>, answers: bool, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        if !answers && bound.sheds(&bytes, self.link.congested, cx.settings) {
            return cx.out.requests.push(Request::Shed);
        }
        if bound.is_late_push(&bytes) {
            let error = StreamError::new(StreamCondition::Reset);
            return self.fail(&error.with_text("changes of the roster came out of order"), cx);
        }
        let out = self.goes_out(false);
        if out {
            cx.out.bytes.extend_from_slice(&bytes);
        }
        self.sent(Unacked::Inline(bytes), out, true, cx);
    }

    /// Notes a stanza as sent. `out`: its bytes are; otherwise they will be when its turn comes.
    pub(crate) fn sent(&mut self, stanza: Unacked, out: bool, batch_ends: bool, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        if let (true, Unacked::Stored(seq)) = (out, &stanza) {
            cx.out.sent.push(*seq);
        }
        bound.remember(stanza);
        if out && let Some(ledger) = bound.ledger_mut() {
            ledger.recorded += 1;
        }
        if bound.overflows(cx.settings) {
            let error = StreamError::new(StreamCondition::ResourceConstraint);
            self.fail(&error.with_text("too much is unacknowledged"), cx);
        } else if out {
            self.request_ack(batch_ends, cx);
        } else {
            self.wait_in_turn(batch_ends, cx);
        }
    }

    /// The send queue is empty: stored messages of a client without stream management have reached the
    /// kernel, and what waited may go on.
    pub(crate) fn drained(&mut self, cx: &mut Cx<'_>) {
        self.link.congested = false;
        let State::Bound(bound) = &mut self.state else { return };
        if bound.sm.is_none() {
            let stored = bound.forget_oldest(bound.unacked_len());
            report_acked(stored, cx);
        }
        self.replay_on(cx);
        self.pump(cx);
    }

    /// True if stored messages may be sent now; otherwise they wait in the archive.
    pub(crate) fn may_send_stored(&self, bound: &Bound, cx: &Cx<'_>) -> bool {
        !self.link.congested && self.link.replay.is_none() && bound.unacked_len() < cx.settings.unacked_max
    }
}

/// Tells the host which stored messages the client has.
pub(crate) fn report_acked(stored: Vec<u64>, cx: &mut Cx<'_>) {
    if !stored.is_empty() {
        cx.out.requests.push(Request::Acked(stored));
    }
}
