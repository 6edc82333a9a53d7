//! Notifications (XEP-0060 §7.1.2.1, XEP-0163 §4): what they say and whom they are for.
use super::config::{Access, Config};
use crate::effects::{Effect, Effects};
use crate::module::{Cx, unreadable};
use crate::roster;
use godwit_wire::{StanzaError, Writer, ns};
use std::sync::Arc;

/// One notification, the recipient's address still missing.
#[derive(Debug)]
pub struct Notice {
    /// Whose node: account number.
    pub owner: u64,
    /// Whose node: bare JID.
    pub from: Box<str>,
    /// Which node.
    pub node: Box<str>,
    /// Of which item; `None`: of the node as a whole.
    pub item: Option<Box<str>>,
    /// `id` of the message.
    pub id: String,
    /// Of type normal, otherwise headline.
    pub normal: bool,
    /// The message's content.
    pub inside: Vec<u8>,
}

impl Notice {
    /// The message to one recipient.
    pub fn addressed(&self, to: &str) -> Arc<[u8]> {
        let mut out = Vec::with_capacity(self.inside.len() + self.from.len() + to.len() + 80);
        let mut writer = Writer::new(&mut out);
        writer.start("message").attr("from", &self.from).attr("to", to);
        writer.attr("type", if self.normal { "normal" } else { "headline" }).attr("id", &self.id);
        writer.raw(&self.inside).end();
        out.into()
    }
}

/// A new message id.
pub fn message_id(random: &dyn Fn(&mut [u8])) -> String {
    let mut id = [0; 8];
    random(&mut id);
    format!("pep-{:016x}", u64::from_be_bytes(id))
}

fn event(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("event").attr("xmlns", ns::PUBSUB_EVENT);
    write(&mut writer);
    writer.end();
    out
}

/// `<event/>` of an item.
pub fn published(node: &str, config: &Config, id: &str, payload: &[u8]) -> Vec<u8> {
    event(|writer| {
        writer.start("items").attr("node", node).start("item").attr("id", id);
        writer.raw(if config.payloads { payload } else { b"" }).end().end();
    })
}

/// `<event/>` of an item that is gone.
pub fn retracted(node: &str, id: &str) -> Vec<u8> {
    event(|writer| {
        writer.start("items").attr("node", node).start("retract").attr("id", id).end().end();
    })
}

/// `<event/>` of what befell a node as a whole: `purge` or `delete`.
pub fn of_node(what: &'static str, node: &str) -> Vec<u8> {
    event(|writer| {
        writer.start(what).attr("node", node).end();
    })
}

/// Tells everybody who may know: the account's own resources, and its contacts as the access model says; of
/// them, those whose clients want to hear of the node.
pub fn tell(
    cx: &Cx<'_>,
    (node, item): (&str, Option<&str>),
    config: &Config,
    inside: Vec<u8>,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    if !config.deliver {
        return Ok(());
    }
    let own = cx.origin.jid.bare_str();
    let notice = Arc::new(Notice {
        owner: cx.origin.owner,
        from: own.into(),
        node: node.into(),
        item: item.map(Into::into),
        id: message_id(cx.random),
        normal: config.normal,
        inside,
    });
    fx.then(Effect::Notify { notice: Arc::clone(&notice), to: own.into() });
    if config.access == Access::Whitelist {
        return Ok(());
    }
    roster::guard(cx, fx)?;
    roster::each(cx.store, cx.origin.owner, &mut |contact, item| {
        if item.from && super::Reader::Contact(item.groups).may(config) {
            fx.then(Effect::Notify { notice: Arc::clone(&notice), to: contact.into() });
        }
    })
    .map_err(unreadable)
}
