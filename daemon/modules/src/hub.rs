//! The hub: store, registry, modules and shards in one place. Takes stanzas, makes transactions of them, and lets their
//! effects happen when they are durable.
use crate::effects::{Effect, Effects, Slow};
use crate::list::Modules;
use crate::module::Cx;
use crate::note::{Address, Background, Post, Poster};
use crate::registry::Registry;
use crate::throttle::Throttle;
use godwit_session::{Event, Millis, Place, SessionId};
use godwit_store::{Outcome, Read, Sink, Submit, Tx, TxError};
use godwit_wire::{Condition, Jid, Stanza, StanzaError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

/// What modules and router need to know of the configuration. Replaced whole at a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains served, normalised.
    pub domains: Vec<Box<str>>,
    /// Bare JIDs of administrators.
    pub admins: Vec<Jid>,
    /// Accounts may be made in-band (XEP-0077).
    pub in_band: bool,
    /// Sessions of one account at once.
    pub sessions_max: usize,
    /// Contacts in one roster.
    pub roster_max: usize,
    /// JIDs to which one session may send directed presence.
    pub directed_max: usize,
    /// Tries of a stanza whose data changed meanwhile, before it is answered `resource-constraint`.
    pub tries_max: u32,
    /// Secret from which the made-up keys of unknown users are derived; the same over restarts.
    pub secret: [u8; 32],
    /// Registrations per source address and hour; 0 is no limit. Loopback is exempt.
    pub registrations_per_hour_max: u32,
    /// Failed logins per source address and minute before further ones are refused; 0 is no limit. Loopback is exempt.
    pub failures_per_minute_max: u32,
}

/// The session that sent a stanza.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Session and account.
    pub address: Address,
    /// Account number.
    pub owner: u64,
    /// Full JID.
    pub jid: Jid,
    /// Where it was when it sent.
    pub place: Place,
}

/// What comes out of the writer with a transaction.
pub enum Completion {
    /// A stanza's.
    Stanza(Box<Pending>),
    /// A delivery record's: the account's bare JID.
    Saved(Arc<str>),
    /// Somebody waits for it (accounts).
    Told(Box<dyn FnOnce(Outcome) + Send>),
}

/// A stanza whose transaction is under way.
pub struct Pending {
    origin: Origin,
    /// For the error reply, or to handle it again. `None`: the end of a session.
    stanza: Option<Box<Stanza>>,
    after: Vec<Effect>,
    /// The session was told to hold.
    held: bool,
    tries: u32,
}

/// What became of a stanza when [`Hub::stanza`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Handled; effects are out.
    Done,
    /// Its completion comes later.
    Queued,
    /// The same, and nothing further may be read meanwhile.
    Held,
}

