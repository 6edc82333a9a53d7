//! What a connection holds from accept to a bound session, and who hears the host's answers meanwhile.

use crate::connection::State;
use crate::sasl::{Awaiting, Sasl};
use crate::{Account, Connection, Cx, Event, Millis, Reply, TlsFacts};
use godwit_wire::{Condition, Element, Kind, StreamCondition, StreamError, ns as wire_ns};
use serde::{Deserialize, Serialize};

/// What is expected next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The end of the TLS handshake.
    Handshake,
    /// A stream header.
    Open,
    /// `<starttls/>`.
    StartTls,
    /// SASL.
    Auth,
    /// A resource to bind, or a session to resume.
    Bind,
    /// The host's answer.
    Wait(Awaited),
}

/// Which answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Awaited {
    /// SASL's.
    Sasl(Awaiting),
    /// To an iq of an unauthenticated stream.
    Unauthenticated,
    /// To a bind request with this iq id.
    Bind(Box<str>),
    /// To a resumption; the client's `h`.
    Resume(u32),
}

/// Boxed, and dropped once a session is bound.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Negotiation {
    /// What is expected next.
    pub step: Step,
    /// When the connection was accepted.
    pub accepted: Millis,
    /// The domain that the client addressed, once it did.
    pub domain: Box<str>,
    /// Failed authentications.
    pub attempts: u8,
    /// The exchange under way.
    pub sasl: Option<Sasl>,
    /// What the handshake established.
    pub tls: Option<Box<TlsFacts>>,
    /// Who authenticated.
    pub account: Option<Account>,
}

impl Negotiation {
    /// At accept.
    pub(crate) fn new(direct_tls: bool, now: Millis) -> Negotiation {
        Negotiation {
            step: if direct_tls { Step::Handshake } else { Step::Open },
            accepted: now,
            domain: Box::default(),
            attempts: 0,
            sasl: None,
            tls: None,
            account: None,
        }
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let text = |t: &Option<Box<str>>| t.as_deref().map_or(0, str::len);
        let facts = |t: &TlsFacts| {
            size_of::<TlsFacts>() + text(&t.sni) + text(&t.alpn) + t.server_end_point.capacity()
        };
        size_of::<Negotiation>()
            + self.tls.as_deref().map_or(0, facts)
            + self.domain.len()
            + self.sasl.as_ref().map_or(0, Sasl::memory)
            + self.account.as_ref().map_or(0, |a| a.jid.as_str().len())
    }
}

impl Connection {
    /// What the handshake established.
    pub(crate) fn tls_facts(&self) -> Option<&TlsFacts> {
        match &self.state {
            State::Negotiating(n) => n.tls.as_deref(),
            _ => None,
        }
    }

    /// An element before a session is bound.
    pub(crate) fn negotiate(&mut self, element: Element, more: bool, cx: &mut Cx<'_>) {
        let State::Negotiating(n) = &self.state else { return };
        match n.step {
            Step::StartTls => self.before_tls(&element, more, cx),
            Step::Auth => self.before_auth(element, cx),
            Step::Bind => self.before_bind(element, cx),
            // Nothing is read in the others, and the framer gives no element before a header.
            Step::Handshake | Step::Open | Step::Wait(_) => {}
        }
    }

    /// What comes out of turn: RFC 6120 §4.9.3.12 for stanzas, `policy-violation` for what we know but do not
    /// take here, `unsupported-stanza-type` for the rest.
    pub(crate) fn out_of_turn(&mut self, element: &Element, cx: &mut Cx<'_>) {
        let root = element.root();
        let known = [crate::ns::TLS, crate::ns::SASL, crate::ns::SM];
        let condition = if root.ns() == wire_ns::CLIENT && Kind::from_name(root.name()).is_some() {
            StreamCondition::NotAuthorized
        } else if known.contains(&root.ns()) {
            StreamCondition::PolicyViolation
        } else {
            StreamCondition::UnsupportedStanzaType
        };
        self.fail(&condition.into(), cx);
    }

    /// The host's answer; one that nobody waits for comes back.
    pub(crate) fn reply(&mut self, reply: Box<Reply>, cx: &mut Cx<'_>) -> Result<(), Event> {
        let State::Negotiating(n) = &mut self.state else { return Err(Event::Reply(reply)) };
        let fits = matches!(
            (&n.step, &*reply),
            (Step::Wait(Awaited::Sasl(Awaiting::Keys { .. })), Reply::Credentials(_))
                | (Step::Wait(Awaited::Sasl(Awaiting::Plain { .. })), Reply::Plain(_))
                | (Step::Wait(Awaited::Unauthenticated), Reply::Unauthenticated(_))
                | (Step::Wait(Awaited::Bind(_)), Reply::Bound(_))
                | (Step::Wait(Awaited::Resume(_)), Reply::Resumed(_))
                | (Step::Wait(_), Reply::Unavailable)
        );
        if !fits {
            return Err(Event::Reply(reply));
        }
        let next = if n.account.is_some() { Step::Bind } else { Step::Auth };
        let Step::Wait(awaited) = std::mem::replace(&mut n.step, next) else { return Ok(()) };
        match (awaited, *reply) {
            (Awaited::Sasl(awaiting), reply) => self.sasl_reply(awaiting, reply, cx),
            (Awaited::Unauthenticated, Reply::Unauthenticated(iq)) => cx.out.bytes.extend_from_slice(&iq),
            (Awaited::Bind(id), Reply::Bound(result)) => self.bind_reply(&id, result, cx),
            (Awaited::Bind(id), _) => self.bind_refused(&id, Condition::InternalServerError, cx),
            (Awaited::Resume(h), Reply::Resumed(result)) => self.resume_reply(h, result, cx),
            (Awaited::Resume(_), _) => crate::sm::write_failed(cx, Condition::InternalServerError, None),
            (Awaited::Unauthenticated, _) => {
                self.fail(&StreamError::new(StreamCondition::InternalServerError), cx);
            }
        }
        Ok(())
    }
}
