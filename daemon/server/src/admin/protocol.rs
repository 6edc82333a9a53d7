//! What `godwitctl` and the daemon say to each other: one line of JSON for a request, one for its reply.
//!
//! Also the stable form of `godwitctl … --json`: fields are added, never renamed or removed. Times are
//! milliseconds since 1970 (`_ms`), sizes bytes (`_bytes`), durations seconds (`_s`).
pub use super::answers::{AccountRow, Accounts, Checkpoint, SessionRow, Sessions, Verified, Verifying};
pub use super::health::{HealthStatus, ListenerRow, TroubleRow};
pub use super::load_status::{Buckets, LoadStatus};
pub use super::overload::OverloadStatus;
pub use super::status::{CertificateRow, Status};
pub use super::store_status::{ArchiveStatus, Pace, PerSync, StoreStatus};
pub use super::upgrade_status::{ReloadStatus, UpgradeAnswer, UpgradeStatus};
use crate::backup::Done;
pub use crate::logging::LogLevel;
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
    /// The log's level, and another one from now on if one is given → [`Answer::LogLevel`].
    LogLevel {
        /// Until the next reload or start; levels by module may follow, with commas.
        level: Option<String>,
        /// Back to what is configured.
        reset: bool,
    },
    /// → [`Answer::Status`].
    Status,
    /// What `godwitctl doctor` wants to know → [`Answer::Health`].
    Health,
    /// Read a small part of the store, at random places → [`Answer::Verifying`], with the result.
    StoreSample,
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
    LogLevel(LogLevel),
    Status(Box<Status>),
    Sessions(Sessions),
    Verifying(Verifying),
    Health(Box<HealthStatus>),
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
