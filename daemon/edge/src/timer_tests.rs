//! The wheel against a sorted list.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A wheel and what it must do: keys by tick.
struct Pair {
    wheel: Wheel,
    model: BTreeMap<Tick, Vec<u32>>,
    now: Millis,
}
impl Pair {
    fn new(now: Millis) -> Pair {
        Pair { wheel: Wheel::new(now), model: BTreeMap::new(), now }
    }

    fn set(&mut self, key: u32, ms: Millis) {
        let tick = self.wheel.set(key, self.wheel.tick(self.now + ms));
        self.model.entry(tick).or_default().push(key);
    }

    fn advance(&mut self, ms: Millis) {
        self.now += ms;
        let mut fired: BTreeMap<Tick, Vec<u32>> = BTreeMap::new();
        let mut last = 0;
        self.wheel.advance(self.now, |key, tick| {
            assert!(tick >= last, "in order");
            last = tick;
            fired.entry(tick).or_default().push(key);
        });
        let now = self.now;
        let mut due = BTreeMap::new();
        while let Some(entry) = self.model.first_entry()
            && self.wheel.millis(*entry.key()) <= now
        {
            let (tick, keys) = entry.remove_entry();
            due.insert(tick, keys);
        }
        for keys in fired.values_mut().chain(due.values_mut()) {
            keys.sort_unstable();
        }
        assert_eq!(fired, due);
        // Sleeping until `next` is never too long, and never for ever.
        if let Some(first) = self.model.keys().next() {
            let next = self.wheel.next().expect("something to do");
            assert!(next > now && next <= self.wheel.millis(*first));
        } else {
            assert_eq!(self.wheel.next(), None);
        }
    }
}

proptest! {
    #[test]
    fn fires_as_a_sorted_list_would(
        start in 0_u64..5_000_000_000,
        steps in prop::collection::vec((0_u64..40, 0_u32..24, 0_u32..26), 1..200),
    ) {
        let mut pair = Pair::new(start);
        for (at, (scale, set, advance)) in (0..).zip(steps) {
            pair.set(at, (1_u64 << set) + scale * 97);
            if at % 3 == 2 {
                pair.advance((1_u64 << advance) + scale);
            }
        }
        pair.advance(1 << 40);
    }
}

#[test]
fn a_deadline_never_fires_early_and_at_most_one_tick_late() {
    for ms in 0..3_000 {
        let mut wheel = Wheel::new(1_000_000);
        wheel.set(7, wheel.tick(1_000_000 + ms));
        let mut at = 1_000_000;
        let mut fired = false;
        while !fired {
            at += 10;
            wheel.advance(at, |_, _| fired = true);
        }
        assert!(at >= 1_000_000 + ms && at <= 1_000_000 + ms + 2 * TICK_MS, "{ms} fired at {at}");
    }
}

#[test]
fn what_has_passed_fires_at_the_next_tick() {
    let mut pair = Pair::new(50_000);
    pair.advance(60_000);
    let tick = pair.wheel.set(1, 3);
    assert_eq!(tick, pair.wheel.soonest());
    pair.model.entry(tick).or_default().push(1);
    pair.advance(2 * TICK_MS);
    assert!(pair.model.is_empty());
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<Entry>(), 8);
}
