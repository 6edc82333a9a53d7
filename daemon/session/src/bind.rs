//! Resource binding, RFC 6120 §7, and the resumption that may take its place (XEP-0198 §5).

use crate::connection::State;
use crate::negotiation::Awaited;
use crate::{BindFailure, Bound, Connection, Cx, Request, ns};
use godwit_wire::{Condition, Element, IqType, Jid, Node, Stanza, StanzaError, StreamCondition, Writer};

impl Connection {
    /// An element of an authenticated stream without a session.
    pub(crate) fn before_bind(&mut self, element: Element, cx: &mut Cx<'_>) {
        let root = element.root();
        match (root.ns(), root.name()) {
            (ns::SM, "resume") => return self.resume(root, cx),
            (ns::SM, _) => return crate::sm::unexpected(cx),
            (ns::TLS, "starttls") => return self.starttls_again(cx),
            _ if !is_bind(root) => return self.out_of_turn(&element, cx),
            _ => {}
        }
        match Stanza::from_element(element) {
            Ok(Some(stanza)) => self.bind(&stanza, cx),
            Ok(None) => self.fail(&StreamCondition::UnsupportedStanzaType.into(), cx),
            Err(refused) => {
                let (element, error) = *refused;
                if let Some(reply) = error_to_malformed(&element, &error) {
                    cx.out.bytes.extend_from_slice(&reply);
                }
            }
        }
    }

    fn bind(&mut self, iq: &Stanza, cx: &mut Cx<'_>) {
        let State::Negotiating(n) = &self.state else { return };
        let Some(account) = n.account.clone() else { return };
        let id = iq.id().unwrap_or_default();
        if iq.iq_type() != IqType::Set {
            return self.bind_refused(id, Condition::BadRequest, cx);
        }
        let wanted = iq.payload().and_then(|bind| bind.child("resource", ns::BIND)).map(|r| r.text());
        let resource = match wanted.as_deref() {
            None | Some("") => None,
            Some(wanted) => match account.jid.with_resource(wanted) {
                Ok(full) => full.resource().map(Box::from),
                Err(_) => return self.bind_refused(id, Condition::BadRequest, cx),
            },
        };
        self.wait(Awaited::Bind(id.into()));
        cx.out.requests.push(Request::Bind { account, resource });
    }

    /// The host's answer to a bind request.
    pub(crate) fn bind_reply(&mut self, id: &str, result: Result<Box<Bound>, BindFailure>, cx: &mut Cx<'_>) {
        match result {
            Ok(bound) => {
                let mut w = Writer::new(&mut cx.out.bytes);
                w.start("iq").attr("type", "result").attr("id", id).start("bind").attr("xmlns", ns::BIND);
                w.start("jid").text(bound.jid.as_str()).end().end().end();
                self.become_bound(bound, cx);
            }
            Err(BindFailure::TooMany) => {
                self.bind_refused(id, Condition::ResourceConstraint, cx);
            }
            Err(BindFailure::Internal) => {
                self.bind_refused(id, Condition::InternalServerError, cx);
            }
        }
    }

    /// Answers a bind request with an error; the client may try again.
    pub(crate) fn bind_refused(&mut self, id: &str, condition: Condition, cx: &mut Cx<'_>) {
        write_iq_error(&mut cx.out.bytes, id, None, &condition.into());
    }

    /// The negotiation is over: what only it needed goes.
    pub(crate) fn become_bound(&mut self, bound: Box<Bound>, cx: &mut Cx<'_>) {
        self.state = State::Bound(bound);
        self.link.last_seen = cx.now;
        self.due = cx.now + cx.settings.ping_after_ms;
    }
}

/// True for an iq that asks to bind.
pub(crate) fn is_bind(root: Node<'_>) -> bool {
    root.name() == "iq" && root.children().next().is_some_and(|child| child.is("bind", ns::BIND))
}

/// Appends an iq error; `to` is the client once it has an address.
pub(crate) fn write_iq_error(out: &mut Vec<u8>, id: &str, to: Option<&Jid>, error: &StanzaError) {
    let mut xml = Vec::new();
    error.write(&mut xml);
    let mut w = Writer::new(out);
    w.start("iq").attr("type", "error").attr("id", id).attr_opt("to", to.map(Jid::as_str)).raw(&xml).end();
}

/// The error reply to an element that is no sound stanza; none to an error or a result (RFC 6120 §8.3.1).
pub(crate) fn error_to_malformed(element: &Element, error: &StanzaError) -> Option<Vec<u8>> {
    let root = element.root();
    let name = godwit_wire::Kind::from_name(root.name())?.name();
    if matches!(root.attr("type"), Some("error" | "result")) {
        return None;
    }
    let (mut xml, mut out) = (Vec::new(), Vec::new());
    error.write(&mut xml);
    Writer::new(&mut out).start(name).attr("type", "error").attr_opt("id", root.attr("id")).raw(&xml).end();
    Some(out)
}
