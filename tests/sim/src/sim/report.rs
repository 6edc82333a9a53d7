//! Many seeds on all cores, and what came of them in words.
use super::coverage::{Coverage, Point};
use super::run::run;
use super::template::Template;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Failures shown.
const FAILURES_SHOWN_MAX: usize = 20;

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were played.
    pub seeds: u64,
    /// Moves in all.
    pub moves: u64,
    /// By seed, what must not happen and did.
    pub failures: BTreeMap<u64, String>,
    /// What was met.
    pub coverage: Coverage,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// What no seed has met.
    pub fn unmet(&self) -> Vec<Point> {
        self.coverage.each().filter(|(_, count)| *count == 0).map(|(point, _)| point).collect()
    }

    fn pace(&self) -> f64 {
        self.seeds as f64 / self.took.as_secs_f64().max(0.001)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (point, count) in self.coverage.each() {
            writeln!(f, "{count:>10}  {}", point.text())?;
        }
        for (seed, failure) in self.failures.iter().take(FAILURES_SHOWN_MAX) {
            writeln!(f, "seed {seed}: {failure}\n    play it again: make sim-seed SEED={seed}")?;
        }
        let (seeds, moves, failed) = (self.seeds, self.moves, self.failures.len());
        let took = self.took.as_secs_f64();
        write!(f, "{seeds} seeds, {moves} moves in {took:.1} s, {:.0} seeds/s: {failed} failed", self.pace())
    }
}

/// Plays `count` seeds from `first` on. `tell` gets lines of progress.
pub fn many(first: u64, count: u64, tell: &mut dyn FnMut(String)) -> Report {
    many_until(first, count, &|_| false, tell)
}

/// The same, but no further seed is begun once one has failed in a way that is enough.
#[allow(clippy::disallowed_methods, reason = "the time is shown, and decides nothing")]
pub fn many_until(
    first: u64,
    count: u64,
    enough: &dyn Fn(&str) -> bool,
    tell: &mut dyn FnMut(String),
) -> Report {
    let began = Instant::now();
    let template = Template::default();
    let (next, end) = (AtomicU64::new(first), first.saturating_add(count));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report::default();
    quiet();
    thread::scope(|scope| {
        let (done, outcomes) = mpsc::channel();
        for _ in 0..cores {
            let (done, next, template) = (done.clone(), &next, &template);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || done.send((seed, run(seed, template, false))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut told = began;
        for (seed, outcome) in outcomes {
            report.seeds += 1;
            report.moves += outcome.moves;
            report.coverage.add(&outcome.coverage);
            if let Some(failure) = outcome.failure {
                if enough(&failure) {
                    next.store(end, Ordering::Relaxed);
                }
                if report.failures.len() < FAILURES_SHOWN_MAX {
                    tell(format!("seed {seed} failed: {failure}"));
                }
                report.failures.insert(seed, failure);
            }
            report.took = began.elapsed();
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let failed = report.failures.len();
                tell(format!(
                    "{} of {count} seeds, {:.0} a second, {failed} failed",
                    report.seeds,
                    report.pace()
                ));
            }
        }
    });
    report.took = began.elapsed();
    report
}

/// A panic within a run is its failure, told with its seed, and not where it happens.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}
