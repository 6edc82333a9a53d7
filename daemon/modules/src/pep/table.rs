//! The table of nodes and items. Its only owner.
//!
//! A node's row changes with every change to the node's items, so that a guard on it guards them all; the
//! account's totals row likewise guards the account's bounds. A node's items lie under their ids, and once
//! more, without payload, in the order in which they were published.
use super::config::Config;
use godwit_store::{Cf, Key, Owner, Range, Read, StoreError, schema};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

const VERSION: u8 = 1;

/// What an account holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Nodes.
    pub nodes: u64,
    /// Bytes of items, as [`Item::cost`] counts them.
    pub bytes: u64,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its configuration.
    pub config: Config,
    /// Number of the latest change to its items.
    pub revision: u64,
    /// Items.
    pub items: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The node's revision that published it.
    pub revision: u64,
    /// When that was, ms since 1970.
    pub at_ms: u64,
    /// The payload, complete in itself; may be empty.
    pub payload: Vec<u8>,
}

/// A row with the bytes it was read from, for the guard.
#[derive(Debug, Clone, Default)]
pub struct Found<T> {
    /// Bytes; `None` if there is no such row.
    pub bytes: Option<Vec<u8>>,
    /// What they say.
    pub row: T,
}

impl Item {
    /// What it counts against the account's bound.
    pub fn cost(&self, id: &str) -> u64 {
        cost(id, &self.payload)
    }

    /// Layout: version (1) | revision (8, big-endian) | ms since 1970 (8) | payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17 + self.payload.len());
        out.push(VERSION);
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Item> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (at, payload) = rest.split_first_chunk::<8>()?;
        Some(Item {
            revision: u64::from_be_bytes(*revision),
            at_ms: u64::from_be_bytes(*at),
            payload: payload.to_vec(),
        })
    }
}

/// What an item counts against the account's bound.
pub fn cost(id: &str, payload: &[u8]) -> u64 {
    u64::try_from(id.len().saturating_add(payload.len())).unwrap_or(u64::MAX)
}

/// A totals or node row.
pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    // postcard fails only on types it has no form for; these records have none of them.
    postcard::to_extend(row, vec![VERSION]).unwrap_or_default()
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first()? {
        (&VERSION, rest) => postcard::from_bytes(rest).ok(),
        _ => None,
    }
}

/// A row that can be read.
pub(crate) fn is_good(key: &[u8], value: &[u8]) -> bool {
    match schema::pep_kind(key) {
        Some(schema::Pep::Totals) => decode::<Totals>(value).is_some(),
        Some(schema::Pep::Node) => decode::<Node>(value).is_some(),
        Some(schema::Pep::Item) => Item::decode(value).is_some(),
        Some(schema::Pep::Order) => std::str::from_utf8(value).is_ok(),
        None => false,
    }
}

fn damaged(owner: u64) -> StoreError {
    StoreError::Corrupt(format!("personal eventing data of account number {owner}"))
}

fn row<T: for<'a> Deserialize<'a>>(
    store: &dyn Read,
    owner: u64,
    key: &Key,
) -> Result<Option<(Vec<u8>, T)>, StoreError> {
    let Some(bytes) = store.get(Cf::Pep, key)? else { return Ok(None) };
    let row = decode(&bytes).ok_or_else(|| damaged(owner))?;
    Ok(Some((bytes, row)))
}

/// The totals of an account.
pub fn totals(store: &dyn Read, owner: u64) -> Result<Found<Totals>, StoreError> {
    Ok(row(store, owner, &schema::pep_totals(Owner(owner)))?
        .map_or_else(Found::default, |(bytes, row)| Found { bytes: Some(bytes), row }))
}

/// A node.
pub fn node(store: &dyn Read, owner: u64, name: &str) -> Result<Found<Option<Node>>, StoreError> {
    Ok(row(store, owner, &schema::pep_node(Owner(owner), name))?
        .map_or_else(Found::default, |(bytes, row)| Found { bytes: Some(bytes), row: Some(row) }))
}

