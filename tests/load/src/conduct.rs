//! Who decides how much load the next phase brings. Most scenarios know it from the start; a ramp decides by
//! what the last step came to.

use crate::link::Order;
use crate::options::Scenario;
use crate::output::Phase;

/// Decides.
#[derive(Debug)]
pub(crate) enum Conductor {
    /// Every phase runs as its options say.
    Plain,
}

impl Conductor {
    pub(crate) fn new(_scenario: &Scenario) -> Self {
        Self::Plain
    }

    /// For the phase that is about to begin.
    pub(crate) fn order(&mut self) -> Order {
        match self {
            Self::Plain => Order::Go,
        }
    }

    /// Looks at a phase that is over, and may add to it.
    pub(crate) fn judge(&mut self, _phase: &mut Phase) {}

    /// What a person should read after the last phase's line.
    pub(crate) fn remarks(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// True if things may go wrong in this scenario: it looks for the point where they do.
    pub(crate) fn tolerates(&self) -> bool {
        false
    }
}
