//! A worker: one process, one loop, its share of the accounts.

use std::ops::Range;
use std::time::Duration;

use godwit_testclient::{Account, Client, Event, Pool, micros};

use crate::Outcome;
use crate::data::{Recorder, Tally};
use crate::link::{Link, Order, Tell, tell};
use crate::options::{Cli, Common, Scenario};
use crate::scenario;

/// Source addresses are handed out to workers in pieces for this many sessions.
const SESSIONS_PER_WORKER: usize = 100_000;
/// How often progress is told, µs.
const PROGRESS_EVERY: u64 = 200_000;
/// How long one turn of the loop waits at most.
const TURN: Duration = Duration::from_millis(5);

/// Which part of the work is this worker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Share {
    /// This worker's part of `0..total`: contiguous, disjoint from the others', equal but for one.
    pub(crate) fn range(self, total: usize) -> Range<usize> {
        let cut = |index: usize| total / self.of * index + (total % self.of).min(index);
        cut(self.index)..cut(self.index + 1)
    }

    /// Of a bound on all workers together, at least one.
    pub(crate) fn part(self, total: usize) -> usize {
        total.div_ceil(self.of).max(1)
    }

    /// Of a rate of all workers together.
    #[allow(clippy::cast_precision_loss, reason = "there are few workers")]
    pub(crate) fn rate(self, total: f64) -> f64 {
        total / self.of as f64
    }
}

/// The worker's state, whatever it runs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) pool: Pool,
    pub(crate) common: Common,
    pub(crate) share: Share,
    link: Link,
    /// The account of each slot.
    seats: Vec<usize>,
    /// When it began, µs: messages that were due before are left over from another run.
    pub(crate) started: u64,
    told: u64,
}

impl Worker {
    /// Gives the next free slots to these accounts and returns the slots.
    pub(crate) fn seat(&mut self, accounts: Range<usize>) -> Range<usize> {
        let first = self.seats.len();
        self.seats.extend(accounts);
        first..self.seats.len()
    }

    /// The same after all earlier sessions have left: slots count from 0 again.
    pub(crate) fn reseat(&mut self, accounts: Range<usize>) -> Range<usize> {
        self.seats.clear();
        self.seat(accounts)
    }

    /// The account in this slot.
    pub(crate) fn account(&self, slot: usize) -> Account {
        self.common.account(self.seats.get(slot).copied().unwrap_or(slot))
    }

    /// The bare JID in this slot.
    pub(crate) fn jid(&self, slot: usize) -> String {
        self.common.jid(self.seats.get(slot).copied().unwrap_or(slot))
    }

    /// Acknowledges what came and closes the streams, so that nothing waits for the next run.
    pub(crate) fn leave(&mut self, slots: Range<usize>) -> Outcome<()> {
        let mut acks = Vec::new();
        for slot in slots {
            if let Some(client) = self.pool.client(slot) {
                client.acknowledge_now(&mut acks)?;
            }
            self.pool.close(slot);
        }
        Ok(())
    }

    /// The number of the account in this slot.
    pub(crate) fn number(&self, slot: usize) -> usize {
        self.seats.get(slot).copied().unwrap_or(slot)
    }

    /// A client that is there, or nothing.
    pub(crate) fn client(&mut self, slot: usize) -> Option<&mut Client> {
        self.pool.client(slot)
    }

    /// One turn of the loop.
    pub(crate) fn turn(&mut self, wait: Duration, events: &mut Vec<(usize, Event)>) -> Outcome<()> {
        self.pool.turn(wait, events).map_err(|e| e.to_string())
    }

    /// Says that this worker is ready for a phase; the order comes by [`Self::order`].
    pub(crate) fn announce(&mut self, phase: &str) -> Outcome<()> {
        tell(&Tell::Ready(phase.into()))
    }

    /// The order, if it has come.
    pub(crate) fn order(&mut self) -> Outcome<Option<Order>> {
        self.link.order()
    }

