//! What the hub and the shards' states know that is not in the store, as data for the next binary (in-place
//! upgrade): who is online, what they were sent, who waits to resume, what clients can do, how often who
//! failed to log in.
//!
//! Written and read at rest: no stanza is under way, no job runs, no record is on its way to the store. Left
//! behind are what is found again by itself (counts of what waits for accounts that are offline) and what
//! only diagnoses (the last steps of messages, counters). The forms are part of the hand-over format, see
//! `daemon/server/src/handover/FORMAT.md`.
use crate::backlog::Tally;
use crate::delivery::Delivery;
use crate::ghosts::Ghosts;
use crate::hub::{Hub, Outside, Settings};
use crate::pep::last::Interest;
use crate::registry::{Entry, Live};
use crate::shard::ShardState;
use crate::throttle::Throttle;
use crate::xep0115_caps::Caps;
use crate::xep0280_carbons::Runs;
use crate::xep0441_prefs::Known;
use godwit_session::image::{Pieces, Shared};
use godwit_session::{Bound, Millis, Place, SessionId};
use godwit_wire::Jid;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The hub's part.
#[derive(Serialize, Deserialize)]
pub struct HubImage {
    next_session: u64,
    began: u64,
    ghosts: GhostsImage,
    /// What clients can do; sessions name theirs by its place here.
    caps: Vec<Caps>,
    /// Those of which the hash was proved.
    proved: Vec<u32>,
    accounts: Vec<LiveImage>,
    /// Sessions of which nothing is written until their clients know what was not taken.
    broken: Vec<u64>,
    failures: Vec<(IpAddr, u64, u32)>,
    registrations: Vec<(IpAddr, u64, u32)>,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct GhostsImage {
    /// As `Ghosts::due`.
    pub(crate) due: Vec<(Millis, u64, u64)>,
    pub(crate) first: u64,
    pub(crate) came: Vec<u64>,
}

/// A delivery record with what its stored form leaves out.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeliveryImage {
    pub(crate) frontier: u64,
    pub(crate) owed: Vec<u64>,
    pub(crate) done: Vec<u64>,
    pub(crate) head: u64,
    pub(crate) beyond: Tally,
    pub(crate) own: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct LiveImage {
    owner: u64,
    bare: String,
    delivery: DeliveryImage,
    unsaved: bool,
    removed: bool,
    sessions: Vec<EntryImage>,
}

#[derive(Serialize, Deserialize)]
struct EntryImage {
    id: SessionId,
    resource: Box<str>,
    place: Place,
    peer: Option<IpAddr>,
    since_ms: Millis,
    presence: Option<Shared>,
    priority: i8,
    inactive: bool,
    interested: Option<u64>,
    reads_from: Option<u64>,
    carbons_from: Option<u64>,
    copied: Runs,
    posted: u64,
    posts: u32,
    directed: Vec<String>,
    secret: Option<[u8; 16]>,
    caps: Option<u32>,
    missed_since: Option<Millis>,
    max_s: u32,
    unwritten: bool,
}

/// A session that waits for its client.
#[derive(Serialize, Deserialize)]
struct WaitingImage<B> {
    until: Millis,
    bound: B,
}

/// Gives each of a client's abilities one number.
#[derive(Default)]
struct Numbers {
    list: Vec<Caps>,
    known: HashMap<*const Caps, u32>,
}

impl Numbers {
    fn of(&mut self, caps: &Arc<Caps>) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        *self.known.entry(Arc::as_ptr(caps)).or_insert_with(|| {
            self.list.push((**caps).clone());
            next
        })
    }
}

impl Hub {
    /// The hub at rest.
    pub fn image(&self) -> HubImage {
        let mut caps = Numbers::default();
        let proved = self.caps.each().iter().map(|proved| caps.of(proved)).collect();
        let mut accounts = Vec::new();
        self.registry.each(&mut |live| {
            accounts.push(LiveImage {
                owner: live.owner,
                bare: live.bare.to_string(),
                delivery: live.delivery.image(),
                unsaved: live.unsaved,
                removed: live.removed,
                sessions: live.sessions.iter().map(|entry| EntryImage::of(entry, &mut caps)).collect(),
            });
        });
        HubImage {
            next_session: self.next_session.load(Ordering::Relaxed),
            began: self.began,
            ghosts: self.ghosts.image(),
            caps: caps.list,
            proved,
            accounts,
            broken: self.writer.get().map_or_else(Vec::new, |writer| writer.broken()),
            failures: self.failures.image(),
            registrations: self.registrations.image(),
        }
    }

