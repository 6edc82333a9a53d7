//! What a run keeps for its report: the ledger, the coverage, and the last events in words if they are
//! wanted.
use super::coverage::{Coverage, Point};
use super::ledger::Ledger;
use std::collections::VecDeque;

/// Events kept.
const EVENTS_MAX: usize = 20_000;
/// Characters of one event.
const CHARS_MAX: usize = 2_000;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Notes {
    /// What happened between clients and server.
    pub ledger: Ledger,
    /// What was met.
    pub coverage: Coverage,
    /// Moves so far.
    pub step: u64,
    /// The time.
    pub now: u64,
    /// The last events, oldest first; `None`: not wanted.
    pub events: Option<VecDeque<String>>,
}

impl Notes {
    /// It happened.
    pub fn hit(&mut self, point: Point) {
        self.coverage.hit(point);
        self.say(|| format!("* {}", point.text()));
    }

    /// An event.
    pub fn say(&mut self, what: impl FnOnce() -> String) {
        let (step, now) = (self.step, self.now);
        // What comes after the failure is of no interest.
        let Some(events) = self.events.as_mut().filter(|_| self.ledger.failure.is_none()) else { return };
        if events.len() >= EVENTS_MAX {
            events.pop_front();
        }
        let what: String = what().chars().take(CHARS_MAX).collect();
        events.push_back(format!("{step:>6} {now:>8} {what}"));
    }

    /// Something that must not happen.
    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        self.ledger.fail(what);
    }
}
