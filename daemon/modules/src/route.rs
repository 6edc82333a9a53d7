//! The router: where a stanza of a local session goes (RFC 6120 §10, RFC 6121 §8).
use crate::backlog;
use crate::effects::{Delivery, Effect, Effects};
use crate::module::{Cx, Flow, Iq, Keep, Target};
use crate::row::Row;
use crate::trace;
use crate::xep0280_carbons::{self, Direction, is_copied};
use crate::xep0441_prefs as prefs;
use godwit_wire::{Condition, IqType, Jid, Kind, MessageType, Node, PresenceType, Stanza, StanzaError, ns};
use std::sync::Arc;

/// Handles one stanza: modules first, then the rules of its kind.
pub fn route(cx: &Cx<'_>, stanza: &Stanza) -> Result<Effects, StanzaError> {
    let mut fx = Effects::default();
    if stanza.kind != Kind::Iq {
        for module in cx.modules.each() {
            if module.sent(cx, stanza, &mut fx)? == Flow::Handled {
                return Ok(fx);
            }
        }
    }
    match stanza.kind {
        Kind::Message => message(cx, stanza, &mut fx)?,
        Kind::Iq => iq(cx, stanza, &mut fx)?,
        // What no module took is of no known type: ignored (RFC 6121 §4.7.1 leaves it to us).
        Kind::Presence => {}
    }
    Ok(fx)
}

/// RFC 6120 §8.3.1: no error answers an error; a result is not answered either.
pub fn may_be_answered(stanza: &Stanza) -> bool {
    match stanza.kind {
        Kind::Iq => matches!(stanza.iq_type(), IqType::Get | IqType::Set),
        Kind::Message => stanza.message_type() != MessageType::Error,
        Kind::Presence => !matches!(stanza.presence_type(), Some(PresenceType::Error)),
    }
}

/// Elements that only the server may say: copies (XEP-0280), a `stanza-id` in the name of a local account or
/// domain (XEP-0359 §5), and a delay that claims to come from this server (XEP-0203 §4).
fn is_forged(cx: &Cx<'_>, child: Node<'_>) -> bool {
    let local = |jid: Option<&str>| {
        jid.and_then(|text| Jid::parse(text).ok()).is_some_and(|jid| cx.is_local(jid.domain()))
    };
    xep0280_carbons::is_forged(child)
        || (child.is("stanza-id", ns::STANZA_IDS) && local(child.attr("by")))
        || (child.is("delay", ns::DELAY) && local(child.attr("from")))
}

/// What a message says to the server alone: what was displayed (XEP-0490 §4.4.3).
fn is_for_server(stanza: &Stanza, child: Node<'_>) -> bool {
    stanza.kind == Kind::Message && child.is("displayed", ns::MDS)
}

/// The stanza as others get it.
pub fn rendered(cx: &Cx<'_>, stanza: &Stanza, to: Option<&Jid>) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(stanza.root().raw().len() + 128);
    let drop = |child: Node<'_>| is_forged(cx, child) || is_for_server(stanza, child);
    stanza.render(&mut out, Some(&cx.origin.jid), to, &drop);
    out.into()
}

