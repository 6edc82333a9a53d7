//! Deadlines of a shard's connections: a hierarchical timer wheel of ticks of 100 ms.
//!
//! An entry is a key and its tick, 8 bytes, in the list of its bucket; setting one and letting it fire are
//! O(1). Nothing is ever cancelled: the owner of a key remembers for which tick it is armed and what it
//! really waits for, and looks again when the entry fires. A deadline that moves away, as a connection's does
//! with each stanza, therefore costs nothing.
//!
//! Level 0 has a bucket per tick for the current round of 256 ticks (25.6 s); a bucket of level n spans 256^n
//! ticks and is spread over the level below when its time begins. Three levels reach 19 days; what is due
//! later waits in the last bucket and is put back from there.
use godwit_session::Millis;

/// Length of a tick.
pub const TICK_MS: Millis = 100;

const BITS: u32 = 8;
const BUCKETS: usize = 1 << BITS;
const LEVELS: u32 = 3;
/// Furthest a single entry can be placed ahead.
const REACH: u32 = (1 << (BITS * LEVELS)) - 1;
/// A bucket's memory is kept for its next round up to so many entries.
const KEPT_MAX: usize = 64;

/// Ticks since shortly before the wheel began. Never 0 for a deadline, so that 0 can say "none".
pub type Tick = u32;

#[derive(Clone, Copy)]
struct Entry {
    key: u32,
    tick: Tick,
}

struct Level {
    buckets: Box<[Vec<Entry>]>,
    filled: [u64; BUCKETS / 64],
}
impl Level {
    fn new() -> Level {
        Level { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), filled: [0; BUCKETS / 64] }
    }

    fn push(&mut self, bucket: usize, entry: Entry) {
        self.buckets[bucket].push(entry);
        self.filled[bucket / 64] |= 1 << (bucket % 64);
    }

    fn take(&mut self, bucket: usize) -> Vec<Entry> {
        self.filled[bucket / 64] &= !(1 << (bucket % 64));
        std::mem::take(&mut self.buckets[bucket])
    }

    fn give_back(&mut self, bucket: usize, mut list: Vec<Entry>) {
        if self.buckets[bucket].capacity() == 0 && list.capacity() <= KEPT_MAX {
            list.clear();
            self.buckets[bucket] = list;
        }
    }

    /// First filled bucket at `from` or after it.
    fn first(&self, from: usize) -> Option<usize> {
        let mut at = from;
        while at < BUCKETS {
            let word = self.filled[at / 64] >> (at % 64);
            if word != 0 {
                return Some(at + word.trailing_zeros() as usize);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

/// The wheel.
pub struct Wheel {
    levels: [Level; LEVELS as usize],
    base: Millis,
    now: Tick,
}
impl Wheel {
    /// An empty wheel that begins now.
    pub fn new(now: Millis) -> Wheel {
        Wheel { levels: std::array::from_fn(|_| Level::new()), base: now.saturating_sub(TICK_MS), now: 1 }
    }

    /// The first tick at which `at` has come.
    pub fn tick(&self, at: Millis) -> Tick {
        let ticks = at.saturating_sub(self.base).div_ceil(TICK_MS);
        Tick::try_from(ticks).unwrap_or(Tick::MAX).max(1)
    }

    /// When a tick comes, in ms.
    pub fn millis(&self, tick: Tick) -> Millis {
        self.base + Millis::from(tick) * TICK_MS
    }

    /// The first tick at which anything can fire.
    pub fn soonest(&self) -> Tick {
        self.now.saturating_add(1)
    }

    /// Lets `key` fire at `tick`, or at the next one if that has passed. Returns the tick it will fire at.
    pub fn set(&mut self, key: u32, tick: Tick) -> Tick {
        let tick = tick.max(self.soonest());
        self.place(Entry { key, tick });
        tick
    }

    fn place(&mut self, entry: Entry) {
        // Beyond the reach the entry waits as far out as possible and is placed again from there.
        let tick = entry.tick.min(self.now.saturating_add(REACH));
        // The level whose bucket is not the current one: the highest digit in which the two ticks differ.
        let differs = tick ^ self.now;
        let level = (0..LEVELS).rev().find(|level| differs >> (BITS * level) != 0).unwrap_or(0);
        let level = level.min(LEVELS - 1);
        let bucket = (tick >> (BITS * level)) as usize % BUCKETS;
        self.levels[level as usize].push(bucket, entry);
    }

    /// Moves on to `now` and calls `fire` with each key that has come due and the tick it was set for.
    pub fn advance(&mut self, now: Millis, mut fire: impl FnMut(u32, Tick)) {
        let target = Tick::try_from(now.saturating_sub(self.base) / TICK_MS).unwrap_or(Tick::MAX);
        while let Some(next) = self.next_tick()
            && next <= target
        {
            self.now = next;
            self.spread();
            let bucket = self.now as usize % BUCKETS;
            let mut due = self.levels[0].take(bucket);
            for entry in due.drain(..) {
                if entry.tick <= self.now { fire(entry.key, entry.tick) } else { self.place(entry) }
            }
            self.levels[0].give_back(bucket, due);
        }
        self.now = self.now.max(target);
    }

    /// Where a round of a lower level begins, the bucket of the level above is spread over it.
    fn spread(&mut self) {
        for level in (1..LEVELS).rev() {
            let span = BITS * level;
            if self.now.trailing_zeros() >= span {
                let bucket = (self.now >> span) as usize % BUCKETS;
                for entry in self.levels[level as usize].take(bucket) {
                    self.place(entry);
                }
            }
        }
    }

    /// The next tick at which there is something to do: to fire, or to spread a bucket. Never late.
    fn next_tick(&self) -> Option<Tick> {
        let mut next: Option<Tick> = None;
        for (level, buckets) in (0..LEVELS).zip(&self.levels) {
            let span = BITS * level;
            let digit = (self.now >> span) as usize % BUCKETS;
            let round = u64::from(self.now >> span) - digit as u64;
            // Buckets at or before the current digit belong to the next round.
            let found = match buckets.first(digit + 1) {
                Some(bucket) => Some(round + bucket as u64),
                None => buckets.first(0).map(|bucket| round + (BUCKETS + bucket) as u64),
            };
            if let Some(found) = found {
                let tick = Tick::try_from(found << span).unwrap_or(Tick::MAX);
                next = Some(next.map_or(tick, |next| next.min(tick)));
            }
        }
        next
    }

    /// When [`Wheel::advance`] has something to do next.
    pub fn next(&self) -> Option<Millis> {
        self.next_tick().map(|tick| self.millis(tick))
    }
}

#[cfg(test)]
#[path = "timer_tests.rs"]
mod tests;
