//! The daemon's state, as `godwitctl status` asks for it.
use super::protocol::{ArchiveStatus, LoadStatus, OverloadStatus, ReloadStatus, StoreStatus, UpgradeStatus};
use crate::alloc::Memory;
use crate::backup::Done;
use crate::limits::Ceiling;
use crate::logging::LogLevel;
use crate::memory::Owners;
use serde::{Deserialize, Serialize};

/// The daemon's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_ms: u64,
    /// Now, by its clock.
    pub now_ms: u64,
    /// Domains served.
    pub domains: Vec<String>,
    /// Connections now.
    pub connections: u64,
    /// How many there may be, and why not more.
    pub ceiling: Ceiling,
    /// Sessions, those waiting for resumption included.
    pub sessions: u64,
    /// Of those, waiting for resumption.
    pub detached: u64,
    /// What was counted since the start, by name.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// The store.
    pub store: StoreStatus,
    /// All accounts' archives.
    #[serde(default)]
    pub archive: ArchiveStatus,
    /// Limits that were reached.
    #[serde(default)]
    pub overload: OverloadStatus,
    /// How fast and how full the daemon is.
    #[serde(default)]
    pub load: LoadStatus,
    /// Certificates, the default one first.
    pub certificates: Vec<CertificateRow>,
    /// Memory by the allocator's count.
    pub memory: Memory,
    /// Resident set, by the kernel's count.
    pub rss_bytes: u64,
    /// Who holds it.
    #[serde(default)]
    pub owners: Owners,
    /// The log's level.
    #[serde(default)]
    pub log_level: LogLevel,
    /// Lines that the log dropped because it was too slow.
    pub log_lines_dropped: u64,
    /// Threads that the watchdog found stuck at its last look.
    pub stuck: Vec<String>,
    /// The last reload, if there was one.
    pub reload: Option<ReloadStatus>,
    /// The last backup, if there was one.
    #[serde(default)]
    pub backup: Option<Done>,
    /// The last upgrade, or try of one, if there was one.
    #[serde(default)]
    pub upgrade: Option<UpgradeStatus>,
    /// Upgrades that this process has been through.
    #[serde(default)]
    pub upgrades: u64,
    /// What the operator has to know about the binary that runs.
    #[serde(default)]
    pub notice: Option<String>,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRow {
    /// Its file.
    pub file: String,
    /// Names it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub expires_ms: u64,
    /// What the operator should know of it.
    pub warning: Option<String>,
}