fn message(cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<(), StanzaError> {
    // RFC 6120 §10.3.1: without `to` it is for the sender's own account.
    let own = cx.origin.jid.bare();
    let to = stanza.to.as_ref().unwrap_or(&own);
    if !cx.is_local(to.domain()) {
        return Err(StanzaError::new(Condition::RemoteServerNotFound));
    }
    let type_ = stanza.message_type();
    if to.local().is_none() {
        return refuse_unless_error(type_);
    }
    let bare = to.bare_str();
    let Some((owner, waiting)) = cx.recipient(bare)? else { return refuse_unless_error(type_) };
    // RFC 6121 §8.5.2.1.1 and §8.5.3.2.1: groupchat is never for an account, errors to a bare JID end here.
    if to.is_bare() {
        match type_ {
            MessageType::Groupchat => return Err(StanzaError::new(Condition::ServiceUnavailable)),
            MessageType::Error => return Ok(()),
            _ => {}
        }
    }
    let keep = cx.modules.each().find_map(|module| module.store(cx, stanza)).unwrap_or(Keep::No);
    if keep != Keep::No {
        backlog::admit(cx, bare, owner, waiting)?;
    }
    let bytes = rendered(cx, stanza, Some(to));
    let resource = to.resource();
    let copied = Copied {
        sent: bare != cx.origin.jid.bare_str() && is_copied(stanza, Direction::Sent),
        received: is_copied(stanza, Direction::Received),
    };
    let (sent, append) = match keep {
        Keep::No => (None, None),
        keep => append(cx, to, owner, (keep, copied), &bytes, fx)?,
    };
    let copy = copied.sent.then(|| Arc::clone(&bytes));
    fx.then(Effect::Message(Box::new(Delivery {
        bare: bare.into(),
        owner,
        received: cx.now,
        names: append.map_or([0; 2], |_| trace::names(stanza)),
        resource: resource.map(Into::into),
        bytes,
        append,
        copied: copied.received,
        fall_back: type_ == MessageType::Chat,
    })));
    if let Some(bytes) = copy {
        fx.then(Effect::Sent { bytes, append: sent });
    }
    Ok(())
}

/// Which accounts' other sessions get copies (XEP-0280). A message to oneself reaches them as a message, or
/// as the copy of one received.
#[derive(Clone, Copy)]
struct Copied {
    sent: bool,
    received: bool,
}

/// Both sides of a message go to the archives of those who want it there (XEP-0441). What the recipient does
/// not want as history is stored for its delivery all the same. Names the appends: the sender's, the
/// recipient's.
fn append(
    cx: &Cx<'_>,
    to: &Jid,
    owner: u64,
    (keep, copied): (Keep, Copied),
    stanza: &[u8],
    fx: &mut Effects,
) -> Result<(Option<usize>, Option<usize>), StanzaError> {
    let (own, bare) = (cx.origin.jid.bare_str(), to.bare_str());
    let history = keep == Keep::Archive;
    let row = Row {
        incoming: true,
        hidden: !(history && prefs::archives(cx, (bare, owner), &cx.origin.jid)?),
        copied: copied.received,
        with: own,
        resource: to.resource().unwrap_or_default(),
        stanza,
    };
    // A message to oneself is one message.
    let mut sent = None;
    if bare != own && history && prefs::archives(cx, (own, cx.origin.owner), to)? {
        let row = Row { incoming: false, hidden: false, copied: copied.sent, with: bare, ..row };
        sent = Some(fx.append(cx.origin.owner, &row));
    }
    Ok((sent, Some(fx.append(owner, &row))))
}

/// RFC 6121 §8.5.1: no such account. An error message is dropped, not answered.
fn refuse_unless_error(type_: MessageType) -> Result<(), StanzaError> {
    if type_ == MessageType::Error { Ok(()) } else { Err(StanzaError::new(Condition::ServiceUnavailable)) }
}

fn iq(cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<(), StanzaError> {
    let asks = matches!(stanza.iq_type(), IqType::Get | IqType::Set);
    let unavailable = || StanzaError::new(Condition::ServiceUnavailable);
    let own = cx.origin.jid.bare();
    let to = stanza.to.as_ref().unwrap_or(&own);
    if !cx.is_local(to.domain()) {
        return if asks { Err(StanzaError::new(Condition::RemoteServerNotFound)) } else { Ok(()) };
    }
    if to.local().is_some() && to.resource().is_some() {
        let otherwise = if asks { error_reply(stanza, &unavailable()) } else { Vec::new() };
        fx.then(Effect::ToFull { to: to.clone(), bytes: rendered(cx, stanza, Some(to)), otherwise });
        return Ok(());
    }
    if !asks {
        if *to == own {
            return cx.modules.each().try_for_each(|module| module.answered(cx, stanza, fx));
        }
        return Ok(()); // an answer to something that the server never asked
    }
    let target = if to.local().is_none() {
        Target::Server
    } else if *to == own {
        Target::Own
    } else {
        let bare = to.bare_str();
        Target::Account { bare: bare.into(), owner: cx.account(bare)?.ok_or_else(unavailable)? }
    };
    let payload = stanza.payload().ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
    let module = cx.modules.for_iq(payload.ns()).ok_or_else(unavailable)?;
    let set = stanza.iq_type() == IqType::Set;
    module.iq(cx, &Iq { stanza, payload, set, target }, fx)
}

/// An error reply, rendered.
pub fn error_reply(stanza: &Stanza, error: &StanzaError) -> Vec<u8> {
    let mut out = Vec::new();
    stanza.error_reply(&mut out, error);
    out
}
