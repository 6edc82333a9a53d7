//! Which sessions are online: accounts by bare JID, each with its sessions, their presence, and what they
//! were sent.
//!
//! The one structure that all threads share. Locked in stripes by account; no lock is held while another is
//! taken, nor across a write to the store. What is decided under an account's lock (who gets a message) is
//! final and in commit order.
use crate::backlog::{Backlog, IdleTable};
use crate::delivery::Delivery;
use crate::note::{Address, Poster};
use crate::pep::last::Interest;
use crate::xep0280_carbons::Runs;
use crate::xep0441_prefs::Known;
use godwit_session::{Event, Millis, Place, SessionId};
use godwit_wire::Jid;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const STRIPES: usize = 64;
/// Accounts whose memory is looked at.
const MEASURED_MAX: usize = 4_096;

/// A session, as the router sees it.
#[derive(Debug)]
pub struct Entry {
    /// Number.
    pub id: SessionId,
    /// Resource.
    pub resource: Box<str>,
    /// Where it is now.
    pub place: Place,
    /// Peer address, for status and logs.
    pub peer: Option<IpAddr>,
    /// When it was bound.
    pub since_ms: Millis,
    /// Last presence, rendered with `from` and without `to`; `None` while unavailable.
    pub presence: Option<Arc<[u8]>>,
    /// Priority of that presence.
    pub priority: i8,
    /// Its client is inactive (XEP-0352): told to administrators, and to nobody else.
    pub inactive: bool,
    /// Asked for its roster, so it gets roster pushes (RFC 6121 §2.1.6): the version that it got.
    pub interested: Option<u64>,
    /// Messages to the bare JID up to here are only for it if they are pending; later ones are for it in any
    /// case. `None` while it gets none (unavailable or negative priority).
    pub reads_from: Option<u64>,
    /// It wants copies of messages after this position (XEP-0280); `None`: no copies.
    pub carbons_from: Option<u64>,
    /// Copies that it was sent from memory.
    pub copied: Runs,
    /// Position of the last stored message posted to it.
    pub posted: u64,
    /// Numbered posts to it so far, modulo 2^32 (`Entry::post`).
    pub posts: u32,
    /// To whom it sent directed presence (RFC 6121 §4.6), for the unavailable at the end. Bounded by
    /// `directed_max`.
    pub directed: Vec<Jid>,
    /// Secret of its resumption id, if it may be resumed.
    pub secret: Option<[u8; 16]>,
    /// What it wants to hear of personal eventing.
    pub interest: crate::pep::last::Interest,
    /// Seconds it then has for that.
    pub max_s: u32,
    /// Who it is could not be written down: that goes with its next record.
    pub unwritten: bool,
}

impl Entry {
    /// A session that was just bound.
    pub fn new(id: SessionId, resource: &str, place: Place, peer: Option<IpAddr>, since_ms: Millis) -> Entry {
        Entry {
            id,
            resource: resource.into(),
            place,
            peer,
            since_ms,
            presence: None,
            priority: 0,
            inactive: false,
            interested: None,
            reads_from: None,
            carbons_from: None,
            copied: Runs::default(),
            posted: 0,
            posts: 0,
            directed: Vec::new(),
            secret: None,
            interest: Interest::default(),
            max_s: 0,
            unwritten: false,
        }
    }

    /// Posts something to it, numbered: if it moves meanwhile, that comes in the order of these calls all the
    /// same. `bare`: its account.
    pub(crate) fn post(&mut self, bare: &Arc<str>, event: Event, post: &mut Poster) {
        self.posts = self.posts.wrapping_add(1);
        let address = Address { session: self.id, bare: Arc::clone(bare) };
        post.event(address, self.place, event.numbered(self.posts));
    }

