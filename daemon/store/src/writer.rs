//! The writer: one thread, the only place where a transaction becomes durable.
//!
//! A round takes what waits (up to limits), checks guards, gives out sequence numbers, writes one batch,
//! waits for the fsync, tells readers the new head, and only then hands the completions to the sink, in
//! commit order. A round in which everything is lazy is not synced; one which writes nothing is not written.
//! A lazy round is synced before the next round is written, or after `LAZY_MS_MAX`. So power loss takes no
//! older ones, and never more than one round is unsynced: `tail.rs` relies on that.
//!
//! A failed write acknowledges nothing: every transaction of the round fails. Later rounds are tried again.
//! RocksDB gets over a full device by itself; after any other failure it refuses all writes and is opened
//! anew. While writes fail and nobody submits, a probe finds out when they succeed again. What a failed write
//! left in the log may still be replayed if the process dies before RocksDB started a new log: its sequence
//! numbers are never given out again, and a sender who was told of the failure may then find the message
//! delivered, as with any lost answer.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::batch::{self, Built, Target};
use crate::cf::Options;
use crate::chain::Broken;
use crate::gone::Gone;
use crate::pace::Pace;
use crate::queue::{self, Entry, Queue};
use crate::rocks::{RocksBatch, WriteError};
use crate::sequence::Sequencer;
use crate::stats::{Counters, HealthCell, Moment, timed};
use crate::{
    Cf, Health, Outcome, Read, Rocks, Sink, Stats, StoreError, Submit, Submitted, Tx, TxError, points, schema,
};

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Places in the lists of a round that stay when nothing is to be done: the memory of a burst goes back.
const KEPT_ENTRIES: usize = 256;
/// The writer sleeps no longer, so that its heart beats at least so often.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// What was written lazily is unsynced for so long at most, while the writer is not held up.
const LAZY_MS_MAX: u64 = 50;
/// The writer sleeps no longer while something is unsynced.
const LAZY_WAIT: Duration = Duration::from_millis(LAZY_MS_MAX + 20);
/// While writes fail, the database is opened anew at most so often.
const REOPEN_PAUSE_MS: u64 = 5_000;

/// The writing side of a store on disk.
pub struct Writer<C> {
    shared: Arc<Shared<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A store opened for reading and writing.
pub struct Opened<C> {
    /// The reading side.
    pub store: Arc<Rocks>,
    /// The writing side.
    pub writer: Arc<Writer<C>>,
}

/// Opens a store and starts its writer.
pub fn open<C: Send + 'static>(
    path: &Path,
    options: &Options,
    clock: Clock,
    sink: Box<dyn Sink<C>>,
) -> Result<Opened<C>, StoreError> {
    let store = Arc::new(Rocks::open(path, options)?);
    let writer = Arc::new(Writer::start(Arc::clone(&store), options, clock, sink)?);
    Ok(Opened { store, writer })
}

struct Shared<C> {
    store: Arc<Rocks>,
    queue: Queue<C>,
    broken: Broken,
    counters: Counters,
    health: HealthCell,
}

