//! What the log lines of a shard share: how a connection is named, and how often a line may repeat.
use godwit_session::{ConnId, Millis};
use std::fmt;

const BETWEEN_MS: Millis = 60_000;

/// A connection as logs name it: slot and generation.
pub(crate) struct Named(pub(crate) ConnId);
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.slot, self.0.generation)
    }
}

/// A line that anybody outside can cause: at most one a minute.
#[derive(Default)]
pub(crate) struct Seldom {
    last: Option<Millis>,
    held_back: u64,
}
impl Seldom {
    /// Something happened: `Some` if it may be logged, with how many times it happened since the line before.
    pub(crate) fn due(&mut self, now: Millis) -> Option<u64> {
        self.held_back += 1;
        if self.last.is_some_and(|last| now.saturating_sub(last) < BETWEEN_MS) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_counts_the_others() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.due(1_000), Some(1));
        assert_eq!(seldom.due(2_000), None);
        assert_eq!(seldom.due(60_999), None);
        assert_eq!(seldom.due(61_000), Some(3));
    }
}
