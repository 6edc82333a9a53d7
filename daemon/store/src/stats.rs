//! What the writer tells about itself: counters for metrics, its health for status and log, a heartbeat for
//! the watchdog.

use crate::histogram::{COUNT, DURATION_US, Histogram, Recorder};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counters since the writer started. Averages of an interval come from the differences of sums and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Rounds that were written.
    pub rounds: u64,
    /// Rounds that were synced.
    pub syncs: u64,
    /// Rounds whose write failed.
    pub failures: u64,
    /// Transactions completed, whatever their outcome.
    pub transactions: u64,
    /// Transactions refused by a guard.
    pub conflicts: u64,
    /// Bytes written to the log.
    pub bytes: u64,
    /// Microseconds that the last synced write took.
    pub sync_us_last: u64,
    /// Microseconds that synced writes took.
    pub sync_us: Histogram<16>,
    /// Transactions that shared one synced write.
    pub synced_together: Histogram<13>,
    /// Microseconds from the submission of a transaction to its commit; of those that were committed.
    pub commit_us: Histogram<16>,
    /// Transactions submitted and not yet completed.
    pub queued: u64,
    /// The most there ever were.
    pub queued_most: u64,
    /// The most there may be.
    pub queue_max: u64,
}

impl Default for Stats {
    /// Of a writer that has done nothing.
    fn default() -> Stats {
        Counters::default().read(Queued::default())
    }
}

/// What the queue tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queued {
    pub(crate) now: u64,
    pub(crate) most: u64,
    pub(crate) max: u64,
}

/// Whether writes succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The last write succeeded.
    pub ok: bool,
    /// It failed for want of space on the device.
    pub full: bool,
    /// The last error, kept after recovery.
    pub last_error: Option<String>,
    /// Since when it is so: milliseconds since 1970.
    pub since_ms: u64,
}

/// The live counters; written by the writer thread alone.
#[derive(Debug)]
pub(crate) struct Counters {
    rounds: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    transactions: AtomicU64,
    conflicts: AtomicU64,
    bytes: AtomicU64,
    sync_us_last: AtomicU64,
    sync_us: Recorder<16>,
    synced_together: Recorder<13>,
    commit_us: Recorder<16>,
    heartbeat: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            rounds: AtomicU64::default(),
            syncs: AtomicU64::default(),
            failures: AtomicU64::default(),
            transactions: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            bytes: AtomicU64::default(),
            sync_us_last: AtomicU64::default(),
            sync_us: Recorder::new(&DURATION_US),
            synced_together: Recorder::new(&COUNT),
            commit_us: Recorder::new(&DURATION_US),
            heartbeat: AtomicU64::default(),
        }
    }
}

impl Counters {
    pub(crate) fn read(&self, queued: Queued) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            rounds: get(&self.rounds),
            syncs: get(&self.syncs),
            failures: get(&self.failures),
            transactions: get(&self.transactions),
            conflicts: get(&self.conflicts),
            bytes: get(&self.bytes),
            sync_us_last: get(&self.sync_us_last),
            sync_us: self.sync_us.read(),
            synced_together: self.synced_together.read(),
            commit_us: self.commit_us.read(),
            queued: queued.now,
            queued_most: queued.most,
            queue_max: queued.max,
        }
    }

    /// A round was written.
    pub(crate) fn wrote(&self, bytes: u64, transactions: usize, synced: Option<Duration>) {
        add(&self.rounds, 1);
        add(&self.bytes, bytes);
        if let Some(took) = synced {
            self.synced(took);
            self.synced_together.record(transactions as u64);
        }
    }

    /// A round that was not synced when it was written is now.
    pub(crate) fn synced(&self, took: Duration) {
        let us = micros(took);
        add(&self.syncs, 1);
        self.sync_us.record(us);
        self.sync_us_last.store(us, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        add(&self.failures, 1);
    }

    pub(crate) fn completed(&self, transactions: usize, conflicts: usize) {
        add(&self.transactions, transactions as u64);
        add(&self.conflicts, conflicts as u64);
    }

    /// A transaction was committed, so long after it was submitted.
    pub(crate) fn committed(&self, after: Duration) {
        self.commit_us.record(micros(after));
    }

    pub(crate) fn beat(&self) {
        add(&self.heartbeat, 1);
    }

    pub(crate) fn heartbeat(&self) -> u64 {
        self.heartbeat.load(Ordering::Relaxed)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// The health, and since when.
#[derive(Debug)]
pub(crate) struct HealthCell(Mutex<Health>);

impl HealthCell {
    pub(crate) fn new(now_ms: u64) -> HealthCell {
        HealthCell(Mutex::new(Health { ok: true, full: false, last_error: None, since_ms: now_ms }))
    }

    pub(crate) fn get(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn succeeded(&self, now_ms: u64) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !health.ok {
            health.ok = true;
            health.full = false;
            health.since_ms = now_ms;
        }
    }

    pub(crate) fn failed(&self, now_ms: u64, full: bool, error: String) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if health.ok {
            health.ok = false;
            health.since_ms = now_ms;
        }
        health.full = full;
        health.last_error = Some(error);
    }
}

/// A moment from which an interval is measured; nothing that is written depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Instant);

impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock passed in has milliseconds, an fsync takes less"
    )]
    pub(crate) fn now() -> Moment {
        Moment(Instant::now())
    }

    pub(crate) fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

/// Measures how long a write takes.
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Moment::now();
    let result = what();
    (result, Moment::now().since(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_keeps_the_time_of_the_change_and_the_last_error() {
        let health = HealthCell::new(1);
        health.failed(2, true, "a".into());
        assert!(health.get().full);
        health.failed(3, false, "b".into());
        assert_eq!(
            health.get(),
            Health { ok: false, full: false, last_error: Some("b".into()), since_ms: 2 }
        );
        health.succeeded(4);
        health.succeeded(5);
        assert_eq!(health.get(), Health { ok: true, full: false, last_error: Some("b".into()), since_ms: 4 });
    }

    #[test]
    fn only_synced_rounds_count_sync_time() {
        let counters = Counters::default();
        counters.wrote(10, 3, None);
        counters.wrote(10, 5, Some(Duration::from_micros(7)));
        let stats = counters.read(Queued::default());
        assert_eq!((stats.rounds, stats.syncs, stats.bytes), (2, 1, 20));
        assert_eq!((stats.sync_us.count(), stats.sync_us.sum, stats.sync_us_last), (1, 7, 7));
        assert_eq!((stats.synced_together.count(), stats.synced_together.most), (1, 5));
    }
}
