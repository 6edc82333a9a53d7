//! Changes to an account's nodes and items: each is one transaction, guarded by the rows it was decided on,
//! and tells whoever is to know.
use super::config::Config;
use super::refusal::{bad, full, not_found, refuse};
use super::table::{self, Found, Item, Node, Totals, cost};
use super::{ITEM_ID_BYTES_MAX, NODE_BYTES_MAX, event};
use crate::effects::Effects;
use crate::module::{Cx, unreadable};
use godwit_store::{Cf, Owner, schema};
use godwit_wire::{Condition, StanzaError};
use std::ops::ControlFlow;

/// The name of a node as it may be.
pub fn node_name(name: Option<&str>) -> Result<&str, StanzaError> {
    match name {
        None | Some("") => Err(refuse(Condition::BadRequest, "nodeid-required")),
        Some(name) if name.len() > NODE_BYTES_MAX || name.contains('\0') => {
            Err(bad("the name of the node is too long"))
        }
        Some(name) => Ok(name),
    }
}

/// A change to one node of the origin's account: what was read, and what it is to become.
struct Change<'a> {
    cx: &'a Cx<'a>,
    name: &'a str,
    totals: Found<Totals>,
    found: Found<Option<Node>>,
}

impl<'a> Change<'a> {
    fn begin(cx: &'a Cx<'a>, name: &'a str) -> Result<Change<'a>, StanzaError> {
        let owner = cx.origin.owner;
        let totals = table::totals(cx.store, owner).map_err(unreadable)?;
        let found = table::node(cx.store, owner, name).map_err(unreadable)?;
        Ok(Change { cx, name, totals, found })
    }

    fn owner(&self) -> Owner {
        Owner(self.cx.origin.owner)
    }

    /// Writes the node (`None`: removes it), and the account's totals if they change.
    fn commit(self, after: Option<&Node>, fx: &mut Effects) -> Result<(), StanzaError> {
        let (owner, limits) = (self.owner(), &self.cx.settings.pep);
        let key = schema::pep_node(owner, self.name);
        fx.guard(Cf::Pep, key.clone(), self.found.bytes.as_deref());
        match after {
            Some(node) => fx.put(Cf::Pep, key, table::encode(node)),
            None => fx.delete(Cf::Pep, key),
        }
        let size = |node: Option<&Node>| node.map_or((0, 0), |node| (1, node.bytes));
        let ((nodes_before, bytes_before), (nodes, bytes)) = (size(self.found.row.as_ref()), size(after));
        let totals = Totals {
            nodes: (self.totals.row.nodes + nodes).saturating_sub(nodes_before),
            bytes: (self.totals.row.bytes + bytes).saturating_sub(bytes_before),
        };
        if nodes > nodes_before && totals.nodes > u64::try_from(limits.nodes_max).unwrap_or(u64::MAX) {
            return Err(full(format!("an account has {} nodes at most", limits.nodes_max)));
        }
        if bytes > bytes_before && totals.bytes > limits.bytes_max {
            return Err(full(format!("an account's items have {} bytes at most", limits.bytes_max)));
        }
        if totals != self.totals.row {
            let key = schema::pep_totals(owner);
            fx.guard(Cf::Pep, key.clone(), self.totals.bytes.as_deref());
            fx.put(Cf::Pep, key, table::encode(&totals));
        }
        Ok(())
    }

    /// Removes the oldest items that are too many. `node.items` may count one that is not in the store yet;
    /// it is the newest.
    fn trim(&self, node: &mut Node, fx: &mut Effects) -> Result<(), StanzaError> {
        let max = node.config.items_max(self.cx.settings.pep.items_per_node_max);
        let excess = usize::try_from(node.items.saturating_sub(max)).unwrap_or(usize::MAX);
        if excess == 0 {
            return Ok(());
        }
        let mut oldest = Vec::new();
        table::order(self.cx.store, self.owner().0, self.name, false, &mut |revision, id| {
            oldest.push((revision, id.to_owned()));
            if oldest.len() < excess { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(unreadable)?;
        for (revision, id) in oldest {
            let item = table::item(self.cx.store, self.owner().0, self.name, &id).map_err(unreadable)?;
            node.bytes = node.bytes.saturating_sub(item.map_or(0, |item| item.cost(&id)));
            node.items = node.items.saturating_sub(1);
            fx.delete(Cf::Pep, schema::pep_item(self.owner(), self.name, &id));
            fx.delete(Cf::Pep, schema::pep_order(self.owner(), self.name, revision));
        }
        Ok(())
    }
}

/// Publishes an item, in a node that is made if there is none; `settle` says with which configuration, given
/// that of the node that is there.
pub fn publish(
    cx: &Cx<'_>,
    name: &str,
    id: &str,
    payload: Vec<u8>,
    settle: impl FnOnce(Option<&Config>) -> Result<Config, StanzaError>,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    let name = node_name(Some(name))?;
    if id.len() > ITEM_ID_BYTES_MAX || id.contains('\0') {
        return Err(bad("the id of the item is too long"));
    }
    let change = Change::begin(cx, name)?;
    let config = settle(change.found.row.as_ref().map(|node| &node.config))?;
    let mut node = Node { config, ..change.found.row.clone().unwrap_or_default() };
    let told = event::published(name, &node.config, id, &payload);
    if node.config.persist {
        let owner = change.owner();
        node.revision += 1;
        node.bytes += cost(id, &payload);
        match table::item(cx.store, owner.0, name, id).map_err(unreadable)? {
            Some(old) => {
                node.bytes = node.bytes.saturating_sub(old.cost(id));
                fx.delete(Cf::Pep, schema::pep_order(owner, name, old.revision));
            }
            None => node.items += 1,
        }
        let item = Item { revision: node.revision, at_ms: cx.now, payload };
        fx.put(Cf::Pep, schema::pep_order(owner, name, node.revision), id.as_bytes().to_vec());
        fx.put(Cf::Pep, schema::pep_item(owner, name, id), item.encode());
        change.trim(&mut node, fx)?;
    }
    change.commit(Some(&node), fx)?;
    event::tell(cx, (name, Some(id)), &node.config, told, fx)
}

/// Removes an item.
pub fn retract(cx: &Cx<'_>, name: &str, id: &str, notify: bool, fx: &mut Effects) -> Result<(), StanzaError> {
    let change = Change::begin(cx, name)?;
    let mut node = change.found.row.clone().ok_or_else(not_found)?;
    let owner = change.owner();
    let old = table::item(cx.store, owner.0, name, id).map_err(unreadable)?.ok_or_else(not_found)?;
    fx.delete(Cf::Pep, schema::pep_order(owner, name, old.revision));
    fx.delete(Cf::Pep, schema::pep_item(owner, name, id));
    node.revision += 1;
    node.items = node.items.saturating_sub(1);
    node.bytes = node.bytes.saturating_sub(old.cost(id));
    change.commit(Some(&node), fx)?;
    if notify || node.config.notify_retract {
        event::tell(cx, (name, Some(id)), &node.config, event::retracted(name, id), fx)?;
    }
    Ok(())
}

/// Makes a node.
pub fn create(cx: &Cx<'_>, name: &str, config: Config, fx: &mut Effects) -> Result<(), StanzaError> {
    let change = Change::begin(cx, name)?;
    if change.found.row.is_some() {
        return Err(StanzaError::new(Condition::Conflict).with_text("there is a node of this name"));
    }
    change.commit(Some(&Node { config, ..Node::default() }), fx)
}

/// Gives a node another configuration; `change` makes it of the present one.
pub fn configure(
    cx: &Cx<'_>,
    name: &str,
    change_config: impl FnOnce(Config) -> Result<Config, StanzaError>,
    fx: &mut Effects,
) -> Result<(), StanzaError> {
    let change = Change::begin(cx, name)?;
    let mut node = change.found.row.clone().ok_or_else(not_found)?;
    node.config = change_config(node.config)?;
    if !node.config.persist {
        clear(change.owner(), name, &mut node, fx);
    }
    change.trim(&mut node, fx)?;
    change.commit(Some(&node), fx)
}

/// Removes all items of a node.
pub fn purge(cx: &Cx<'_>, name: &str, fx: &mut Effects) -> Result<(), StanzaError> {
    let change = Change::begin(cx, name)?;
    let mut node = change.found.row.clone().ok_or_else(not_found)?;
    clear(change.owner(), name, &mut node, fx);
    change.commit(Some(&node), fx)?;
    event::tell(cx, (name, None), &node.config, event::of_node("purge", name), fx)
}

/// Removes a node and its items.
pub fn delete(cx: &Cx<'_>, name: &str, fx: &mut Effects) -> Result<(), StanzaError> {
    let change = Change::begin(cx, name)?;
    let mut node = change.found.row.clone().ok_or_else(not_found)?;
    clear(change.owner(), name, &mut node, fx);
    change.commit(None, fx)?;
    if node.config.notify_delete {
        event::tell(cx, (name, None), &node.config, event::of_node("delete", name), fx)?;
    }
    Ok(())
}

fn clear(owner: Owner, name: &str, node: &mut Node, fx: &mut Effects) {
    node.revision += 1;
    (node.items, node.bytes) = (0, 0);
    fx.delete_range(Cf::Pep, schema::pep_items(owner, name));
    fx.delete_range(Cf::Pep, schema::pep_orders(owner, name));
}
