//! Gives out sequence numbers: strictly increasing over restarts, failed rounds and clock jumps.
//!
//! `next = max(now << 16, last + 1)`. When the clock stands still or goes back, the counter part runs on into
//! the following milliseconds; when the clock catches up, numbers follow it again. A number is never given
//! out twice, not even that of a round which failed: what a failed write left in the log may reappear after a
//! crash.

use crate::Seq;

/// The sequencer of one store; owned by whoever builds batches.
#[derive(Debug)]
pub(crate) struct Sequencer {
    last: Seq,
    /// A round was not written since the last one that was.
    failed: bool,
}

impl Sequencer {
    /// Goes on after the last committed number.
    pub(crate) fn after(head: Seq) -> Sequencer {
        Sequencer { last: head, failed: false }
    }

    /// A round was written, or not.
    pub(crate) fn wrote(&mut self, ok: bool) {
        self.failed = !ok;
    }

    /// No round was written since one that was not.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// The number that marks the end of a time in which rounds failed, if this round is to do that.
    pub(crate) fn gap(&mut self, now_ms: u64) -> Option<Seq> {
        if self.failed { self.next(now_ms) } else { None }
    }

    /// The next number at a time in milliseconds since 1970; `None` when there is none left.
    pub(crate) fn next(&mut self, now_ms: u64) -> Option<Seq> {
        let follows = Seq(self.last.0.checked_add(1)?);
        self.last = follows.max(Seq::at(now_ms));
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_clock_and_counts_within_a_millisecond() {
        let mut sequencer = Sequencer::after(Seq(0));
        assert_eq!(sequencer.next(1000), Some(Seq(1000 << 16)));
        assert_eq!(sequencer.next(1000), Some(Seq((1000 << 16) + 1)));
        assert_eq!(sequencer.next(1001), Some(Seq(1001 << 16)));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_numbers_back() {
        let mut sequencer = Sequencer::after(Seq::at(5000));
        assert_eq!(sequencer.next(10), Some(Seq((5000 << 16) + 1)));
    }

    #[test]
    fn a_full_counter_runs_into_the_next_millisecond() {
        let mut sequencer = Sequencer::after(Seq((7 << 16) | 0xffff));
        let next = sequencer.next(7).unwrap();
        assert_eq!((next, next.millis()), (Seq(8 << 16), 8));
    }

    #[test]
    fn the_end_of_numbers_is_said_not_wrapped() {
        assert_eq!(Sequencer::after(Seq::MAX).next(1), None);
    }
}
