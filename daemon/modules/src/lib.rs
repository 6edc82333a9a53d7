//! The router, the registry of sessions, and one file per specification: stanzas in, transactions and effects
//! out.
//!
//! A stanza's way: [`shard::ShardState`] gets it from its connection, [`hub::Hub::stanza`] lets [`route`] and
//! the modules look at it; they change nothing but say what shall change ([`effects::Effects`]); the writer
//! makes that durable, and then `apply.rs` lets the effects happen. No I/O, clock or randomness of its own:
//! the seams are in [`note`] and [`hub::Outside`].
#![forbid(unsafe_code)]

pub mod accounts;
mod apply;
pub mod archive;
pub mod backlog;
mod bounce;
pub mod delivery;
mod displayed;
mod durable;
pub mod effects;
pub mod examination;
pub mod export;
pub mod feed;
#[cfg(test)]
#[path = "../../session/tests/forms/mod.rs"]
mod forms;
pub mod forward;
mod ghosts;
pub mod handover;
mod host;
pub mod hub;
pub mod inquiry;
pub mod inspect;
pub mod list;
pub mod login;
pub mod module;
pub mod note;
pub mod pending;
pub mod pep;
#[cfg(feature = "planted")]
mod planted;
mod rebuilt;
pub mod registry;
pub mod removal;
pub mod retention;
mod revive;
pub mod rfc6121_presence;
pub mod rfc6121_roster;
pub mod rfc6121_subscription;
pub mod roster;
pub mod route;
pub mod row;
mod sessions;
pub mod shard;
pub mod slow;
pub mod throttle;
mod trace;
pub mod traced;
mod unsaved;
pub mod what_is_stored;
pub mod xep0012_last;
pub mod xep0030_disco;
pub mod xep0059_rsm;
pub mod xep0060_pubsub;
pub mod xep0077_register;
pub mod xep0082_time;
pub mod xep0092_version;
pub mod xep0115_caps;
pub mod xep0160_offline;
pub mod xep0163_pep;
pub mod xep0199_ping;
pub mod xep0202_time;
pub mod xep0280_carbons;
pub mod xep0313_mam;
mod xep0313_query;
pub mod xep0359_stanza_ids;
pub mod xep0441_prefs;
pub mod xep0490_mds;

pub use hub::{Hub, Outside, Settings};
pub use note::{Address, Background, Note, Post};
pub use pending::{Completion, HubSink};
pub use shard::ShardState;
