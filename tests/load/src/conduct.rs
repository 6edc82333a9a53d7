//! Who decides how much load the next phase brings. Most scenarios know it from the start; a ramp decides by
//! what the last step came to.

use serde_json::{Value, json};

use crate::link::Order;
use crate::options::{Ramp, Scenario};
use crate::output::Phase;
use crate::saturation;

/// Of what was offered, so much must have arrived in time for a step to be good.
const ARRIVED_MIN: f64 = 0.95;
/// After an overload the server gets so much of its knee, to see how it recovers.
const RECOVERY: f64 = 0.5;

/// Decides.
#[derive(Debug)]
pub(crate) enum Conductor {
    /// Every phase runs as its options say.
    Plain,
    /// Looks for the knee.
    Ramp(Box<Search>),
}

impl Conductor {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        match scenario {
            Scenario::Ramp(options) => Self::Ramp(Box::new(Search::new(options))),
            _ => Self::Plain,
        }
    }

    /// For the phase that is about to begin, and its name if it has another than the workers gave it.
    pub(crate) fn order(&mut self, phase: &str) -> (Order, Option<String>) {
        match self {
            Self::Ramp(search) if phase == "ramp.settle" => search.order(),
            _ => (Order::Go, None),
        }
    }

    /// Looks at a phase that is over, and may add to it.
    pub(crate) fn judge(&mut self, phase: &mut Phase) {
        if let Self::Ramp(search) = self {
            search.judge(phase);
        }
    }

    /// What a person should read after the last phase's line.
    pub(crate) fn remarks(&mut self) -> Vec<String> {
        match self {
            Self::Ramp(search) => std::mem::take(&mut search.remarks),
            Self::Plain => Vec::new(),
        }
    }

    /// True if what went wrong in this phase is no failure: it looks for the point where things break.
    pub(crate) fn tolerates(&self, phase: &Phase) -> bool {
        matches!(self, Self::Ramp(_)) && phase.offered.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Each step offers more.
    Up,
    /// Between a good and a bad one.
    Between {
        left: u32,
    },
    Overload,
    Recovery,
    Settle,
}

/// What a good step came to.
#[derive(Debug, Clone, Default)]
struct Knee {
    rate: f64,
    p99: u64,
    service_p99: u64,
    /// By the server: from when it read a message. `Null` if it was not asked.
    admitted_p99: Value,
}

/// The search for the knee.
#[derive(Debug)]
pub(crate) struct Search {
    stage: Stage,
    rate: f64,
    steps: u32,
    good: Option<Knee>,
    bad: Option<f64>,
    /// What was full at the first step that broke.
    saturated: Vec<String>,
    overload: Value,
    remarks: Vec<String>,
    options: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    factor: f64,
    step: f64,
    steps_max: u32,
    refine: u32,
    p99_max: u64,
    overload: Option<f64>,
    overload_seconds: f64,
}

