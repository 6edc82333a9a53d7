//! Stanzas from a bound client: `from` checked and stamped, what belongs to the stream answered here, the
//! rest to the host.

use crate::bind::{error_to_malformed, is_bind, write_iq_error};
use crate::connection::State;
use crate::keepalive::PING_ID;
use crate::{Bound, Connection, Cx, Request, ns};
use godwit_wire::{Condition, Element, IqType, Jid, Kind, Stanza, StanzaError, StreamCondition, Writer};

impl Connection {
    /// An element of a bound stream.
    pub(crate) fn inbound(&mut self, element: Element, cx: &mut Cx<'_>) {
        match (element.root().ns(), element.root().name()) {
            (ns::SM, _) => return self.stream_management(element.root(), cx),
            (ns::CSI, _) => return self.client_state(element.root(), cx),
            (ns::TLS, "starttls") => return self.starttls_again(cx),
            (ns::TLS | ns::SASL, _) => return self.fail(&StreamCondition::PolicyViolation.into(), cx),
            _ => {}
        }
        match Stanza::from_element(element) {
            Ok(Some(stanza)) => self.stanza(stanza, cx),
            Ok(None) => self.fail(&StreamCondition::UnsupportedStanzaType.into(), cx),
            Err(refused) => self.malformed(&refused.0, &refused.1, cx),
        }
    }

    fn stanza(&mut self, mut stanza: Stanza, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        if stanza.from.as_ref().is_some_and(|from| !is_own(bound, from)) {
            return self.fail(&StreamCondition::InvalidFrom.into(), cx);
        }
        stanza.from = Some(bound.jid.clone());
        bound.received = bound.received.wrapping_add(1);
        if let Some(answer) = answered_here(bound, &stanza) {
            bound.count_here();
            self.answer(answer, cx);
        } else {
            self.ask(Request::Stanza(Box::new(stanza)), cx);
        }
    }

    /// No sound stanza: its error goes back, and it counts as handled.
    fn malformed(&mut self, element: &Element, error: &StanzaError, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let forged = |from: &str| !Jid::parse(from).is_ok_and(|from| is_own(bound, &from));
        if element.root().attr("from").is_some_and(forged) {
            return self.fail(&StreamCondition::InvalidFrom.into(), cx);
        }
        bound.received = bound.received.wrapping_add(1);
        let answer = error_to_malformed(element, error).unwrap_or_default();
        // Of a message the client learns for certain that it was not taken.
        if element.root().name() == "message" && !answer.is_empty() {
            return self.ask(Request::Refused(answer), cx);
        }
        bound.count_here();
        self.answer(answer, cx);
    }

    /// Gives a stanza, or what is left of it, to the host.
    fn ask(&mut self, request: Request, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        cx.out.requests.push(request);
        self.link.full = bound.inflight() >= cx.settings.inflight_max;
    }

    /// Sends an answer of our own (none if it is empty) to a stanza that counts as handled.
    fn answer(&mut self, answer: Vec<u8>, cx: &mut Cx<'_>) {
        if !answer.is_empty() {
            self.release(cx);
            self.send_inline(answer.into(), true, cx);
        }
        self.after_handled(cx);
    }

    /// More stanzas count as handled: reading may go on, a resumption may be complete, an `<a/>` may be due.
    pub(crate) fn after_handled(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        self.link.full = bound.inflight() >= cx.settings.inflight_max;
        let level = bound.is_level();
        self.mend(cx);
        self.answer_asked(cx);
        let State::Bound(bound) = &self.state else { return };
        let broken = bound.is_broken();
        if self.link.resuming && level {
            if self.h_is_durable() {
                self.finish_resumption(cx);
            } else if broken {
                self.go_back(cx);
            } else {
                self.persist_h(cx);
            }
        }
    }

    /// A write of the count ended: what waited for it may be due. If it cannot be written, a resumption goes
    /// on from the count that the store has: the client then sends again what changed nothing there.
    pub(crate) fn after_persisted(&mut self, durable: bool, cx: &mut Cx<'_>) {
        if durable {
            return self.after_handled(cx);
        }
        self.mend(cx);
        let State::Bound(bound) = &self.state else { return };
        if self.link.resuming && bound.is_level() {
            self.go_back(cx);
        }
    }

    /// A resumption goes on from the count that the store has.
    fn go_back(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        bound.handled = bound.durable_h();
        bound.received = bound.handled;
        self.finish_resumption(cx);
    }

    fn h_is_durable(&self) -> bool {
        matches!(&self.state, State::Bound(bound) if bound.durable_h() == bound.handled)
    }
}

/// RFC 6120 §8.1.2.1: a client's `from` is its own full or bare JID.
fn is_own(bound: &Bound, from: &Jid) -> bool {
    *from == bound.jid || from.as_str() == bound.jid.bare_str()
}

/// What is about the stream itself: the answer, empty if there is none to send; `None` if the host has to see
/// it.
fn answered_here(bound: &Bound, stanza: &Stanza) -> Option<Vec<u8>> {
    if stanza.kind != Kind::Iq {
        return None;
    }
    let id = stanza.id().unwrap_or_default();
    let addressed = stanza.to.as_ref();
    let to_server = addressed.is_none_or(|to| to.as_str() == bound.jid.domain() || is_own(bound, to));
    let mut answer = Vec::new();
    match stanza.iq_type() {
        IqType::Result | IqType::Error => return (id == PING_ID && to_server).then_some(answer),
        _ if !to_server => return None,
        // RFC 6120 §7.1: one resource for a stream.
        IqType::Get | IqType::Set if is_bind(stanza.root()) => {
            write_iq_error(&mut answer, id, Some(&bound.jid), &Condition::NotAllowed.into());
        }
        IqType::Set if stanza.payload().is_some_and(|p| p.is("session", ns::SESSION)) => {
            let mut w = Writer::new(&mut answer);
            w.start("iq").attr("type", "result").attr("id", id).attr("to", bound.jid.as_str()).end();
        }
        _ => return None,
    }
    Some(answer)
}
