//! Raises the load step by step until the server no longer keeps up; then, if asked to, far beyond it.
//!
//! The coordinator decides what the next step is, see `conduct.rs`.

use godwit_testclient::micros;

use crate::Outcome;
use crate::data::Recorder;
use crate::link::Order;
use crate::mix::{Manner, Mix, Rates};
use crate::options::Ramp;
use crate::scenario::pair::Pair;
use crate::worker::Worker;

/// How long messages may take to arrive after a step, µs; then they count as late, and may come later.
const DRAIN_MAX: u64 = 10_000_000;
/// How long at the very end, µs; then they count as lost.
const SETTLE_MAX: u64 = 60_000_000;

pub(crate) fn run(worker: &mut Worker, options: &Ramp) -> Outcome<()> {
    let pairs = worker.share.range(options.pairs);
    let slots = worker.seat(pairs.start * 2..pairs.end * 2);
    let manner = Manner {
        sm: !options.no_sm,
        ack_every: options.ack_every,
        window: options.window,
        body: options.body,
        ..Manner::default()
    };
    let mut mix = Mix::new(worker, slots.len(), manner);
    mix.log_in(worker, "ramp.login")?;
    loop {
        worker.announce("ramp.settle")?;
        let order = loop {
            mix.turn(worker)?;
            if let Some(order) = worker.order()? {
                break order;
            }
        };
        match order {
            Order::Load { rate, seconds } => step(worker, &mut mix, rate, seconds)?,
            Order::Go => break,
            Order::Stop => return Ok(()),
        }
    }
    settle(worker, &mut mix)?;
    worker.leave(slots)
}

/// One step: the load for some seconds, then what is still on its way.
fn step(worker: &mut Worker, mix: &mut Mix, rate: f64, seconds: f64) -> Outcome<()> {
    let now = micros();
    mix.record(Recorder::new("message", "delivery", now), now, seconds);
    mix.load(Rates { messages: worker.share.rate(rate), ..Rates::default() }, now);
    let before = mix.sum(|p| p.duplicated) + mix.sum(|p| p.out_of_order);
    while !mix.is_over(micros()) {
        mix.turn(worker)?;
        worker.progress(mix.recorder.tally.units, None)?;
    }
    mix.load(Rates::default(), micros());
    worker.measured(&mut mix.recorder)?;
    drain(worker, mix, DRAIN_MAX)?;
    mix.give_up(micros());
    let tally = &mut mix.recorder.tally;
    tally.count("errors", 0);
    tally.sessions = mix.keeper.up as u64;
    let wrong = mix.sum(|p| p.duplicated) + mix.sum(|p| p.out_of_order) - before;
    mix.recorder.tally.count("errors", wrong);
    let recorder = std::mem::replace(&mut mix.recorder, Recorder::new("message", "delivery", micros()));
    worker.end(recorder)
}

/// Until everything has arrived.
pub(crate) fn drain(worker: &mut Worker, mix: &mut Mix, time_max: u64) -> Outcome<()> {
    let begin = micros();
    while !mix.is_quiet() && micros() - begin < time_max {
        mix.turn(worker)?;
    }
    Ok(())
}

/// The account of the whole run: what never arrived, came twice, or in the wrong order.
pub(crate) fn account(mix: &mut Mix) {
    let (lost, units) = (mix.in_flight(), mix.sum(|p: &Pair| p.arrived));
    let (duplicated, disorder) = (mix.sum(|p| p.duplicated), mix.sum(|p| p.out_of_order));
    let tally = &mut mix.recorder.tally;
    tally.sessions = mix.keeper.up as u64;
    tally.count("arrived", units);
    tally.count("lost", lost);
    tally.count("duplicated", duplicated);
    tally.count("out_of_order", disorder);
}

fn settle(worker: &mut Worker, mix: &mut Mix) -> Outcome<()> {
    let now = micros();
    mix.record(Recorder::new("message", "delivery", now), now, 0.0);
    drain(worker, mix, SETTLE_MAX)?;
    account(mix);
    let recorder = std::mem::replace(&mut mix.recorder, Recorder::new("message", "delivery", micros()));
    worker.end(recorder)
}
