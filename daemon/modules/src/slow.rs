//! Stored messages that took longer than the configuration allows: counted, and some of them told in the log
//! with the time of each step.
//!
//! A message is judged once, at its last step: when it is committed if no connection of its recipient gets
//! it, otherwise when it is written to that connection's socket, for each of these. That costs a comparison;
//! only what is slow takes the lock below. The steps come from the rings of `trace.rs`, which one thread
//! reads later, so the last of a burst are told: those of the first may be overwritten by then. Bounded in
//! lines, because what makes one message slow makes thousands. Never a message's text.
use crate::archive;
use crate::effects::Delivery;
use crate::hub::{Counters, Hub, Origin};
use crate::trace::{Record, Step};
use godwit_session::{Millis, SessionId};
use godwit_store::{Cf, Owner, schema};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Slow messages that are kept until they are told.
const KEPT_MAX: usize = 64;
/// Lines in one window.
const LINES_MAX: u32 = 20;
/// Length of a window, in milliseconds.
const WINDOW_MS: Millis = 60_000;

/// A slow message, or one of its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noted {
    seq: u64,
    /// When it was received.
    received: Millis,
    /// Milliseconds from there to the last step.
    took: Millis,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Slow {
    /// What takes longer is slow, in milliseconds; `u64::MAX`: nothing is.
    above: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    noted: VecDeque<Noted>,
    /// Not told and not going to be, in this window.
    suppressed: u64,
    /// Beginning of the window, and its lines.
    window: Millis,
    lines: u32,
}

impl Default for Slow {
    fn default() -> Slow {
        Slow { above: AtomicU64::new(u64::MAX), kept: Mutex::default() }
    }
}

impl Slow {
    /// What takes longer is slow, in milliseconds; 0: nothing is.
    pub fn set(&self, ms: u64) {
        self.above.store(if ms == 0 { u64::MAX } else { ms }, Ordering::Relaxed);
    }

    fn is(&self, took: Millis) -> bool {
        took > self.above.load(Ordering::Relaxed)
    }

    fn note(&self, noted: Noted) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.noted.len() >= KEPT_MAX {
            kept.noted.pop_front();
            kept.suppressed += 1;
        }
        kept.noted.push_back(noted);
    }

    /// Those that may have a line now, and how many of the window that has just ended were not told.
    fn take(&self, now: Millis) -> (Vec<Noted>, u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut untold = 0;
        if now.saturating_sub(kept.window) >= WINDOW_MS {
            untold = std::mem::take(&mut kept.suppressed);
            (kept.window, kept.lines) = (now, 0);
        }
        let room = usize::try_from(LINES_MAX.saturating_sub(kept.lines)).unwrap_or(0);
        let too_many = kept.noted.len().saturating_sub(room);
        kept.noted.drain(..too_many);
        kept.suppressed += too_many as u64;
        let told: Vec<Noted> = kept.noted.drain(..).collect();
        kept.lines += u32::try_from(told.len()).unwrap_or(u32::MAX);
        (told, untold)
    }
}

impl Hub {
    /// On the writer's thread: a stored message is committed now, as `trace.rs` is told.
    pub(crate) fn committed(&self, origin: &Origin, delivery: &Delivery, seq: u64) -> Millis {
        let now = (self.outside.clock)();
        let from = (origin.address.session, delivery.received);
        let copied = delivery.append.is_some_and(|at| at > 0);
        self.trace.committed(seq, from, &delivery.names, copied, (delivery.owner, now));
        now
    }

    /// On the writer's thread: a message that no connection gets was committed.
    pub(crate) fn only_committed(&self, seq: u64, received: Millis, now: Millis) {
        let took = now.saturating_sub(received);
        if self.slow.is(took) {
            Counters::up(&self.counters.slow_committed);
            self.slow.note(Noted { seq, received, took });
        }
    }

    /// On a shard's thread: a message was written to a socket.
    pub fn delivered(&self, seq: u64, received: Millis, now: Millis) {
        let took = now.saturating_sub(received);
        if self.slow.is(took) {
            Counters::up(&self.counters.slow_written);
            self.slow.note(Noted { seq, received, took });
        }
    }

