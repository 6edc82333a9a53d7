//! XEP-0060 Publish-Subscribe, as far as personal eventing needs it: an account's owner publishes and manages
//! nodes, others read as far as the node's access model lets them. The requests are read here; what they do
//! is in `pep/`.
use crate::effects::Effects;
use crate::module::{Cx, Info, Iq, Module, Target, unreadable};
use crate::pep::config::Config;
use crate::pep::read::{self, ReadError, Wanted};
use crate::pep::refusal::{bad, not_found, refuse, unsupported};
use crate::pep::{Reader, change, form, payload, table};
use godwit_session::Spec;
use godwit_wire::{Condition, Node, Stanza, StanzaError, Writer, ns};

/// The module.
#[derive(Debug)]
pub struct Pubsub;

const ALSO: [Spec; 2] = [
    Spec { id: "XEP-0004", title: "Data Forms", version: "2.13.2", note: "configuration of nodes" },
    Spec {
        id: "XEP-0223",
        title: "Persistent Storage of Private Data via PubSub",
        version: "1.1.1",
        note: "publish-options",
    },
];

impl Module for Pubsub {
    fn info(&self) -> Info {
        Info {
            name: "pubsub",
            spec: "XEP-0060",
            title: "Publish-Subscribe",
            version: "1.30.0",
            note: "what personal eventing needs; no explicit subscriptions or affiliations",
            also: &ALSO,
            features: &["http://jabber.org/protocol/pubsub#publish-options"],
            account_features: &[
                ns::PUBSUB,
                ns::PUBSUB_OWNER,
                "http://jabber.org/protocol/pubsub#access-open",
                "http://jabber.org/protocol/pubsub#access-presence",
                "http://jabber.org/protocol/pubsub#access-roster",
                "http://jabber.org/protocol/pubsub#access-whitelist",
                "http://jabber.org/protocol/pubsub#auto-create",
                "http://jabber.org/protocol/pubsub#config-node",
                "http://jabber.org/protocol/pubsub#config-node-max",
                "http://jabber.org/protocol/pubsub#create-and-configure",
                "http://jabber.org/protocol/pubsub#create-nodes",
                "http://jabber.org/protocol/pubsub#delete-items",
                "http://jabber.org/protocol/pubsub#delete-nodes",
                "http://jabber.org/protocol/pubsub#instant-nodes",
                "http://jabber.org/protocol/pubsub#item-ids",
                "http://jabber.org/protocol/pubsub#last-published",
                "http://jabber.org/protocol/pubsub#meta-data",
                "http://jabber.org/protocol/pubsub#multi-items",
                "http://jabber.org/protocol/pubsub#persistent-items",
                "http://jabber.org/protocol/pubsub#publish",
                "http://jabber.org/protocol/pubsub#publish-options",
                "http://jabber.org/protocol/pubsub#purge-nodes",
                "http://jabber.org/protocol/pubsub#retrieve-default",
                "http://jabber.org/protocol/pubsub#retrieve-items",
                "http://jabber.org/protocol/pubsub#rsm",
            ],
            iq: &[ns::PUBSUB, ns::PUBSUB_OWNER],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.target == Target::Server {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        if iq.payload.name() != "pubsub" {
            return Err(bad("not an element of publish-subscribe"));
        }
        let ns = iq.payload.ns();
        let known = |child: &Node<'_>| child.ns() == ns && !matches!(child.name(), "publish-options");
        let action = iq.payload.children().find(known).ok_or_else(|| bad("nothing is asked for"))?;
        let owner = iq.target == Target::Own;
        match (ns == ns::PUBSUB_OWNER, iq.set, action.name()) {
            (false, false, "items") => items(cx, iq, action, fx),
            _ if !owner => Err(forbidden(cx, iq)?),
            (false, true, "publish") => publish(cx, iq, action, fx),
            (false, true, "retract") => retract(cx, iq, action, fx),
            (false, true, "create") => create(cx, iq, action, fx),
            (true, false, "configure") => configuration(cx, iq, action, fx),
            (true, false, "default") => defaults(iq, fx),
            (true, true, "configure") => configure(cx, iq, action, fx),
            (true, true, "delete") => {
                change::delete(cx, change::node_name(action.attr("node"))?, fx)?;
                iq.result(b"", fx);
                Ok(())
            }
            (true, true, "purge") => {
                change::purge(cx, change::node_name(action.attr("node"))?, fx)?;
                iq.result(b"", fx);
                Ok(())
            }
            (_, _, name) => Err(missing(name)),
        }
    }
}

/// What an account's owner alone may do. Who may not even see the account's presence learns no more than that
/// of an account that does not exist.
fn forbidden(cx: &Cx<'_>, iq: &Iq<'_>) -> Result<StanzaError, StanzaError> {
    let stranger = Reader::of(cx, &iq.target)? == Reader::Stranger;
    Ok(StanzaError::new(if stranger { Condition::ServiceUnavailable } else { Condition::Forbidden }))
}

fn missing(action: &str) -> StanzaError {
    match action {
        "subscribe" | "unsubscribe" | "options" => unsupported("subscribe"),
        "subscriptions" => unsupported("retrieve-subscriptions"),
        "affiliations" => unsupported("retrieve-affiliations"),
        _ => StanzaError::new(Condition::FeatureNotImplemented),
    }
}

fn publish(cx: &Cx<'_>, iq: &Iq<'_>, publish: Node<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let node = change::node_name(publish.attr("node"))?;
    let mut items = publish.children().filter(|child| child.is("item", ns::PUBSUB));
    let item = items.next().ok_or_else(|| refuse(Condition::BadRequest, "item-required"))?;
    if items.next().is_some() {
        return Err(bad("one item at a time"));
    }
    let mut payloads = item.children();
    let payload = match (payloads.next(), payloads.next()) {
        (Some(payload), None) => standalone(iq.stanza, payload, &[item, publish, iq.payload]),
        (None, _) => return Err(refuse(Condition::BadRequest, "payload-required")),
        _ => return Err(refuse(Condition::BadRequest, "invalid-payload")),
    };
    let id = match item.attr("id").filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => random_name(cx),
    };
    let options = match iq.payload.child("publish-options", ns::PUBSUB) {
        Some(options) => form::submitted(options, ns::PUBSUB_PUBLISH_OPTIONS)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let limit = cx.settings.pep.items_per_node_max;
    change::publish(cx, node, &id, payload, |present| Config::demanded(present, &options, limit), fx)?;
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("pubsub").attr("xmlns", ns::PUBSUB).start("publish").attr("node", node);
    writer.start("item").attr("id", &id).end().end().end();
    answer_first(iq, &out, fx);
    Ok(())
}

/// The payload of a stanza's element, complete in itself.
pub(crate) fn standalone<'a>(stanza: &'a Stanza, node: Node<'a>, between: &[Node<'a>]) -> Vec<u8> {
    let ancestors: Vec<Node<'_>> = between.iter().copied().chain([stanza.root()]).collect();
    let scope = stanza.element().scope();
    payload::standalone(node, &ancestors, scope.content(), scope.extra_prefixes())
}

