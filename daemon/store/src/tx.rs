//! Transactions: what the writer is asked to do, and what becomes of it.
use crate::{Cf, Key, Owner, Seq};

/// One change.
#[derive(Debug, Clone)]
pub enum Op {
    /// Writes a value.
    Put {
        /// Column family.
        cf: Cf,
        /// Key.
        key: Key,
        /// Value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Column family.
        cf: Cf,
        /// Key.
        key: Key,
    },
    /// Removes all keys of `start..end`.
    DeleteRange {
        /// Column family.
        cf: Cf,
        /// Inclusive.
        start: Key,
        /// Exclusive.
        end: Key,
    },
    /// Appends a row to an account's archive; the writer gives it the next sequence number.
    Append {
        /// Whose archive.
        owner: Owner,
        /// Hash of the other side, by which the row can be found; `None` for a row that nobody looks for.
        index: Option<u64>,
        /// Row.
        value: Vec<u8>,
    },
    /// Removes all rows of an account, in every family whose keys start with its number. What comes later and
    /// would write a row for it is not applied ([`TxError::Gone`]), so that none is left behind.
    Purge {
        /// Whose.
        owner: Owner,
    },
}
/// What a guard wants to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// No such key.
    Absent,
    /// Exactly these bytes.
    Value(Vec<u8>),
}
/// A condition that must hold at commit, earlier transactions of the same batch included. If it does not,
/// nothing of the transaction is applied and its outcome is [`TxError::Conflict`]: the caller reads again and
/// tries again.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Column family.
    pub cf: Cf,
    /// Key.
    pub key: Key,
    /// What must be there.
    pub expect: Expect,
}
/// One atomic transaction. Empty ones are allowed: their completion keeps its place in the commit order.
#[derive(Debug, Clone, Default)]
pub struct Tx {
    /// Changes, in order.
    pub ops: Vec<Op>,
    /// Conditions.
    pub guards: Vec<Guard>,
    /// True if losing it in a crash is harmless (a cursor's advance): does not make a round sync by itself.
    /// It is synced before the next round or within about 0.1 s all the same.
    pub lazy: bool,
    /// The chain that it belongs to, 0 for none. Once one of a chain was not written (`Full`, `Failed`, or
    /// its queue was full), none of it that writes anything is, until [`Submit::mend`].
    pub chain: u64,
    /// It stands for something of its chain that is lost: it breaks the chain at its place.
    pub breaks: bool,
}
/// Sequence numbers given to the transaction's `Append`s, in their order; the time part is the commit's.
pub type Outcome = Result<Vec<Seq>, TxError>;
/// Why a transaction was not applied. Nothing of it is in the store. (After `Full` or `Failed`, if the
/// process dies before writes succeed again, the log may bring it back: as after a lost answer, the sender
/// cannot be sure.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// A guard did not hold.
    #[error("changed meanwhile")]
    Conflict,
    /// An account that it would write a row for was purged before.
    #[error("the account was removed meanwhile")]
    Gone(Owner),
    /// No space on the device; the store recovers by itself when there is space again.
    #[error("no space left: {0}")]
    Full(String),
    /// The write failed.
    #[error("write failed: {0}")]
    Failed(String),
    /// One before it in its chain was not written.
    #[error("one before it was not written")]
    Broken,
    /// The store is closing.
    #[error("store is closing")]
    Closing,
}
/// Reading or opening failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// RocksDB or the operating system said no.
    #[error("store: {0}")]
    Io(String),
    /// A file is damaged or missing; names the file and the remedy.
    #[error("store damaged: {0}")]
    Corrupt(String),
    /// Written by a newer version.
    #[error("store has schema {found}, this program knows up to {known}: run the newer program again")]
    Newer {
        /// In the store.
        found: u32,
        /// Here.
        known: u32,
    },
    /// Another process has it open.
    #[error("store is in use: {0}")]
    InUse(String),
}
/// Gets the completions of one round, in commit order, on the writer thread, after the fsync.
pub trait Sink<C>: Send {
    /// `round` is drained by the callee.
    fn committed(&mut self, round: &mut Vec<(C, Outcome)>);
}
/// Result of a submission: the transaction comes back if the queue is full or closed.
pub type Submitted<C> = Result<(), (Tx, C)>;
/// Writing side. `C` travels with the transaction and comes out at the [`Sink`].
pub trait Submit<C>: Send + Sync {
    /// Queues a transaction; never blocks.
    fn submit(&self, tx: Tx, completion: C) -> Submitted<C>;
    /// Transactions queued and not yet committed.
    fn queued(&self) -> usize;
    /// So much is queued that more would only wait: a shard reads nothing for the moment. Never says so of
    /// fewer than some hundred.
    fn is_crowded(&self) -> bool {
        false
    }
    /// Breaks a chain that was broken in the process before this one.
    fn break_chain(&self, chain: u64);
    /// Lets a chain go on. To be called when nothing of it is under way, and also when it ends broken.
    fn mend(&self, chain: u64);
    /// The broken ones, for a process that takes over.
    fn broken(&self) -> Vec<u64>;
}
