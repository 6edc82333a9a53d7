//! Everybody comes back at once: after a restart of the server, or after the network did.

use std::time::Duration;

use godwit_testclient::{Rng, micros};

use crate::Outcome;
use crate::data::Recorder;
use crate::keeper::{Change, Keeper};
use crate::logins;
use crate::options::LoginStorm;
use crate::worker::Worker;

pub(crate) fn run(worker: &mut Worker, options: &LoginStorm) -> Outcome<()> {
    let slots = worker.seat(worker.share.range(options.sessions));
    let sm = options.resume || options.sm;
    logins::phase(worker, "storm.login", slots.clone(), sm, |_, _, _| {})?;
    let mut keeper = Keeper::new(worker, slots.len(), sm, options.resume);
    keeper.connecting_max(worker.share.part(options.at_once));
    slots.clone().for_each(|slot| keeper.adopt(slot));
    let mut rng = Rng::new(worker.share.index as u64 + 77);
    for _ in 0..options.rounds.max(1) {
        let mut recorder = if options.await_cut {
            await_cut(worker, options, &mut keeper)?
        } else {
            let recorder = worker.begin("storm", "login", "back")?;
            let now = micros();
            for slot in slots.clone() {
                keeper.cut(worker, slot, now + rng.between(0, options.spread()));
            }
            recorder
        };
        come_back(worker, options, &mut keeper, &mut recorder)?;
        worker.end(recorder)?;
    }
    worker.leave(slots)
}

/// Waits until the server drops the first of them; the storm begins then.
fn await_cut(worker: &mut Worker, options: &LoginStorm, keeper: &mut Keeper) -> Outcome<Recorder> {
    let recorder = worker.begin("storm", "login", "back")?;
    let (begin, mut events) = (micros(), Vec::new());
    while keeper.up == keeper.count() && keeper.count() > 0 {
        if micros() - begin > options.patience() {
            return Err("the server did not drop anybody (--await-cut waits for that)".into());
        }
        worker.turn(Duration::from_millis(20), &mut events)?;
        for (slot, event) in events.drain(..) {
            keeper.event(worker, slot, &event);
        }
    }
    let mut recorder = recorder;
    recorder.restart(micros());
    Ok(recorder)
}

fn come_back(
    worker: &mut Worker,
    options: &LoginStorm,
    keeper: &mut Keeper,
    recorder: &mut Recorder,
) -> Outcome<()> {
    let (begin, total) = (micros(), keeper.count());
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    while keeper.up < total && micros() - begin < options.patience() {
        keeper.tick(worker, &mut changes);
        worker.turn(Duration::from_millis(2), &mut events)?;
        for (slot, event) in events.drain(..) {
            changes.extend(keeper.event(worker, slot, &event).map(|change| (slot, change)));
        }
        for (slot, change) in changes.drain(..) {
            changed(worker, options, recorder, slot, change)?;
        }
        worker.progress(keeper.up as u64, Some(total as u64))?;
    }
    recorder.tally.sessions = keeper.up as u64;
    recorder.tally.count("failed", (total - keeper.up) as u64);
    Ok(())
}

fn changed(
    worker: &mut Worker,
    options: &LoginStorm,
    recorder: &mut Recorder,
    slot: usize,
    change: Change,
) -> Outcome<()> {
    let now = micros();
    match change {
        Change::Up { resumed, took, .. } => {
            recorder.latency("login", took);
            recorder.done(now, recorder.elapsed(now));
            if options.resume {
                recorder.tally.count("resumed", u64::from(resumed.is_some()));
                recorder.tally.count("not_resumed", u64::from(resumed.is_none()));
            }
            if let Some(client) = worker.client(slot).filter(|_| resumed.is_none()) {
                client.send("<presence/>").map_err(|e| e.to_string())?;
            }
        }
        Change::Down(reason) => {
            recorder.tally.count("cut_again", 1);
            recorder.tally.error = Some(reason);
        }
        Change::Failed(reason) => {
            recorder.tally.count("retried", 1);
            recorder.tally.error = Some(reason);
        }
    }
    Ok(())
}
