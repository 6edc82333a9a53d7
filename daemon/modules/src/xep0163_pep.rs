//! XEP-0163 Personal Eventing Protocol: an account is a pubsub service. What makes it one: the identity, the
//! defaults (`pep/config.rs`), subscription by presence and notifications by capabilities (`pep/event.rs`),
//! the last items for whoever comes online (`pep/last.rs`).
use crate::module::{Cx, Info, Module, Target, unreadable};
use crate::pep::config::Config;
use crate::pep::{Reader, table};
use godwit_wire::{Condition, StanzaError, Writer, ns};
use std::ops::ControlFlow;

/// The module.
#[derive(Debug)]
pub struct Pep;

impl Module for Pep {
    fn info(&self) -> Info {
        Info {
            name: "pep",
            spec: "XEP-0163",
            title: "Personal Eventing Protocol",
            version: "1.2.2",
            account_features: &[
                "http://jabber.org/protocol/pubsub#auto-subscribe",
                "http://jabber.org/protocol/pubsub#filtered-notifications",
                "http://jabber.org/protocol/pubsub#pubsub-on-a-jid",
            ],
            account_identities: &[("pubsub", "pep")],
            ..Info::default()
        }
    }
}

/// Bytes of a list of nodes or items, more or less; what does not fit is left out, and found by asking for
/// the items themselves, in pages.
const LIST_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an entry besides the names in it.
const ENTRY_BYTES: usize = 64;

/// disco#items of an account (§7.2: its nodes, as far as the reader may see them) or, with a node, its items.
pub(crate) fn disco_items(cx: &Cx<'_>, target: &Target, node: Option<&str>) -> Result<Vec<u8>, StanzaError> {
    let (owner, bare, reader) = account(cx, target)?;
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::DISCO_ITEMS).attr_opt("node", node);
    let mut room = LIST_BYTES_MAX.min(cx.origin.room / 2);
    let mut fits = |name: &str| {
        let left = room.checked_sub(name.len() + bare.len() + ENTRY_BYTES);
        room = left.unwrap_or(0);
        left.is_some()
    };
    match node {
        None => table::nodes(cx.store, owner, &mut |name, node| {
            if reader.may(&node.config) && fits(name) {
                let title = Some(&*node.config.title).filter(|title| !title.is_empty());
                writer.start("item").attr("jid", bare).attr("node", name).attr_opt("name", title).end();
            }
        }),
        Some(name) => {
            visible(cx, owner, &reader, name)?;
            table::order(cx.store, owner, name, false, &mut |_, id| {
                if !fits(id) {
                    return ControlFlow::Break(());
                }
                writer.start("item").attr("jid", bare).attr("name", id).end();
                ControlFlow::Continue(())
            })
        }
    }
    .map_err(unreadable)?;
    writer.end();
    Ok(out)
}

/// disco#info of a node (XEP-0060 §5.3, §5.4).
pub(crate) fn disco_info(cx: &Cx<'_>, target: &Target, name: &str) -> Result<Vec<u8>, StanzaError> {
    let (owner, _, reader) = account(cx, target)?;
    let config = visible(cx, owner, &reader, name)?;
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::DISCO_INFO).attr("node", name);
    writer.start("identity").attr("category", "pubsub").attr("type", "leaf").end();
    writer.start("feature").attr("var", ns::PUBSUB).end();
    writer.start("x").attr("xmlns", ns::DATA_FORMS).attr("type", "result");
    let texts = [
        ("FORM_TYPE", "http://jabber.org/protocol/pubsub#meta-data"),
        ("pubsub#title", &config.title),
        ("pubsub#description", &config.description),
        ("pubsub#type", &config.payload_type),
    ];
    for (var, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        writer.start("field").attr("var", var);
        writer.attr_opt("type", (var == "FORM_TYPE").then_some("hidden"));
        writer.start("value").text(text).end().end();
    }
    writer.end().end();
    Ok(out)
}

fn account<'a>(cx: &'a Cx<'_>, target: &'a Target) -> Result<(u64, &'a str, Reader), StanzaError> {
    let reader = Reader::of(cx, target)?;
    match target {
        Target::Account { bare, owner } => Ok((*owner, bare, reader)),
        Target::Own => Ok((cx.origin.owner, cx.origin.jid.bare_str(), reader)),
        Target::Server => Err(StanzaError::new(Condition::ItemNotFound)),
    }
}

fn visible(cx: &Cx<'_>, owner: u64, reader: &Reader, name: &str) -> Result<Config, StanzaError> {
    let found = table::node(cx.store, owner, name).map_err(unreadable)?.row;
    let config = found.map(|node| node.config).filter(|config| reader.may(config));
    config.ok_or_else(|| StanzaError::new(Condition::ItemNotFound))
}
