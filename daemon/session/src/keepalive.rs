//! Deadlines: of the login, and of a client that has fallen silent.

use crate::connection::State;
use crate::stream::Fate;
use crate::{Connection, Cx, Millis, ns};
use godwit_wire::{StreamCondition, StreamError, Writer};

/// Id of our pings. An iq result with it that is addressed to the server is the answer, and goes no further.
pub(crate) const PING_ID: &str = "godwit-keepalive";

/// An inactive client from which nothing is awaited is pinged only after so many times the usual silence.
const INACTIVE_INTERVALS: u64 = 4;

impl Connection {
    /// Bytes came, white space among them: the client lives.
    pub(crate) fn heard(&mut self, now: Millis) {
        self.link.last_seen = now;
        self.link.pinged = false;
    }

    /// The deadline has come. It is moved only now, not with each byte: activity costs one store.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            State::Closed => {}
            State::Negotiating(n) => {
                let allowed =
                    if self.tls.is_some() { cx.settings.login_ms_max } else { cx.settings.handshake_ms_max };
                self.due = n.accepted + allowed;
                if self.due <= cx.now {
                    self.timed_out("login took too long", cx);
                }
            }
            State::Bound(bound) if self.link.resuming => {
                bound.give_up_order();
                self.timed_out("resumption took too long", cx);
            }
            State::Bound(_) if self.link.pinged => {
                if self.due <= cx.now {
                    self.timed_out("no answer to the ping", cx);
                }
            }
            State::Bound(bound) => {
                let interval = cx.settings.ping_after_ms;
                let sleeps = bound.is_inactive() && bound.unacked.is_empty();
                self.due = self.link.last_seen + interval;
                if self.due <= cx.now {
                    if sleeps && cx.now < self.link.last_seen + interval * INACTIVE_INTERVALS {
                        self.due = cx.now + interval;
                    } else {
                        self.ping(cx);
                    }
                }
            }
        }
    }

    /// Asks for a sign of life: `<r/>` if the client knows it, which costs it least, otherwise XEP-0199.
    fn ping(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        self.link.pinged = true;
        self.due = cx.now + cx.settings.ping_timeout_ms;
        if bound.sm.is_some() {
            return self.write_request(cx);
        }
        let mut w = Writer::new(&mut cx.out.bytes);
        w.start("iq").attr("type", "get").attr("id", PING_ID).attr("from", bound.jid.domain());
        w.attr("to", bound.jid.as_str()).empty("ping", ns::PING).end();
    }

    fn timed_out(&mut self, text: &'static str, cx: &mut Cx<'_>) {
        let error = StreamError::new(StreamCondition::ConnectionTimeout).with_text(text);
        self.fail_with(&error, Fate::Keep, cx);
    }
}
