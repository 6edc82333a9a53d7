//! Rooms (XEP-0045): everybody enters, then one occupant of each room speaks and all others hear.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use godwit_testclient::{Event, micros, xml};

use super::chat::{body, parse};
use crate::Outcome;
use crate::data::Recorder;
use crate::logins;
use crate::muc::{self, Rooms};
use crate::options::Muc;
use crate::worker::Worker;

/// Without progress for this long a phase ends, µs.
const STALL_MAX: u64 = 20_000_000;
/// How long deliveries may take at the end before they count as lost, µs.
const DRAIN_MAX: u64 = 20_000_000;

/// One room's messages on their way: number and how many have not heard it.
#[derive(Debug, Default)]
struct Room {
    sent: u64,
    open: BTreeMap<u64, usize>,
}

pub(crate) fn run(worker: &mut Worker, options: &Muc) -> Outcome<()> {
    let occupants = options.occupants.max(2);
    let mine = worker.share.range(options.rooms);
    let slots = worker.seat(mine.start * occupants..mine.end * occupants);
    logins::phase(worker, "muc.login", slots.clone(), false, |_, _, _| {})?;
    let service = match slots.clone().next() {
        Some(slot) => muc::find(worker, slot)?.ok_or_else(|| muc::none(&worker.common.domain))?,
        None => String::new(),
    };
    let rooms = Rooms { service, occupants };
    enter(worker, &rooms, slots.clone(), occupants)?;
    speak(worker, options, &rooms, (mine.len(), slots.clone()))?;
    worker.leave(slots)
}

/// The first of each room creates it, then the others come in.
fn enter(worker: &mut Worker, rooms: &Rooms, slots: Range<usize>, occupants: usize) -> Outcome<()> {
    let mut recorder = worker.begin("muc.join", "join", "join")?;
    let mut since = vec![0; slots.len()];
    let first: Vec<usize> = slots.clone().step_by(occupants).collect();
    let others: Vec<usize> = slots.clone().filter(|slot| slot % occupants != 0).collect();
    let mut inside = 0;
    for (group, wanted) in [(first, slots.len() / occupants), (others, slots.len())] {
        for slot in group {
            if let Some(since) = since.get_mut(slot) {
                *since = micros();
            }
            let join = rooms.join(worker.number(slot));
            if let Some(client) = worker.client(slot) {
                client.send(&join).map_err(|e| e.to_string())?;
            }
        }
        let (mut progress, mut events) = (micros(), Vec::new());
        while inside < wanted && micros() - progress < STALL_MAX {
            worker.turn(Duration::from_millis(5), &mut events)?;
            for (slot, event) in events.drain(..) {
                if is_inside(worker, rooms, &mut recorder, (slot, &event))? {
                    inside += 1;
                    progress = micros();
                    recorder.done(progress, progress.saturating_sub(since.get(slot).copied().unwrap_or(0)));
                }
            }
            worker.progress(inside as u64, Some(slots.len() as u64))?;
        }
    }
    recorder.tally.sessions = slots.len() as u64;
    recorder.tally.count("failed", (slots.len() - inside) as u64);
    let error = recorder.tally.error.clone().unwrap_or_default();
    worker.end(recorder)?;
    if inside == slots.len() { Ok(()) } else { Err(format!("not everybody could enter: {error}")) }
}

/// True if the event lets this session in: its own presence comes back (status 110), or the room that it
/// created is ready.
fn is_inside(
    worker: &mut Worker,
    rooms: &Rooms,
    recorder: &mut Recorder,
    (slot, event): (usize, &Event),
) -> Outcome<bool> {
    let stanza = match event {
        Event::Stanza(stanza) => stanza,
        Event::Closed(reason) => {
            recorder.wrong("errors", micros(), Some(reason.clone()));
            return Ok(false);
        }
        _ => return Ok(false),
    };
    if xml::attr(stanza, "type").as_deref() == Some("error") {
        recorder.wrong("errors", micros(), Some(stanza.clone()));
        return Ok(false);
    }
    let status =
        |code: &str| xml::tags(stanza, "status").any(|s| xml::attr(s, "code").as_deref() == Some(code));
    // A room that was just created lets nobody else in before it is unlocked.
    if xml::attr(stanza, "id").as_deref() == Some("unlock") {
        return Ok(true);
    }
    if xml::name(stanza) != "presence" || !status("110") {
        return Ok(false);
    }
    let unlock = rooms.unlock(worker.number(slot));
    if let Some(client) = worker.client(slot).filter(|_| status("201")) {
        client.send(&unlock).map_err(|e| e.to_string())?;
    }
    Ok(!status("201"))
}

