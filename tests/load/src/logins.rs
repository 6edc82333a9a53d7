//! Logs sessions in at a bounded rate, with a bounded number under way, and sends initial presence.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use godwit_testclient::{Event, Pool, Purpose, micros};

use crate::Outcome;
use crate::data::Recorder;
use crate::worker::Worker;

/// Attempts per session before it counts as failed.
const ATTEMPTS_MAX: u32 = 3;
/// Without a login for this long the rest counts as failed, µs.
const STALL_MAX: u64 = 30_000_000;
/// A failed attempt waits this long times its number, µs.
const RETRY_AFTER: u64 = 200_000;

/// What to do with a session once it is up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Initial presence, and stay.
    Stay,
    /// Close the stream at once.
    Leave,
}

/// A session that waits for its turn.
struct Waiting {
    slot: usize,
    attempt: u32,
    not_before: u64,
}

struct Run<'a> {
    waiting: VecDeque<Waiting>,
    under_way: BTreeMap<usize, (u32, u64)>,
    recorder: &'a mut Recorder,
    online: usize,
    purpose: Purpose,
    then: Then,
}

/// Logs in these slots and returns how many sessions are up. A unit of the phase is a login, its latency
/// runs from connecting to being bound. Stanzas that arrive meanwhile are handed to `other`.
pub(crate) fn log_in(
    worker: &mut Worker,
    recorder: &mut Recorder,
    slots: Range<usize>,
    sm: bool,
    then: Then,
    mut other: impl FnMut(&mut Pool, usize, Event),
) -> Outcome<usize> {
    let total = slots.len() as u64;
    let waiting = slots.map(|slot| Waiting { slot, attempt: 1, not_before: 0 }).collect();
    let purpose = Purpose::Session { sm };
    let mut run = Run { waiting, under_way: BTreeMap::new(), recorder, online: 0, purpose, then };
    let rate = worker.share.rate(worker.common.rate);
    let in_flight = worker.share.part(worker.common.in_flight);
    let begin = micros();
    let (mut progress, mut begun, mut events) = (begin, 0.0, Vec::new());
    while !run.waiting.is_empty() || !run.under_way.is_empty() {
        #[allow(clippy::cast_precision_loss, reason = "a pace, not a count")]
        let due = (micros() - begin) as f64 * rate / 1e6;
        while begun < due && run.under_way.len() < in_flight && run.begin(worker) {
            begun += 1.0;
        }
        worker.turn(Duration::from_millis(2), &mut events)?;
        for (slot, event) in events.drain(..) {
            if run.event(worker, slot, &event)? {
                progress = micros();
            } else {
                other(&mut worker.pool, slot, event);
            }
        }
        worker.progress(run.online as u64, Some(total))?;
        if micros() - progress > STALL_MAX {
            let left = run.waiting.len() + run.under_way.len();
            let why = format!("no login for {} s, gave up", STALL_MAX / 1_000_000);
            (0..left).for_each(|_| run.recorder.wrong("failed", micros(), Some(why.clone())));
            break;
        }
    }
    Ok(run.online)
}

/// Logs in as a phase of its own, which is expected to succeed.
pub(crate) fn phase(
    worker: &mut Worker,
    name: &str,
    slots: Range<usize>,
    sm: bool,
    other: impl FnMut(&mut Pool, usize, Event),
) -> Outcome<()> {
    let mut recorder = worker.begin(name, "login", "login")?;
    let wanted = slots.len();
    let online = log_in(worker, &mut recorder, slots, sm, Then::Stay, other)?;
    recorder.tally.sessions = online as u64;
    let error = recorder.tally.error.clone();
    worker.end(recorder)?;
    if online == wanted {
        Ok(())
    } else {
        Err(format!("{} of {wanted} could not log in: {}", wanted - online, error.unwrap_or_default()))
    }
}

impl Run<'_> {
    fn begin(&mut self, worker: &mut Worker) -> bool {
        let now = micros();
        if self.waiting.front().is_none_or(|next| next.not_before > now) {
            return false;
        }
        let Some(next) = self.waiting.pop_front() else { return false };
        match worker.pool.open(next.slot, &worker.account(next.slot), self.purpose, None) {
            Ok(()) => drop(self.under_way.insert(next.slot, (next.attempt, now))),
            Err(error) => self.failed(next.slot, next.attempt, format!("connecting: {error}")),
        }
        true
    }

    /// True if the event belonged to a login.
    fn event(&mut self, worker: &mut Worker, slot: usize, event: &Event) -> Outcome<bool> {
        match event {
            Event::Online { .. } => {
                let now = micros();
                if let Some((_, since)) = self.under_way.remove(&slot) {
                    self.recorder.done(now, now - since);
                }
                self.online += 1;
                if self.then == Then::Leave {
                    worker.pool.close(slot);
                } else if let Some(client) = worker.client(slot) {
                    client.send("<presence/>").map_err(|e| e.to_string())?;
                }
            }
            Event::Closed(reason) => {
                worker.pool.cut(slot);
                match self.under_way.remove(&slot) {
                    Some((attempt, _)) => self.failed(slot, attempt, reason.clone()),
                    None => {
                        self.online -= 1;
                        let why = format!("lost after login: {reason}");
                        self.recorder.wrong("failed", micros(), Some(why));
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn failed(&mut self, slot: usize, attempt: u32, reason: String) {
        if attempt < ATTEMPTS_MAX {
            self.recorder.tally.count("retried", 1);
            self.recorder.tally.error = Some(reason);
            let not_before = micros() + RETRY_AFTER * u64::from(attempt);
            self.waiting.push_back(Waiting { slot, attempt: attempt + 1, not_before });
        } else {
            self.recorder.wrong("failed", micros(), Some(reason));
        }
    }
}
