//! XEP-0030 Service Discovery: what the server and an account are and can do, collected from all modules.
use crate::effects::Effects;
use crate::module::{Cx, Info, Iq, Module, Target};
use crate::{roster, xep0163_pep};
use godwit_wire::{Condition, StanzaError, Writer, ns};

/// The module.
#[derive(Debug)]
pub struct Disco;

impl Module for Disco {
    fn info(&self) -> Info {
        Info {
            name: "disco",
            spec: "XEP-0030",
            title: "Service Discovery",
            version: "2.5.0",
            features: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
            account_features: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
            iq: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.set {
            return Err(StanzaError::new(Condition::NotAllowed));
        }
        if iq.payload.name() != "query" {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        if let Target::Account { owner, .. } = &iq.target {
            // §8: what an account is, is for those who may see its presence.
            if !roster::read(cx, *owner, cx.origin.jid.bare_str())?.item.from {
                return Err(StanzaError::new(Condition::ServiceUnavailable));
            }
        }
        let node = iq.payload.attr("node").filter(|node| !node.is_empty());
        let server = iq.target == Target::Server;
        let payload = match (iq.payload.ns(), node) {
            (ns::DISCO_INFO, None) => info(cx, server),
            (ns::DISCO_INFO, Some(node)) => xep0163_pep::disco_info(cx, &iq.target, node)?,
            (_, None) if server => {
                let mut out = Vec::new();
                Writer::new(&mut out).empty("query", ns::DISCO_ITEMS);
                out
            }
            _ => xep0163_pep::disco_items(cx, &iq.target, node)?,
        };
        iq.result(&payload, fx);
        Ok(())
    }
}

fn info(cx: &Cx<'_>, server: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::DISCO_INFO);
    let (category, type_) = if server { ("server", "im") } else { ("account", "registered") };
    writer.start("identity").attr("category", category).attr("type", type_);
    writer.attr_opt("name", server.then_some("Godwit")).end();
    let mut features: Vec<&str> = Vec::new();
    for info in cx.modules.each().map(Module::info) {
        for (category, type_) in info.account_identities {
            writer.start("identity").attr("category", category).attr("type", type_).end();
        }
        features.extend(if server { info.features } else { info.account_features });
    }
    features.sort_unstable();
    features.dedup();
    for feature in features {
        writer.start("feature").attr("var", feature).end();
    }
    writer.end();
    out
}