struct Run<'a> {
    options: &'a Muc,
    rooms: Vec<Room>,
    recorder: Recorder,
    padding: String,
    stop: bool,
}

/// A unit is a delivery: one occupant hears one message.
fn speak(
    worker: &mut Worker,
    options: &Muc,
    rooms: &Rooms,
    (count, slots): (usize, Range<usize>),
) -> Outcome<()> {
    let recorder = worker.begin("muc", "delivery", "delivery")?;
    let begin = micros();
    let mut run = Run {
        options,
        rooms: (0..count).map(|_| Room::default()).collect(),
        recorder,
        padding: "x".repeat(options.body),
        stop: false,
    };
    let pace = options.per_second.map(|rate| 1e6 / worker.share.rate(rate).max(1e-6));
    let mut events = Vec::new();
    let (mut next, mut turn) = (0.0, 0_usize);
    while run.recorder.elapsed(micros()) < options.time() {
        let now = micros();
        match pace {
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "µs of a run"
            )]
            Some(interval) => {
                while next <= (now - begin) as f64 && count > 0 {
                    let due = begin + next as u64;
                    next += interval;
                    turn = (turn + 1) % count;
                    run.say(worker, rooms, turn, due)?;
                }
            }
            None => (0..count).try_for_each(|room| run.fill(worker, rooms, room, now))?,
        }
        run.turn(worker, &mut events)?;
        worker.progress(run.recorder.tally.units, None)?;
    }
    run.stop = true;
    worker.measured(&mut run.recorder)?;
    let begin = micros();
    while run.rooms.iter().any(|room| !room.open.is_empty()) && micros() - begin < DRAIN_MAX {
        run.turn(worker, &mut events)?;
    }
    let lost: usize = run.rooms.iter().flat_map(|room| room.open.values()).sum();
    run.recorder.tally.sessions = slots.len() as u64;
    run.recorder.tally.count("lost", lost as u64);
    run.recorder.tally.count("sent", run.rooms.iter().map(|room| room.sent).sum());
    worker.end(run.recorder)
}

impl Run<'_> {
    fn turn(&mut self, worker: &mut Worker, events: &mut Vec<(usize, Event)>) -> Outcome<()> {
        worker.turn(Duration::from_millis(1), events)?;
        events.drain(..).for_each(|(slot, event)| self.heard(worker.started, slot, event));
        Ok(())
    }

    /// Up to a window of messages that not everybody has heard.
    fn fill(&mut self, worker: &mut Worker, rooms: &Rooms, room: usize, now: u64) -> Outcome<()> {
        while self.rooms.get(room).is_some_and(|r| r.open.len() < self.options.window) {
            self.say(worker, rooms, room, now)?;
        }
        Ok(())
    }

    /// The first occupant speaks.
    fn say(&mut self, worker: &mut Worker, rooms: &Rooms, room: usize, due: u64) -> Outcome<()> {
        let slot = room * rooms.occupants;
        let to = rooms.of(worker.number(slot));
        let (Some(state), Some(client)) = (self.rooms.get_mut(room), worker.client(slot)) else {
            return Ok(());
        };
        let n = state.sent;
        let body = body(n, due, &self.padding);
        let stanza = format!("<message to='{to}' type='groupchat' id='g{n}'><body>{body}</body></message>");
        client.send(&stanza).map_err(|e| e.to_string())?;
        state.sent += 1;
        state.open.insert(n, rooms.occupants);
        Ok(())
    }

    fn heard(&mut self, started: u64, slot: usize, event: Event) {
        let now = micros();
        match event {
            Event::Stanza(stanza) if xml::name(&stanza) == "message" => {
                if xml::attr(&stanza, "type").as_deref() == Some("error") {
                    return self.recorder.wrong("errors", now, Some(stanza));
                }
                let Some((n, due)) = parse(&stanza, started) else { return };
                let occupants = self.options.occupants.max(2);
                let Some(room) = self.rooms.get_mut(slot / occupants) else { return };
                let Some(left) = room.open.get_mut(&n) else {
                    return self.recorder.wrong("duplicated", now, None);
                };
                *left -= 1;
                if *left == 0 {
                    room.open.remove(&n);
                }
                if self.stop {
                    self.recorder.latency("delivery", now.saturating_sub(due));
                } else {
                    self.recorder.done(now, now.saturating_sub(due));
                }
            }
            Event::Closed(reason) => self.recorder.wrong("errors", now, Some(reason)),
            _ => {}
        }
    }
}
