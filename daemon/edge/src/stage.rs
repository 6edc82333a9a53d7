//! Letting a storm in by stages: how many connections may be on their way to a session at once.
//!
//! After an outage everybody comes at once. If all were let in, all would be done at the end, which for many
//! is after their time is up, and they come again: work without an end. So about as many are let in as were
//! done within the last two seconds, which keeps a login that short at whatever pace machine, network and
//! clients allow; the others wait in the kernel's queue, or their kernels try again. Connections that come
//! to nothing must not keep everybody else out: whenever a second brings no session, some more are let in.
use godwit_session::Millis;

/// How often the pace is looked at.
const LOOK_MS: Millis = 1_000;
/// A login may take so many looks.
const LOGIN_LOOKS: usize = 2;

/// A shard's strangers: connections without a session so far.
pub(crate) struct Stage {
    /// So many may be there in any case.
    strangers_min: usize,
    strangers_max: usize,
    strangers: usize,
    /// Sessions since the last look.
    done: usize,
    next_look: Millis,
}

impl Stage {
    pub(crate) fn new(strangers_min: usize, now: Millis) -> Stage {
        let strangers_min = strangers_min.max(1);
        Stage { strangers_min, strangers_max: strangers_min, strangers: 0, done: 0, next_look: now + LOOK_MS }
    }

    /// How many more may come in now.
    pub(crate) fn room(&mut self, now: Millis) -> usize {
        if now >= self.next_look {
            self.next_look = now + LOOK_MS;
            let stuck = self.done == 0 && self.strangers >= self.strangers_max;
            let pace = LOGIN_LOOKS * std::mem::take(&mut self.done);
            self.strangers_max =
                if stuck { self.strangers + self.strangers_min } else { pace.max(self.strangers_min) };
        }
        self.strangers_max.saturating_sub(self.strangers)
    }

    /// When there may be room again although nothing else happens; `None`: there is some.
    pub(crate) fn closed_until(&self) -> Option<Millis> {
        (self.strangers >= self.strangers_max).then_some(self.next_look)
    }

    /// A connection came.
    pub(crate) fn came(&mut self) {
        self.strangers += 1;
    }

    /// One has its session.
    pub(crate) fn done(&mut self) {
        self.strangers = self.strangers.saturating_sub(1);
        self.done += 1;
    }

    /// One has gone without.
    pub(crate) fn gone(&mut self) {
        self.strangers = self.strangers.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets in who may come, and says how many that were.
    fn fill(stage: &mut Stage, now: Millis) -> usize {
        let room = stage.room(now);
        (0..room).for_each(|_| stage.came());
        room
    }

    #[test]
    fn as_many_come_in_as_are_done_in_two_seconds() {
        let mut stage = Stage::new(10, 0);
        assert_eq!((fill(&mut stage, 0), stage.closed_until()), (10, Some(1_000)));
        // Quick ones make room at once, and for twice as many from the next look on.
        for _ in 0..100 {
            stage.done();
            assert_eq!(fill(&mut stage, 500), 1);
        }
        assert_eq!(fill(&mut stage, 1_000), 190);
        (0..40).for_each(|_| stage.done());
        assert_eq!(fill(&mut stage, 2_000), 0, "160 are there, 80 may be");
        assert_eq!(stage.closed_until(), Some(3_000));
        (0..100).for_each(|_| stage.gone());
        assert_eq!(fill(&mut stage, 2_500), 20);
    }

    #[test]
    fn those_who_only_wait_keep_nobody_out_for_long() {
        let mut stage = Stage::new(10, 0);
        assert_eq!(fill(&mut stage, 0), 10);
        for look in 1..50 {
            assert_eq!(fill(&mut stage, look * 1_000), 10, "a second brought no session");
            assert_eq!(fill(&mut stage, look * 1_000 + 1), 0);
        }
    }
}
