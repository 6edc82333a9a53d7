//! Personal eventing (XEP-0163): an account as a pubsub service of its own. What the XEP modules share: the
//! table of nodes and items, their configuration, changes to them, and who is told.
pub mod change;
pub mod config;
pub mod event;
pub mod form;
pub mod last;
pub mod payload;
pub mod read;
pub mod refusal;
pub mod table;

use crate::module::{Cx, Target};
use crate::roster;
use config::{Access, Config};
use godwit_wire::StanzaError;

/// Longest name of a node, in bytes.
pub const NODE_BYTES_MAX: usize = 1_023;
/// Longest id of an item, in bytes: a full JID has room.
pub const ITEM_ID_BYTES_MAX: usize = 3_071;

/// Bounds of one account's data, from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes.
    pub nodes_max: usize,
    /// Items of one node: what `max_items` may be at most, and what `max` means.
    pub items_per_node_max: u32,
    /// Bytes of all items, ids included.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes_max: 250, items_per_node_max: 1_000, bytes_max: 10 << 20 }
    }
}

/// Somebody who reads an account's nodes, as far as access goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// The account itself.
    Owner,
    /// Sees the account's presence; in these groups of its roster.
    Contact(Vec<String>),
    /// Neither.
    Stranger,
}

impl Reader {
    /// The origin of a stanza to an account.
    pub fn of(cx: &Cx<'_>, target: &Target) -> Result<Reader, StanzaError> {
        let owner = match target {
            Target::Account { owner, .. } => *owner,
            Target::Own | Target::Server => return Ok(Reader::Owner),
        };
        let item = roster::read(cx, owner, cx.origin.jid.bare_str())?.item;
        Ok(if item.from { Reader::Contact(item.groups) } else { Reader::Stranger })
    }

    /// May read items of a node and is told of new ones.
    pub fn may(&self, config: &Config) -> bool {
        match (self, config.access) {
            (Reader::Owner, _) | (_, Access::Open) | (Reader::Contact(_), Access::Presence) => true,
            (Reader::Contact(groups), Access::Roster) => {
                groups.iter().any(|group| config.groups.contains(group))
            }
            _ => false,
        }
    }
}
