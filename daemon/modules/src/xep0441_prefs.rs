//! XEP-0441 Message Archive Management Preferences: which messages an account wants in its history.
//!
//! Preferences decide for each side of a message on its own, when it is stored. A message that its recipient
//! does not want archived is stored for its delivery all the same and hidden from queries; the copy of a
//! sender who does not want it is not written. What was archived before stays.
//!
//! Every message asks for those of both sides, and hardly anybody lists JIDs: preferences without lists are
//! remembered with the account for as long as it is online.
use crate::effects::{Effect, Effects};
use crate::module::{Cx, Info, Iq, Module, unreadable};
use crate::roster;
use godwit_store::{Cf, Owner, Read, StoreError, schema};
use godwit_wire::{Condition, Jid, Node, StanzaError, Writer, ns};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// JIDs in both lists together.
const JIDS_MAX: usize = 200;

/// What is archived of those in neither list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// Everything.
    Always,
    /// Nothing.
    Never,
    /// What is exchanged with contacts in the roster.
    Roster,
}

impl Policy {
    /// As it is written, on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Always => "always",
            Policy::Never => "never",
            Policy::Roster => "roster",
        }
    }

    /// Inverse of [`Policy::name`].
    pub fn from_name(name: &str) -> Option<Policy> {
        [Policy::Always, Policy::Never, Policy::Roster].into_iter().find(|policy| policy.name() == name)
    }
}

/// An account's preferences, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Prefs {
    default: Policy,
    /// Normalised JIDs, bare or full.
    always: Vec<String>,
    never: Vec<String>,
}

/// What is remembered of an account's preferences while it is online: small, as there is one for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    simple: Option<Simple>,
    /// So often they were changed, modulo 2^16: what was read before a change must not be remembered after
    /// it.
    changes: u16,
}

/// Preferences that list nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Simple {
    /// None are stored: the configuration's default.
    Unset,
    /// Stored ones.
    Set(Policy),
}

impl Known {
    /// They were changed, and the change can be read.
    pub(crate) fn changed(&mut self) {
        *self = Known { simple: None, changes: self.changes.wrapping_add(1) };
    }
}

/// The module. Its iqs share their namespace with XEP-0313's, which hands them over.
#[derive(Debug)]
pub struct Preferences;

impl Module for Preferences {
    fn info(&self) -> Info {
        Info {
            name: "prefs",
            spec: "XEP-0441",
            title: "Message Archive Management Preferences",
            version: "0.2.0",
            ..Info::default()
        }
    }
}

