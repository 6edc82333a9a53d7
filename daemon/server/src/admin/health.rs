//! What `godwitctl doctor` is told by the running daemon.
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The daemon's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// What keeps it from being ready: the same as at `/readyz`.
    pub troubles: Vec<TroubleRow>,
    /// Where clients are listened to.
    pub listeners: Vec<ListenerRow>,
    /// Descriptors in use.
    pub descriptors: u64,
    /// Descriptors allowed.
    pub descriptors_max: u64,
    /// Its configuration.
    pub config_file: PathBuf,
    /// Where the binary is that a restart or an upgrade would run.
    pub binary: PathBuf,
    /// Another file lies there than the one that runs.
    pub binary_changed: bool,
    /// The time in the store's largest sequence number: no message is newer. 0 in an empty store.
    pub newest_ms: u64,
}

/// Why the daemon is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleRow {
    /// For programs.
    pub what: String,
    /// For people.
    pub why: String,
}

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// TLS from the first byte (XEP-0368); otherwise STARTTLS.
    pub direct_tls: bool,
    /// Where.
    pub address: SocketAddr,
}
