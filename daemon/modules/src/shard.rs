//! One shard's side of the hub: answers what connections ask, and keeps the sessions that have none (XEP-0198
//! §5).
use crate::hub::{Counters, Hub};
use crate::note::{Address, Note, Poster};
use godwit_session::Detached;
use godwit_session::{
    Bound, ConnId, Connection, Cx, Event, Millis, Place, Reply, ResumeFailure, SessionId, Settings,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Waiting sessions whose memory is looked at.
const MEASURED_MAX: usize = 1_024;

/// A session that waits for its client.
struct Waiting {
    bound: Box<Bound>,
    until: Millis,
}

/// A wish to resume a session that is being passed on to it.
struct Claim {
    session: Address,
    to: Place,
    secret: [u8; 16],
}

/// See the module's documentation. Lives on the shard's thread.
pub struct ShardState {
    pub(crate) hub: Arc<Hub>,
    pub(crate) shard: u16,
    settings: Arc<Settings>,
    waiting: HashMap<SessionId, Waiting>,
    /// The same by deadline.
    deadlines: BTreeSet<(Millis, SessionId)>,
    claims: HashMap<ConnId, Claim>,
    peers: Vec<Option<IpAddr>>,
    pub(crate) post: Poster,
    /// Sessions of which something waits in there.
    pub(crate) direct: HashSet<SessionId>,
    /// Session that the last note was for, and the connection.
    current: Option<(ConnId, Address)>,
}

impl ShardState {
    /// For shard number `shard`.
    pub fn new(hub: Arc<Hub>, shard: u16, settings: Arc<Settings>) -> ShardState {
        let post = Poster::new(hub.outside.post.shards());
        ShardState {
            hub,
            shard,
            settings,
            waiting: HashMap::new(),
            deadlines: BTreeSet::new(),
            claims: HashMap::new(),
            peers: Vec::new(),
            post,
            direct: HashSet::new(),
            current: None,
        }
    }

    /// A connection was accepted.
    pub fn opened(&mut self, at: ConnId, peer: IpAddr) {
        let slot = usize::try_from(at.slot).unwrap_or(0);
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, None);
        }
        self.peers[slot] = Some(peer);
    }

    /// A connection is gone.
    pub fn closed(&mut self, at: ConnId) {
        if let Some(peer) = self.peers.get_mut(usize::try_from(at.slot).unwrap_or(usize::MAX)) {
            *peer = None;
        }
    }

    pub(crate) fn peer(&self, at: ConnId) -> Option<IpAddr> {
        self.peers.get(usize::try_from(at.slot).unwrap_or(usize::MAX)).copied().flatten()
    }

    pub(crate) fn here(&self, at: ConnId) -> Place {
        Place { shard: self.shard, conn: at }
    }

    /// A note from another thread: an event for a connection of this shard, or done here.
    pub fn note(&mut self, note: Note, now: Millis) -> Option<(ConnId, Event)> {
        match note {
            Note::Event { session, at, mut event } => {
                if self.hub.is_outdated(session.as_ref(), &event) {
                    event = Event::Nothing(event.number()?);
                }
                crate::sessions::passes(&event);
                self.current = session.map(|session| (at, session));
                if at.generation == 0 {
                    self.missed(at, event, now);
                    return None;
                }
                Some((at, event))
            }
            Note::TakeOver { session, at, to, secret } => {
                let claim = Claim { session, to, secret };
                if self.waiting.contains_key(&claim.session.session) {
                    self.give_waiting(&claim, now);
                    return None;
                }
                if at.generation == 0 {
                    self.pass_on(claim);
                    return None;
                }
                self.current = Some((at, claim.session.clone()));
                self.claims.insert(at, claim);
                Some((at, Event::TakeOver))
            }
        }
    }

    /// The event's connection is gone, or it is not the event's session any more: the session waits here, or
    /// has moved.
    pub fn missed(&mut self, at: ConnId, event: Event, now: Millis) {
        if matches!(event, Event::TakeOver) {
            if let Some(claim) = self.claims.remove(&at) {
                if self.waiting.contains_key(&claim.session.session) {
                    self.give_waiting(&claim, now);
                } else {
                    self.pass_on(claim);
                }
            }
            return;
        }
        if let Event::Reply(reply) = event {
            // The connection that was to be answered has gone; a session that was on its way to it waits
            // here.
            match *reply {
                Reply::Resumed(Ok(bound)) => self.wait_for_resumption(bound, now),
                Reply::Bound(Ok(bound)) => {
                    self.hub.end(&bound, false, Hub::detached_place(self.shard), now, &mut self.post)
                }
                _ => {}
            }
            return;
        }
        // A page is for the connection that asked: the next one would take what is not in it for gone.
        let current =
            self.current.take().filter(|current| current.0 == at && !matches!(event, Event::Feed(_)));
        let Some((_, address)) = current else { return };
        if matches!(event, Event::Close(_)) && self.waiting.contains_key(&address.session) {
            // Replaced, or its account is gone: nothing to wait for.
            return self.end_waiting(address.session, now);
        }
        if let Some(waiting) = self.waiting.get_mut(&address.session) {
            if let Event::Report(inquiry) = event {
                return self.hub.inquiries.answer(inquiry, &waiting.bound, Some(waiting.until));
            }
            match waiting.bound.deliver_detached(event, &self.settings) {
                Detached::Kept => {}
                Detached::Shed => Counters::up(&self.hub.counters.shed),
                Detached::Unstored => self.hub.note_unstored(&waiting.bound),
                Detached::Overflow => self.end_waiting(address.session, now),
            }
            return;
        }
        // It moved between two notes: once more to where it is now. A session that is nowhere has ended.
        if let Some(place) = self.hub.place(&address)
            && place != self.here(at)
        {
            self.post.event(address, place, event);
        }
    }

    fn wait_for_resumption(&mut self, bound: Box<Bound>, now: Millis) {
        let seconds = bound.sm.as_ref().map_or(0, |sm| sm.max_s);
        self.detach(bound, now + Millis::from(seconds) * 1000);
    }

    pub(crate) fn detach(&mut self, bound: Box<Bound>, until: Millis) {
        let address = address_of(&bound);
        self.hub.detached(&address, Hub::detached_place(self.shard));
        self.waits(bound, until);
    }

    /// Takes in a session that waits, as the registry knows already.
    pub(crate) fn waits(&mut self, bound: Box<Bound>, until: Millis) {
        Counters::up(&self.hub.counters.detached);
        self.deadlines.insert((until, bound.id));
        self.waiting.insert(bound.id, Waiting { bound, until });
    }

    /// The sessions that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&Bound, Millis)> {
        self.waiting.values().map(|waiting| (&*waiting.bound, waiting.until))
    }

    fn take_waiting(&mut self, session: SessionId) -> Option<Box<Bound>> {
        let Waiting { bound, until } = self.waiting.remove(&session)?;
        self.deadlines.remove(&(until, session));
        Counters::down(&self.hub.counters.detached);
        Some(bound)
    }

    fn end_waiting(&mut self, session: SessionId, now: Millis) {
        if let Some(bound) = self.take_waiting(session) {
            tracing::info!(jid = %bound.jid, "session ended: not resumed");
            self.hub.end(&bound, true, Hub::detached_place(self.shard), now, &mut self.post);
        }
    }

    fn give_waiting(&mut self, claim: &Claim, now: Millis) {
        if let Some(bound) = self.take_waiting(claim.session.session) {
            self.give(claim, bound, now);
        }
    }

    fn give(&mut self, claim: &Claim, bound: Box<Bound>, now: Millis) {
        if let Err(bound) = self.hub.move_to(&claim.session, claim.to, bound) {
            // The note that says so is on its way to the old place, and would find nobody there.
            tracing::info!(jid = %bound.jid, "session ended: replaced while it was to be resumed");
            let h = Some(bound.durable_h());
            self.answer(claim.to, Reply::Resumed(Err(ResumeFailure { h })));
            self.hub.end(&bound, true, Hub::detached_place(self.shard), now, &mut self.post);
        }
    }

    /// The claimed session is not here any more.
    fn pass_on(&mut self, claim: Claim) {
        let place = self
            .hub
            .place(&claim.session)
            .filter(|place| place.shard != self.shard || place.conn.generation != 0);
        match place {
            Some(place) if place != claim.to => {
                let Claim { session, to, secret } = claim;
                self.post.push(place.shard, Note::TakeOver { session, at: place.conn, to, secret });
            }
            _ => self.answer(claim.to, Reply::Resumed(Err(ResumeFailure { h: None }))),
        }
    }

    /// Only resumptions that fail are answered here.
    fn answer(&mut self, to: Place, reply: Reply) {
        Counters::up(&self.hub.counters.resumptions_failed);
        self.post
            .push(to.shard, Note::Event { session: None, at: to.conn, event: Event::Reply(Box::new(reply)) });
    }

    /// The session of a connection is resumed elsewhere.
    pub fn take_over(&mut self, at: ConnId, conn: &mut Connection, cx: &mut Cx<'_>) {
        let Some(claim) = self.claims.remove(&at) else { return };
        let wanted = conn.bound().is_some_and(|bound| {
            bound.id == claim.session.session && bound.sm.as_ref().is_some_and(|sm| sm.secret == claim.secret)
        });
        match if wanted { conn.take_bound(cx) } else { None } {
            Some(bound) => self.give(&claim, bound, cx.now),
            None => self.pass_on(claim),
        }
    }

    /// When the next waiting session's time is up.
    pub fn deadline(&self) -> Option<Millis> {
        let own = self.deadlines.first().map(|(until, _)| *until);
        let ghosts = if self.shard == 0 { self.hub.ghosts.deadline() } else { None };
        own.into_iter().chain(ghosts).min()
    }

    /// Ends waiting sessions whose time is up.
    pub fn tick(&mut self, now: Millis) {
        if self.shard == 0 && self.hub.ghosts.deadline().is_some_and(|at| at <= now) {
            self.hub.expire_ghosts(now);
        }
        while let Some(&(until, session)) = self.deadlines.first()
            && until <= now
        {
            Counters::up(&self.hub.counters.expired);
            self.end_waiting(session, now);
        }
    }

    /// A session does something: if another thread goes on with it, what it did before is out.
    pub(crate) fn hurry(&mut self, session: SessionId) {
        self.post.urgent = self.direct.contains(&session);
    }

    /// Sends what has collected for other shards, and for this one.
    pub fn flush(&mut self) {
        self.direct.clear();
        self.post.flush(&*self.hub.outside.post);
    }

    /// Bytes of the sessions that wait for their clients. Of many a part is looked at, and taken for all.
    pub fn memory(&self) -> usize {
        let looked_at = self.waiting.values().take(MEASURED_MAX);
        let bytes: usize = looked_at.map(|waiting| waiting.bound.memory() + size_of::<Waiting>()).sum();
        let peers = self.peers.capacity() * size_of::<Option<IpAddr>>();
        peers + bytes / self.waiting.len().clamp(1, MEASURED_MAX) * self.waiting.len()
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

pub(crate) fn address_of(bound: &Bound) -> Address {
    Address { session: bound.id, bare: bound.jid.bare_str().into() }
}
