//! What `godwitctl status` tells of the store and of what is kept in it.
use serde::{Deserialize, Serialize};

/// What is kept of all messages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Rows, estimated: one for each side of a message.
    pub rows: u64,
    /// Their bytes on the disk, index included.
    pub disk_bytes: u64,
    /// How long they are kept; `None`: for ever.
    pub keep_s: Option<u64>,
    /// Largest archive of one account; `None`: of any size.
    pub account_bytes_max: Option<u64>,
}

/// The store's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Writes succeed.
    pub ok: bool,
    /// Since when it is so.
    pub since_ms: u64,
    /// The last error, kept after recovery.
    pub last_error: Option<String>,
    /// Transactions waiting for the writer.
    pub queued: u64,
    /// Transactions completed.
    pub transactions: u64,
    /// The most that ever waited.
    pub queued_most: u64,
    /// The most that may.
    pub queue_max: u64,
    /// Writes fail for want of space.
    pub full: bool,
    /// Rounds written, synced or not.
    pub rounds: u64,
    /// Rounds synced to disk: fsyncs.
    pub syncs: u64,
    /// Rounds whose write failed.
    pub failures: u64,
    /// Bytes written to the log.
    pub written_bytes: u64,
    /// Mean time of a sync, in microseconds.
    pub sync_us_mean: u64,
    /// Longest time of a sync, in microseconds.
    pub sync_us_most: u64,
    /// Mean time from the submission of a transaction to its commit, in microseconds.
    pub commit_us_mean: u64,
    /// The longest, in microseconds.
    pub commit_us_most: u64,
    /// Most transactions that shared one sync.
    pub together_most: u64,
    /// Transactions and stored messages for each sync, since the start.
    pub per_sync: PerSync,
    /// What the last seconds were like.
    pub lately: Pace,
    /// Memory of memtables, block cache and table readers.
    pub memory_bytes: u64,
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
