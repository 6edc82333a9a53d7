//! A stanza's way through the hub: decided, written, and only then in effect.
use crate::bounce::Refused;
use crate::durable::{self, Written};
use crate::effects::{Effect, Effects, Fate, Job, Slow};
use crate::hub::{Counters, Hub, Origin};
use crate::note::{Address, Poster};
use godwit_session::{Event, Millis, Place, SessionId};
use godwit_store::{Outcome, Sink, Tx, TxError};
use godwit_wire::{Condition, Kind, Stanza, StanzaError};
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
    /// The last of a session: nothing of it is under way any more.
    Ended(SessionId),
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

/// What a transaction comes of.
pub(crate) enum Cause {
    /// A stanza: for the error reply, or to handle it again.
    Stanza(Box<Stanza>),
    /// What counts as a message and is none: the error that answers it.
    Refused(Arc<[u8]>),
    /// The end of a session.
    End,
}

impl Cause {
    /// Of a stanza, or what counts as one.
    fn kind(&self) -> Option<Kind> {
        match self {
            Cause::Stanza(stanza) => Some(stanza.kind),
            Cause::Refused(_) => Some(Kind::Message),
            Cause::End => None,
        }
    }
}

/// A stanza whose transaction is under way.
pub struct Pending {
    origin: Origin,
    cause: Cause,
    after: Vec<Effect>,
    /// If it is written.
    fate: Fate,
    /// The session was told to hold.
    held: bool,
    /// The transaction holds the session's count.
    counted: bool,
    /// As [`Effects::unrecorded`].
    unrecorded: bool,
    tries: u32,
}

