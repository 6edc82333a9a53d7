//! The store's twin in memory, for simulation and unit tests: the same decisions, rounds run by hand, faults
//! on demand.
//!
//! Durable and visible: as with RocksDB, rows become visible when their round is committed. A round that is
//! lazy throughout is visible but not yet durable; [`MemStore::crash`] forgets it unless a later round
//! synced, [`MemStore::crash_keeping`] as many of the last ones as the log happened not to lose.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::batch::{self, Target};
use crate::chain::Broken;
use crate::gone::Gone;
use crate::sequence::Sequencer;
use crate::{Cf, Key, Outcome, Range, Read, Seq, Sink, StoreError, Submit, Submitted, Tx, TxError};

/// Transactions that may wait, unless the test says otherwise.
const QUEUE_MAX: usize = 65_536;

/// How the next round fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device is full.
    Full,
    /// The write fails.
    Failed,
}

/// One map per column family.
type Tables = [BTreeMap<Key, Vec<u8>>; Cf::ALL.len()];
/// What a key held before a write.
type Before = (Cf, Key, Option<Vec<u8>>);

/// How to take back a round that no sync has covered yet.
#[derive(Debug)]
struct Undo {
    before: Vec<Before>,
    head: Seq,
}

#[derive(Debug, Clone, Default)]
struct Rows {
    tables: Tables,
    head: Seq,
}

#[derive(Debug)]
struct Writing<C> {
    queue: VecDeque<(Tx, C)>,
    sequencer: Sequencer,
    gone: Gone,
    fault: Option<Fault>,
    held: bool,
    closed: bool,
    /// Rounds that no sync has covered yet, oldest first.
    unsynced: Vec<Undo>,
}

/// A store in memory. `C` is the completion that travels with each transaction.
#[derive(Debug)]
pub struct MemStore<C> {
    /// Scans work on the map they started with; a round that meets one copies it.
    rows: RwLock<Arc<Rows>>,
    writing: Mutex<Writing<C>>,
    queue_max: usize,
    broken: Broken,
}

impl<C> Default for MemStore<C> {
    fn default() -> Self {
        MemStore::new()
    }
}

impl<C> MemStore<C> {
    /// An empty store.
    pub fn new() -> MemStore<C> {
        MemStore::with_queue_max(QUEUE_MAX)
    }

    /// An empty store in whose queue at most `queue_max` transactions wait.
    pub fn with_queue_max(queue_max: usize) -> MemStore<C> {
        MemStore::holding(Rows::default(), queue_max)
    }

    /// Commits everything that waits. Returns how many transactions that were.
    pub fn round(&self, now_ms: u64, sink: &mut dyn Sink<C>) -> usize {
        self.round_of(usize::MAX, now_ms, sink)
    }

    /// Commits at most `max` of the transactions that wait, as one round. Returns how many these were.
    pub fn round_of(&self, max: usize, now_ms: u64, sink: &mut dyn Sink<C>) -> usize {
        let mut completed = self.commit_of(max, now_ms);
        let count = completed.len();
        if count > 0 {
            sink.committed(&mut completed);
        }
        count
    }

    /// The first half of [`MemStore::round_of`]: what was committed is visible, and nobody has been told. The
    /// caller hands it to the sink, whole or in pieces, or drops it as a crash at this moment would.
    pub fn commit_of(&self, max: usize, now_ms: u64) -> Vec<(C, Outcome)> {
        let mut writing = self.writing();
        if writing.held {
            return Vec::new();
        }
        let count = writing.queue.len().min(max);
        let round: Vec<(Tx, C)> = writing.queue.drain(..count).collect();
        let outcomes = self.commit(&mut writing, &round, now_ms);
        round.into_iter().zip(outcomes).map(|((_, completion), outcome)| (completion, outcome)).collect()
    }

    /// The next round which writes anything fails so.
    pub fn fail_next(&self, fault: Fault) {
        self.writing().fault = Some(fault);
    }

    /// While held, rounds commit nothing.
    pub fn hold(&self, held: bool) {
        self.writing().held = held;
    }

    /// From now on every submission is turned away, as while the real store closes.
    pub fn close(&self) {
        self.writing().closed = true;
    }

    /// What a power loss leaves: a new store with the durable rows only. Waiting transactions are forgotten.
    pub fn crash(&self) -> MemStore<C> {
        self.crash_keeping(0)
    }

    /// The same, but the first `rounds` of those that no sync has covered were in the log all the same.
    pub fn crash_keeping(&self, rounds: usize) -> MemStore<C> {
        let mut rows = Rows::clone(&self.snapshot());
        for undo in self.writing().unsynced.iter().skip(rounds).rev() {
            for (cf, key, before) in undo.before.iter().rev() {
                set(&mut rows.tables, *cf, key, before.clone());
            }
            rows.head = undo.head;
        }
        MemStore::holding(rows, self.queue_max)
    }

    /// The last round that had something to write failed.
    pub fn is_failing(&self) -> bool {
        self.writing().sequencer.failed()
    }

