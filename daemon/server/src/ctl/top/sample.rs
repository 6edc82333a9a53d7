//! What a frame shows: the differences of the daemon's answers over the last seconds.
use crate::admin::protocol::{Buckets, Status};
use std::collections::VecDeque;

/// Answers that latencies are taken over: the last ten intervals, so that a quiet server has some values.
const KEPT_MAX: usize = 11;
/// Intervals of the history.
const HISTORY_MAX: usize = 512;

/// Per second, over the last interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rates {
    pub(super) messages: f64,
    pub(super) stanzas: f64,
    pub(super) delivered: f64,
    pub(super) logins: f64,
    pub(super) logins_failed: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) syncs: f64,
    /// Messages that shared one sync.
    pub(super) messages_per_sync: f64,
    /// Bytes to the store's log.
    pub(super) written: f64,
    /// Of all cores, in hundredths.
    pub(super) cpu_percent: f64,
    /// Of the interval, for which writes waited, in hundredths.
    pub(super) stalled_percent: f64,
    /// Messages that were slow.
    pub(super) slow: f64,
    /// Connections refused.
    pub(super) refused: f64,
    /// Stanzas answered with an error because they could not be written.
    pub(super) writes_refused: f64,
}

/// Percentiles in microseconds; `None`: nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Latency {
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
}

/// The answers so far, and what came of them.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept: VecDeque<Status>,
    /// Messages a second, the newest last.
    pub(super) messages: VecDeque<u64>,
    /// The deliveries' p99 of each interval, in microseconds.
    pub(super) deliveries: VecDeque<u64>,
}

impl Samples {
    /// Takes an answer. One of another process begins anew.
    pub(super) fn add(&mut self, status: Status) {
        let same = |last: &Status| {
            (last.pid, last.started_ms, last.upgrades) == (status.pid, status.started_ms, status.upgrades)
        };
        if !self.kept.back().is_none_or(same) {
            self.kept.clear();
        }
        if let Some(last) = self.kept.back() {
            let latency = Latency::of(&status.load.delivery, &last.load.delivery);
            push(&mut self.messages, super::whole(rates(&status, last).messages));
            push(&mut self.deliveries, latency.p99_us.unwrap_or(0));
        }
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(status);
    }

    /// The newest answer.
    pub(super) fn last(&self) -> Option<&Status> {
        self.kept.back()
    }

    /// Over the last interval; zeros until there is one.
    pub(super) fn rates(&self) -> Rates {
        match self.kept.iter().rev().take(2).collect::<Vec<_>>()[..] {
            [now, last] => rates(now, last),
            _ => Rates::default(),
        }
    }

    /// A latency over the last ten intervals.
    pub(super) fn latency(&self, of: impl Fn(&Status) -> &Buckets) -> Latency {
        match (self.kept.back(), self.kept.front()) {
            (Some(now), Some(first)) => Latency::of(of(now), of(first)),
            _ => Latency::default(),
        }
    }

    /// What that covers, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        let ends = self.kept.back().zip(self.kept.front());
        ends.map_or(0.0, |(now, first)| seconds(now, first))
    }
}

impl Latency {
    fn of(now: &Buckets, earlier: &Buckets) -> Latency {
        let grown = now.since(earlier);
        Latency { p50_us: grown.quantile_us(0.5), p99_us: grown.quantile_us(0.99) }
    }
}

fn push(history: &mut VecDeque<u64>, value: u64) {
    if history.len() >= HISTORY_MAX {
        history.pop_front();
    }
    history.push_back(value);
}

fn seconds(now: &Status, last: &Status) -> f64 {
    now.now_ms.saturating_sub(last.now_ms) as f64 / 1_000.0
}

fn rates(now: &Status, last: &Status) -> Rates {
    let seconds = seconds(now, last);
    let ratio = |of: f64, to: f64| if to > 0.0 { of / to } else { 0.0 };
    let grown = |now: u64, last: u64| now.saturating_sub(last) as f64;
    let counted = |name: &str| {
        let of = |status: &Status| status.counters.get(name).copied().unwrap_or(0);
        grown(of(now), of(last))
    };
    let per_s = |names: &[&str]| ratio(names.iter().map(|name| counted(name)).sum(), seconds);
    let of_store = |of: fn(&Status) -> u64| grown(of(now), of(last));
    let syncs = of_store(|status| status.store.syncs);
    let cpu = (now.load.cpu_s - last.load.cpu_s).max(0.0);
    Rates {
        messages: per_s(&["messages_stored", "messages_unstored"]),
        stanzas: per_s(&["stanzas"]),
        delivered: per_s(&["delivered"]),
        logins: per_s(&["logins"]),
        logins_failed: per_s(&["logins_failed"]),
        bytes_in: per_s(&["bytes_in"]),
        bytes_out: per_s(&["bytes_out"]),
        syncs: ratio(syncs, seconds),
        messages_per_sync: ratio(counted("messages_stored"), syncs),
        written: ratio(of_store(|status| status.store.written_bytes), seconds),
        cpu_percent: ratio(cpu * 100.0, seconds * now.load.cores as f64),
        stalled_percent: ratio(of_store(|status| status.load.stalled_us) / 1e4, seconds),
        slow: per_s(&["slow_committed", "slow_written"]),
        refused: ratio(of_store(|s| s.overload.refused_connections + s.overload.refused_memory), seconds),
        writes_refused: ratio(of_store(|status| status.overload.writes_refused), seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;

    fn at(now_ms: u64, stored: u64, cpu_s: f64) -> Status {
        let mut status = status();
        status.now_ms = now_ms;
        status.counters = [("messages_stored".to_owned(), stored), ("logins".to_owned(), 3)].into();
        (status.load.cpu_s, status.load.cores, status.store.syncs) = (cpu_s, 2, stored / 10);
        status
    }

    #[test]
    fn rates_are_of_the_last_interval() {
        let mut samples = Samples::default();
        assert_eq!((samples.rates(), samples.last()), (Rates::default(), None));
        samples.add(at(1_000, 500, 1.0));
        assert_eq!(samples.rates(), Rates::default(), "one answer is no interval");
        samples.add(at(3_000, 700, 2.0));
        let rates = samples.rates();
        assert_eq!((rates.messages, rates.syncs, rates.messages_per_sync), (100.0, 10.0, 10.0));
        assert_eq!((rates.cpu_percent, rates.logins), (25.0, 0.0));
        assert_eq!(samples.messages, [100]);
    }

    #[test]
    fn a_daemon_that_started_anew_has_no_rates_yet() {
        let mut samples = Samples::default();
        samples.add(at(1_000, 500, 1.0));
        samples.add(at(2_000, 600, 2.0));
        let mut anew = at(3_000, 10, 0.1);
        anew.pid += 1;
        samples.add(anew);
        assert_eq!((samples.rates(), samples.messages.len()), (Rates::default(), 1));
        samples.add({
            let mut next = at(4_000, 30, 0.1);
            next.pid += 1;
            next
        });
        assert_eq!(samples.rates().messages, 20.0);
    }

    #[test]
    fn latencies_are_of_the_last_ten_intervals() {
        let mut samples = Samples::default();
        for n in 0..30u64 {
            let mut status = at(n * 1_000, 0, 0.0);
            status.load.commit = Buckets { bounds_us: vec![1_000, 2_000], counts: vec![n, n, 0] };
            samples.add(status);
        }
        let latency = samples.latency(|status| &status.load.commit);
        assert_eq!((latency.p50_us, latency.p99_us), (Some(1_000), Some(1_980)));
        assert_eq!((samples.kept.len(), samples.seconds()), (KEPT_MAX, 10.0));
    }
}
