//! Sessions from before the start whose clients have not come back yet: found at the start, forgotten when
//! their time is up. Resuming one is `revive.rs`.
use crate::durable::{self, Who};
use crate::handover::GhostsImage;
use crate::hub::{Hub, Origin};
use crate::module::Closing;
use crate::note::{Address, Poster};
use crate::pending::Completion;
use godwit_session::{Millis, Place, SessionId};
use godwit_store::schema::{self, Part};
use godwit_store::{Cf, Owner, Range, StoreError, Tx};
use godwit_wire::Jid;
use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Sessions forgotten in one go.
const EXPIRE_MAX: usize = 1_000;

/// Sessions from before the start that may still be resumed, by the end of their time.
#[derive(Debug)]
pub(crate) struct Ghosts {
    due: Mutex<BTreeSet<(Millis, u64, u64)>>,
    /// The first of these times; the end of time if there is none.
    next: AtomicU64,
    /// From this number on sessions are of this life of the daemon.
    first: u64,
    /// Those that have come back or were given up. At most as many as there were at the start.
    came: Mutex<HashSet<u64>>,
}

impl Ghosts {
    /// At the start; the first session of this life will have this number.
    pub(crate) fn new(first: u64) -> Ghosts {
        Ghosts { due: Mutex::default(), next: AtomicU64::new(u64::MAX), first, came: Mutex::default() }
    }

    pub(crate) fn image(&self) -> GhostsImage {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let came = self.came.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        GhostsImage { due, first: self.first, came }
    }

    pub(crate) fn taken_over(image: GhostsImage) -> Ghosts {
        let ghosts =
            Ghosts { came: Mutex::new(image.came.into_iter().collect()), ..Ghosts::new(image.first) };
        ghosts.add(image.due);
        ghosts
    }

    /// A session comes back, or is given up, once. A second time it has ended meanwhile, as has one of this
    /// life that is not here: what is written of it may still be there when the writer is slow, and so may be
    /// stanzas of it that a new life would count twice.
    pub(crate) fn comes(&self, session: u64) -> bool {
        session < self.first && self.came.lock().unwrap_or_else(PoisonError::into_inner).insert(session)
    }

    /// True if it could.
    pub(crate) fn may_come(&self, session: u64) -> bool {
        session < self.first && !self.came.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }

    /// When [`Hub::expire_ghosts`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        Some(self.next.load(Ordering::Relaxed)).filter(|at| *at != u64::MAX)
    }

    fn add(&self, found: impl IntoIterator<Item = (Millis, u64, u64)>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.extend(found);
        self.next.store(due.first().map_or(u64::MAX, |first| first.0), Ordering::Relaxed);
    }

    fn take(&self, now: Millis) -> Vec<(u64, u64)> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        while taken.len() < EXPIRE_MAX
            && let Some(first) = due.first().copied().filter(|first| first.0 <= now)
        {
            due.remove(&first);
            taken.push((first.1, first.2));
        }
        self.next.store(due.first().map_or(u64::MAX, |first| first.0), Ordering::Relaxed);
        taken
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Hub {
    /// Sessions from before the start that wait for their clients.
    pub fn waiting_since_before(&self) -> usize {
        self.ghosts.count()
    }

    /// Looks for sessions that may be resumed from before the start. Once, when the writer is attached.
    pub fn begin(self: &Arc<Self>, now: Millis) {
        let hub = Arc::clone(self);
        let looked = self.outside.background.run(Box::new(move || match hub.find_ghosts(now) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "sessions from before the start may be resumed"),
            Err(error) => tracing::error!(%error, "sessions from before the start cannot be read"),
        }));
        if !looked {
            tracing::error!("no worker was free at the start: old sessions are forgotten at the next one");
        }
    }

    fn find_ghosts(&self, now: Millis) -> Result<usize, StoreError> {
        let (start, end) = schema::all_sessions();
        let (mut found, mut last, mut stray) = (Vec::new(), (0, 0), Vec::new());
        self.outside.store.scan(
            &Range { cf: Cf::Sessions, start, end, reverse: false },
            &mut |key, value| {
                if let Some((Owner(owner), session, part)) = schema::session_of(key)
                    && last != (owner, session)
                {
                    let max_s = (part == Part::Who as u8).then(|| durable::max_s(value)).flatten();
                    match max_s {
                        Some(max_s) => found.push((now + Millis::from(max_s) * 1000, owner, session)),
                        // Rows that were written behind the session's end.
                        None => stray.push((now, owner, session)),
                    }
                    last = (owner, session);
                }
                ControlFlow::Continue(())
            },
        )?;
        let count = found.len();
        self.ghosts.add(found);
        self.ghosts.add(stray);
        Ok(count)
    }

    /// Forgets sessions that were not resumed in time. What they never acknowledged is still pending.
    pub(crate) fn expire_ghosts(self: &Arc<Self>, now: Millis) {
        let taken = self.ghosts.take(now);
        if taken.is_empty() {
            return;
        }
        let hub = Arc::clone(self);
        let queued = self.outside.background.run(Box::new(move || {
            for (owner, session) in taken {
                if let Err(error) = hub.expire_ghost(owner, session) {
                    tracing::error!(%error, "a session from before the start cannot be read");
                }
            }
        }));
        if !queued {
            tracing::warn!("the workers are busy: old sessions are forgotten at the next start");
        }
    }

    /// A session from before the start will not come back. Who was told then that it is available is told
    /// that it is not, unless its resource is there again and has said so itself.
    pub(crate) fn say_gone(self: &Arc<Self>, account: &Jid, owner: u64, session: SessionId, who: &Who) {
        let Ok(jid) = account.with_resource(&who.resource) else { return };
        let bare: Arc<str> = account.bare_str().into();
        let again = self.registry.with(&bare, |live| live.resource(&who.resource).is_some());
        if who.presence.is_none() && who.directed.is_empty() || again == Some(true) {
            return;
        }
        let (address, place) = (Address { session, bare }, Place::default());
        let origin = Origin { address, owner, jid, place, room: 0, h: None };
        let directed = who.directed.iter().filter_map(|jid| Jid::parse(jid).ok()).collect();
        let closing = Closing { available: who.presence.is_some(), directed };
        let mut post = Poster::new(self.outside.post.shards());
        self.say_goodbye(&origin, &closing, true, (self.outside.clock)(), &mut post);
        post.flush(&*self.outside.post);
    }

    fn expire_ghost(self: &Arc<Self>, owner: u64, session: u64) -> Result<(), StoreError> {
        let store = &*self.outside.store;
        if !self.ghosts.comes(session) {
            return Ok(());
        }
        let tx = match durable::read(store, owner, session)? {
            Some(rows) => {
                let name = store.get(Cf::State, &schema::state(Owner(owner), schema::State::Name))?;
                let name = name.as_deref().and_then(|name| std::str::from_utf8(name).ok());
                if let Some(account) = name.and_then(|name| Jid::parse(name).ok()) {
                    self.say_gone(&account, owner, SessionId(session), &rows.who);
                }
                durable::bury(store, owner, session, rows.who.secret, rows.h)?
            }
            None => {
                let mut tx = Tx { lazy: true, ..Tx::default() };
                durable::forget(&mut tx, owner, session);
                tx
            }
        };
        // With a full queue the rows stay until the next start finds them.
        let _ = self.submit(tx, Completion::Unheard);
        Ok(())
    }
}
