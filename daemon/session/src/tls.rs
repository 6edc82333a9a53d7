//! STARTTLS, RFC 6120 §5: required, and nothing else is taken before it.

use crate::connection::State;
use crate::negotiation::Step;
use crate::stream::Fate;
use crate::{Connection, Cx, Event, Request, TlsFacts, TlsSummary, ns};
use godwit_wire::{Element, StreamCondition, StreamError, Writer};

impl Connection {
    /// An element on a stream without TLS. `more`: plaintext came behind it.
    pub(crate) fn before_tls(&mut self, element: &Element, more: bool, cx: &mut Cx<'_>) {
        let root = element.root();
        if root.is("starttls", ns::TLS) {
            // Whoever sits in between could put plaintext here, to be taken for the client's after the
            // handshake.
            if more {
                let error = StreamError::new(StreamCondition::PolicyViolation);
                return self.fail(&error.with_text("nothing may follow <starttls/>"), cx);
            }
            Writer::new(&mut cx.out.bytes).empty("proceed", ns::TLS);
            if let State::Negotiating(n) = &mut self.state {
                n.step = Step::Handshake;
            }
            cx.out.requests.push(Request::StartTls);
        } else if root.is("auth", ns::SASL) {
            // RFC 6120 §6.5.4. The stream may go on to STARTTLS.
            self.auth_failed(None, "none", "encryption-required", cx);
        } else {
            self.out_of_turn(element, cx);
        }
    }

    /// `<starttls/>` when TLS is up already: RFC 6120 §5.4.2.2, failure and the end of the stream.
    pub(crate) fn starttls_again(&mut self, cx: &mut Cx<'_>) {
        let mut xml = Vec::new();
        Writer::new(&mut xml).empty("failure", ns::TLS);
        self.end_stream(&xml, Fate::End, "starttls twice", cx);
    }

    /// The handshake is done: a new stream begins.
    pub(crate) fn tls_done(&mut self, facts: Box<TlsFacts>, cx: &mut Cx<'_>) -> Result<(), Event> {
        match &mut self.state {
            State::Negotiating(n) if matches!(n.step, Step::Handshake) => {
                n.step = Step::Open;
                self.due = n.accepted + cx.settings.login_ms_max;
                self.tls =
                    Some(TlsSummary { version: facts.version, suite: facts.suite, resumed: facts.resumed });
                n.tls = Some(facts);
            }
            _ => return Err(Event::TlsDone(facts)),
        }
        self.restart_stream();
        Ok(())
    }
}
