//! RFC 6121 §2: the roster, with versioning (§2.6) and pushes.
use crate::effects::{Effect, Effects};
use crate::module::{Cx, Info, Iq, Module, Target, unreadable};
use crate::rfc6121_subscription as subscription;
use crate::roster::{self, Item};
use godwit_store::{Cf, Owner, schema};
use godwit_wire::{Condition, Jid, Node, StanzaError, Writer, ns};

/// Most groups of one contact, and most bytes of a name or of a group's name (RFC 6121 §2.3.3 leaves them to
/// us).
const GROUPS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 1_023;

/// The module.
#[derive(Debug)]
pub struct Roster;

impl Module for Roster {
    fn info(&self) -> Info {
        Info {
            name: "roster",
            spec: "RFC 6121",
            title: "XMPP: Instant Messaging and Presence",
            note: "roster with versioning",
            iq: &[ns::ROSTER],
            stream_features: "<ver xmlns='urn:xmpp:features:rosterver'/>",
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.target != Target::Own {
            return Err(StanzaError::new(Condition::Forbidden));
        }
        if !iq.payload.is("query", ns::ROSTER) {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        if iq.set { set(cx, iq, fx) } else { get(cx, iq, fx) }
    }
}

fn get(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let (bytes, version) = roster::version(cx.store, cx.origin.owner).map_err(unreadable)?;
    fx.then(Effect::Interested(version));
    // A change that is committed after this was read and before the session counts as interested would be in
    // neither the result nor a push, and one whose push comes first would be undone by the older result.
    fx.guard(
        Cf::State,
        schema::state(Owner(cx.origin.owner), schema::State::RosterVersion),
        bytes.as_deref(),
    );
    let version = version.to_string();
    if iq.payload.attr("ver") == Some(&version) {
        iq.result(b"", fx); // RFC 6121 §2.6.3: an empty result says that nothing has changed
        return Ok(());
    }
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::ROSTER).attr("ver", &version);
    roster::each(cx.store, cx.origin.owner, &mut |contact, item| {
        if item.listed {
            item.write(contact, &mut writer);
        }
    })
    .map_err(unreadable)?;
    writer.end();
    iq.result(&out, fx);
    Ok(())
}

fn set(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let bad = || StanzaError::new(Condition::BadRequest);
    let mut items = iq.payload.children().filter(|child| child.is("item", ns::ROSTER));
    let (Some(item), None) = (items.next(), items.next()) else { return Err(bad()) };
    let contact = item.attr("jid").ok_or_else(bad)?;
    let contact = Jid::parse(contact).map_err(|_| StanzaError::new(Condition::JidMalformed))?.bare();
    let owner = cx.origin.owner;
    let bare = cx.origin.jid.bare_str();
    let before = roster::read(cx, owner, contact.as_str())?;
    if item.attr("subscription") == Some("remove") {
        if !before.item.listed {
            return Err(StanzaError::new(Condition::ItemNotFound));
        }
        subscription::remove(cx, &contact, &before, fx)?;
    } else {
        let after = changed(&before.item, item)?;
        if !before.item.listed && is_full(cx, owner)? {
            return Err(StanzaError::new(Condition::NotAllowed).with_text("the roster is full"));
        }
        roster::change(cx, owner, bare, contact.as_str(), &before, &after, fx)?;
    }
    iq.result(b"", fx);
    Ok(())
}

/// The user sets name and groups; subscription state is not theirs to set (RFC 6121 §2.1.2).
fn changed(before: &Item, item: Node<'_>) -> Result<Item, StanzaError> {
    let fits = |text: &str| text.len() <= TEXT_BYTES_MAX;
    let name = item.attr("name").filter(|name| !name.is_empty());
    if !name.is_none_or(fits) {
        return Err(StanzaError::new(Condition::NotAcceptable).with_text("the name is too long"));
    }
    let mut groups: Vec<String> = Vec::new();
    for group in item.children().filter(|child| child.is("group", ns::ROSTER)) {
        let text = group.text().into_owned();
        if text.is_empty() || !fits(&text) || groups.len() >= GROUPS_MAX {
            return Err(StanzaError::new(Condition::NotAcceptable)
                .with_text("a group is empty, too long, or too many"));
        }
        if groups.contains(&text) {
            return Err(StanzaError::new(Condition::BadRequest).with_text("a group is named twice"));
        }
        groups.push(text);
    }
    Ok(Item { listed: true, name: name.map(Into::into), groups, ..before.clone() })
}

/// Counts only when something is to be added: a scan of one account's roster.
pub(crate) fn is_full(cx: &Cx<'_>, owner: u64) -> Result<bool, StanzaError> {
    let mut count = 0;
    roster::each(cx.store, owner, &mut |_, _| count += 1).map_err(unreadable)?;
    Ok(count >= cx.settings.roster_max)
}