impl<C: Send + 'static> Writer<C> {
    /// Starts the writer of a store; a store has one in its life.
    pub fn start(
        store: Arc<Rocks>,
        options: &Options,
        clock: Clock,
        sink: Box<dyn Sink<C>>,
    ) -> Result<Writer<C>, StoreError> {
        if !store.claim_writer() {
            return Err(StoreError::InUse("this store has a writer".into()));
        }
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_max),
            broken: Broken::default(),
            counters: Counters::default(),
            health: HealthCell::new(clock()),
            store,
        });
        let work = Work {
            sequencer: Sequencer::after(shared.store.head()),
            gone: Gone::default(),
            shared: Arc::clone(&shared),
            clock,
            sink,
            round_max: options.round_max.max(1),
            round_bytes_max: options.round_bytes_max,
            reopen_at_ms: None,
            lazy_since_ms: None,
            pace: Pace::default(),
            began: Moment::now(),
        };
        let thread = thread::Builder::new().name("store-writer".into()).spawn(move || work.run());
        let thread = thread.map_err(|error| StoreError::Io(format!("no writer thread: {error}")))?;
        Ok(Writer { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Commits what is queued, then stops. Later submissions come back. Rows are flushed to table files, so
    /// that the next opening is quick; who wants a short pause calls [`Rocks::flush`] before, while still
    /// serving. Returns at once if it was closed before. The database stays open for readers until
    /// [`Rocks::close`].
    pub fn close(&self) -> Result<(), StoreError> {
        self.shared.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        thread.join().map_err(|_| StoreError::Io("the writer thread panicked".into()))?;
        self.shared.store.flush()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read(self.shared.queue.queued())
    }

    /// Whether writes succeed.
    pub fn health(&self) -> Health {
        self.shared.health.get()
    }

    /// Transactions that were ever submitted: for whoever has to know that nothing is under way any more.
    pub fn submitted(&self) -> u64 {
        self.shared.queue.submitted()
    }

    /// Of those, the ones that are done with: their completions have been heard, and what these did about it
    /// is done, too. Read before [`Writer::submitted`].
    pub fn settled(&self) -> u64 {
        self.shared.queue.settled()
    }

    /// Grows at least once a second while the writer is not stuck.
    pub fn heartbeat(&self) -> u64 {
        self.shared.counters.heartbeat()
    }
}

impl<C: Send + 'static> Submit<C> for Writer<C> {
    fn submit(&self, tx: Tx, completion: C) -> Submitted<C> {
        let submitted = self.shared.queue.push(tx, completion);
        if let Err((tx, _)) = &submitted {
            self.shared.broken.broke(tx.chain);
        }
        submitted
    }

    fn queued(&self) -> usize {
        self.shared.queue.len()
    }

    fn is_crowded(&self) -> bool {
        self.shared.queue.is_crowded()
    }

    fn break_chain(&self, chain: u64) {
        self.shared.broken.broke(chain);
    }

    fn mend(&self, chain: u64) {
        self.shared.broken.mend(chain);
    }

    fn broken(&self) -> Vec<u64> {
        self.shared.broken.all()
    }
}

impl<C> Drop for Writer<C> {
    /// A writer that nobody can submit to any more commits what it has and ends.
    fn drop(&mut self) {
        self.shared.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last owner may be the sink, on the writer thread itself, which cannot wait for its own end.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ended = thread.join();
        }
    }
}

/// The thread's own part.
struct Work<C> {
    shared: Arc<Shared<C>>,
    sequencer: Sequencer,
    gone: Gone,
    clock: Clock,
    sink: Box<dyn Sink<C>>,
    round_max: usize,
    round_bytes_max: usize,
    /// When the database is to be opened anew, if it does not heal by itself.
    reopen_at_ms: Option<u64>,
    /// When the oldest round was written that is not synced.
    lazy_since_ms: Option<u64>,
    /// How many should be under way, by the times since `began`.
    pace: Pace,
    began: Moment,
}

/// Closes the queue when the thread ends, also by a panic of the sink: submitters then see a closed store.
struct Ending<C>(Arc<Shared<C>>);

impl<C> Drop for Ending<C> {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

impl<C> Work<C> {
    fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        let mut taken = VecDeque::new();
        let mut completed = Vec::new();
        while self.shared.queue.take(&mut taken, self.patience()) {
            self.shared.counters.beat();
            self.shared.store.tell((self.clock)());
            self.reopen_if_due();
            if taken.is_empty() {
                self.idle();
                taken.shrink_to(KEPT_ENTRIES);
                completed.shrink_to(KEPT_ENTRIES);
                continue;
            }
            self.round(&mut taken, &mut completed);
        }
    }

    /// Commits the head of `taken`.
    fn round(&mut self, taken: &mut VecDeque<Entry<C>>, completed: &mut Vec<(C, Outcome)>) {
        points::pass("store::before_batch");
        let count = self.count(taken);
        let round = || taken.iter().take(count).map(|entry| &entry.tx);
        let outcomes = self.commit(round());
        let conflicts = outcomes.iter().filter(|outcome| **outcome == Err(TxError::Conflict)).count();
        let now = Moment::now();
        for (entry, outcome) in taken.drain(..count).zip(outcomes) {
            if outcome.is_ok() {
                self.shared.counters.committed(now.since(entry.since));
            }
            completed.push((entry.completion, outcome));
        }
        points::pass("store::before_completions");
        self.shared.queue.completed(count);
        self.shared.queue.set_limit(self.pace.committed(now.since(self.began), count));
        self.shared.counters.completed(count, conflicts);
        self.sink.committed(completed);
        completed.clear();
        self.shared.queue.settle(count);
        points::pass("store::after_completions");
    }

    /// How many transactions one round takes: at least one.
    fn count(&self, taken: &VecDeque<Entry<C>>) -> usize {
        let mut bytes = 0;
        let mut fits = |entry: &&Entry<C>| {
            let room = bytes < self.round_bytes_max;
            bytes += queue::bytes(&entry.tx);
            room
        };
        taken.iter().take(self.round_max).take_while(|next| fits(next)).count().max(1)
    }

