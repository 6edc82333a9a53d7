//! What `godwitctl` is told of reloads and of in-place upgrades.
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What an upgrade would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeAnswer {
    /// The binary.
    pub binary: PathBuf,
    /// The version that runs.
    pub from: String,
    /// The version of that binary.
    pub to: String,
    /// Connections that would be carried.
    pub connections: u64,
}

/// How an upgrade went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// When.
    pub at_ms: u64,
    /// The other binary runs; otherwise everything is as it was before.
    pub ok: bool,
    /// The version before.
    pub from: String,
    /// The version after.
    pub to: Option<String>,
    /// Connections that went on.
    pub carried: u64,
    /// Sessions, those that wait for their clients included.
    pub sessions: u64,
    /// Connections that were closed, because they were in the middle of a handshake.
    pub closed: u64,
    /// From the moment in which nothing was read any more to that in which all was read again.
    pub pause_ms: f64,
    /// Why there was none.
    pub message: Option<String>,
}

impl UpgradeStatus {
    /// For people.
    pub fn line(&self) -> String {
        let UpgradeStatus { from, carried, sessions, closed, pause_ms, .. } = self;
        let to = self.to.as_deref().unwrap_or("?");
        match &self.message {
            None => format!(
                "upgraded from {from} to {to}: {carried} connections carried, {closed} closed, {sessions} \
                 sessions, {pause_ms:.1} ms of pause"
            ),
            Some(why) => format!("no upgrade, all is as before: {why}"),
        }
    }
}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// When.
    pub at_ms: u64,
    /// It was applied; otherwise everything is as it was before.
    pub ok: bool,
    /// What came of it, one line each: problems, or keys that wait for a restart.
    pub lines: Vec<String>,
}