impl Search {
    fn new(options: &Ramp) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds")]
        let p99_max = (options.p99_max.max(0.0) * 1000.0) as u64;
        let limits = Limits {
            factor: options.factor.max(1.01),
            step: options.step.max(0.5),
            steps_max: options.steps_max.max(1),
            refine: options.refine,
            p99_max,
            overload: options.overload,
            overload_seconds: options.overload_seconds.max(0.5),
        };
        let (rate, steps_max) = match options.knee {
            // One step at the knee, to compare with.
            Some(knee) => (knee, 1),
            None => (options.from, limits.steps_max),
        };
        Self {
            stage: Stage::Up,
            rate: rate.max(1.0),
            steps: 0,
            good: None,
            bad: None,
            saturated: Vec::new(),
            overload: Value::Null,
            remarks: Vec::new(),
            options: Limits { steps_max, ..limits },
        }
    }

    fn order(&self) -> (Order, Option<String>) {
        let load = |seconds| Order::Load { rate: self.rate, seconds };
        match self.stage {
            Stage::Up | Stage::Between { .. } => {
                (load(self.options.step), Some(format!("ramp.{}", self.steps + 1)))
            }
            Stage::Overload => (load(self.options.overload_seconds), Some("ramp.overload".into())),
            Stage::Recovery => (load(self.options.step), Some("ramp.recovery".into())),
            Stage::Settle => (Order::Go, None),
        }
    }

    fn judge(&mut self, phase: &mut Phase) {
        let Some(offered) = phase.offered else {
            if phase.name == "ramp.settle" {
                self.sum_up(phase);
            }
            return;
        };
        let why = self.trouble(phase, offered);
        let full = saturation::of(phase);
        phase.extra.insert("step".into(), json!({"good": why.is_none(), "why": why, "saturated": full}));
        let p99 = |name: &str| phase.tally.latency.get(name).map_or(0, |l| l.quantile(0.99));
        let admitted_p99 = phase.status.pointer("/delivery_us/p99").cloned().unwrap_or_default();
        let measured =
            Knee { rate: offered, p99: p99("delivery"), service_p99: p99("service"), admitted_p99 };
        match self.stage {
            Stage::Up | Stage::Between { .. } => {
                if let Some(why) = &why {
                    self.remarks
                        .push(format!("  breaks at {offered:.0}/s: {why}; full: {}", full.join("; ")));
                    if self.bad.is_none_or(|bad| offered < bad) {
                        self.bad = Some(offered);
                        self.saturated = full;
                    }
                } else if self.good.as_ref().is_none_or(|good| good.rate < offered) {
                    self.good = Some(measured);
                }
                self.steps += 1;
                self.next();
            }
            Stage::Overload => {
                self.overload = json!({
                    "offered_per_second": offered,
                    "delivered_per_second": phase.tally.per_second(),
                    "service_p99_us": measured.service_p99,
                    "delivery_p99_us": measured.p99,
                    "admitted_p99_us": measured.admitted_p99,
                    "rss_max": phase.readings.iter().map(|r| r.sample.rss).max(),
                });
                self.stage = Stage::Recovery;
                self.rate = self.knee().rate * RECOVERY;
            }
            Stage::Recovery => {
                if let Some(object) = self.overload.as_object_mut() {
                    object.insert("recovered".into(), why.is_none().into());
                    object.insert("recovery_p99_us".into(), measured.p99.into());
                }
                self.stage = Stage::Settle;
            }
            Stage::Settle => {}
        }
    }

    /// What makes this step a bad one.
    fn trouble(&self, phase: &Phase, offered: f64) -> Option<String> {
        let tally = &phase.tally;
        let p99 = tally.latency.get("delivery").map_or(0, |l| l.quantile(0.99));
        if tally.wrong() + tally.get("late") + tally.get("disconnected") > 0 {
            let error = tally.error.as_deref().unwrap_or("late, wrong or disconnected");
            return Some(format!(
                "{} late, {} wrong, {} disconnected ({error})",
                tally.get("late"),
                tally.wrong(),
                tally.get("disconnected")
            ));
        }
        if p99 > self.options.p99_max {
            let ms = |us: u64| us / 1000;
            return Some(format!("p99 {} ms, {} ms are allowed", ms(p99), ms(self.options.p99_max)));
        }
        let share = tally.per_second() / offered;
        (share < ARRIVED_MIN).then(|| format!("{:.0}% of what was offered arrived in time", share * 100.0))
    }

    fn next(&mut self) {
        let between = |good: f64, bad: f64| (good * bad).sqrt();
        let (good, bad) = (self.good.as_ref().map(|g| g.rate), self.bad);
        self.stage = match (self.stage, good, bad) {
            (Stage::Up, _, None) if self.steps < self.options.steps_max => {
                self.rate *= self.options.factor;
                Stage::Up
            }
            (Stage::Up, Some(good), Some(bad)) if self.options.refine > 0 => {
                self.rate = between(good, bad);
                Stage::Between { left: self.options.refine - 1 }
            }
            (Stage::Between { left: 1.. }, Some(good), Some(bad)) => {
                self.rate = between(good, bad);
                Stage::Between { left: self.left() - 1 }
            }
            _ => match (self.options.overload, &self.good) {
                (Some(factor), Some(good)) => {
                    self.rate = good.rate * factor;
                    Stage::Overload
                }
                _ => Stage::Settle,
            },
        };
    }

    fn left(&self) -> u32 {
        if let Stage::Between { left } = self.stage { left } else { 0 }
    }

    fn knee(&self) -> Knee {
        self.good.clone().unwrap_or_default()
    }

    fn sum_up(&mut self, phase: &mut Phase) {
        let knee = self.knee();
        let found = self.good.is_some() && self.bad.is_some();
        phase.extra.insert(
            "ramp".into(),
            json!({"knee_per_second": self.good.as_ref().map(|g| g.rate), "knee_p99_us": knee.p99,
                "knee_service_p99_us": knee.service_p99, "knee_admitted_p99_us": knee.admitted_p99,
                "breaks_at_per_second": self.bad, "found": found,
                "saturated": self.saturated, "overload": self.overload}),
        );
        self.remarks.push(match (&self.good, self.bad) {
            (Some(good), Some(bad)) => format!(
                "knee: {:.0} messages/s with p99 {:.1} ms; {bad:.0}/s break it; full: {}",
                good.rate,
                ms(good.p99),
                self.saturated.join("; ")
            ),
            (Some(good), None) => {
                format!("no knee up to {:.0} messages/s, p99 {:.1} ms", good.rate, ms(good.p99))
            }
            (None, _) => "no step was good: begin lower (--from) or allow more (--p99-max)".into(),
        });
        if !self.overload.is_null() {
            self.remarks.push(format!("overload: {}", self.overload));
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
#[path = "conduct_tests.rs"]
mod tests;
