//! RFC 6121 §4: presence: broadcast, probes, directed presence.
use crate::apply::addressed;
use crate::effects::{Effect, Effects};
use crate::module::{Closing, Cx, Flow, Info, Module, unreadable};
use crate::rfc6121_subscription::gone;
use crate::roster;
use crate::route::rendered;
use crate::{xep0012_last, xep0115_caps};
use godwit_wire::{Condition, Jid, Kind, PresenceType, Stanza, StanzaError, ns};
use std::sync::Arc;

/// The module.
#[derive(Debug)]
pub struct Presence;

impl Module for Presence {
    fn info(&self) -> Info {
        Info {
            name: "presence",
            spec: "RFC 6121",
            title: "XMPP: Instant Messaging and Presence",
            note: "presence, probes, directed presence",
            ..Info::default()
        }
    }

    fn sent(&self, cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<Flow, StanzaError> {
        if stanza.kind != Kind::Presence {
            return Ok(Flow::Continue);
        }
        match (stanza.presence_type(), &stanza.to) {
            (Some(PresenceType::Available), None) => available(cx, stanza, fx)?,
            (Some(PresenceType::Unavailable), None) => unavailable(cx, stanza, fx)?,
            (Some(PresenceType::Available | PresenceType::Unavailable), Some(to)) => {
                directed(cx, stanza, to, fx)?
            }
            (Some(PresenceType::Probe), Some(to)) => probe(cx, to, fx)?,
            (Some(PresenceType::Error), Some(to)) => {
                let bytes = rendered(cx, stanza, Some(to));
                fx.then(Effect::ToFull { to: to.clone(), bytes, otherwise: Vec::new() });
            }
            _ => return Err(StanzaError::new(Condition::BadRequest)),
        }
        Ok(Flow::Handled)
    }

    fn closed(&self, cx: &Cx<'_>, closing: &Closing, fx: &mut Effects) {
        let from = &cx.origin.jid;
        for to in &closing.directed {
            fx.then(directed_to(to, crate::apply::unavailable(from.as_str(), to.as_str()).into()));
        }
        if !closing.available {
            return;
        }
        // Trouble with the store must not keep a session from ending; who is not told now is told by the next
        // probe.
        let told = roster::each(cx.store, cx.origin.owner, &mut |contact, item| {
            if item.from {
                fx.then(gone(from, contact));
            }
        });
        if let Err(error) = told {
            tracing::error!(jid = %from, %error, "the roster cannot be read; contacts were not told");
        }
        fx.then(gone(from, from.bare_str()));
        xep0012_last::note(cx, "", fx);
    }
}

fn is_available(cx: &Cx<'_>) -> bool {
    let session = cx.origin.address.session;
    let find = |entries: &[crate::registry::Entry]| {
        entries.iter().any(|entry| entry.id == session && entry.presence.is_some())
    };
    cx.sessions(&cx.origin.address.bare, find).unwrap_or(false)
}

/// RFC 6121 §4.7.2.3: from -128 to 127; absent is 0.
fn priority(stanza: &Stanza) -> Result<i8, StanzaError> {
    let Some(child) = stanza.child("priority", ns::CLIENT) else { return Ok(0) };
    let bad = |_| StanzaError::new(Condition::BadRequest).with_text("priority is a number from -128 to 127");
    child.text().trim().parse().map_err(bad)
}

fn available(cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<(), StanzaError> {
    let priority = priority(stanza)?;
    let bytes = rendered(cx, stanza, None);
    let own = cx.origin.jid.bare_str();
    let initial = !is_available(cx);
    let mut requests = Vec::new();
    // It also brings all presence to the writer's thread, where none can overtake another.
    roster::guard(cx, fx)?;
    if initial {
        // §4.2.2: the account's other resources; this one is not among them yet.
        fx.then(Effect::Probe { bare: own.into(), to: None });
    }
    fx.then(Effect::Presence { bytes: Some(Arc::clone(&bytes)), priority });
    xep0115_caps::announced(cx, stanza, fx);
    roster::each(cx.store, cx.origin.owner, &mut |contact, item| {
        if item.from {
            fx.then(Effect::ToAvailable { bare: contact.into(), bytes: addressed(&bytes, contact) });
        }
        // §4.3: both sides of a subscription change in one transaction, so the contact's own item need not be
        // asked.
        if initial && item.to {
            fx.then(Effect::Probe { bare: contact.into(), to: None });
        }
        if initial {
            requests.extend(item.pending_in);
        }
    })
    .map_err(unreadable)?;
    fx.then(Effect::ToAvailable { bare: own.into(), bytes: addressed(&bytes, own) });
    // §3.1.3: requests that came while nobody was there, and those that nobody has answered.
    requests.into_iter().for_each(|request| fx.send(request));
    Ok(())
}

fn unavailable(cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<(), StanzaError> {
    let bytes = rendered(cx, stanza, None);
    let session = cx.origin.address.session;
    let told = cx.sessions(&cx.origin.address.bare, |entries| {
        entries.iter().find(|entry| entry.id == session).map(|entry| entry.directed.clone())
    });
    for to in told.flatten().unwrap_or_default() {
        fx.then(directed_to(&to, addressed(&bytes, to.as_str())));
        fx.then(Effect::Directed(to, false));
    }
    if !is_available(cx) {
        return Ok(());
    }
    let own = cx.origin.jid.bare_str();
    roster::guard(cx, fx)?;
    roster::each(cx.store, cx.origin.owner, &mut |contact, item| {
        if item.from {
            fx.then(Effect::ToAvailable { bare: contact.into(), bytes: addressed(&bytes, contact) });
        }
    })
    .map_err(unreadable)?;
    fx.then(Effect::ToAvailable { bare: own.into(), bytes: addressed(&bytes, own) });
    fx.then(Effect::Presence { bytes: None, priority: 0 });
    let status = stanza.child("status", ns::CLIENT).map(|status| status.text()).unwrap_or_default();
    xep0012_last::note(cx, &status, fx);
    Ok(())
}

fn directed_to(to: &Jid, bytes: Arc<[u8]>) -> Effect {
    if to.resource().is_some() {
        Effect::ToFull { to: to.clone(), bytes, otherwise: Vec::new() }
    } else {
        Effect::ToAvailable { bare: to.as_str().into(), bytes }
    }
}

/// §4.6: delivered whatever the subscription; remembered, so that the end of the session is told too.
fn directed(cx: &Cx<'_>, stanza: &Stanza, to: &Jid, fx: &mut Effects) -> Result<(), StanzaError> {
    if !cx.is_local(to.domain()) {
        return Err(StanzaError::new(Condition::RemoteServerNotFound));
    }
    let available = stanza.presence_type() == Some(PresenceType::Available);
    let session = cx.origin.address.session;
    let many = cx.sessions(&cx.origin.address.bare, |entries| {
        let directed =
            entries.iter().find(|entry| entry.id == session).map_or(0, |entry| entry.directed.len());
        directed >= cx.settings.directed_max
    });
    if available && many.unwrap_or(false) {
        return Err(
            StanzaError::new(Condition::ResourceConstraint).with_text("directed presence to too many")
        );
    }
    fx.then(directed_to(to, rendered(cx, stanza, Some(to))));
    fx.then(Effect::Directed(to.clone(), available));
    Ok(())
}

/// §4.3: clients need not probe, but if one does it gets what a subscription lets it see.
fn probe(cx: &Cx<'_>, to: &Jid, fx: &mut Effects) -> Result<(), StanzaError> {
    let seen = roster::read(cx, cx.origin.owner, to.bare_str())?.item.to;
    if seen || to.bare_str() == cx.origin.jid.bare_str() {
        fx.then(Effect::Probe { bare: to.bare_str().into(), to: None });
    }
    Ok(())
}