/// Counters for status and metrics.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub stanzas: AtomicU64,
    pub messages_stored: AtomicU64,
    pub messages_unstored: AtomicU64,
    pub delivered: AtomicU64,
    pub errors_sent: AtomicU64,
    pub conflicts: AtomicU64,
    pub writes_failed: AtomicU64,
    pub logins: AtomicU64,
    pub logins_failed: AtomicU64,
    pub resumed: AtomicU64,
    pub sessions: AtomicU64,
    pub detached: AtomicU64,
    pub panics: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn up(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    /// Takes one away.
    pub fn down(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Random source.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;
/// Clock, ms since 1970.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The seams to the outside, given at start.
pub struct Outside {
    /// Reading side of the store.
    pub store: Arc<dyn Read>,
    /// Shards' mailboxes.
    pub post: Arc<dyn Post>,
    /// Threads for slow work.
    pub background: Arc<dyn Background>,
    /// Clock, for what no shard triggers.
    pub clock: Clock,
    /// Random source.
    pub random: Random,
}

/// See the module's documentation.
pub struct Hub {
    pub(crate) outside: Outside,
    pub(crate) writer: OnceLock<Arc<dyn Submit<Completion>>>,
    pub(crate) settings: RwLock<Arc<Settings>>,
    pub(crate) next_session: AtomicU64,
    /// Who is online.
    pub registry: Registry,
    /// The modules.
    pub modules: Modules,
    /// Counters.
    pub counters: Counters,
    /// Failed logins by source.
    pub(crate) failures: Throttle,
    /// Registrations by source.
    pub(crate) registrations: Throttle,
}

impl Hub {
    /// A hub without a writer yet: give it one with [`Hub::attach`].
    pub fn new(outside: Outside, settings: Settings) -> Arc<Hub> {
        // Session numbers must not come again after a restart: milliseconds of the start, then a counter.
        let first = ((outside.clock)() << 22).max(1);
        Arc::new(Hub {
            outside,
            writer: OnceLock::new(),
            settings: RwLock::new(Arc::new(settings)),
            next_session: AtomicU64::new(first),
            registry: Registry::default(),
            modules: Modules::all(),
            counters: Counters::default(),
            failures: Throttle::new(60_000),
            registrations: Throttle::new(3_600_000),
        })
    }

    /// The writing side of the store. Only the first call counts.
    pub fn attach(&self, writer: Arc<dyn Submit<Completion>>) {
        let _ = self.writer.set(writer);
    }

    /// Settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Replaces the settings.
    pub fn reload(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(settings);
    }

    pub(crate) fn submit(&self, tx: Tx, completion: Completion) -> Result<(), (Tx, Completion)> {
        match self.writer.get() {
            Some(writer) => writer.submit(tx, completion),
            None => Err((tx, completion)),
        }
    }

    /// Handles a stanza of a bound session. `idle`: all earlier stanzas of the session are handled, so that this one's
    /// effects cannot overtake theirs.
    pub fn stanza(
        self: &Arc<Self>,
        origin: &Origin,
        stanza: Box<Stanza>,
        idle: bool,
        now: Millis,
        post: &mut Poster,
    ) -> Progress {
        Counters::up(&self.counters.stanzas);
        let fx = self.handle(origin, &stanza, now);
        self.finish(origin, Some(stanza), fx, idle, post)
    }

    /// Lets the modules and the router work on a stanza; a panic costs the stanza, not the daemon.
    fn handle(&self, origin: &Origin, stanza: &Stanza, now: Millis) -> Effects {
        let settings = self.settings();
        let cx = self.cx(&settings, origin, now);
        let handled = catch_unwind(AssertUnwindSafe(|| crate::route::route(&cx, stanza)));
        match handled {
            Ok(Ok(fx)) => fx,
            Ok(Err(error)) => self.refuse(stanza, &error),
            Err(_) => {
                Counters::up(&self.counters.panics);
                tracing::error!(jid = %origin.jid, kind = ?stanza.kind, "a module panicked; its stanza was answered with an error");
                self.refuse(stanza, &StanzaError::new(Condition::InternalServerError))
            }
        }
    }

    pub(crate) fn cx<'a>(&'a self, settings: &'a Settings, origin: &'a Origin, now: Millis) -> Cx<'a> {
        Cx {
            settings,
            store: &*self.outside.store,
            registry: &self.registry,
            modules: &self.modules,
            now,
            origin,
            random: &*self.outside.random,
        }
    }

    fn refuse(&self, stanza: &Stanza, error: &StanzaError) -> Effects {
        let mut fx = Effects::default();
        if crate::route::may_be_answered(stanza) {
            Counters::up(&self.counters.errors_sent);
            let mut out = Vec::new();
            stanza.error_reply(&mut out, error);
            fx.send(out);
        }
        fx
    }

    /// Lets effects happen: at once if there is nothing to write and nothing to wait for, else through the writer.
    fn finish(
        self: &Arc<Self>,
        origin: &Origin,
        stanza: Option<Box<Stanza>>,
        mut fx: Effects,
        idle: bool,
        post: &mut Poster,
    ) -> Progress {
        if let Some(job) = fx.slow.take() {
            return self.defer(origin, stanza, job, post);
        }
        if idle && fx.tx.ops.is_empty() && fx.tx.guards.is_empty() {
            self.apply(origin, fx.after, &[], post);
            return Progress::Done;
        }
        let held = !fx.tx.guards.is_empty();
        self.queue(fx.tx, Pending { origin: origin.clone(), stanza, after: fx.after, held, tries: 0 }, post);
        if held { Progress::Held } else { Progress::Queued }
    }

    fn defer(
        self: &Arc<Self>,
        origin: &Origin,
        stanza: Option<Box<Stanza>>,
        job: crate::effects::Job,
        post: &mut Poster,
    ) -> Progress {
        // Shared, so that a full queue can still answer the stanza.
        let stanza = Arc::new(std::sync::Mutex::new(stanza));
        let (hub, from, kept) = (Arc::clone(self), origin.clone(), Arc::clone(&stanza));
        let take = |cell: &std::sync::Mutex<Option<Box<Stanza>>>| {
            cell.lock().ok().and_then(|mut stanza| stanza.take())
        };
        let queued = self.outside.background.run(Box::new(move || {
            let stanza = take(&kept);
            let slow = Slow { store: &*hub.outside.store, now: (hub.outside.clock)() };
            let done = catch_unwind(AssertUnwindSafe(|| job(&slow)))
                .unwrap_or_else(|_| Err(StanzaError::new(Condition::InternalServerError)));
            let fx = match (done, &stanza) {
                (Ok(fx), _) => fx,
                (Err(error), Some(stanza)) => hub.refuse(stanza, &error),
                (Err(_), None) => Effects::default(),
            };
            let mut post = Poster::new(hub.outside.post.shards());
            hub.queue(
                fx.tx,
                Pending { origin: from, stanza, after: fx.after, held: true, tries: 0 },
                &mut post,
            );
            post.flush(&*hub.outside.post);
        }));
        if !queued {
            let busy =
                StanzaError::new(Condition::ResourceConstraint).with_text("the server is busy, try again");
            let stanza = take(&stanza);
            let fx = stanza.as_ref().map(|stanza| self.refuse(stanza, &busy)).unwrap_or_default();
            return self.finish(origin, stanza, fx, false, post);
        }
        Progress::Held
    }

    fn queue(&self, tx: Tx, pending: Pending, post: &mut Poster) {
        if let Err((_, Completion::Stanza(pending))) = self.submit(tx, Completion::Stanza(Box::new(pending)))
        {
            self.failed(*pending, &TxError::Failed("the writer's queue is full".into()), post);
        }
    }

    /// The transaction is durable, or is not going to be.
    fn completed(self: &Arc<Self>, pending: Pending, outcome: Outcome, post: &mut Poster) {
        match outcome {
            Ok(seqs) => {
                let Pending { origin, after, held, .. } = pending;
                self.apply(&origin, after, &seqs, post);
                self.handled(&origin, held, post);
            }
            Err(TxError::Conflict) => self.again(pending, post),
            Err(error) => {
                Counters::up(&self.counters.writes_failed);
                self.failed(pending, &error, post);
            }
        }
    }

    fn handled(&self, origin: &Origin, held: bool, post: &mut Poster) {
        post.event(origin.address.clone(), origin.place, Event::Handled(1));
        if held {
            post.event(origin.address.clone(), origin.place, Event::Release);
        }
    }

    /// What the stanza was decided on has changed: decide again, on the writer's thread (rare: two clients of one account,
    /// or both sides of a subscription, within one round).
    fn again(self: &Arc<Self>, mut pending: Pending, post: &mut Poster) {
        Counters::up(&self.counters.conflicts);
        pending.tries += 1;
        let settings = self.settings();
        let Some(stanza) = pending.stanza.take() else {
            // The end of a session whose account has just been removed: nothing to write, but its contacts are told.
            return self.failed(pending, &TxError::Conflict, post);
        };
        let fx = if pending.tries > settings.tries_max {
            let busy = StanzaError::new(Condition::ResourceConstraint)
                .with_text("changed too often meanwhile, try again");
            self.refuse(&stanza, &busy)
        } else {
            self.handle(&pending.origin, &stanza, (self.outside.clock)())
        };
        self.queue(fx.tx, Pending { stanza: Some(stanza), after: fx.after, ..pending }, post);
    }

    /// Nothing of it was written: nothing is acknowledged, the sender is told.
    fn failed(&self, pending: Pending, error: &TxError, post: &mut Poster) {
        let condition = match error {
            TxError::Full(_) => Condition::ResourceConstraint,
            _ => Condition::InternalServerError,
        };
        let answer =
            StanzaError::new(condition).with_text("the server could not store this; nothing was done");
        if let Some(stanza) = &pending.stanza {
            let fx = self.refuse(stanza, &answer);
            self.apply(&pending.origin, fx.after, &[], post);
        } else {
            self.apply(&pending.origin, pending.after, &[], post);
        }
        self.handled(&pending.origin, pending.held, post);
    }

    /// Submits the end of a session's effects behind whatever the session still has under way.
    pub(crate) fn finish_end(self: &Arc<Self>, origin: &Origin, fx: Effects, idle: bool, post: &mut Poster) {
        self.finish(origin, None, fx, idle, post);
    }

    /// A new session number.
    pub(crate) fn session_id(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }
}

/// The writer's end of the hub.
pub struct HubSink {
    hub: Arc<Hub>,
    post: Poster,
}

impl HubSink {
    /// For a hub.
    pub fn new(hub: Arc<Hub>) -> HubSink {
        let post = Poster::new(hub.outside.post.shards());
        HubSink { hub, post }
    }
}

impl Sink<Completion> for HubSink {
    fn committed(&mut self, round: &mut Vec<(Completion, Outcome)>) {
        for (completion, outcome) in round.drain(..) {
            match completion {
                Completion::Stanza(pending) => self.hub.completed(*pending, outcome, &mut self.post),
                Completion::Saved(bare) => self.hub.saved(&bare, outcome.is_ok()),
                Completion::Told(tell) => tell(outcome),
            }
        }
        self.post.flush(&*self.hub.outside.post);
    }
}
