//! Holds idle sessions: what does one cost the server in memory, and in CPU while nothing happens?

use std::ops::Range;
use std::time::Duration;

use godwit_testclient::{Event, micros};

use crate::Outcome;
use crate::data::Recorder;
use crate::logins::{Then, log_in};
use crate::options::Idle;
use crate::worker::Worker;

pub(crate) fn run(worker: &mut Worker, options: &Idle) -> Outcome<()> {
    let slots = worker.seat(worker.share.range(options.sessions));
    let mut recorder = worker.begin("idle.login", "login", "login")?;
    let up = log_in(worker, &mut recorder, slots.clone(), options.sm, Then::Stay, |_, _, _| {})?;
    recorder.tally.sessions = up as u64;
    worker.end(recorder)?;
    let lost = hold(worker, "idle.settled", options.settle(), up, 0, None)?;
    let keepalives = options.keepalive().map(|every| Keepalives { slots, every, sent: 0 });
    hold(worker, "idle.held", options.hold(), up, lost, keepalives).map(drop)
}

/// Blanks that sessions send in turn, evenly spread.
struct Keepalives {
    slots: Range<usize>,
    /// Of one session, µs.
    every: u64,
    sent: u64,
}

impl Keepalives {
    /// Sends what is due so long after the begin.
    fn turn(&mut self, worker: &mut Worker, elapsed: u64) -> Outcome<()> {
        let count = self.slots.len() as u64;
        let due = elapsed.saturating_mul(count) / self.every;
        while self.sent < due {
            let slot = self.slots.start + usize::try_from(self.sent % count).unwrap_or(0);
            self.sent += 1;
            if let Some(client) = worker.client(slot) {
                client.send(" ").map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

/// Keeps the sessions for this long and counts those that the server dropped, now or before. A unit is a
/// session held, so that the cost of a unit is what the whole time cost for each.
fn hold(
    worker: &mut Worker,
    phase: &str,
    time: Duration,
    up: usize,
    before: u64,
    mut keepalives: Option<Keepalives>,
) -> Outcome<u64> {
    // Also those that are dropped while the other workers get ready.
    let mut early = Vec::new();
    worker.ready(phase, |pool, slot, event| {
        if let Event::Closed(reason) = event {
            pool.cut(slot);
            early.push(reason);
        }
    })?;
    let begin = micros();
    let mut recorder = Recorder::new("session", "none", begin);
    let mut lost = before + early.len() as u64;
    early.into_iter().for_each(|reason| recorder.wrong("lost", begin, Some(reason)));
    let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut events = Vec::new();
    while micros() - begin < time {
        if let Some(keepalives) = &mut keepalives {
            keepalives.turn(worker, micros() - begin)?;
        }
        worker.turn(Duration::from_millis(50), &mut events)?;
        for (slot, event) in events.drain(..) {
            if let Event::Closed(reason) = event {
                worker.pool.cut(slot);
                recorder.wrong("lost", micros(), Some(reason));
                lost += 1;
            }
        }
        worker.progress(micros() - begin, Some(time))?;
    }
    recorder.tally.sessions = (up as u64).saturating_sub(lost);
    recorder.tally.units = recorder.tally.sessions;
    if let Some(keepalives) = keepalives {
        recorder.tally.count("keepalives", keepalives.sent);
    }
    worker.end(recorder)?;
    Ok(lost)
}
