//! What is counted in a phase: counts by name, latencies, and a series of seconds. Workers make it, the
//! coordinator adds it up.
//!
//! Latencies are microseconds, three digits, up to ten minutes. Open-loop scenarios record from the moment a
//! message was *due*, so a stall counts for everything that was due in it, and there is no coordinated
//! omission to correct afterwards; what never arrived is recorded as old as it is when the phase gives it up.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Latencies longer than this are recorded as this, µs.
const LATENCY_MAX: u64 = 600_000_000;
/// Seconds of a series at most; a longer phase goes on in the last one.
const SECONDS_MAX: usize = 86_400;

/// Latencies, µs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", from = "Vec<(u64, u64)>")]
pub(crate) struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let made = Histogram::new_with_bounds(1, LATENCY_MAX, 3);
        Self(made.unwrap_or_else(|e| unreachable!("the bounds are constants and good: {e}")))
    }
}

impl Latency {
    pub(crate) fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, which is the only reason to fail.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that this share of all lies at or below; 0 without any.
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(q) }
    }

    /// For people, milliseconds.
    pub(crate) fn human(&self) -> String {
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let ms = |q: f64| self.quantile(q) as f64 / 1000.0;
        format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(0.5), ms(0.99), ms(1.0))
    }

    /// For machines, µs.
    pub(crate) fn json(&self) -> Value {
        let us = |q: f64| self.quantile(q);
        json!({"p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "p999": us(0.999), "max": us(1.0),
            "mean": (self.0.mean() * 10.0).round() / 10.0, "count": self.count(), "buckets": self.buckets()})
    }

    /// From, to and count of buckets that are each half as wide again as the one before.
    fn buckets(&self) -> Vec<(u64, u64, u64)> {
        let mut from = 0;
        let buckets = self.0.iter_log(10, 1.5).map(|bucket| {
            let to = bucket.value_iterated_to() + 1;
            (std::mem::replace(&mut from, to), to, bucket.count_since_last_iteration())
        });
        buckets.skip_while(|(_, _, count)| *count == 0).collect()
    }
}

impl From<Latency> for Vec<(u64, u64)> {
    fn from(latency: Latency) -> Self {
        latency.0.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect()
    }
}

impl From<Vec<(u64, u64)>> for Latency {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut latency = Self::default();
        pairs.into_iter().for_each(|(value, count)| latency.0.saturating_record_n(value, count));
        latency
    }
}

/// One second of a phase.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Units of work done.
    pub(crate) done: u64,
    /// What went wrong.
    pub(crate) wrong: u64,
    /// Latencies recorded in it, as pairs of value and count.
    pub(crate) latency: Vec<(u64, u64)>,
}

/// The seconds of a phase so far.
#[derive(Debug, Default)]
struct Running {
    past: Vec<Second>,
    done: u64,
    wrong: u64,
    latency: Latency,
}

/// What one worker did in a phase, or all of them together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// What a unit of work is called.
    pub(crate) unit: String,
    /// How many were done while measuring.
    pub(crate) units: u64,
    /// How long that took, seconds.
    pub(crate) seconds: f64,
    /// Sessions that were up.
    pub(crate) sessions: u64,
    /// Resident bytes of the workers when the measured part ended.
    #[serde(default)]
    pub(crate) rss: u64,
    /// Everything else that was counted.
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) latency: BTreeMap<String, Latency>,
    pub(crate) series: Vec<Second>,
    /// The last thing that went wrong.
    pub(crate) error: Option<String>,
}

/// Counts that must be zero in a run that went well.
pub(crate) const WRONG: [&str; 6] = ["lost", "duplicated", "out_of_order", "errors", "failed", "dropped"];

impl Tally {
    /// Adds to a count.
    pub(crate) fn count(&mut self, name: &str, n: u64) {
        *self.counts.entry(name.to_owned()).or_default() += n;
    }

