//! Sessions in pairs under an open-loop load: each action has its own pace, which does not ask how the server
//! is doing. Messages are timed from when they were due. Sessions that break come back and send again.

mod act;
mod hear;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use godwit_testclient::{Event, Rng, micros};

pub(crate) use act::page_query;

use crate::Outcome;
use crate::data::Recorder;
use crate::keeper::{Change, Keeper};
use crate::muc;
use crate::outbox::Outbox;
use crate::scenario::pair::Pair;
use crate::worker::Worker;

/// The wait of one turn: what is due is at most that late, and then counted as late.
const TURN: Duration = Duration::from_micros(500);

/// What sessions do, per second, all sessions of this worker together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) messages: f64,
    pub(crate) presence: f64,
    pub(crate) room_messages: f64,
    /// Sessions that end properly and come back.
    pub(crate) reconnects: f64,
    /// Client state indications (XEP-0352).
    pub(crate) states: f64,
}

/// How sessions behave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    pub(crate) sm: bool,
    pub(crate) resume: bool,
    pub(crate) ack_every: u32,
    pub(crate) body: usize,
    /// What comes for a session that was away is timed apart (`returned`): it waited for the session.
    pub(crate) away_apart: bool,
    /// Messages that a session may have sent and not acknowledged; what is due beyond waits.
    pub(crate) window: usize,
    /// After a login: the page of this many last messages (XEP-0313), roster with a version, carbons.
    pub(crate) page: Option<u32>,
    pub(crate) carbons: bool,
    pub(crate) roster: bool,
    /// Rooms of this many occupants at this service.
    pub(crate) rooms: Option<muc::Rooms>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Message,
    Presence,
    RoomMessage,
    Reconnect,
    State,
}

/// One action's pace.
#[derive(Debug)]
struct Pace {
    action: Action,
    /// µs between two.
    interval: f64,
    next: f64,
}

/// Everything about the sessions of a worker.
pub(crate) struct Mix {
    pub(crate) keeper: Keeper,
    manner: Manner,
    outboxes: Vec<Outbox>,
    /// What arrived in each slot from its partner.
    arrived: Vec<Pair>,
    /// What is on its way to each slot: number and due time.
    expected: Vec<VecDeque<(u64, u64)>>,
    /// The longest that a message to each slot took, µs; 0 if none came.
    longest: Vec<u64>,
    /// When the page after the login was asked for; 0 if none is awaited.
    asked: Vec<u64>,
    pages_awaited: usize,
    inactive: Vec<bool>,
    /// Who is in its room, and when to try again who is not.
    inside: Vec<bool>,
    enter: BTreeSet<(u64, usize)>,
    /// Who leaves, as soon as what it sent is acknowledged.
    leaving: BTreeSet<(u64, usize)>,
    /// Since when each session is up.
    up_since: Vec<u64>,
    padding: String,
    paces: Vec<Pace>,
    rng: Rng,
    started: u64,
    pub(crate) recorder: Recorder,
    /// Deliveries count from when to when, by their due time.
    window: (u64, u64),
    changes: Vec<(usize, Change)>,
    events: Vec<(usize, Event)>,
    /// Messages that the room's own sender made, for the text of the next.
    room_messages: u64,
}

impl Mix {
    /// For the slots `0..count`, which are even in number and not connected yet.
    pub(crate) fn new(worker: &Worker, count: usize, manner: Manner) -> Self {
        Self {
            keeper: Keeper::new(worker, count, manner.sm, manner.resume),
            outboxes: (0..count).map(|_| Outbox::default()).collect(),
            arrived: (0..count).map(|_| Pair::default()).collect(),
            expected: vec![VecDeque::new(); count],
            longest: vec![0; count],
            asked: vec![0; count],
            pages_awaited: 0,
            inactive: vec![false; count],
            inside: vec![false; count],
            enter: BTreeSet::new(),
            leaving: BTreeSet::new(),
            up_since: vec![0; count],
            padding: "x".repeat(manner.body),
            paces: Vec::new(),
            rng: Rng::new(worker.share.index as u64 * 7919 + 5),
            started: worker.started,
            recorder: Recorder::new("message", "delivery", micros()),
            window: (u64::MAX, 0),
            changes: Vec::new(),
            events: Vec::new(),
            room_messages: 0,
            manner,
        }
    }