    fn commit<'t>(&mut self, round: impl Iterator<Item = &'t Tx> + Clone) -> Vec<Outcome> {
        let mut batch = match self.shared.store.batch() {
            Ok(batch) => batch,
            Err(error) => {
                self.sequencer.wrote(false);
                let error = TxError::Failed(error.to_string());
                // No guard can be looked at.
                let unread = |tx: &Tx| if tx.guards.is_empty() { Ok(Vec::new()) } else { Err(error.clone()) };
                let outcomes = round.clone().map(unread).collect();
                return batch::failed(round, outcomes, &error, &self.shared.broken);
            }
        };
        let refusing = (&mut self.gone, &self.shared.broken);
        let built = batch::build(round.clone(), (self.clock)(), &mut self.sequencer, refusing, &mut batch);
        points::pass("store::before_write");
        let written = self.write(batch, &built);
        if built.writes {
            self.sequencer.wrote(written.is_ok());
        }
        match written {
            Ok(()) => built.outcomes,
            Err(error) => {
                self.gone.take_back(&built.purged);
                batch::failed(round, built.outcomes, &error, &self.shared.broken)
            }
        }
    }

    fn write(&mut self, batch: RocksBatch, built: &Built) -> Result<(), TxError> {
        if !built.writes {
            return Ok(());
        }
        self.sync_lazy()?;
        let bytes = batch.bytes();
        let (result, took) = timed(|| self.shared.store.write(batch, built.sync));
        let now_ms = (self.clock)();
        match result {
            Ok(()) => {
                if built.sync {
                    self.pace.synced(took);
                }
                self.shared.counters.wrote(bytes, built.outcomes.len(), built.sync.then_some(took));
                self.shared.health.succeeded(now_ms);
                self.reopen_at_ms = None;
                self.lazy_since_ms = (!built.sync).then_some(now_ms);
                if let Some(head) = built.head {
                    self.shared.store.publish(head);
                }
                Ok(())
            }
            Err(error) => Err(self.failed(error, now_ms)),
        }
    }

    fn failed(&mut self, error: WriteError, now_ms: u64) -> TxError {
        self.shared.counters.failed();
        self.shared.health.failed(now_ms, error.full, error.text.clone());
        if error.heals_itself {
            self.reopen_at_ms = None;
        } else if self.reopen_at_ms.is_none() {
            self.reopen_at_ms = Some(now_ms.saturating_add(REOPEN_PAUSE_MS));
        }
        if error.full { TxError::Full(error.text) } else { TxError::Failed(error.text) }
    }

    fn reopen_if_due(&mut self) {
        let now_ms = (self.clock)();
        if self.reopen_at_ms.is_none_or(|at| now_ms < at) {
            return;
        }
        self.reopen_at_ms = Some(now_ms.saturating_add(REOPEN_PAUSE_MS));
        if let Err(error) = self.shared.store.reopen() {
            self.shared.health.failed(now_ms, false, error.to_string());
        }
    }

    /// Before a round is written: what the last one left unsynced.
    fn sync_lazy(&mut self) -> Result<(), TxError> {
        if self.lazy_since_ms.is_none() {
            return Ok(());
        }
        let (result, took) = timed(|| self.shared.store.sync());
        match result {
            Ok(()) => {
                self.shared.counters.synced(took);
                self.lazy_since_ms = None;
                Ok(())
            }
            Err(error) => Err(self.failed(error, (self.clock)())),
        }
    }

    fn patience(&self) -> Duration {
        if self.lazy_since_ms.is_some() { LAZY_WAIT.min(IDLE_MAX) } else { IDLE_MAX }
    }

    fn is_sync_due(&self, now_ms: u64) -> bool {
        self.lazy_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= LAZY_MS_MAX)
    }

    /// While nothing is to be done: syncs what was lazy, and while unwell writes the head that is there, to
    /// learn whether writes succeed again.
    fn idle(&mut self) {
        // What became of either is in the health.
        if self.is_sync_due((self.clock)()) && self.shared.store.is_open() {
            let _tried = self.sync_lazy();
        }
        if self.shared.health.get().ok {
            return;
        }
        let Ok(mut batch) = self.shared.store.batch() else { return };
        let head = self.shared.store.head();
        batch.put(Cf::Meta, &schema::meta_head(), &head.0.to_be_bytes());
        let built = Built { outcomes: Vec::new(), head: None, writes: true, sync: true, purged: Vec::new() };
        let _tried = self.write(batch, &built);
    }
}
