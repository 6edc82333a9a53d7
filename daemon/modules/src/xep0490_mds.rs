//! XEP-0490 Message Displayed Synchronization, server assist (§4.4): what a message says was displayed is
//! published in the sender's name, in the message's own transaction. The router takes the element out of the
//! message (`route::rendered`), so that nobody else gets to see it.
use crate::effects::Effects;
use crate::module::{Cx, Flow, Info, Module};
use crate::pep::change;
use crate::pep::config::{Access, Config, SendLast};
use crate::xep0060_pubsub::standalone;
use godwit_wire::{Condition, Jid, Kind, MessageType, Node, Stanza, StanzaError, ns};

/// The module.
#[derive(Debug)]
pub struct Mds;

impl Module for Mds {
    fn info(&self) -> Info {
        Info {
            name: "displayed-sync",
            spec: "XEP-0490",
            title: "Message Displayed Synchronization",
            version: "1.0.1",
            note: "with server assist",
            account_features: &[ns::MDS_ASSIST],
            ..Info::default()
        }
    }

    fn sent(&self, cx: &Cx<'_>, stanza: &Stanza, fx: &mut Effects) -> Result<Flow, StanzaError> {
        if stanza.kind != Kind::Message || stanza.message_type() == MessageType::Error {
            return Ok(Flow::Continue);
        }
        let Some(displayed) = stanza.child("displayed", ns::MDS) else { return Ok(Flow::Continue) };
        check(cx, stanza, displayed)?;
        // The item's id is `to` as the client wrote it: it looks for it under this name.
        let chat = stanza.root().attr("to").unwrap_or(cx.origin.jid.bare_str());
        let payload = standalone(stanza, displayed, &[]);
        change::publish(cx, ns::MDS, chat, payload, |present| Ok(private(present)), fx)?;
        Ok(Flow::Continue)
    }
}

/// §4.1: exactly one stanza id; and it is the account's own, or the chat's (a room's).
fn check(cx: &Cx<'_>, stanza: &Stanza, displayed: Node<'_>) -> Result<(), StanzaError> {
    let wrong = |text| Err(StanzaError::new(Condition::BadRequest).with_text(text));
    let mut ids = displayed.children();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return wrong("displayed holds exactly one stanza-id");
    };
    if !id.is("stanza-id", ns::STANZA_IDS) || id.attr("id").is_none_or(str::is_empty) {
        return wrong("displayed holds exactly one stanza-id");
    }
    let by = id.attr("by").and_then(|by| Jid::parse(by).ok());
    let chat = stanza.to.as_ref().map_or(cx.origin.jid.bare_str(), Jid::bare_str);
    match by {
        Some(by) if by.as_str() == cx.origin.jid.bare_str() || by.as_str() == chat => Ok(()),
        _ => wrong("the stanza-id is neither this account's nor the chat's"),
    }
}

/// §6: nobody else may see it, whatever the node's configuration was before.
fn private(present: Option<&Config>) -> Config {
    let made = || Config { items_max: None, send_last: SendLast::Never, ..Config::default() };
    Config { access: Access::Whitelist, persist: true, ..present.cloned().unwrap_or_else(made) }
}