    /// Bytes held besides itself.
    fn memory(&self) -> usize {
        let presence = self.presence.as_ref().map_or(0, |bytes| bytes.len() + 2 * size_of::<usize>());
        let directed = self.directed.capacity() * size_of::<Jid>();
        let addresses = self.directed.iter().map(|jid| jid.as_str().len()).sum::<usize>();
        self.resource.len() + presence + directed + addresses
    }

    /// Gets messages to the bare JID.
    pub fn reads(&self) -> bool {
        self.reads_from.is_some()
    }

    /// Wants a copy of the message at this position; `None`: of one that is not stored.
    pub fn copies(&self, seq: Option<u64>) -> bool {
        self.carbons_from.is_some_and(|from| seq.is_none_or(|seq| seq > from))
    }
}

/// An account with at least one session (or whose delivery record is being written).
#[derive(Debug)]
pub struct Live {
    /// Account number.
    pub owner: u64,
    /// Bare JID.
    pub bare: Arc<str>,
    /// Sessions, oldest first.
    pub sessions: Vec<Entry>,
    /// What was handed over.
    pub delivery: Delivery,
    /// The delivery record is on its way to the store.
    pub saving: bool,
    /// It changed since that was queued.
    pub unsaved: bool,
    /// The account was removed; its sessions are about to end.
    pub removed: bool,
    /// What is known of its archive preferences.
    pub(crate) prefs: Known,
}

impl Live {
    /// Adds a session. Most accounts have one, so room is made for just that: a vector's first push would
    /// take four times as much.
    pub fn add(&mut self, entry: Entry) {
        self.sessions.reserve_exact(1);
        self.sessions.push(entry);
    }

    /// Bytes held, the box included.
    fn memory(&self) -> usize {
        // The name is counted with its two reference counts.
        let own = size_of::<Live>() + self.bare.len() + 2 * size_of::<usize>() + self.delivery.memory();
        let rooms = self.sessions.capacity() * size_of::<Entry>();
        own + rooms + self.sessions.iter().map(Entry::memory).sum::<usize>()
    }

    /// A session by number.
    pub fn session(&mut self, id: SessionId) -> Option<&mut Entry> {
        self.sessions.iter_mut().find(|entry| entry.id == id)
    }

    /// A session by resource.
    pub fn resource(&mut self, resource: &str) -> Option<&mut Entry> {
        self.sessions.iter_mut().find(|entry| &*entry.resource == resource)
    }

    /// Some session gets messages to the bare JID.
    pub fn is_read(&self) -> bool {
        self.sessions.iter().any(Entry::reads)
    }

    /// Posts to its sessions that are chosen.
    pub(crate) fn post_each(
        &mut self,
        post: &mut Poster,
        chosen: impl Fn(&Entry) -> bool,
        event: impl Fn(&Entry) -> Event,
    ) {
        for entry in self.sessions.iter_mut().filter(|entry| chosen(entry)) {
            let event = event(entry);
            entry.post(&self.bare, event, post);
        }
    }

    /// A session's address.
    pub fn address(&self, session: SessionId) -> Address {
        Address { session, bare: Arc::clone(&self.bare) }
    }
}

/// A part of the registry: accounts by bare JID, and what waits for some that are not online.
#[derive(Debug, Default)]
struct Accounts {
    live: HashMap<Arc<str>, Box<Live>>,
    idle: IdleTable,
}

type Stripe = Mutex<Accounts>;

/// The registry.
#[derive(Debug)]
pub struct Registry {
    stripes: Box<[Stripe]>,
    hasher: RandomState,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { stripes: (0..STRIPES).map(|_| Stripe::default()).collect(), hasher: RandomState::new() }
    }
}

