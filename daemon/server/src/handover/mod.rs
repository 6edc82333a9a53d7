//! The in-place upgrade's file format, and what decides whether another binary may take over. The steps
//! themselves are in `run/upgrade.rs`, how a shard comes to rest and gives its connections away in
//! `godwit_edge::handover`.
pub mod check;
pub mod format;
pub mod memory;
pub mod probation;
pub(crate) mod room;

use crate::admin::protocol::UpgradeStatus;
use godwit_edge::Entry;
use godwit_session::image::Secret;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Variable of the environment that names the descriptor of the hand-over's memory.
pub const VARIABLE: &str = "GODWIT_HANDOVER";

/// What is known of the process as a whole: the first section.
#[derive(Debug, Serialize, Deserialize)]
pub struct Common {
    /// Version of the binary that hands over.
    pub from: String,
    /// The kernel's monotonic clock when it stopped reading, in ns.
    pub stopped_ns: u64,
    /// The time by its clock, which must not go back.
    pub now_ms: u64,
    /// Shards; their number stays.
    pub shards: u16,
    /// Where the store is; the next one must say the same.
    pub store: PathBuf,
    /// Listening sockets by shard.
    pub listeners: Vec<(u16, Entry, RawFd)>,
    /// The service manager opened those of these entries.
    pub given: Vec<Entry>,
    /// The admin socket: its path, the listener, the lock.
    pub admin: (PathBuf, RawFd, RawFd),
    /// The metrics' listener.
    pub metrics: Option<(SocketAddr, RawFd)>,
    /// Ticket keys.
    pub tickets: Secret,
    /// Connections in the sections that follow.
    pub connections: u64,
    /// Connections that were left behind.
    pub left: u64,
    /// Upgrades of this process so far.
    pub upgrades: u64,
    /// How the one before went.
    pub last: Option<UpgradeStatus>,
}