    /// Rounds that no sync has covered yet.
    pub fn unsynced(&self) -> usize {
        self.writing().unsynced.len()
    }

    fn holding(rows: Rows, queue_max: usize) -> MemStore<C> {
        let writing = Writing {
            queue: VecDeque::new(),
            sequencer: Sequencer::after(rows.head),
            gone: Gone::default(),
            fault: None,
            held: false,
            closed: false,
            unsynced: Vec::new(),
        };
        MemStore {
            rows: RwLock::new(Arc::new(rows)),
            writing: Mutex::new(writing),
            queue_max,
            broken: Broken::default(),
        }
    }

    fn commit(&self, writing: &mut Writing<C>, round: &[(Tx, C)], now_ms: u64) -> Vec<Outcome> {
        let mut target = MemBatch { rows: self.snapshot(), writes: Vec::new() };
        let Writing { sequencer, gone, .. } = writing;
        let (txs, broken) = (round.iter().map(|(tx, _)| tx), &self.broken);
        let built = batch::build(txs.clone(), now_ms, sequencer, (gone, broken), &mut target);
        if !built.writes {
            return built.outcomes;
        }
        if let Some(fault) = writing.fault.take() {
            writing.gone.take_back(&built.purged);
            writing.sequencer.wrote(false);
            let error = match fault {
                Fault::Full => TxError::Full("fault injected".into()),
                Fault::Failed => TxError::Failed("fault injected".into()),
            };
            return batch::failed(txs, built.outcomes, &error, broken);
        }
        writing.sequencer.wrote(true);
        let writes = std::mem::take(&mut target.writes);
        drop(target);
        let mut visible = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let rows = Arc::make_mut(&mut visible);
        let mut undo = Undo { before: Vec::new(), head: rows.head };
        for write in writes {
            write.apply(&mut rows.tables, &mut undo.before);
        }
        rows.head = built.head.unwrap_or(rows.head);
        if built.sync {
            writing.unsynced.clear();
        } else {
            writing.unsynced.push(undo);
        }
        built.outcomes
    }

    fn snapshot(&self) -> Arc<Rows> {
        Arc::clone(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn writing(&self) -> MutexGuard<'_, Writing<C>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Send> Read for MemStore<C> {
    fn get(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.snapshot().tables[cf as usize].get(key).cloned())
    }

    fn scan(
        &self,
        range: &Range,
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let rows = self.snapshot();
        let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
        let mut found = rows.tables[range.cf as usize].range::<Key, _>(bounds);
        while let Some((key, value)) = if range.reverse { found.next_back() } else { found.next() } {
            if each(key.as_bytes(), value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn head(&self) -> Seq {
        self.snapshot().head
    }
}

impl<C: Send> Submit<C> for MemStore<C> {
    fn submit(&self, tx: Tx, completion: C) -> Submitted<C> {
        let mut writing = self.writing();
        if writing.closed || writing.queue.len() >= self.queue_max {
            self.broken.broke(tx.chain);
            return Err((tx, completion));
        }
        writing.queue.push_back((tx, completion));
        Ok(())
    }

    fn queued(&self) -> usize {
        self.writing().queue.len()
    }

    fn break_chain(&self, chain: u64) {
        self.broken.broke(chain);
    }

    fn mend(&self, chain: u64) {
        self.broken.mend(chain);
    }

    fn broken(&self) -> Vec<u64> {
        self.broken.all()
    }
}

enum Write {
    Set(Cf, Key, Option<Vec<u8>>),
    Clear(Cf, Key, Key),
}

impl Write {
    fn apply(self, tables: &mut Tables, undo: &mut Vec<Before>) {
        match self {
            Write::Set(cf, key, value) => {
                let before = set(tables, cf, &key, value);
                undo.push((cf, key, before));
            }
            Write::Clear(cf, start, end) => {
                let table = &mut tables[cf as usize];
                let keys: Vec<Key> = table.range(start..end).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    let before = table.remove(&key);
                    undo.push((cf, key, before));
                }
            }
        }
    }
}

fn set(tables: &mut Tables, cf: Cf, key: &Key, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let table = &mut tables[cf as usize];
    match value {
        Some(value) => table.insert(key.clone(), value),
        None => table.remove(key),
    }
}

/// A round's writes, kept until it is known that the round does not fail.
struct MemBatch {
    rows: Arc<Rows>,
    writes: Vec<Write>,
}

impl Target for MemBatch {
    fn read(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.tables[cf as usize].get(key).cloned())
    }

    fn put(&mut self, cf: Cf, key: &Key, value: &[u8]) {
        self.writes.push(Write::Set(cf, key.clone(), Some(value.to_vec())));
    }

    fn delete(&mut self, cf: Cf, key: &Key) {
        self.writes.push(Write::Set(cf, key.clone(), None));
    }

    fn delete_range(&mut self, cf: Cf, start: &Key, end: &Key) {
        self.writes.push(Write::Clear(cf, start.clone(), end.clone()));
    }
}

#[cfg(test)]
#[path = "mem_tests.rs"]
mod tests;