    /// Tells the log of the slow messages since this was last called. Reads rings and store: not for a
    /// shard's thread. Called about every second.
    pub fn tell_slow(&self, now: Millis) {
        let (told, untold) = self.slow.take(now);
        if untold > 0 {
            tracing::warn!(suppressed = untold, "further slow messages of the last minute have no line");
        }
        if told.is_empty() {
            return;
        }
        let mut steps: HashMap<u64, Vec<Record>> = told.iter().map(|noted| (noted.seq, Vec::new())).collect();
        self.trace.each(&mut |record| {
            if let Some(steps) = steps.get_mut(&record.seq) {
                steps.push(record);
            }
        });
        for noted in told {
            self.tell(&noted, steps.get(&noted.seq).map(Vec::as_slice).unwrap_or_default());
        }
    }

    fn tell(&self, noted: &Noted, steps: &[Record]) {
        let Noted { seq, received, took } = *noted;
        let last = received + took;
        // Of several sessions, the one that got it at that moment.
        let of = |step: Step| {
            let those = steps.iter().filter(|record| record.step == step);
            those.min_by_key(|record| record.at.abs_diff(last))
        };
        let after = |record: Option<&Record>| {
            record.map_or_else(|| "?".to_owned(), |record| record.at.saturating_sub(received).to_string())
        };
        let (committed, written) = (of(Step::Committed), of(Step::Written));
        let session = written.or_else(|| of(Step::Posted)).map(|record| record.what);
        let posted = steps.iter().find(|record| record.step == Step::Posted && Some(record.what) == session);
        let name = |record: &Record| self.session_name(SessionId(record.what));
        let to = match (session, committed) {
            (Some(session), _) => self.session_name(SessionId(session)),
            (None, Some(committed)) => self.account_name(Owner(committed.what)),
            (None, None) => "?".into(),
        };
        // A message that is at no connection has no such steps.
        let at_a_connection = |record| if session.is_some() { after(record) } else { "-".into() };
        tracing::warn!(
            stanza_id = archive::id(seq),
            from = of(Step::Received).map_or_else(|| "?".to_owned(), name),
            to,
            received = crate::feed::timestamp(received),
            committed_ms = after(committed),
            posted_ms = at_a_connection(posted),
            written_ms = at_a_connection(written),
            "slow message: {took} ms from its receipt to its last step"
        );
    }

    fn account_name(&self, owner: Owner) -> String {
        let name = self.outside.store.get(Cf::State, &schema::state(owner, schema::State::Name));
        let name = name.ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&name).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(seq: u64) -> Noted {
        Noted { seq, received: 100, took: 2_000 }
    }

    #[test]
    fn nothing_is_slow_unless_a_limit_is_set() {
        let slow = Slow::default();
        assert!(!slow.is(u64::MAX));
        slow.set(1_000);
        assert_eq!((slow.is(1_000), slow.is(1_001)), (false, true));
        slow.set(0);
        assert!(!slow.is(u64::MAX));
    }

    #[test]
    fn of_a_burst_the_last_are_told_and_the_others_counted() {
        let slow = Slow::default();
        (0..1_000).for_each(|seq| slow.note(noted(seq)));
        let (told, untold) = slow.take(WINDOW_MS);
        let seqs: Vec<u64> = told.iter().map(|noted| noted.seq).collect();
        assert_eq!((seqs, untold), ((980..1_000).collect(), 1_000 - KEPT_MAX as u64));
        // The window is full; what was dropped in it is told when it ends.
        slow.note(noted(7));
        assert_eq!(slow.take(WINDOW_MS + 1_000), (vec![], 0));
        slow.note(noted(8));
        let (told, untold) = slow.take(2 * WINDOW_MS);
        assert_eq!((told, untold), (vec![noted(8)], 44 + 1));
        assert_eq!(slow.take(3 * WINDOW_MS), (vec![], 0));
    }
}
