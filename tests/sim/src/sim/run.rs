//! One run from a seed, and what came of it.
use super::client::Client;
use super::coverage::{Coverage, Point};
use super::link::Link;
use super::moves::Move;
use super::notes::Notes;
use super::plan::{NAMES, Plan};
use super::template::Template;
use crate::scram::Salted;
use crate::seams::Dice;
use crate::server::Server;
use crate::world::START_MS;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What must not happen and did.
    pub failure: Option<String>,
    /// What was met.
    pub coverage: Coverage,
    /// Moves.
    pub moves: u64,
    /// The last events, if they were wanted.
    pub events: VecDeque<String>,
}

/// See the crate's documentation.
pub(crate) struct Sim {
    pub(crate) server: Server,
    pub(crate) clients: Vec<Client>,
    pub(crate) links: Vec<Link>,
    pub(crate) notes: Notes,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    pub(crate) salted: Salted,
    pub(crate) clock: Arc<AtomicU64>,
    /// What the server's clock is ahead of the clients'.
    pub(crate) skew: u64,
    /// Stanzas that servers before this one dropped for want of room.
    pub(crate) shed: u64,
    /// The disk is full.
    pub(crate) full: bool,
    /// fsync hangs.
    pub(crate) held: bool,
    /// Moves to choose from; kept for its memory.
    pub(crate) choice: Vec<(Move, usize)>,
}

/// Runs a seed. `told`: the last events are kept in words.
pub fn run(seed: u64, template: &Template, told: bool) -> Outcome {
    let mut sim = Sim::new(seed, template, told);
    let ended = catch_unwind(AssertUnwindSafe(|| sim.all()));
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned();
        sim.notes.fail(|| format!("panicked: {text}"));
    }
    template.learn(&sim.salted);
    Outcome {
        failure: sim.notes.ledger.failure.take(),
        coverage: sim.notes.coverage,
        moves: sim.notes.step,
        events: sim.notes.events.unwrap_or_default(),
    }
}

/// A part of a run, or what is checked after it.
type Part = fn(&mut Sim);

impl Sim {
    fn new(seed: u64, template: &Template, told: bool) -> Sim {
        let dice = Dice::new(seed);
        let plan = Plan::new(&dice);
        let clock = Arc::new(AtomicU64::new(START_MS));
        let server = Server::start(
            template.store(),
            plan.config.clone(),
            Arc::clone(&clock),
            Arc::new(Dice::new(dice.next())),
        );
        let client = |(me, &(account, sm)): (usize, &(usize, bool))| {
            Client::new(me, account, NAMES[account], &format!("r{me}"), sm)
        };
        let clients = plan.clients.iter().enumerate().map(client).collect();
        let notes = Notes { events: told.then(VecDeque::new), ..Notes::default() };
        Sim {
            server,
            clients,
            links: Vec::new(),
            notes,
            dice,
            plan,
            salted: template.salted(),
            clock,
            skew: 0,
            shed: 0,
            full: false,
            held: false,
            choice: Vec::new(),
        }
    }

    /// All three parts; the first failure ends it.
    fn all(&mut self) {
        while self.notes.step < self.plan.moves && self.is_well() {
            self.turn();
        }
        let parts: [(Part, Part); 3] = [
            (Sim::settle, Sim::check_at_rest),
            (Sim::leave, Sim::check_deserted),
            (Sim::come_back, Sim::check_all_arrived),
        ];
        for (part, check) in parts {
            if self.is_well() {
                part(self);
            }
            if self.is_well() {
                check(self);
            }
        }
        if self.server.hub.counters.conflicts.load(Ordering::Relaxed) > 0 {
            self.notes.hit(Point::ConflictRetried);
        }
    }

    pub(crate) fn is_well(&self) -> bool {
        self.notes.ledger.failure.is_none()
    }

    /// Time passes for everybody.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.notes.now += ms;
        self.clock.store(START_MS + self.notes.now + self.skew, Ordering::Relaxed);
    }
}
