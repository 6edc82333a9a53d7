//! A day of ordinary clients, faster: each session sends a message, a message to its room, a presence, and
//! reconnects, each once in ten minutes; after each login it reads the last 50 of its archive.
//!
//! The mix is the default one of processone/rtb without file uploads.

use godwit_testclient::micros;

use super::ramp::{account, drain};
use crate::Outcome;
use crate::data::Recorder;
use crate::logins::{Then, log_in};
use crate::mix::{Manner, Mix, Rates};
use crate::muc::{self, Rooms};
use crate::options::Rtb;
use crate::worker::Worker;

/// How often a session does each thing, seconds.
const EVERY: f64 = 600.0;
/// How long messages may take at the end before they count as lost, µs.
const DRAIN_MAX: u64 = 30_000_000;

pub(crate) fn run(worker: &mut Worker, options: &Rtb) -> Outcome<()> {
    let pairs = worker.share.range(options.sessions / 2);
    let slots = worker.seat(pairs.start * 2..pairs.end * 2);
    let service = if slots.is_empty() || options.no_rooms { None } else { rooms(worker, slots.start)? };
    let rooms = service.map(|service| Rooms { service, occupants: options.occupants.max(1) });
    let manner = Manner {
        sm: true,
        ack_every: 1,
        window: 1_000,
        body: options.body,
        page: Some(options.page),
        carbons: true,
        roster: true,
        away_apart: true,
        rooms,
        ..Manner::default()
    };
    let with_rooms = manner.rooms.is_some();
    let mut mix = Mix::new(worker, slots.len(), manner);
    mix.log_in(worker, "rtb.login")?;

    let recorder = worker.begin("rtb", "message", "delivery")?;
    let now = micros();
    mix.record(recorder, now, options.seconds);
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let each = slots.len() as f64 * options.speed / EVERY;
    let room_messages = if with_rooms { each } else { 0.0 };
    let rates = Rates { messages: each, presence: each, room_messages, reconnects: each, states: each };
    mix.load(rates, now);
    while !mix.is_over(micros()) {
        mix.turn(worker)?;
        worker.progress(mix.recorder.tally.units, None)?;
    }
    mix.load(Rates::default(), micros());
    worker.measured(&mut mix.recorder)?;
    drain(worker, &mut mix, DRAIN_MAX)?;
    mix.give_up(micros());
    account(&mut mix);
    if !with_rooms {
        mix.recorder.tally.count("sessions_without_room", slots.len() as u64);
    }
    let recorder = std::mem::replace(&mut mix.recorder, Recorder::new("message", "delivery", micros()));
    worker.end(recorder)?;
    worker.leave(slots)
}

/// Logs one session in to ask for the service of rooms, and out again.
fn rooms(worker: &mut Worker, slot: usize) -> Outcome<Option<String>> {
    let mut recorder = Recorder::new("login", "login", micros());
    let up = log_in(worker, &mut recorder, slot..slot + 1, false, Then::Stay, |_, _, _| {})?;
    if up == 0 {
        return Err(recorder.tally.error.unwrap_or_else(|| "could not log in".into()));
    }
    let service = muc::find(worker, slot)?;
    worker.leave(slot..slot + 1)?;
    Ok(service)
}
