//! A stanza's way through the hub: decided, written, and only then in effect.
use crate::durable::{self, Written};
use crate::effects::{Effect, Effects, Fate, Job, Slow};
use crate::hub::{Counters, Hub, Origin};
use crate::note::{Address, Poster};
use godwit_session::{Event, Millis, Place};
use godwit_store::{Outcome, Sink, Tx, TxError};
use godwit_wire::{Condition, Stanza, StanzaError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// What comes out of the writer with a transaction.
pub enum Completion {
    /// A stanza's.
    Stanza(Box<Pending>),
    /// A delivery record's: the account's bare JID.
    Saved(Arc<str>),
    /// A session's own row: it waits for that.
    Session {
        /// Which.
        address: Address,
        /// Where it was.
        place: Place,
        /// What was written.
        what: Written,
    },
    /// Nobody waits for it.
    Unheard,
    /// Somebody waits for it (accounts).
    Told(Box<dyn FnOnce(Outcome) + Send>),
    /// The same, and it has effects.
    Acted(Box<Acted>),
}

/// Something that was asked for outside of all sessions.
pub struct Acted {
    /// In whose name.
    pub(crate) origin: Origin,
    /// What happens once it is durable.
    pub(crate) after: Vec<Effect>,
    /// Who waits for it.
    pub(crate) told: Box<dyn FnOnce(Outcome) + Send>,
}

/// A stanza whose transaction is under way.
pub struct Pending {
    origin: Origin,
    /// For the error reply, or to handle it again. `None`: the end of a session.
    stanza: Option<Box<Stanza>>,
    after: Vec<Effect>,
    /// If it is written.
    fate: Fate,
    /// The session was told to hold.
    held: bool,
    /// The transaction holds the session's count.
    counted: bool,
    tries: u32,
}

impl Pending {
    fn new(
        origin: Origin,
        stanza: Option<Box<Stanza>>,
        (after, fate): (Vec<Effect>, Fate),
        held: bool,
        tries: u32,
    ) -> Pending {
        Pending { origin, stanza, after, fate, held, counted: false, tries }
    }
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

impl Hub {
    /// Handles a stanza of a bound session. `idle`: all earlier stanzas of the session are handled, so that
    /// this one's effects cannot overtake theirs.
    pub fn stanza(
        self: &Arc<Self>,
        origin: &Origin,
        stanza: Box<Stanza>,
        idle: bool,
        now: Millis,
        post: &mut Poster,
    ) -> Progress {
        Counters::up(self.counters.stanzas.of(stanza.kind));
        let fx = self.handle(origin, &stanza, now);
        self.finish(origin, Some(stanza), fx, idle, post)
    }

    /// Lets the modules and the router work on a stanza; a panic costs the stanza, not the daemon.
    fn handle(&self, origin: &Origin, stanza: &Stanza, now: Millis) -> Effects {
        let settings = self.settings();
        let cx = self.cx(&settings, origin, now);
        let handled = catch_unwind(AssertUnwindSafe(|| {
            godwit_store::points::pass("hub::stanza");
            crate::route::route(&cx, stanza)
        }));
        match handled {
            Ok(Ok(fx)) => fx,
            Ok(Err(error)) => self.refuse(stanza, &error, fate_of(&error)),
            Err(_) => {
                Counters::up(&self.counters.panics);
                tracing::error!(jid = %origin.jid, kind = ?stanza.kind, "a module panicked over it");
                self.refuse(stanza, &StanzaError::new(Condition::InternalServerError), Fate::Failed)
            }
        }
    }

    fn refuse(&self, stanza: &Stanza, error: &StanzaError, fate: Fate) -> Effects {
        let mut fx = Effects::default();
        fx.fate = fate;
        if crate::route::may_be_answered(stanza) {
            Counters::up(&self.counters.errors_sent);
            let mut out = Vec::new();
            stanza.error_reply(&mut out, error);
            fx.send(out);
        }
        fx
    }

    /// Lets effects happen: at once if there is nothing to write and nothing to wait for, else through the
    /// writer.
    fn finish(
        self: &Arc<Self>,
        origin: &Origin,
        stanza: Option<Box<Stanza>>,
        mut fx: Effects,
        idle: bool,
        post: &mut Poster,
    ) -> Progress {
        let stanza = match (fx.slow.take(), stanza) {
            (Some(job), Some(stanza)) => return self.defer(origin, stanza, job, 0, post),
            (_, stanza) => stanza,
        };
        if idle && fx.tx.ops.is_empty() && fx.tx.guards.is_empty() {
            if let Some(stanza) = &stanza {
                self.counters.fate(stanza.kind, fx.fate);
            }
            self.apply(origin, fx.after, &[], post);
            return Progress::Done;
        }
        // What is written down of the session itself follows the effects: no later stanza may be on its way
        // before it, with a count that says that this one is done with.
        let held = !fx.tx.guards.is_empty() || stanza.is_some() && fx.after.iter().any(changes_session);
        self.queue(fx.tx, Pending::new(origin.clone(), stanza, (fx.after, fx.fate), held, 0), post);
        if held { Progress::Held } else { Progress::Queued }
    }

    /// Has a worker do the slow part; the session holds meanwhile.
    fn defer(
        self: &Arc<Self>,
        origin: &Origin,
        stanza: Box<Stanza>,
        job: Job,
        tries: u32,
        post: &mut Poster,
    ) -> Progress {
        post.hand_over(&*self.outside.post);
        // Shared, so that a full queue can still answer the stanza.
        let stanza = Arc::new(Mutex::new(Some(stanza)));
        let (hub, from, kept) = (Arc::clone(self), origin.clone(), Arc::clone(&stanza));
        let queued = self.outside.background.run(Box::new(move || {
            let Some(stanza) = take(&kept) else { return };
            let slow = Slow { store: &*hub.outside.store, now: (hub.outside.clock)() };
            let done = catch_unwind(AssertUnwindSafe(|| job(&slow)))
                .unwrap_or_else(|_| Err(StanzaError::new(Condition::InternalServerError)));
            let fx = done.unwrap_or_else(|error| hub.refuse(&stanza, &error, fate_of(&error)));
            let mut post = Poster::new(hub.outside.post.shards());
            let pending = Pending::new(from, Some(stanza), (fx.after, fx.fate), true, tries);
            hub.queue(fx.tx, pending, &mut post);
            post.flush(&*hub.outside.post);
        }));
        if !queued && let Some(stanza) = take(&stanza) {
            let busy =
                StanzaError::new(Condition::ResourceConstraint).with_text("the server is busy, try again");
            let fx = self.refuse(&stanza, &busy, Fate::Failed);
            let pending = Pending::new(origin.clone(), Some(stanza), (fx.after, fx.fate), true, tries);
            self.queue(fx.tx, pending, post);
        }
        Progress::Held
    }

    fn queue(self: &Arc<Self>, mut tx: Tx, mut pending: Pending, post: &mut Poster) {
        post.hand_over(&*self.outside.post);
        pending.counted = false;
        let countable = !tx.ops.is_empty() && !pending.after.iter().any(changes_session);
        if let Some(h) = pending.origin.h.filter(|_| countable) {
            tx.ops.push(durable::count(&pending.origin, h));
            pending.counted = true;
        }
        #[cfg(feature = "planted")]
        if crate::planted::acknowledges_early() && pending.stanza.is_some() && pending.tries == 0 {
            let event = handled(&pending.origin, pending.counted);
            post.event(pending.origin.address.clone(), pending.origin.place, event);
        }
        if let Err((_, Completion::Stanza(pending))) = self.submit(tx, Completion::Stanza(Box::new(pending)))
        {
            self.failed(*pending, &TxError::Failed("the writer's queue is full".into()), post);
        }
    }

    /// The transaction is durable, or is not going to be.
    fn completed(self: &Arc<Self>, pending: Pending, outcome: Outcome, post: &mut Poster) {
        match outcome {
            Ok(seqs) => {
                let Pending { origin, stanza, after, fate, held, counted, .. } = pending;
                self.apply(&origin, after, &seqs, post);
                if let Some(stanza) = stanza {
                    self.counters.fate(stanza.kind, fate);
                    self.handled(&origin, held, counted, post);
                }
            }
            Err(TxError::Conflict) => self.again(pending, post),
            // The recipient: decided again, as there is no such account now.
            Err(TxError::Gone(owner)) if owner.0 != pending.origin.owner => self.again(pending, post),
            Err(error @ TxError::Gone(_)) => self.failed(pending, &error, post),
            Err(error) => {
                Counters::up(&self.counters.writes_failed);
                self.failed(pending, &error, post);
            }
        }
    }

    fn handled(&self, origin: &Origin, held: bool, counted: bool, post: &mut Poster) {
        #[cfg(feature = "planted")]
        let told = crate::planted::acknowledges_early();
        #[cfg(not(feature = "planted"))]
        let told = false;
        if !told {
            post.last(origin.address.clone(), origin.place, handled(origin, counted));
        }
        if held {
            post.last(origin.address.clone(), origin.place, Event::Release);
        }
    }

    /// What the stanza was decided on has changed: decide again, on the writer's thread (rare: two clients of
    /// one account, or both sides of a subscription, within one round).
    fn again(self: &Arc<Self>, mut pending: Pending, post: &mut Poster) {
        Counters::up(&self.counters.conflicts);
        pending.tries += 1;
        let settings = self.settings();
        let Some(stanza) = pending.stanza.take() else {
            // The end of a session that raced with something else: nothing to write, but its contacts are
            // told.
            return self.failed(pending, &TxError::Conflict, post);
        };
        let mut fx = if pending.tries > settings.tries_max {
            let busy = StanzaError::new(Condition::ResourceConstraint)
                .with_text("changed too often meanwhile, try again");
            self.refuse(&stanza, &busy, Fate::Failed)
        } else {
            self.handle(&pending.origin, &stanza, (self.outside.clock)())
        };
        if let Some(job) = fx.slow.take() {
            self.defer(&pending.origin, stanza, job, pending.tries, post);
            return;
        }
        self.queue(fx.tx, Pending { stanza: Some(stanza), after: fx.after, fate: fx.fate, ..pending }, post);
    }

    /// Nothing of it was written: nothing is acknowledged, the sender is told.
    fn failed(self: &Arc<Self>, pending: Pending, error: &TxError, post: &mut Poster) {
        let (condition, why) = match error {
            TxError::Full(_) => (Condition::ResourceConstraint, "the server could not store this"),
            TxError::Gone(_) => (Condition::NotAuthorized, "the account was removed"),
            _ => (Condition::InternalServerError, "the server could not store this"),
        };
        let answer = StanzaError::new(condition).with_text(why);
        if let Some(stanza) = &pending.stanza {
            self.counters.fate(stanza.kind, Fate::Failed);
            let fx = self.refuse(stanza, &answer, Fate::Failed);
            self.apply(&pending.origin, fx.after, &[], post);
            self.handled(&pending.origin, pending.held, false, post);
        } else {
            self.apply(&pending.origin, pending.after, &[], post);
        }
    }

    /// Submits the end of a session's effects behind whatever the session still has under way.
    pub(crate) fn finish_end(self: &Arc<Self>, origin: &Origin, fx: Effects, idle: bool, post: &mut Poster) {
        self.finish(origin, None, fx, idle, post);
    }
}

/// What the session is told; `counted`: its count is in the store.
fn handled(origin: &Origin, counted: bool) -> Event {
    match origin.h.filter(|_| counted) {
        Some(h) => Event::HandledDurably(h),
        None => Event::Handled(1),
    }
}

/// Changes what is written down of the origin's session.
fn changes_session(effect: &Effect) -> bool {
    matches!(effect, Effect::Interested(_) | Effect::Presence { .. } | Effect::Directed(..))
}

/// Whose fault an error is.
fn fate_of(error: &StanzaError) -> Fate {
    match error.condition {
        Condition::InternalServerError | Condition::ResourceConstraint => Fate::Failed,
        _ => Fate::Refused,
    }
}

fn take(cell: &Mutex<Option<Box<Stanza>>>) -> Option<Box<Stanza>> {
    cell.lock().ok().and_then(|mut stanza| stanza.take())
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
        let mut wrote = false;
        for (completion, outcome) in round.drain(..) {
            let writes = matches!(completion, Completion::Saved(_) | Completion::Session { .. });
            wrote |= outcome.as_ref().is_ok_and(|seqs| writes || !seqs.is_empty());
            match completion {
                Completion::Stanza(pending) => self.hub.completed(*pending, outcome, &mut self.post),
                Completion::Saved(bare) => self.hub.saved(&bare, outcome.is_ok()),
                Completion::Session { address, place, what } => {
                    self.hub.written(address, place, &what, &outcome, &mut self.post);
                }
                Completion::Unheard => {}
                Completion::Told(tell) => tell(outcome),
                Completion::Acted(acted) => {
                    let Acted { origin, after, told } = *acted;
                    if let Ok(seqs) = &outcome {
                        self.hub.apply(&origin, after, seqs, &mut self.post);
                    }
                    told(outcome);
                }
            }
        }
        if wrote {
            self.hub.save_again();
        }
        self.post.flush(&*self.hub.outside.post);
    }
}