/// Visits an account's nodes in the order of their names.
pub fn nodes(store: &dyn Read, owner: u64, visit: &mut dyn FnMut(&str, Node)) -> Result<(), StoreError> {
    let (start, end) = schema::pep_nodes(Owner(owner));
    let mut bad = false;
    store.scan(&Range { cf: Cf::Pep, start, end, reverse: false }, &mut |key, value| {
        match (schema::pep_node_name(key), decode(value)) {
            (Some(name), Some(node)) => visit(name, node),
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(damaged(owner)) } else { Ok(()) }
}

/// An item.
pub fn item(store: &dyn Read, owner: u64, node: &str, id: &str) -> Result<Option<Item>, StoreError> {
    match store.get(Cf::Pep, &schema::pep_item(Owner(owner), node, id))? {
        None => Ok(None),
        Some(bytes) => Item::decode(&bytes).map(Some).ok_or_else(|| damaged(owner)),
    }
}

/// Visits revisions and ids of a node's items in the order of publication, or from the latest backwards.
pub fn order(
    store: &dyn Read,
    owner: u64,
    node: &str,
    latest_first: bool,
    visit: &mut dyn FnMut(u64, &str) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let (start, end) = schema::pep_orders(Owner(owner), node);
    let mut bad = false;
    store.scan(&Range { cf: Cf::Pep, start, end, reverse: latest_first }, &mut |key, value| match (
        schema::pep_order_revision(key),
        std::str::from_utf8(value),
    ) {
        (Some(revision), Ok(id)) => visit(revision, id),
        _ => {
            bad = true;
            ControlFlow::Break(())
        }
    })?;
    if bad { Err(damaged(owner)) } else { Ok(()) }
}

/// The item that was published last.
pub fn last(store: &dyn Read, owner: u64, node: &str) -> Result<Option<(String, Item)>, StoreError> {
    let mut id = None;
    order(store, owner, node, true, &mut |_, latest| {
        id = Some(latest.to_owned());
        ControlFlow::Break(())
    })?;
    let Some(id) = id else { return Ok(None) };
    // Between the two reads it may have been retracted: then there is none for now.
    Ok(item(store, owner, node, &id)?.map(|item| (id, item)))
}

/// The items published at or after a time, oldest first, at most so many of the latest.
pub fn since(
    store: &dyn Read,
    owner: u64,
    node: &str,
    since_ms: u64,
    most: usize,
) -> Result<Vec<(String, Item)>, StoreError> {
    let mut ids = Vec::new();
    order(store, owner, node, true, &mut |_, id| {
        ids.push(id.to_owned());
        if ids.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut found = Vec::new();
    for id in ids {
        match item(store, owner, node, &id)? {
            Some(item) if item.at_ms >= since_ms => found.push((id, item)),
            Some(_) => break,
            None => {} // retracted since its id was read
        }
    }
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_others_are_refused() {
        let item = Item { revision: 7, at_ms: 1_700_000_000_000, payload: b"<x/>".to_vec() };
        let bytes = item.encode();
        assert_eq!(Item::decode(&bytes).as_ref(), Some(&item));
        assert_eq!(item.cost("id"), 6);
        for n in 0..17 {
            assert_eq!(Item::decode(&bytes[..n]), None, "{n} bytes");
        }
        let node = Node { revision: 3, items: 1, bytes: 6, ..Node::default() };
        let mut bytes = encode(&node);
        assert_eq!(decode(&bytes).as_ref(), Some(&node));
        bytes[0] = 2;
        assert_eq!(decode::<Node>(&bytes), None);
        let owner = Owner(7);
        for (key, value) in [
            (schema::pep_totals(owner), encode(&Totals::default())),
            (schema::pep_node(owner, "n"), encode(&node)),
            (schema::pep_item(owner, "n", "i"), item.encode()),
            (schema::pep_order(owner, "n", 1), b"i".to_vec()),
        ] {
            assert!(is_good(key.as_bytes(), &value), "{key:?}");
            assert!(
                !is_good(key.as_bytes(), b"\xff") && !is_good(b"\0\0\0\0\0\0\0\x07\x09", &value),
                "{key:?}"
            );
        }
    }
}