    /// A count; 0 if nothing was counted.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Everything that should not have happened.
    pub(crate) fn wrong(&self) -> u64 {
        WRONG.iter().map(|name| self.get(name)).sum()
    }

    /// Units per second.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn per_second(&self) -> f64 {
        self.units as f64 / self.seconds.max(1e-9)
    }

    /// Adds another worker's share of the same phase, which ran at the same time.
    pub(crate) fn merge(&mut self, other: Self) {
        self.unit = other.unit;
        self.units += other.units;
        self.seconds = self.seconds.max(other.seconds);
        self.sessions += other.sessions;
        self.rss += other.rss;
        for (name, n) in &other.counts {
            self.count(name, *n);
        }
        for (name, latency) in &other.latency {
            self.latency.entry(name.clone()).or_default().add(latency);
        }
        if self.series.len() < other.series.len() {
            self.series.resize_with(other.series.len(), Second::default);
        }
        for (second, from) in self.series.iter_mut().zip(other.series) {
            second.done += from.done;
            second.wrong += from.wrong;
            let mut both = Latency::from(std::mem::take(&mut second.latency));
            both.add(&Latency::from(from.latency));
            second.latency = both.into();
        }
        self.error = other.error.or(self.error.take());
    }
}

/// Fills a [`Tally`] as things happen.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) tally: Tally,
    begin: u64,
    running: Running,
    /// The name of the latency that the series shows.
    main: &'static str,
}

impl Recorder {
    /// Starts a phase at `begin` (µs). The series shows the latency named `main`.
    pub(crate) fn new(unit: &str, main: &'static str, begin: u64) -> Self {
        let tally = Tally { unit: unit.into(), ..Tally::default() };
        Self { tally, begin, running: Running::default(), main }
    }

    /// The phase begins now; what went wrong before stays counted.
    pub(crate) fn restart(&mut self, begin: u64) {
        self.begin = begin;
        self.running = Running::default();
    }

    /// Microseconds since the phase began.
    pub(crate) fn elapsed(&self, at: u64) -> u64 {
        at.saturating_sub(self.begin)
    }

    fn roll(&mut self, at: u64) {
        let second = usize::try_from(self.elapsed(at) / 1_000_000).unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
        while self.running.past.len() < second {
            let run = &mut self.running;
            let latency = std::mem::take(&mut run.latency).into();
            run.past.push(Second { done: run.done, wrong: run.wrong, latency });
            (run.done, run.wrong) = (0, 0);
        }
    }

    /// A unit of work is done, `micros` after it was due.
    pub(crate) fn done(&mut self, at: u64, micros: u64) {
        self.done_apart(at, self.main, micros);
        self.running.latency.record(micros);
    }

    /// The same with a latency that is no part of the main one.
    pub(crate) fn done_apart(&mut self, at: u64, name: &str, micros: u64) {
        self.tally.units += 1;
        self.latency(name, micros);
        self.roll(at);
        self.running.done += 1;
    }

    /// Another latency.
    pub(crate) fn latency(&mut self, name: &str, micros: u64) {
        if let Some(latency) = self.tally.latency.get_mut(name) {
            latency.record(micros);
        } else {
            self.tally.latency.entry(name.to_owned()).or_default().record(micros);
        }
    }

    /// Something went wrong.
    pub(crate) fn wrong(&mut self, name: &str, at: u64, error: Option<String>) {
        self.tally.count(name, 1);
        self.roll(at);
        self.running.wrong += 1;
        self.tally.error = error.or(self.tally.error.take());
    }

    /// The measured part is over.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn stop(&mut self, at: u64) {
        self.tally.seconds = self.elapsed(at) as f64 / 1e6;
        self.tally.rss = crate::server::own_rss();
        self.roll(at);
    }

    /// The phase is over.
    pub(crate) fn finish(mut self) -> Tally {
        self.tally.series = self.running.past;
        self.tally
    }
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
