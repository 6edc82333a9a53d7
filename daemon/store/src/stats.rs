//! What the writer tells about itself: counters for metrics, its health for status and log, a heartbeat for
//! the watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counters since the writer started. Averages of an interval come from the differences of sums and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// Microseconds that all synced writes took.
    pub sync_us_sum: u64,
    /// Transactions submitted and not yet completed.
    pub queued: u64,
    /// The most there ever were.
    pub queued_most: u64,
}

/// Whether writes succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The last write succeeded.
    pub ok: bool,
    /// The last error, kept after recovery.
    pub last_error: Option<String>,
    /// Since when it is so: milliseconds since 1970.
    pub since_ms: u64,
}

/// The live counters; written by the writer thread alone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    rounds: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    transactions: AtomicU64,
    conflicts: AtomicU64,
    bytes: AtomicU64,
    sync_us_last: AtomicU64,
    sync_us_sum: AtomicU64,
    heartbeat: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, queued: usize, queued_most: u64) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            rounds: get(&self.rounds),
            syncs: get(&self.syncs),
            failures: get(&self.failures),
            transactions: get(&self.transactions),
            conflicts: get(&self.conflicts),
            bytes: get(&self.bytes),
            sync_us_last: get(&self.sync_us_last),
            sync_us_sum: get(&self.sync_us_sum),
            queued: queued as u64,
            queued_most,
        }
    }

    pub(crate) fn wrote(&self, bytes: u64, synced: Option<Duration>) {
        add(&self.rounds, 1);
        add(&self.bytes, bytes);
        if let Some(took) = synced {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            add(&self.syncs, 1);
            add(&self.sync_us_sum, us);
            self.sync_us_last.store(us, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self) {
        add(&self.failures, 1);
    }

    pub(crate) fn completed(&self, transactions: usize, conflicts: usize) {
        add(&self.transactions, transactions as u64);
        add(&self.conflicts, conflicts as u64);
    }

    pub(crate) fn beat(&self) {
        add(&self.heartbeat, 1);
    }

    pub(crate) fn heartbeat(&self) -> u64 {
        self.heartbeat.load(Ordering::Relaxed)
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// The health, and since when.
#[derive(Debug)]
pub(crate) struct HealthCell(Mutex<Health>);

impl HealthCell {
    pub(crate) fn new(now_ms: u64) -> HealthCell {
        HealthCell(Mutex::new(Health { ok: true, last_error: None, since_ms: now_ms }))
    }

    pub(crate) fn get(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn succeeded(&self, now_ms: u64) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !health.ok {
            health.ok = true;
            health.since_ms = now_ms;
        }
    }

    pub(crate) fn failed(&self, now_ms: u64, error: String) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if health.ok {
            health.ok = false;
            health.since_ms = now_ms;
        }
        health.last_error = Some(error);
    }
}

/// Measures how long a write takes: an interval, which no decision depends on.
#[expect(clippy::disallowed_methods, reason = "the clock passed in has milliseconds, an fsync takes less")]
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = what();
    (result, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_keeps_the_time_of_the_change_and_the_last_error() {
        let health = HealthCell::new(1);
        health.failed(2, "a".into());
        health.failed(3, "b".into());
        assert_eq!(health.get(), Health { ok: false, last_error: Some("b".into()), since_ms: 2 });
        health.succeeded(4);
        health.succeeded(5);
        assert_eq!(health.get(), Health { ok: true, last_error: Some("b".into()), since_ms: 4 });
    }

    #[test]
    fn only_synced_rounds_count_sync_time() {
        let counters = Counters::default();
        counters.wrote(10, None);
        counters.wrote(10, Some(Duration::from_micros(7)));
        let stats = counters.read(0, 0);
        assert_eq!((stats.rounds, stats.syncs, stats.bytes, stats.sync_us_sum), (2, 1, 20, 7));
    }
}
