//! Heartbeats: every thread that must not get stuck counts up, and the watchdog is petted only if all of them
//! moved.

/// A number that changes while its thread turns, idle or not, at least as often as it is looked at.
pub type Beat = Box<dyn Fn() -> u64 + Send>;

/// The counters that are watched, and what they were at the last look.
#[derive(Default)]
pub struct Heartbeats {
    watched: Vec<(String, Beat, u64)>,
}

impl Heartbeats {
    /// Watches a thread.
    pub fn watch(&mut self, name: impl Into<String>, beat: Beat) {
        // One less than now: the first look must not find a thread stuck that was only just started.
        let last = beat().wrapping_sub(1);
        self.watched.push((name.into(), beat, last));
    }

    /// Looks at all; returns the names of those that did not move since the last look.
    pub fn stuck(&mut self) -> Vec<&str> {
        let mut stuck = Vec::new();
        for (name, beat, last) in &mut self.watched {
            let now = beat();
            if now == *last {
                stuck.push(name.as_str());
            }
            *last = now;
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn beat(of: &Arc<AtomicU64>) -> Beat {
        let of = Arc::clone(of);
        Box::new(move || of.load(Ordering::Relaxed))
    }

    #[test]
    fn a_thread_that_stops_is_named_until_it_moves() {
        let (a, b) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut beats = Heartbeats::default();
        beats.watch("shard 0", beat(&a));
        beats.watch("writer", beat(&b));
        assert!(beats.stuck().is_empty());
        a.fetch_add(1, Ordering::Relaxed);
        assert_eq!(beats.stuck(), ["writer"]);
        a.fetch_add(1, Ordering::Relaxed);
        b.fetch_add(1, Ordering::Relaxed);
        assert!(beats.stuck().is_empty());
    }
}