/// The answer before the notifications: a client learns that it has published before it learns what.
fn answer_first(iq: &Iq<'_>, payload: &[u8], fx: &mut Effects) {
    let told = std::mem::take(&mut fx.after);
    iq.result(payload, fx);
    fx.after.extend(told);
}

fn random_name(cx: &Cx<'_>) -> String {
    let mut name = [0; 16];
    (cx.random)(&mut name);
    format!("{:032x}", u128::from_be_bytes(name))
}

fn retract(cx: &Cx<'_>, iq: &Iq<'_>, retract: Node<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let node = change::node_name(retract.attr("node"))?;
    let required = || refuse(Condition::BadRequest, "item-required");
    let mut items = retract.children().filter(|child| child.is("item", ns::PUBSUB));
    let id = items.next().and_then(|item| item.attr("id")).ok_or_else(required)?;
    if items.next().is_some() {
        return Err(bad("one item at a time"));
    }
    let notify = matches!(retract.attr("notify"), Some("1" | "true"));
    change::retract(cx, node, id, notify, fx)?;
    answer_first(iq, b"", fx);
    Ok(())
}

fn create(cx: &Cx<'_>, iq: &Iq<'_>, create: Node<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let made;
    let node = match create.attr("node").filter(|node| !node.is_empty()) {
        Some(node) => change::node_name(Some(node))?,
        None => {
            made = random_name(cx);
            &made
        }
    };
    let fields = match iq.payload.child("configure", ns::PUBSUB) {
        Some(configure) => form::submitted(configure, ns::PUBSUB_NODE_CONFIG)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let config = Config::default().with(&fields, cx.settings.pep.items_per_node_max)?;
    change::create(cx, node, config, fx)?;
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("pubsub").attr("xmlns", ns::PUBSUB).start("create").attr("node", node).end().end();
    iq.result(&out, fx);
    Ok(())
}

fn configuration(cx: &Cx<'_>, iq: &Iq<'_>, configure: Node<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let node = change::node_name(configure.attr("node"))?;
    let found = table::node(cx.store, cx.origin.owner, node).map_err(unreadable)?.row;
    let config = found.ok_or_else(not_found)?.config;
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("pubsub").attr("xmlns", ns::PUBSUB_OWNER).start("configure").attr("node", node);
    config.write("form", &mut writer);
    writer.end().end();
    iq.result(&out, fx);
    Ok(())
}

fn defaults(iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("pubsub").attr("xmlns", ns::PUBSUB_OWNER).start("default");
    Config::default().write("form", &mut writer);
    writer.end().end();
    iq.result(&out, fx);
    Ok(())
}

fn configure(cx: &Cx<'_>, iq: &Iq<'_>, configure: Node<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let node = change::node_name(configure.attr("node"))?;
    // A cancelled form leaves things as they are.
    if let Some(fields) = form::submitted(configure, ns::PUBSUB_NODE_CONFIG)? {
        let limit = cx.settings.pep.items_per_node_max;
        change::configure(cx, node, |config| config.with(&fields, limit), fx)?;
    }
    iq.result(b"", fx);
    Ok(())
}

fn items(cx: &Cx<'_>, iq: &Iq<'_>, items: Node<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let node = change::node_name(items.attr("node"))?;
    let owner = match &iq.target {
        Target::Account { owner, .. } => *owner,
        _ => cx.origin.owner,
    };
    let reader = Reader::of(cx, &iq.target)?;
    let found = table::node(cx.store, owner, node).map_err(unreadable)?.row;
    let config = match (found, &reader) {
        (Some(found), _) if reader.may(&found.config) => found.config,
        (_, Reader::Stranger) => return Err(StanzaError::new(Condition::ServiceUnavailable)),
        (None, _) => return Err(not_found()),
        (Some(found), _) => return Err(closed(&found.config)),
    };
    if !config.persist {
        return Err(unsupported("persistent-items"));
    }
    let wanted = Wanted::of(items, iq.payload)?;
    if wanted.is_small() {
        iq.result(&read(cx.store, owner, node, &wanted, cx.origin.room)?, fx);
        return Ok(());
    }
    let (node, stanza, room) = (node.to_owned(), iq.stanza.clone(), cx.origin.room);
    fx.slow = Some(Box::new(move |slow| {
        let mut fx = Effects::default();
        let mut out = Vec::new();
        stanza.iq_result(&mut out, &read(slow.store, owner, &node, &wanted, room)?);
        fx.send(out);
        Ok(fx)
    }));
    Ok(())
}

fn read(
    store: &dyn godwit_store::Read,
    owner: u64,
    node: &str,
    wanted: &Wanted,
    room: usize,
) -> Result<Vec<u8>, StanzaError> {
    read::items(store, owner, node, wanted, room).map_err(|error| match error {
        ReadError::Store(error) => unreadable(error),
        ReadError::NoSuchItem => not_found(),
        ReadError::TooMuch => StanzaError::new(Condition::NotAcceptable)
            .with_text("together these items are too large for one answer; ask for fewer"),
        ReadError::NoRoom => {
            StanzaError::new(Condition::ResourceConstraint).with_text("too much is unacknowledged; try again")
        }
    })
}

/// A contact may not read this node.
fn closed(config: &Config) -> StanzaError {
    match config.access {
        crate::pep::config::Access::Roster => refuse(Condition::NotAuthorized, "not-in-roster-group"),
        _ => refuse(Condition::NotAllowed, "closed-node"),
    }
}
