//! What `godwitctl` and the daemon say to each other: one line of JSON for a request, one for its reply.
//!
//! Also the stable form of `godwitctl … --json`: fields are added, never renamed or removed. Times are
//! milliseconds since 1970 (`_ms`), sizes bytes (`_bytes`), durations seconds (`_s`).
pub use super::overload::OverloadStatus;
pub use super::store_status::{ArchiveStatus, StoreStatus};
pub use super::upgrade_status::{ReloadStatus, UpgradeAnswer, UpgradeStatus};
use crate::alloc::Memory;
use crate::backup::Done;
use crate::limits::Ceiling;
use crate::memory::Owners;
use godwit_modules::{export, inspect::Inspection, traced::Traced};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroize;

/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest reply, in bytes.
pub const REPLY_BYTES_MAX: usize = 16 << 20;
/// Accounts or sessions in one reply; more are asked for with `after`.
pub const ROWS_MAX: usize = 10_000;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Make an account.
    AccountAdd {
        /// Bare JID.
        jid: String,
        /// Its password.
        password: Secret,
    },
    /// Remove an account and everything held for it; its sessions end.
    AccountRemove {
        /// Bare JID.
        jid: String,
    },
    /// Give an account another password.
    AccountPasswd {
        /// Bare JID.
        jid: String,
        /// The new one.
        password: Secret,
    },
    /// Accounts in the order of their addresses → [`Answer::Accounts`].
    AccountList {
        /// Only those behind this one.
        after: Option<String>,
    },
    /// Where an account's messages are → [`Answer::Inspection`].
    AccountInspect {
        /// Bare JID.
        jid: String,
    },
    /// Everything held about an account, a page at a time → [`Answer::Exported`].
    AccountExport {
        /// Bare JID.
        jid: String,
        /// Where the page begins; the first one if it is not given.
        from: Option<export::Cursor>,
    },
    /// What became of a message → [`Answer::Traced`].
    Trace {
        /// Its id in an archive, or the one that its sender gave it.
        id: String,
        /// Bare JID of the account in whose archive to look.
        account: Option<String>,
    },
    /// Remove an account's stored messages → [`Answer::Purged`].
    ArchivePurge {
        /// Bare JID.
        jid: String,
        /// Only those that are older.
        before_ms: Option<u64>,
    },
    /// Make a checkpoint of the store, to be copied from; removes an earlier one → [`Answer::Checkpoint`].
    Checkpoint,
    /// Remove the checkpoint; note the backup that was made from it.
    CheckpointDone {
        /// The backup, unless it failed.
        backup: Option<Done>,
    },
    /// → [`Answer::Status`].
    Status,
    /// Read the whole store to see whether it is whole; joins a verification that is under way →
    /// [`Answer::Verifying`].
    StoreVerify,
    /// How far that is → [`Answer::Verifying`].
    StoreVerifying,
    /// Become another binary, or only say whether that could be → [`Answer::Upgrade`] for the dry run. After
    /// an upgrade there is no answer: the connection ends, and [`Status::upgrade`] says how it went.
    Upgrade {
        /// Its path; `None`: the one from which the daemon was started.
        binary: Option<PathBuf>,
        /// Only check.
        dry_run: bool,
    },
    /// Sessions in the order of their addresses → [`Answer::Sessions`].
    Sessions {
        /// Only those behind this full JID.
        after: Option<String>,
    },
}

/// A password: not shown, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a password over.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
    /// The password.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A reply line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done.
    Ok(Answer),
    /// It was not.
    Error(Failure),
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Answer {
    Done,
    Accounts(Accounts),
    Inspection(Box<Inspection>),
    Exported(Box<export::Page>),
    Traced(Vec<Traced>),
    Status(Box<Status>),
    Sessions(Sessions),
    Verifying(Verifying),
    Checkpoint(Checkpoint),
    Purged { messages: u64 },
    Upgrade(UpgradeAnswer),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people: what, and what to do.
    pub message: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request makes no sense: a bad address, a bad password.
    Request,
    /// The account exists already.
    Exists,
    /// There is no such account.
    Missing,
    /// Store or daemon could not.
    Failed,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: FailureKind, message: impl fmt::Display) -> Failure {
        Failure { kind, message: message.to_string() }
    }
}

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
    /// Certificates, the default one first.
    pub certificates: Vec<CertificateRow>,
    /// Memory by the allocator's count.
    pub memory: Memory,
    /// Resident set, by the kernel's count.
    pub rss_bytes: u64,
    /// Who holds it.
    #[serde(default)]
    pub owners: Owners,
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

/// How many share a sync.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PerSync {
    /// Transactions.
    pub transactions: f64,
    /// Stored messages.
    pub messages: f64,
}

/// The store over the last interval that was measured; all zero before the first one ended.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pace {
    /// Length of the interval.
    pub interval_s: f64,
    /// Syncs in a second.
    pub syncs_per_s: f64,
    /// Transactions in a second.
    pub transactions_per_s: f64,
    /// Stored messages in a second.
    pub messages_per_s: f64,
    /// Transactions and stored messages for each sync.
    pub per_sync: PerSync,
    /// Mean time of a sync, in microseconds.
    pub sync_us_mean: f64,
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

/// Who carries requests out. Calls block for as long as hashing a password or a write takes.
pub trait Operations: Send + Sync {
    /// Does what is asked for.
    fn call(&self, request: Request) -> Result<Answer, Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let request = Request::AccountAdd { jid: "a@b".into(), password: Secret::new("pencil".into()) };
        assert!(!format!("{request:?}").contains("pencil"));
    }

    #[test]
    fn the_lines_are_what_is_documented() {
        let request: Request = serde_json::from_str(r#"{"do":"account-list"}"#).expect("request");
        assert!(matches!(request, Request::AccountList { after: None }));
        let reply = Reply::Error(Failure::new(FailureKind::Exists, "x exists already"));
        let text = serde_json::to_string(&reply).expect("JSON");
        assert_eq!(text, r#"{"error":{"kind":"exists","message":"x exists already"}}"#);
        assert_eq!(serde_json::to_string(&Reply::Ok(Answer::Done)).expect("JSON"), r#"{"ok":"done"}"#);
    }
}
