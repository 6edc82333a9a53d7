//! The server goes away under load and comes back, perhaps at another address; clients find it. Whoever
//! runs this scenario moves the server meanwhile: kills it, starts it elsewhere, and changes the file of
//! `--hosts`.

use godwit_testclient::micros;

use super::ramp::{account, drain};
use crate::Outcome;
use crate::data::Recorder;
use crate::keeper::Addresses;
use crate::mix::{Manner, Mix, Rates};
use crate::options::Failover;
use crate::worker::Worker;

/// How long everybody may take at the end to be back and to have everything, µs.
const DRAIN_MAX: u64 = 60_000_000;
/// How often the file of `--while` is looked for, µs.
const LOOK: u64 = 50_000;

pub(crate) fn run(worker: &mut Worker, options: &Failover) -> Outcome<()> {
    let pairs = worker.share.range(options.pairs);
    let slots = worker.seat(pairs.start * 2..pairs.end * 2);
    let manner = Manner {
        sm: true,
        resume: !options.no_resume,
        ack_every: 1,
        window: 1_000,
        body: options.body,
        ..Manner::default()
    };
    let mut mix = Mix::new(worker, slots.len(), manner);
    let list = std::iter::once(worker.common.addr).chain(options.then.iter().copied()).collect();
    mix.keeper.addresses(Addresses { list, file: options.hosts.clone() });
    mix.log_in(worker, "failover.login")?;

    let recorder = worker.begin("failover", "message", "delivery")?;
    let now = micros();
    mix.record(recorder, now, options.seconds);
    mix.load(Rates { messages: worker.share.rate(options.messages), ..Rates::default() }, now);
    let mut outage = Outage::default();
    let mut looked = now;
    while !mix.is_over(micros()) {
        mix.turn(worker)?;
        outage.look(&mix);
        if micros() - looked > LOOK {
            looked = micros();
            if options.r#while.as_deref().is_some_and(|file| !file.exists()) {
                mix.stop_recording(looked);
            }
        }
        worker.progress(mix.recorder.tally.units, None)?;
    }
    mix.load(Rates::default(), micros());
    worker.measured(&mut mix.recorder)?;
    let begin = micros();
    while micros() - begin < DRAIN_MAX && (mix.keeper.up < mix.keeper.count() || !mix.is_quiet()) {
        mix.turn(worker)?;
        outage.look(&mix);
    }
    drain(worker, &mut mix, 0)?;
    mix.give_up(micros());
    mix.record_longest();
    let missing = (mix.keeper.count() - mix.keeper.up) as u64;
    account(&mut mix);
    mix.recorder.tally.count("failed", missing);
    outage.report(&mut mix.recorder);
    let recorder = std::mem::replace(&mut mix.recorder, Recorder::new("message", "delivery", micros()));
    worker.end(recorder)?;
    worker.leave(slots)
}

/// From the first session lost to the moment when all are back.
#[derive(Debug, Default)]
struct Outage {
    since: Option<u64>,
    longest: u64,
    count: u64,
}

impl Outage {
    fn look(&mut self, mix: &Mix) {
        let all = mix.keeper.up == mix.keeper.count();
        match self.since {
            None if !all => {
                self.since = Some(micros());
                self.count += 1;
            }
            Some(since) if all => {
                self.longest = self.longest.max(micros() - since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// As a latency, because the workers' are added up: the largest is when all were back.
    fn report(&self, recorder: &mut Recorder) {
        recorder.tally.count("outages", self.count);
        if self.longest > 0 {
            recorder.latency("all_back", self.longest);
        }
    }
}