impl Prefs {
    fn encode(&self) -> Vec<u8> {
        // postcard fails only on types it has no form for; this record has none of them.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Option<Prefs> {
        match bytes.split_first()? {
            (&VERSION, rest) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }

    /// What is stored.
    fn stored(cx: &Cx<'_>, owner: u64) -> Result<Option<Prefs>, StanzaError> {
        let damaged = || StoreError::Corrupt(format!("the archive preferences of account number {owner}"));
        let bytes = cx.get(Cf::State, &schema::state(Owner(owner), schema::State::ArchivePrefs))?;
        bytes.map(|bytes| Prefs::decode(&bytes).ok_or_else(|| unreadable(damaged()))).transpose()
    }

    fn read(cx: &Cx<'_>, owner: u64) -> Result<Prefs, StanzaError> {
        let unset = || Prefs { default: cx.settings.archive.default, always: Vec::new(), never: Vec::new() };
        Ok(Prefs::stored(cx, owner)?.unwrap_or_else(unset))
    }

    /// What a client wants. A list that is missing is empty (§2.1.2, §2.1.3).
    fn wanted(prefs: Node<'_>) -> Result<Prefs, StanzaError> {
        let bad = |why: &'static str| StanzaError::new(Condition::BadRequest).with_text(why);
        let default = prefs.attr("default").and_then(Policy::from_name);
        let wanted = Prefs {
            default: default.ok_or_else(|| bad("default is always, never or roster"))?,
            always: jids(prefs, "always")?,
            never: jids(prefs, "never")?,
        };
        if wanted.always.len() + wanted.never.len() > JIDS_MAX {
            let error = StanzaError::new(Condition::NotAcceptable);
            return Err(error.with_text(format!("more than {JIDS_MAX} JIDs")));
        }
        Ok(wanted)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.start("prefs").attr("xmlns", ns::MAM).attr("default", self.default.name());
        for (name, list) in [("always", &self.always), ("never", &self.never)] {
            writer.start(name);
            for jid in list {
                writer.start("jid").text(jid).end();
            }
            writer.end();
        }
        writer.end();
        out
    }
}

/// The JIDs of one list, each once.
fn jids(prefs: Node<'_>, list: &str) -> Result<Vec<String>, StanzaError> {
    let mut found: Vec<String> = Vec::new();
    let children = prefs.child(list, ns::MAM).into_iter().flat_map(Node::children);
    for child in children.filter(|child| child.is("jid", ns::MAM)) {
        let jid = Jid::parse(child.text().trim()).map_err(|_| StanzaError::new(Condition::JidMalformed))?;
        if found.len() <= JIDS_MAX && !found.iter().any(|other| *other == *jid.as_str()) {
            found.push(jid.as_str().to_owned());
        }
    }
    Ok(found)
}

/// §2.3.1: a listed JID with a resource means just that address, one without means all of them.
fn lists(list: &[String], jid: &Jid) -> bool {
    list.iter().any(|listed| *listed == *jid.as_str() || *listed == *jid.bare_str())
}

/// Whether an account (its bare JID and number) wants messages to or from `other` in its history. What is in
/// both lists it does not.
pub(crate) fn archives(cx: &Cx<'_>, account: (&str, u64), other: &Jid) -> Result<bool, StanzaError> {
    let (bare, owner) = account;
    let known = cx.registry.with(bare, |live| (live.owner == owner).then_some(live.prefs)).flatten();
    let default = match known.and_then(|known| known.simple) {
        Some(Simple::Set(policy)) => policy,
        Some(Simple::Unset) => cx.settings.archive.default,
        None => match Prefs::stored(cx, owner)? {
            None => {
                remember(cx, account, known, Simple::Unset);
                cx.settings.archive.default
            }
            Some(prefs) if lists(&prefs.never, other) => return Ok(false),
            Some(prefs) if lists(&prefs.always, other) => return Ok(true),
            Some(prefs) => {
                if prefs.always.is_empty() && prefs.never.is_empty() {
                    remember(cx, account, known, Simple::Set(prefs.default));
                }
                prefs.default
            }
        },
    };
    Ok(match default {
        Policy::Always => true,
        Policy::Never => false,
        Policy::Roster => roster::read(cx, owner, other.bare_str())?.item.listed,
    })
}

/// Unless they have changed since `known` was looked at.
fn remember(cx: &Cx<'_>, (bare, owner): (&str, u64), known: Option<Known>, simple: Simple) {
    let Some(known) = known else { return };
    cx.registry.with(bare, |live| {
        if live.owner == owner && live.prefs == known {
            live.prefs.simple = Some(simple);
        }
    });
}

/// An account's preferences, for its person.
pub(crate) fn exported(
    store: &dyn Read,
    owner: Owner,
) -> Result<Option<crate::export::Preferences>, StoreError> {
    let damaged = || StoreError::Corrupt(format!("the archive preferences of account number {}", owner.0));
    let Some(bytes) = store.get(Cf::State, &schema::state(owner, schema::State::ArchivePrefs))? else {
        return Ok(None);
    };
    let Prefs { default, always, never } = Prefs::decode(&bytes).ok_or_else(damaged)?;
    Ok(Some(crate::export::Preferences { default: default.name().into(), always, never }))
}

/// `<prefs/>` to the own account.
pub(crate) fn iq(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let owner = cx.origin.owner;
    if !iq.set {
        iq.result(&Prefs::read(cx, owner)?.write(), fx);
        return Ok(());
    }
    let wanted = Prefs::wanted(iq.payload)?;
    fx.put(Cf::State, schema::state(Owner(owner), schema::State::ArchivePrefs), wanted.encode());
    fx.then(Effect::Prefs);
    iq.result(&wanted.write(), fx);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_told_from_what_was_read_after() {
        let before = Known { simple: Some(Simple::Unset), changes: 3 };
        let mut after = before;
        after.changed();
        assert_eq!(after.simple, None);
        assert_ne!(Known { simple: None, ..before }, after);
        assert!(size_of::<Known>() <= 4);
    }

    #[test]
    fn stored_form_and_matching() {
        let prefs = Prefs {
            default: Policy::Roster,
            always: vec!["a@b".into(), "c@d/phone".into()],
            never: vec!["e@f".into()],
        };
        let bytes = prefs.encode();
        assert_eq!(Prefs::decode(&bytes), Some(prefs.clone()));
        assert_eq!(Prefs::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Prefs::decode(&[VERSION + 1]), None);
        for (jid, listed) in [
            ("a@b", true),
            ("a@b/any", true),
            ("c@d/phone", true),
            ("c@d/desk", false),
            ("c@d", false),
            ("b", false),
        ] {
            assert_eq!(lists(&prefs.always, &Jid::parse(jid).expect("a JID")), listed, "{jid}");
        }
    }
}
