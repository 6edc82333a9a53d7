//! What the answers to requests are made of; `protocol.rs` names them, `status.rs` has the status.
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A page of accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// In the order of their addresses.
    pub accounts: Vec<AccountRow>,
    /// There are more behind the last one.
    pub more: bool,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// Bare JID.
    pub jid: String,
    /// When it was made.
    pub created_ms: u64,
}

/// A page of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// In the order of their addresses.
    pub sessions: Vec<SessionRow>,
    /// There are more behind the last one.
    pub more: bool,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Full JID.
    pub jid: String,
    /// The client's address, if it is known.
    pub peer: Option<String>,
    /// When it was bound.
    pub since_ms: u64,
    /// Its presence priority; `None` while unavailable.
    pub priority: Option<i8>,
    /// Its connection broke and it waits to be resumed (XEP-0198).
    pub detached: bool,
    /// Its client says that nobody looks at it (XEP-0352).
    #[serde(default)]
    pub inactive: bool,
    /// Shard that serves it.
    pub shard: u16,
}

/// A checkpoint that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its directory.
    pub directory: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// When it was begun; what was acknowledged before is in it.
    pub at_ms: u64,
    /// Largest sequence number that it holds at least.
    pub head: u64,
    /// Domains served.
    pub domains: Vec<String>,
}

/// A verification of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifying {
    /// Rows read so far.
    pub rows: u64,
    /// Its result, once there is one.
    pub done: Option<Verified>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Rows read of each family.
    pub rows: std::collections::BTreeMap<String, u64>,
    /// What cannot be read, with its file; the first ones.
    pub damage: Vec<String>,
    /// All such places.
    pub damaged: u64,
    /// Rows that can be read and make no sense; the first ones.
    pub findings: Vec<String>,
    /// All of those.
    pub found: u64,
}

impl Verified {
    /// The store is whole.
    pub fn is_good(&self) -> bool {
        self.damaged == 0 && self.found == 0
    }
    /// Rows read.
    pub fn count(&self) -> u64 {
        self.rows.values().sum()
    }
    /// What is wrong, one line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let shown = (self.damage.len() + self.findings.len()) as u64;
        let more = (self.damaged + self.found).saturating_sub(shown);
        let rest = (more > 0).then(|| format!("… and {more} more"));
        self.damage.iter().chain(&self.findings).cloned().chain(rest)
    }
}
