//! How fast the store is written: the difference of two looks at its counters.
use crate::admin::protocol::{Pace, PerSync};
use godwit_store::Stats;

/// The last look, and what came of it and the one before.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    last: Option<Look>,
    pace: Pace,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at_ms: u64,
    syncs: u64,
    transactions: u64,
    messages: u64,
    sync_us: u64,
}

impl Pacer {
    /// Looks at the counters; `messages` are those that were stored.
    pub(super) fn look(&mut self, at_ms: u64, stats: &Stats, messages: u64) {
        let Stats { syncs, transactions, sync_us, .. } = *stats;
        let now = Look { at_ms, syncs, transactions, messages, sync_us: sync_us.sum };
        if let Some(last) = self.last.replace(now) {
            self.pace = now.since(&last);
        }
    }

    /// Between the last two looks.
    pub(super) fn pace(&self) -> Pace {
        self.pace
    }
}

impl Look {
    fn since(&self, last: &Look) -> Pace {
        let grown = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let interval_s = grown(self.at_ms, last.at_ms) / 1000.0;
        let (syncs, transactions) =
            (grown(self.syncs, last.syncs), grown(self.transactions, last.transactions));
        let messages = grown(self.messages, last.messages);
        Pace {
            interval_s,
            syncs_per_s: ratio(syncs, interval_s),
            transactions_per_s: ratio(transactions, interval_s),
            messages_per_s: ratio(messages, interval_s),
            per_sync: per_sync(transactions, messages, syncs),
            sync_us_mean: ratio(grown(self.sync_us, last.sync_us), syncs),
        }
    }
}

/// Shares of each sync.
pub(super) fn per_sync(transactions: f64, messages: f64, syncs: f64) -> PerSync {
    PerSync { transactions: ratio(transactions, syncs), messages: ratio(messages, syncs) }
}

fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { of / to } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(syncs: u64, transactions: u64, sync_us: u64) -> Stats {
        let mut stats = Stats { syncs, transactions, ..Stats::default() };
        stats.sync_us.sum = sync_us;
        stats
    }

    #[test]
    fn rates_are_of_the_last_interval_alone() {
        let mut pacer = Pacer::default();
        pacer.look(1_000, &stats(100, 5_000, 1_000_000), 400);
        assert_eq!(pacer.pace(), Pace::default());
        pacer.look(6_000, &stats(150, 7_000, 1_010_000), 1_400);
        let pace = pacer.pace();
        assert_eq!((pace.interval_s, pace.syncs_per_s, pace.messages_per_s), (5.0, 10.0, 200.0));
        assert_eq!((pace.per_sync.transactions, pace.per_sync.messages), (40.0, 20.0));
        assert_eq!(pace.sync_us_mean, 200.0);
    }

    #[test]
    fn without_syncs_or_time_nothing_is_divided_by_zero() {
        let mut pacer = Pacer::default();
        for at_ms in [5_000, 10_000, 10_000, 9_000] {
            pacer.look(at_ms, &stats(1, 2, 3), 1);
            let pace = pacer.pace();
            assert!(pace.syncs_per_s == 0.0 && pace.per_sync == PerSync::default(), "{pace:?}");
        }
    }
}
