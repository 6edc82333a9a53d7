//! How many transactions should be under way: as many as are committed within a short time, whatever the
//! machine and its disk.
//!
//! What is under way, divided by the rate of commits, is how long each takes (Little's law). Too few cost
//! throughput, because a sync is shared by fewer; too many make everybody wait and commit no more. So the
//! limit is the rate times a time that is worth waiting: a fixed one, and some syncs of this disk.

use std::time::Duration;

/// What was read should be committed within this, and within `SYNCS` of the disk's syncs more.
const WORTH_WAITING: Duration = Duration::from_millis(10);
/// The one that is being written, the one that follows, and as much for what varies.
const SYNCS: u32 = 4;
/// The limit never gets lower: what comes after a quiet time does not wait for a measurement.
const LIMIT_MIN: usize = 512;
/// The rate is measured over so long.
const SPAN: Duration = Duration::from_millis(50);
/// The disk's sync is the shortest one of the last two spans of this length: longer ones were waits for the
/// machine, or had much to write.
const SYNC_SPAN: Duration = Duration::from_secs(5);

/// Measures, and gives the limit. Times are from one beginning.
#[derive(Debug)]
pub(crate) struct Pace {
    span_from: Duration,
    committed: usize,
    sync_span_from: Duration,
    sync_before: Option<Duration>,
    sync: Option<Duration>,
    limit: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        let never = Duration::ZERO;
        Pace {
            span_from: never,
            committed: 0,
            sync_span_from: never,
            sync_before: None,
            sync: None,
            limit: LIMIT_MIN,
        }
    }
}

impl Pace {
    /// A synced write took so long.
    pub(crate) fn synced(&mut self, took: Duration) {
        self.sync = Some(self.sync.map_or(took, |sync| sync.min(took)));
    }

    /// So many more were committed; how many should be under way from now on.
    pub(crate) fn committed(&mut self, now: Duration, count: usize) -> usize {
        self.committed += count;
        let span = now.saturating_sub(self.span_from);
        if span >= SPAN {
            self.limit = self.measured(span).max(self.limit - self.limit / 8).max(LIMIT_MIN);
            (self.span_from, self.committed) = (now, 0);
        }
        if now.saturating_sub(self.sync_span_from) >= SYNC_SPAN {
            (self.sync_before, self.sync_span_from) = (self.sync.take(), now);
        }
        self.limit
    }

    /// The rate of this span times the time that is worth waiting.
    fn measured(&self, span: Duration) -> usize {
        let sync = [self.sync, self.sync_before].into_iter().flatten().min().unwrap_or_default();
        let worth = (WORTH_WAITING + SYNCS * sync).as_micros();
        let count = self.committed as u128 * worth / span.as_micros().max(1);
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Commits `per_ms` each millisecond for so long, from `from` on; the limit then.
    fn run(pace: &mut Pace, from: u32, ms: u32, per_ms: usize) -> usize {
        (from..from + ms).map(|at| pace.committed(at * MS, per_ms)).last().unwrap()
    }

    #[test]
    fn it_is_what_is_committed_within_the_time_worth_waiting() {
        let mut pace = Pace::default();
        pace.synced(MS);
        pace.synced(30 * MS);
        // 100 each ms, 14 ms: 10 and four syncs of 1.
        let limit = run(&mut pace, 1, 1_000, 100);
        assert!((1_350..=1_450).contains(&limit), "{limit}");
    }

    #[test]
    fn a_slow_disk_shares_its_syncs_among_more() {
        let (mut slow, mut quick) = (Pace::default(), Pace::default());
        slow.synced(30 * MS);
        quick.synced(MS / 2);
        let (slow, quick) = (run(&mut slow, 1, 1_000, 100), run(&mut quick, 1, 1_000, 100));
        assert!(slow > 10 * quick, "{slow} {quick}");
    }

    #[test]
    fn it_falls_slowly_and_never_below_the_least() {
        let mut pace = Pace::default();
        let busy = run(&mut pace, 1, 1_000, 500);
        let soon = run(&mut pace, 1_001, 100, 0);
        assert!(soon < busy && soon > busy / 2, "{soon} after {busy}");
        assert_eq!(run(&mut pace, 1_101, 5_000, 0), LIMIT_MIN);
        assert_eq!(Pace::default().committed(MS, 1), LIMIT_MIN);
    }

    #[test]
    fn one_long_sync_is_not_the_disk_and_a_disk_that_got_slower_is_noticed() {
        let mut pace = Pace::default();
        pace.synced(MS);
        let quick = run(&mut pace, 1, 4_000, 100);
        for second in 4..20 {
            pace.synced(20 * MS);
            run(&mut pace, second * 1_000 + 1, 1_000, 100);
        }
        let slow = run(&mut pace, 20_001, 100, 100);
        assert!(slow > 5 * quick, "{quick} {slow}");
    }
}
