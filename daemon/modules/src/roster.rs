//! The roster table: items by account and contact, and the account's roster version. The table's only owner.
use crate::effects::{Effect, Effects};
use crate::module::{Cx, unreadable};
use godwit_store::{Cf, Op, Owner, Range, Read, StoreError, schema};
use godwit_wire::{StanzaError, Writer, ns};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

const VERSION: u8 = 1;

/// One contact of one account (RFC 6121 §2.1.2 and appendix A).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// In the roster that the client sees. False: there is only a request from the contact, or a
    /// pre-approval.
    pub listed: bool,
    /// The account sees the contact's presence.
    pub to: bool,
    /// The contact sees the account's presence.
    pub from: bool,
    /// The account has asked (`ask='subscribe'`).
    pub pending_out: bool,
    /// The account said yes before it was asked (RFC 6121 §3.4).
    pub approved: bool,
    /// The contact has asked: its `subscribe`, rendered, for resources that come later.
    pub pending_in: Option<Vec<u8>>,
    /// Name that the user gave.
    pub name: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
}

impl Item {
    /// `subscription` as it is written.
    pub fn subscription(&self) -> &'static str {
        match (self.to, self.from) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    /// What of it the client sees.
    fn visible(&self) -> Option<Item> {
        self.listed.then(|| Item { pending_in: None, ..self.clone() })
    }

    /// Nothing in it is worth keeping.
    pub fn is_empty(&self) -> bool {
        !self.listed
            && !self.to
            && !self.from
            && !self.pending_out
            && !self.approved
            && self.pending_in.is_none()
    }

    fn encode(&self) -> Vec<u8> {
        // postcard fails only on types it has no form for; this record has none of them.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// From its stored form.
    pub fn decode(bytes: &[u8]) -> Option<Item> {
        match bytes.split_first()? {
            (&VERSION, rest) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }

    /// `<item/>` for a roster result or push.
    pub fn write(&self, contact: &str, writer: &mut Writer<'_>) {
        writer.start("item").attr("jid", contact).attr("subscription", self.subscription());
        writer.attr_opt("name", self.name.as_deref());
        writer.attr_opt("ask", self.pending_out.then_some("subscribe"));
        writer.attr_opt("approved", self.approved.then_some("true"));
        for group in &self.groups {
            writer.start("group").text(group).end();
        }
        writer.end();
    }
}

/// An item with the bytes it was read from, for the guard.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Bytes; `None` if there is no such item.
    pub bytes: Option<Vec<u8>>,
    /// The item; the default one if there is none.
    pub item: Item,
}

/// Reads one item.
pub fn read(cx: &Cx<'_>, owner: u64, contact: &str) -> Result<Found, StanzaError> {
    find(cx.store, owner, contact).map_err(unreadable)
}

/// Reads one item, on whatever thread.
pub fn find(store: &dyn Read, owner: u64, contact: &str) -> Result<Found, StoreError> {
    let bytes = store.get(Cf::Roster, &schema::roster(Owner(owner), contact))?;
    let item = match &bytes {
        None => Item::default(),
        Some(bytes) => Item::decode(bytes).ok_or_else(|| damaged(owner))?,
    };
    Ok(Found { bytes, item })
}

fn damaged(owner: u64) -> StoreError {
    StoreError::Corrupt(format!("a roster item of account number {owner}"))
}

/// Visits all items of an account.
pub fn each(store: &dyn Read, owner: u64, visit: &mut dyn FnMut(&str, Item)) -> Result<(), StoreError> {
    let (start, end) = schema::rosters(Owner(owner));
    let mut bad = false;
    store.scan(&Range { cf: Cf::Roster, start, end, reverse: false }, &mut |key, value| {
        match (schema::roster_contact(key), Item::decode(value)) {
            (Some(contact), Some(item)) => visit(contact, item),
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(damaged(owner)) } else { Ok(()) }
}

/// The roster's version: a counter of its changes.
pub fn version(store: &dyn Read, owner: u64) -> Result<(Option<Vec<u8>>, u64), StoreError> {
    let bytes = store.get(Cf::State, &schema::state(Owner(owner), schema::State::RosterVersion))?;
    let number = bytes.as_deref().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    Ok((bytes, number))
}

/// What is decided here holds only while the account's roster stays as it is now. Call it before reading: who
/// comes to see whom meanwhile would be neither in what was read, nor told later.
pub fn guard(cx: &Cx<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let (version, _) = version(cx.store, cx.origin.owner).map_err(unreadable)?;
    let key = schema::state(Owner(cx.origin.owner), schema::State::RosterVersion);
    fx.guard(Cf::State, key, version.as_deref());
    Ok(())
}

/// Changes one item, guarded by what was read; pushes it to the account's resources if it is, or was, in the
/// roster.
pub fn change(
    cx: &Cx<'_>,
    owner: u64,
    bare: &str,
    contact: &str,
    before: &Found,
    after: &Item,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    if before.item == *after {
        return Ok(());
    }
    let key = schema::roster(Owner(owner), contact);
    fx.guard(Cf::Roster, key.clone(), before.bytes.as_deref());
    if after.is_empty() {
        fx.delete(Cf::Roster, key);
    } else {
        fx.put(Cf::Roster, key, after.encode());
    }
    if before.item.visible() == after.visible() {
        return Ok(()); // a request from the contact is no part of the roster (RFC 6121 §3.1.3)
    }
    let (old, number) = version(cx.store, owner).map_err(unreadable)?;
    let key = schema::state(Owner(owner), schema::State::RosterVersion);
    // Where a contact's approval follows at once, one stanza changes an item twice: two pushes, two versions.
    let written = fx.tx.ops.iter().rev().find_map(|op| match op {
        Op::Put { cf: Cf::State, key: put, value } if *put == key => value.as_slice().try_into().ok(),
        _ => None,
    });
    let next = written.map_or(number, u64::from_be_bytes).wrapping_add(1);
    fx.guard(Cf::State, key.clone(), old.as_deref());
    fx.put(Cf::State, key, next.to_be_bytes().to_vec());
    fx.then(Effect::ToInterested { bare: bare.into(), bytes: push(cx, contact, after, next).into() });
    Ok(())
}

/// RFC 6121 §2.1.6.
fn push(cx: &Cx<'_>, contact: &str, item: &Item, version: u64) -> Vec<u8> {
    let mut id = [0; 8];
    (cx.random)(&mut id);
    let id = format!("push-{:016x}", u64::from_be_bytes(id));
    let mut out = Vec::with_capacity(256);
    let mut writer = Writer::new(&mut out);
    writer.start("iq").attr("type", "set").attr("id", &id);
    writer.start("query").attr("xmlns", ns::ROSTER).attr("ver", &version.to_string());
    if item.listed {
        item.write(contact, &mut writer);
    } else {
        writer.start("item").attr("jid", contact).attr("subscription", "remove").end();
    }
    writer.end().end();
    out
}
