//! Holds idle sessions: what does one cost the server in memory, and in CPU while nothing happens?

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
    let up = log_in(worker, &mut recorder, slots, options.sm, Then::Stay, |_, _, _| {})?;
    recorder.tally.sessions = up as u64;
    worker.end(recorder)?;
    let lost = hold(worker, "idle.settled", options.settle(), up, 0)?;
    hold(worker, "idle.held", options.hold(), up, lost).map(drop)
}

/// Keeps the sessions for this long and counts those that the server dropped, now or before. A unit is a
/// session held, so that the cost of a unit is what the whole time cost for each.
fn hold(worker: &mut Worker, phase: &str, time: Duration, up: usize, before: u64) -> Outcome<u64> {
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
    worker.end(recorder)?;
    Ok(lost)
}