impl Pending {
    fn new(origin: Origin, cause: Cause, fx: Effects, held: bool, tries: u32) -> (Tx, Pending) {
        let Effects { tx, after, fate, unrecorded, .. } = fx;
        (tx, Pending { origin, cause, after, fate, held, counted: false, unrecorded, tries })
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
        self.finish(origin, Cause::Stanza(stanza), fx, idle, post)
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
            Ok(Err(error)) => self.refuse(origin, stanza, &Refused::by(error), now),
            Err(_) => {
                Counters::up(&self.counters.panics);
                tracing::error!(jid = %origin.jid, kind = ?stanza.kind, "a module panicked over it");
                self.refuse(origin, stanza, &Refused::failed(Condition::InternalServerError, ""), now)
            }
        }
    }

    /// Lets effects happen: at once if there is nothing to write and nothing to wait for, else through the
    /// writer.
    pub(crate) fn finish(
        self: &Arc<Self>,
        origin: &Origin,
        cause: Cause,
        mut fx: Effects,
        idle: bool,
        post: &mut Poster,
    ) -> Progress {
        let cause = match (fx.slow.take(), cause) {
            (Some(job), Cause::Stanza(stanza)) => return self.defer(origin, stanza, job, 0, post),
            (_, cause) => cause,
        };
        if idle && fx.tx.ops.is_empty() && fx.tx.guards.is_empty() && !fx.unrecorded {
            if let Some(kind) = cause.kind() {
                self.counters.fate(kind, fx.fate);
            }
            self.apply(origin, fx.after, &[], post);
            return Progress::Done;
        }
        // What is written down of the session itself follows the effects: no later stanza may be on its way
        // before it, with a count that says that this one is done with.
        let ends = matches!(cause, Cause::End);
        let held = !fx.tx.guards.is_empty() || !ends && fx.after.iter().any(changes_session);
        self.queue(Pending::new(origin.clone(), cause, fx, held, 0), post);
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
            let now = (hub.outside.clock)();
            let slow = Slow { store: &*hub.outside.store, now };
            let done = catch_unwind(AssertUnwindSafe(|| job(&slow)))
                .unwrap_or_else(|_| Err(StanzaError::new(Condition::InternalServerError)));
            let fx = done.unwrap_or_else(|error| hub.refuse(&from, &stanza, &Refused::by(error), now));
            let mut post = Poster::new(hub.outside.post.shards());
            hub.queue(Pending::new(from, Cause::Stanza(stanza), fx, true, tries), &mut post);
            post.flush(&*hub.outside.post);
        }));
        if !queued && let Some(stanza) = take(&stanza) {
            let busy = Refused::failed(Condition::ResourceConstraint, "the server is busy, try again");
            let fx = self.refuse(origin, &stanza, &busy, (self.outside.clock)());
            self.queue(Pending::new(origin.clone(), Cause::Stanza(stanza), fx, true, tries), post);
        }
        Progress::Held
    }

    fn queue(self: &Arc<Self>, (mut tx, mut pending): (Tx, Pending), post: &mut Poster) {
        post.hand_over(&*self.outside.post);
        pending.counted = false;
        (tx.chain, tx.breaks) = (pending.origin.chain(), pending.unrecorded);
        let countable = !tx.ops.is_empty() && !pending.after.iter().any(changes_session);
        if let Some(h) = pending.origin.h.filter(|_| countable) {
            tx.ops.push(durable::count(&pending.origin, h));
            pending.counted = true;
        }
        #[cfg(feature = "planted")]
        if crate::planted::acknowledges_early() && pending.cause.kind().is_some() && pending.tries == 0 {
            let event = handled(&pending.origin, pending.counted, false);
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
                let Pending { origin, cause, after, fate, held, counted, unrecorded, .. } = pending;
                self.apply(&origin, after, &seqs, post);
                if let Some(kind) = cause.kind() {
                    self.counters.fate(kind, fate);
                    self.handled(&origin, held, handled(&origin, counted, unrecorded), post);
                }
            }
            Err(TxError::Conflict) => self.again(pending, post),
            // The recipient: decided again, as there is no such account now.
            Err(TxError::Gone(owner)) if owner.0 != pending.origin.owner => self.again(pending, post),
            Err(error @ (TxError::Gone(_) | TxError::Broken)) => self.failed(pending, &error, post),
            Err(error) => {
                Counters::up(&self.counters.writes_failed);
                self.failed(pending, &error, post);
            }
        }
    }

    fn handled(&self, origin: &Origin, held: bool, event: Event, post: &mut Poster) {
        #[cfg(feature = "planted")]
        let told = crate::planted::acknowledges_early();
        #[cfg(not(feature = "planted"))]
        let told = false;
        if !told {
            post.last(origin.address.clone(), origin.place, event);
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
        let (settings, now) = (self.settings(), (self.outside.clock)());
        let Pending { cause: Cause::Stanza(stanza), origin, held, tries, .. } = pending else {
            // The end of a session that raced with something else: nothing to write, but its contacts are
            // told.
            return self.failed(pending, &TxError::Conflict, post);
        };
        let mut fx = if tries > settings.tries_max {
            let busy =
                Refused::failed(Condition::ResourceConstraint, "changed too often meanwhile, try again");
            self.refuse(&origin, &stanza, &busy, now)
        } else {
            self.handle(&origin, &stanza, now)
        };
        if let Some(job) = fx.slow.take() {
            self.defer(&origin, stanza, job, tries, post);
            return;
        }
        self.queue(Pending::new(origin, Cause::Stanza(stanza), fx, held, tries), post);
    }

    /// Nothing of it was written: nothing is acknowledged, the sender is told.
    fn failed(self: &Arc<Self>, pending: Pending, error: &TxError, post: &mut Poster) {
        let refused = match error {
            TxError::Full(_) => {
                Refused::failed(Condition::ResourceConstraint, "the server could not store this")
            }
            TxError::Gone(_) => Refused::failed(Condition::NotAuthorized, "the account was removed"),
            TxError::Broken => Refused::failed(
                Condition::ResourceConstraint,
                "the server could not store what came before this",
            ),
            _ => Refused::failed(Condition::InternalServerError, "the server could not store this"),
        };
        let answer = match &pending.cause {
            Cause::Stanza(stanza) => self.answer(stanza, &refused).after,
            Cause::Refused(answer) => vec![Effect::Send(Arc::clone(answer))],
            Cause::End => return self.apply(&pending.origin, pending.after, &[], post),
        };
        if let Some(kind) = pending.cause.kind() {
            self.counters.fate(kind, Fate::Failed);
        }
        self.apply(&pending.origin, answer, &[], post);
        let event = handled(&pending.origin, false, true);
        self.handled(&pending.origin, pending.held, event, post);
    }

    /// Submits the end of a session's effects behind whatever the session still has under way.
    pub(crate) fn finish_end(self: &Arc<Self>, origin: &Origin, fx: Effects, idle: bool, post: &mut Poster) {
        self.finish(origin, Cause::End, fx, idle, post);
    }
}

/// What the session is told. `counted`: its count is in the store; `unrecorded`: the stanza was not taken,
/// and nothing in the store says so.
fn handled(origin: &Origin, counted: bool, unrecorded: bool) -> Event {
    match origin.h {
        Some(_) if unrecorded => Event::Failed,
        Some(h) if counted => Event::HandledDurably(h),
        _ => Event::Handled(1),
    }
}

/// Changes what is written down of the origin's session.
fn changes_session(effect: &Effect) -> bool {
    matches!(effect, Effect::Interested(_) | Effect::Presence { .. } | Effect::Directed(..))
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
                Completion::Ended(session) => self.hub.mend(session),
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
