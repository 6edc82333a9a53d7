//! The message store: ids and bytes in RocksDB, one writer thread, group commit. Knows no XMPP.
//!
//! Durable and visible: a [`Tx`] is applied whole or not at all; its completion runs on the writer thread
//! after the batch that holds it was fsynced; readers see its rows only from then on. Completions run in
//! commit order.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails says so"))]

mod batch;
pub mod cf;
mod chain;
mod checkpoint;
mod examine;
mod expiry;
mod gone;
pub mod histogram;
mod mem;
mod open;
mod pace;
pub mod points;
mod queue;
mod rocks;
mod sample;
pub mod schema;
mod sequence;
mod slot;
mod stats;
mod tail;
pub mod tx;
mod writer;

pub use cf::{Cf, Options};
pub use histogram::Histogram;
pub use mem::{Fault, MemStore};
pub use rocks::{Background, Memory, Rocks};
pub use sample::Sample;
pub use schema::{Key, Owner, Seq};
pub use stats::{Health, Stats};
pub use tx::{Expect, Guard, Op, Outcome, Sink, StoreError, Submit, Submitted, Tx, TxError};
pub use writer::{Clock, Opened, Writer, open};

use std::ops::ControlFlow;

/// A range of keys in one column family.
#[derive(Debug, Clone)]
pub struct Range {
    /// Column family.
    pub cf: Cf,
    /// First key, inclusive.
    pub start: Key,
    /// Last key, exclusive.
    pub end: Key,
    /// From the end backwards.
    pub reverse: bool,
}

/// Reading side: sees only what was committed (fsynced, unless the round was lazy). All calls may be made
/// from any thread.
pub trait Read: Send + Sync {
    /// The value of a key.
    fn get(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, StoreError>;
    /// Calls `each` for the rows of a range, from one consistent snapshot, until it breaks.
    #[expect(clippy::type_complexity, reason = "shorter than a name for it")]
    fn scan(
        &self,
        range: &Range,
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// The largest sequence number committed so far ([`Seq`] 0 in an empty store).
    fn head(&self) -> Seq;
}
