//! What `godwitctl top` draws beside the rest of the status: how fast and how full the daemon is.
use godwit_store::Histogram;
use serde::{Deserialize, Serialize};

/// Load, latency and room. Counts are since the daemon's start: an interval is the difference of two answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LoadStatus {
    /// From a stored message's receipt until its recipient's socket was written to.
    pub delivery: Buckets,
    /// From a transaction's submission to its commit.
    pub commit: Buckets,
    /// What a sync of the store took.
    pub sync: Buckets,
    /// CPU time of all threads.
    pub cpu_s: f64,
    /// Cores of the machine.
    pub cores: u64,
    /// Descriptors in use.
    pub descriptors: u64,
    /// Descriptors allowed.
    pub descriptors_max: u64,
    /// Connections in the TLS handshake.
    pub handshaking: u64,
    /// Connections with TLS 1.2.
    pub tls12: u64,
    /// Connections with TLS 1.3.
    pub tls13: u64,
    /// Connections whose peer reads too slowly.
    pub slow_readers: u64,
    /// Messages that wait for accounts that are offline, as far as they are kept count of in memory.
    pub waiting_messages: u64,
    /// Time for which writes waited for flushes and compactions.
    pub stalled_us: u64,
    /// They wait now, or are slowed down.
    pub stalling: bool,
    /// Bytes in the store's table files.
    pub store_bytes: u64,
    /// Bytes free on the store's device, for the daemon.
    pub disk_free_bytes: u64,
    /// All of its bytes; 0 if that is not known.
    pub disk_bytes: u64,
    /// Why `/readyz` says no; empty if it says yes.
    pub not_ready: Vec<String>,
}

/// A histogram: how many values there were up to each bound and above the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Buckets {
    /// Upper bounds, inclusive, in microseconds.
    pub bounds_us: Vec<u64>,
    /// As many, and one more: the values above the last bound.
    pub counts: Vec<u64>,
}

impl Buckets {
    /// Of a histogram whose values have so many microseconds each.
    pub fn of<const N: usize>(histogram: &Histogram<N>, unit_us: u64) -> Buckets {
        Buckets {
            bounds_us: histogram.bounds.iter().map(|bound| bound * unit_us).collect(),
            counts: histogram.counts.iter().copied().chain([histogram.above]).collect(),
        }
    }

    /// What came since an earlier look; everything if the earlier one does not fit.
    pub fn since(&self, earlier: &Buckets) -> Buckets {
        let fits = earlier.bounds_us == self.bounds_us && earlier.counts.len() == self.counts.len();
        let before = |at: usize| if fits { earlier.counts.get(at).copied().unwrap_or(0) } else { 0 };
        let grown = |(at, count): (usize, &u64)| count.saturating_sub(before(at));
        Buckets {
            bounds_us: self.bounds_us.clone(),
            counts: self.counts.iter().enumerate().map(grown).collect(),
        }
    }

    /// The value that this part (0 to 1) of all values does not exceed, as Prometheus estimates it: evenly
    /// spread within a bucket. `None` without values; the last bound stands for all above it.
    pub fn quantile_us(&self, part: f64) -> Option<u64> {
        let all: u64 = self.counts.iter().sum();
        let rank = part * all as f64;
        let (mut below, mut floor) = (0, 0);
        for (&bound, &count) in self.bounds_us.iter().zip(&self.counts) {
            if count > 0 && (below + count) as f64 >= rank {
                let within = (rank - below as f64).max(0.0) / count as f64;
                let us = floor as f64 + (bound - floor) as f64 * within;
                // Between two bounds, which are whole numbers.
                return Some(whole(us));
            }
            (below, floor) = (below + count, bound);
        }
        (all > 0).then_some(floor)
    }
}

/// The nearest whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is too large stays the largest"
)]
pub(crate) fn whole(n: f64) -> u64 {
    n.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[u64]) -> Buckets {
        Buckets { bounds_us: vec![1_000, 2_000, 10_000], counts: counts.to_vec() }
    }

    #[test]
    fn quantiles_are_those_that_prometheus_would_give() {
        let all = buckets(&[50, 40, 10, 0]);
        assert_eq!(all.quantile_us(0.5), Some(1_000));
        assert_eq!(all.quantile_us(0.7), Some(1_500));
        assert_eq!(all.quantile_us(0.99), Some(9_200));
        assert_eq!(buckets(&[0, 0, 0, 5]).quantile_us(0.5), Some(10_000), "above the last bound");
        assert_eq!(buckets(&[0; 4]).quantile_us(0.5), None);
        assert_eq!(Buckets::default().quantile_us(0.99), None);
    }

    #[test]
    fn an_interval_is_the_difference_of_two_looks() {
        assert_eq!(buckets(&[5, 6, 7, 8]).since(&buckets(&[1, 6, 5, 0])), buckets(&[4, 0, 2, 8]));
        let anew = buckets(&[1, 0, 0, 0]);
        assert_eq!(anew.since(&buckets(&[9, 9, 9, 9])), buckets(&[0; 4]), "the daemon has started anew");
        assert_eq!(anew.since(&Buckets::default()), anew);
    }
}
