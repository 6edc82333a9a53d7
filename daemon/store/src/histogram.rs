//! Histograms with fixed bounds: how long writes take, how many transactions share one. One thread records,
//! anybody reads; no lock and no locked instruction.
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of durations, in microseconds: from a disk that takes nothing to one that hangs.
pub const DURATION_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
/// Bounds of counts.
pub const COUNT: [u64; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

/// What a histogram held at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// Upper bounds, inclusive, in the unit of the values.
    pub bounds: &'static [u64; N],
    /// Values up to each bound and above the one before it.
    pub counts: [u64; N],
    /// Values above the last bound.
    pub above: u64,
    /// Sum of all values.
    pub sum: u64,
    /// The largest value.
    pub most: u64,
}

impl<const N: usize> Histogram<N> {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }

    /// Their mean; 0 if there is none.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }
}

impl<const N: usize> std::ops::AddAssign for Histogram<N> {
    /// The values of both; they have the same bounds.
    fn add_assign(&mut self, other: Histogram<N>) {
        assert_eq!(self.bounds, other.bounds, "histograms of different things are added");
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.above += other.above;
        self.sum = self.sum.wrapping_add(other.sum);
        self.most = self.most.max(other.most);
    }
}

/// A histogram that grows.
#[derive(Debug)]
pub struct Recorder<const N: usize> {
    bounds: &'static [u64; N],
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
    most: AtomicU64,
}

impl<const N: usize> Recorder<N> {
    /// Empty, with these bounds.
    pub const fn new(bounds: &'static [u64; N]) -> Recorder<N> {
        Recorder {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    /// For the one thread that records.
    pub fn record(&self, value: u64) {
        let bucket = self.counts.get(self.bounds.partition_point(|bound| *bound < value));
        grow(bucket.unwrap_or(&self.above), 1);
        grow(&self.sum, value);
        if value > self.most.load(Ordering::Relaxed) {
            self.most.store(value, Ordering::Relaxed);
        }
    }

    /// What it holds now.
    pub fn read(&self) -> Histogram<N> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Histogram {
            bounds: self.bounds,
            counts: std::array::from_fn(|at| self.counts.get(at).map_or(0, get)),
            above: get(&self.above),
            sum: get(&self.sum),
            most: get(&self.most),
        }
    }
}

/// One thread writes: reading and storing cannot lose another's addition.
fn grow(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let recorder = Recorder::new(&COUNT);
        for value in [0, 1, 2, 3, 4_096, 4_097] {
            recorder.record(value);
        }
        let read = recorder.read();
        assert_eq!(read.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((read.above, read.count(), read.sum, read.most), (1, 6, 8_199, 4_097));
        assert_eq!((read.mean(), Recorder::new(&COUNT).read().mean()), (1_366, 0));
    }

    #[test]
    fn added_histograms_hold_the_values_of_both() {
        let (one, other) = (Recorder::new(&COUNT), Recorder::new(&COUNT));
        one.record(3);
        other.record(3);
        other.record(9_000);
        let mut both = one.read();
        both += other.read();
        assert_eq!((both.counts[2], both.above, both.sum, both.most), (2, 1, 9_006, 9_000));
    }

    #[test]
    fn bounds_rise() {
        assert!(DURATION_US.is_sorted_by(|a, b| a < b) && COUNT.is_sorted_by(|a, b| a < b));
    }
}