    /// Says that this worker is ready for a phase and waits for the order, answering the server meanwhile.
    pub(crate) fn ready(
        &mut self,
        phase: &str,
        mut other: impl FnMut(&mut Pool, usize, Event),
    ) -> Outcome<Order> {
        self.announce(phase)?;
        let mut events = Vec::new();
        loop {
            if let Some(order) = self.order()? {
                return Ok(order);
            }
            self.turn(TURN, &mut events)?;
            events.drain(..).for_each(|(slot, event)| other(&mut self.pool, slot, event));
        }
    }

    /// Waits for all workers and starts to record; what comes meanwhile is of no interest.
    pub(crate) fn begin(&mut self, phase: &str, unit: &str, main: &'static str) -> Outcome<Recorder> {
        self.ready(phase, |_, _, _| {})?;
        Ok(Recorder::new(unit, main, micros()))
    }

    /// The measured part is over.
    pub(crate) fn measured(&mut self, recorder: &mut Recorder) -> Outcome<()> {
        recorder.stop(micros());
        tell(&Tell::Measured)
    }

    /// The phase is over.
    pub(crate) fn end(&mut self, recorder: Recorder) -> Outcome<()> {
        let mut recorder = recorder;
        if recorder.tally.seconds <= 0.0 {
            recorder.stop(micros());
        }
        self.report(recorder.finish())
    }

    /// The phase is over, with this result.
    pub(crate) fn report(&mut self, tally: Tally) -> Outcome<()> {
        tell(&Tell::Phase(Box::new(tally)))
    }

    /// Tells how far it is, now and then.
    pub(crate) fn progress(&mut self, done: u64, total: Option<u64>) -> Outcome<()> {
        let now = micros();
        if now.saturating_sub(self.told) < PROGRESS_EVERY {
            return Ok(());
        }
        self.told = now;
        tell(&Tell::Progress { done, total })
    }
}

/// Runs a worker to its end. What it says goes to the coordinator.
pub(crate) fn run(cli: Cli, share: Share) -> Outcome<()> {
    let outcome = work(cli, share);
    tell(&Tell::End(outcome.err()))
}

fn work(cli: Cli, share: Share) -> Outcome<()> {
    godwit_testclient::raise_descriptor_limit().map_err(|e| format!("raising the descriptor limit: {e}"))?;
    let settings = cli.common.settings()?;
    let mut pool = Pool::new(settings).map_err(|e| e.to_string())?;
    pool.number_from(share.index * SESSIONS_PER_WORKER);
    let worker = Worker {
        pool,
        common: cli.common,
        share,
        link: Link::new(),
        seats: Vec::new(),
        started: micros(),
        told: 0,
    };
    dispatch(worker, cli.scenario)
}

fn dispatch(mut worker: Worker, scenario: Scenario) -> Outcome<()> {
    let worker = &mut worker;
    match scenario {
        Scenario::Register(o) => scenario::register::run(worker, &o),
        Scenario::Login(o) => scenario::login::run(worker, &o),
        Scenario::Idle(o) => scenario::idle::run(worker, &o),
        Scenario::Chat(o) => scenario::chat::run(worker, &o),
        Scenario::Offline(o) => scenario::offline::run(worker, &o),
        Scenario::LoginStorm(o) => scenario::storm::run(worker, &o),
        Scenario::Mam(o) => scenario::mam::run(worker, &o),
        Scenario::Muc(o) => scenario::muc::run(worker, &o),
        Scenario::Rtb(o) => scenario::rtb::run(worker, &o),
        Scenario::Ramp(o) => scenario::ramp::run(worker, &o),
        Scenario::Failover(o) => scenario::failover::run(worker, &o),
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn shares_are_disjoint_and_cover_everything() {
        for of in 1..9 {
            for total in [0, 1, 7, 100, 1001] {
                let mut next = 0;
                for index in 0..of {
                    let range = Share { index, of }.range(total);
                    assert_eq!(range.start, next);
                    assert!(range.len().abs_diff(total / of) <= 1);
                    next = range.end;
                }
                assert_eq!(next, total);
            }
        }
    }
}