    /// A hub that goes on where another one was at rest. [`Hub::begin`] is not to be called: the sessions
    /// from before the first start are known.
    pub fn taken_over(outside: Outside, settings: Settings, image: HubImage) -> Result<Arc<Hub>, String> {
        let mut hub = Hub::bare(outside, settings);
        *hub.next_session.get_mut() = image.next_session;
        hub.began = image.began;
        hub.inherited = image.broken;
        hub.ghosts = Ghosts::taken_over(image.ghosts);
        hub.failures = Throttle::taken_over(60_000, image.failures);
        hub.registrations = Throttle::taken_over(3_600_000, image.registrations);
        let caps: Vec<Arc<Caps>> = image.caps.into_iter().map(Arc::new).collect();
        let known = |number: u32| {
            let found = usize::try_from(number).ok().and_then(|at| caps.get(at));
            found.cloned().ok_or_else(|| "a session can do what nobody can".to_owned())
        };
        for number in image.proved {
            hub.caps.put(&known(number)?);
        }
        let mut sessions = 0;
        for account in image.accounts {
            let mut live = Live {
                owner: account.owner,
                bare: account.bare.into(),
                sessions: Vec::with_capacity(account.sessions.len()),
                delivery: Delivery::taken_over(account.delivery),
                saving: false,
                unsaved: account.unsaved,
                removed: account.removed,
                prefs: Known::default(),
            };
            for session in account.sessions {
                live.sessions.push(session.into_entry(&known)?);
                sessions += 1;
            }
            if live.unsaved && live.sessions.is_empty() && !hub.unsaved.keep(&live.bare) {
                tracing::warn!(account = %live.bare, "its delivery record is given up");
            }
            hub.registry.insert(live);
        }
        hub.counters.sessions.store(sessions, Ordering::Relaxed);
        Ok(Arc::new(hub))
    }
}

impl HubImage {
    /// Sessions, those that wait for their clients included.
    pub fn sessions(&self) -> u64 {
        self.accounts.iter().map(|account| account.sessions.len() as u64).sum()
    }
}

impl EntryImage {
    fn of(entry: &Entry, caps: &mut Numbers) -> EntryImage {
        EntryImage {
            id: entry.id,
            resource: entry.resource.clone(),
            place: entry.place,
            peer: entry.peer,
            since_ms: entry.since_ms,
            presence: entry.presence.clone().map(Shared),
            priority: entry.priority,
            inactive: entry.inactive,
            interested: entry.interested,
            reads_from: entry.reads_from,
            carbons_from: entry.carbons_from,
            copied: entry.copied.clone(),
            posted: entry.posted,
            posts: entry.posts,
            directed: entry.directed.iter().map(|to| to.as_str().to_owned()).collect(),
            secret: entry.secret,
            caps: entry.interest.caps.as_ref().map(|of| caps.of(of)),
            missed_since: entry.interest.missed_since(),
            max_s: entry.max_s,
            unwritten: entry.unwritten,
        }
    }

    fn into_entry(self, caps: &impl Fn(u32) -> Result<Arc<Caps>, String>) -> Result<Entry, String> {
        let directed = self.directed.iter().map(|to| Jid::parse(to)).collect::<Result<Vec<_>, _>>();
        Ok(Entry {
            id: self.id,
            resource: self.resource,
            place: self.place,
            peer: self.peer,
            since_ms: self.since_ms,
            presence: self.presence.map(|shared| shared.0),
            priority: self.priority,
            inactive: self.inactive,
            interested: self.interested,
            reads_from: self.reads_from,
            carbons_from: self.carbons_from,
            copied: self.copied,
            posted: self.posted,
            posts: self.posts,
            directed: directed.map_err(|_| "presence was directed to no address".to_owned())?,
            secret: self.secret,
            interest: Interest::taken_over(self.caps.map(caps).transpose()?, self.missed_since),
            max_s: self.max_s,
            unwritten: self.unwritten,
        })
    }
}

impl ShardState {
    /// The sessions that wait for their clients: their number, then each.
    pub fn image(&self) -> Result<Pieces, postcard::Error> {
        let mut pieces = Pieces::default();
        postcard::to_io(&(self.waiting().count() as u64), &mut pieces)?;
        for (bound, until) in self.waiting() {
            postcard::to_io(&WaitingImage { until, bound }, &mut pieces)?;
        }
        Ok(pieces)
    }

    /// Takes these over; how many they are. Before the shard runs.
    pub fn take_waiting_over(&mut self, bytes: &[u8]) -> Result<u64, postcard::Error> {
        let all = read_waiting(bytes)?;
        let count = all.len() as u64;
        for WaitingImage { until, bound } in all {
            self.waits(Box::new(bound), until);
        }
        Ok(count)
    }
}

/// Reads such a section without using it: how many sessions wait.
pub fn count_waiting(bytes: &[u8]) -> Result<u64, postcard::Error> {
    read_waiting(bytes).map(|all| all.len() as u64)
}

fn read_waiting(bytes: &[u8]) -> Result<Vec<WaitingImage<Bound>>, postcard::Error> {
    let (count, mut rest) = postcard::take_from_bytes::<u64>(bytes)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let (waiting, behind) = postcard::take_from_bytes(rest)?;
        all.push(waiting);
        rest = behind;
    }
    if rest.is_empty() { Ok(all) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_hub_and_of_waiting_sessions_is_that_on_file() {
        crate::forms::compare::<(HubImage, WaitingImage<Bound>)>(env!("CARGO_MANIFEST_DIR"));
    }
}
