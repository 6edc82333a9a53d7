//! One pair of a chat: what was sent, what arrived, and what is wrong with that.

use std::collections::VecDeque;

/// A numbered stream of messages from one account to another.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) sent: u64,
    /// Distinct messages that arrived.
    pub(crate) arrived: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    /// One bit per message that arrived.
    seen: Vec<u64>,
    /// The highest number that arrived, plus one.
    high: u64,
    /// SM numbers and send times (µs) of what is not acknowledged.
    pub(crate) unacked: VecDeque<(u32, u64)>,
    pub(crate) dead: bool,
}

impl Pair {
    /// Takes note of an arrival; true if it is the first of this message.
    pub(crate) fn arrive(&mut self, n: u64) -> bool {
        let Ok(word) = usize::try_from(n / 64) else { return false };
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let Some(bits) = self.seen.get_mut(word) else { return false };
        if *bits & (1 << (n % 64)) != 0 {
            self.duplicated += 1;
            return false;
        }
        *bits |= 1 << (n % 64);
        self.arrived += 1;
        if n < self.high {
            self.out_of_order += 1;
        }
        self.high = self.high.max(n + 1);
        true
    }

    /// Messages on their way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::Pair;

    #[test]
    fn duplicates_and_disorder_are_seen() {
        let mut pair = Pair { sent: 70, ..Pair::default() };
        assert!(pair.arrive(0) && pair.arrive(2) && pair.arrive(1) && pair.arrive(65));
        assert!(!pair.arrive(65));
        assert_eq!((pair.arrived, pair.duplicated, pair.out_of_order, pair.in_flight()), (4, 1, 1, 66));
    }
}