    /// Brings all sessions up, as a phase of its own.
    pub(crate) fn log_in(&mut self, worker: &mut Worker, phase: &str) -> Outcome<()> {
        self.recorder = worker.begin(phase, "login", "login")?;
        let (begin, count) = (micros(), self.keeper.count());
        let rate = worker.share.rate(worker.common.rate);
        for slot in 0..count {
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a pace, and positive"
            )]
            let after = (slot as f64 / rate.max(0.001) * 1e6) as u64;
            self.keeper.want(slot, begin + after);
        }
        while self.keeper.up < count || self.pages_awaited > 0 {
            self.turn(worker)?;
            worker.progress(self.keeper.up as u64, Some(count as u64))?;
            if self.keeper.stalled(micros()) {
                let error = self.recorder.tally.error.clone().unwrap_or_default();
                return Err(format!("{} of {count} could not log in: {error}", count - self.keeper.up));
            }
        }
        self.recorder.tally.sessions = self.keeper.up as u64;
        let recorder = std::mem::replace(&mut self.recorder, Recorder::new("message", "delivery", micros()));
        worker.end(recorder)
    }

    /// The load from now on.
    pub(crate) fn load(&mut self, rates: Rates, now: u64) {
        let all = [
            (Action::Message, rates.messages),
            (Action::Presence, rates.presence),
            (Action::RoomMessage, rates.room_messages),
            (Action::Reconnect, rates.reconnects),
            (Action::State, rates.states),
        ];
        #[allow(clippy::cast_precision_loss, reason = "µs of this machine's uptime")]
        let begin = now as f64;
        let paces = all.into_iter().filter(|(_, rate)| *rate > 0.0);
        self.paces = paces
            .map(|(action, rate)| Pace { action, interval: 1e6 / rate, next: begin + 1e6 / rate })
            .collect();
    }

    /// Starts to record: what is due within the next `seconds`.
    pub(crate) fn record(&mut self, recorder: Recorder, now: u64, seconds: f64) {
        self.recorder = recorder;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
        let length = (seconds * 1e6) as u64;
        self.window = (now, now.saturating_add(length));
    }

    /// The recorded time is over now, if it is not yet.
    pub(crate) fn stop_recording(&mut self, now: u64) {
        self.window.1 = self.window.1.min(now);
    }

    /// True once the recorded time is over.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        now >= self.window.1
    }

    /// Messages that were made and have not arrived.
    pub(crate) fn in_flight(&self) -> u64 {
        let made: u64 = self.outboxes.iter().map(Outbox::made).sum();
        made.saturating_sub(self.arrived.iter().map(|p| p.arrived).sum())
    }

    /// Sum over all receivers.
    pub(crate) fn sum(&self, of: fn(&Pair) -> u64) -> u64 {
        self.arrived.iter().map(of).sum()
    }

    /// Records how long the slowest message to each session took.
    pub(crate) fn record_longest(&mut self) {
        for longest in self.longest.iter().filter(|longest| **longest > 0) {
            self.recorder.latency("longest", *longest);
        }
    }

    /// What was due in the recorded time and is still on its way counts as late, and as old as it is now.
    pub(crate) fn give_up(&mut self, now: u64) {
        let window = self.window.0..self.window.1;
        for (_, due) in self.expected.iter().flatten().filter(|(_, due)| window.contains(due)) {
            self.recorder.latency("delivery", now.saturating_sub(*due));
            self.recorder.tally.count("late", 1);
        }
    }

    /// Everything made has arrived and is acknowledged.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight() == 0 && self.outboxes.iter().all(Outbox::is_empty)
    }

    /// One turn: what is due, what came.
    pub(crate) fn turn(&mut self, worker: &mut Worker) -> Outcome<()> {
        self.due(worker)?;
        let mut changes = std::mem::take(&mut self.changes);
        self.keeper.tick(worker, &mut changes);
        let mut events = std::mem::take(&mut self.events);
        worker.turn(TURN, &mut events)?;
        for (slot, event) in events.drain(..) {
            match self.keeper.event(worker, slot, &event) {
                Some(change) => changes.push((slot, change)),
                None => self.event(worker, slot, event)?,
            }
            for (slot, change) in changes.drain(..) {
                self.changed(worker, slot, change)?;
            }
        }
        for (slot, change) in changes.drain(..) {
            self.changed(worker, slot, change)?;
        }
        (self.changes, self.events) = (changes, events);
        Ok(())
    }
}