impl Registry {
    fn stripe(&self, bare: &str) -> MutexGuard<'_, Accounts> {
        let at = usize::try_from(self.hasher.hash_one(bare) % STRIPES as u64).unwrap_or(0);
        // A module's panic is caught and answered; what it held is consistent between two statements, so go
        // on.
        self.stripes[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on an account under its lock; `None` if it is not online.
    pub fn with<T>(&self, bare: &str, work: impl FnOnce(&mut Live) -> T) -> Option<T> {
        self.stripe(bare).live.get_mut(bare).map(|live| work(live))
    }

    /// Works on an account under its lock, online or not. One that has the name of this account but another
    /// number was removed: it is not this one.
    pub(crate) fn either<T>(
        &self,
        bare: &str,
        owner: u64,
        online: impl FnOnce(&mut Live) -> T,
        offline: impl FnOnce(&mut IdleTable) -> T,
    ) -> T {
        let mut stripe = self.stripe(bare);
        match stripe.live.get_mut(bare).filter(|live| live.owner == owner) {
            Some(live) => online(live),
            None => offline(&mut stripe.idle),
        }
    }

    /// Works on an account under its lock; makes it with `make` if it is not online.
    pub fn with_or<T, E>(
        &self,
        bare: &str,
        make: impl FnOnce() -> Result<Live, E>,
        work: impl FnOnce(&mut Live) -> T,
    ) -> Result<T, E> {
        let mut stripe = self.stripe(bare);
        if let Some(live) = stripe.live.get_mut(bare) {
            return Ok(work(live));
        }
        let mut live = make()?;
        stripe.idle.came(live.owner, &mut live.delivery);
        let key = Arc::clone(&live.bare);
        Ok(work(stripe.live.entry(key).or_insert(Box::new(live))))
    }

    /// What waits for an account is counted anew when the next message comes: for whoever removes messages
    /// that nobody acknowledged.
    pub fn recount(&self, bare: &str, owner: u64) {
        self.either(bare, owner, |live| live.delivery.recount(), |idle| idle.forget(owner));
    }

    /// Forgets an account without sessions whose delivery record is safe in the store.
    pub fn tidy(&self, bare: &str) {
        let mut stripe = self.stripe(bare);
        let Accounts { live: table, idle } = &mut *stripe;
        if table.get(bare).is_some_and(|live| live.sessions.is_empty() && !live.saving && !live.unsaved) {
            if let Some(live) = table.remove(bare).filter(|live| !live.removed) {
                idle.left(live.owner, &live.delivery);
            }
            // Room for one and a half times the accounts is enough: after a storm the memory goes back.
            if table.capacity() > 64 && table.len() < table.capacity() / 4 {
                let room = table.len() * 3 / 2;
                table.shrink_to(room);
            }
        }
    }

    /// Bytes held. Of many accounts those of some stripes are looked at, and taken for all.
    pub fn memory(&self) -> usize {
        let (mut accounts, mut looked_at, mut bytes) = (0, 0, 0);
        for stripe in &self.stripes {
            let stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            let live = &stripe.live;
            accounts += live.len();
            if looked_at < MEASURED_MAX {
                looked_at += live.len();
                // A place in the table is a key, a pointer and a byte of the hash.
                bytes += live.capacity() * (size_of::<(Arc<str>, Box<Live>)>() + 1);
                bytes += live.values().map(|live| live.memory()).sum::<usize>();
            }
        }
        bytes.saturating_mul(accounts) / looked_at.max(1)
    }

    /// What waits for accounts that are not online, as far as it is known without reading the store.
    pub fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        for stripe in &self.stripes {
            stripe.lock().unwrap_or_else(PoisonError::into_inner).idle.sum(&mut backlog);
        }
        backlog
    }

    /// Puts an account in, as it was in the binary before.
    pub(crate) fn insert(&self, live: Live) {
        let mut stripe = self.stripe(&live.bare);
        stripe.live.insert(Arc::clone(&live.bare), Box::new(live));
    }

    /// Visits every account, stripe by stripe; sees each account whole but not all at one moment.
    pub fn each(&self, visit: &mut dyn FnMut(&Live)) {
        for stripe in &self.stripes {
            let stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            stripe.live.values().for_each(|live| visit(live));
        }
    }
}
