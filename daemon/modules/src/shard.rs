//! One shard's side of the hub: answers what connections ask, and keeps the sessions that have none (XEP-0198
//! §5).
use crate::feed::Wanted;
use crate::hub::{Counters, Hub, Origin};
use crate::note::{Address, Note, Poster};
use crate::pending::Progress;
use godwit_session::Detached;
use godwit_session::{
    Account, Bound, ConnId, Connection, Cx, Event, Host, Millis, Place, Reply, Request, ResumeFailure,
    SessionId, Settings,
};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

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
    hub: Arc<Hub>,
    shard: u16,
    settings: Arc<Settings>,
    waiting: HashMap<SessionId, Waiting>,
    /// The same by deadline.
    deadlines: BTreeSet<(Millis, SessionId)>,
    claims: HashMap<ConnId, Claim>,
    peers: Vec<Option<IpAddr>>,
    post: Poster,
    /// Session that the note under way is for.
    current: Option<Address>,
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

    fn peer(&self, at: ConnId) -> Option<IpAddr> {
        self.peers.get(usize::try_from(at.slot).unwrap_or(usize::MAX)).copied().flatten()
    }

    fn here(&self, at: ConnId) -> Place {
        Place { shard: self.shard, conn: at }
    }

    /// A note from another thread: an event for a connection of this shard, or done here.
    pub fn note(&mut self, note: Note, now: Millis) -> Option<(ConnId, Event)> {
        match note {
            Note::Event { session, at, event } if at.generation == 0 => {
                self.current = session;
                self.missed(at, event, now);
                None
            }
            Note::Event { session, at, event } => {
                crate::sessions::passes(&event);
                self.current = session;
                Some((at, event))
            }
            Note::TakeOver { session, at, to, secret } => {
                let claim = Claim { session, to, secret };
                if self.waiting.contains_key(&claim.session.session) {
                    self.give_waiting(&claim);
                    return None;
                }
                if at.generation == 0 {
                    self.pass_on(claim);
                    return None;
                }
                self.current = Some(claim.session.clone());
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
                    self.give_waiting(&claim);
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
                    self.hub.end(&bound, Hub::detached_place(self.shard), now, &mut self.post)
                }
                _ => {}
            }
            return;
        }
        let Some(address) = self.current.take() else { return };
        if matches!(event, Event::Close(_)) && self.waiting.contains_key(&address.session) {
            // Replaced, or its account is gone: nothing to wait for.
            return self.end_waiting(address.session, now);
        }
        if let Some(waiting) = self.waiting.get_mut(&address.session) {
            if let Detached::Overflow = waiting.bound.deliver_detached(event, &self.settings) {
                self.end_waiting(address.session, now);
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

    fn detach(&mut self, bound: Box<Bound>, until: Millis) {
        let address = address_of(&bound);
        self.hub.moved(&address, Hub::detached_place(self.shard));
        Counters::up(&self.hub.counters.detached);
        self.deadlines.insert((until, bound.id));
        self.waiting.insert(bound.id, Waiting { bound, until });
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
            self.hub.end(&bound, Hub::detached_place(self.shard), now, &mut self.post);
        }
    }

    fn give_waiting(&mut self, claim: &Claim) {
        if let Some(bound) = self.take_waiting(claim.session.session) {
            self.give(claim, bound);
        }
    }

    fn give(&mut self, claim: &Claim, bound: Box<Bound>) {
        // The session itself first, then its new place: what is posted there must find it.
        self.answer(claim.to, Reply::Resumed(Ok(bound)));
        self.flush();
        self.hub.moved(&claim.session, claim.to);
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

    fn answer(&mut self, to: Place, reply: Reply) {
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
            Some(bound) => self.give(&claim, bound),
            None => self.pass_on(claim),
        }
    }

    /// When the next waiting session's time is up.
    pub fn deadline(&self) -> Option<Millis> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Ends waiting sessions whose time is up.
    pub fn tick(&mut self, now: Millis) {
        while let Some(&(until, session)) = self.deadlines.first()
            && until <= now
        {
            self.end_waiting(session, now);
        }
    }

    /// Sends what has collected for other shards, and for this one.
    pub fn flush(&mut self) {
        self.post.flush(&*self.hub.outside.post);
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn stanza(
        &mut self,
        at: ConnId,
        stanza: Box<godwit_wire::Stanza>,
        conn: &mut Connection,
        cx: &mut Cx<'_>,
    ) {
        let Some(bound) = conn.bound() else { return };
        let idle = bound.inflight() == 1;
        let origin = Origin {
            address: address_of(bound),
            owner: bound.owner,
            jid: bound.jid.clone(),
            place: self.here(at),
            room: bound.room(cx.settings),
        };
        let before = self.post.count(self.shard);
        let progress = self.hub.stanza(&origin, stanza, idle, cx.now, &mut self.post);
        if progress == Progress::Done {
            // Answers need no way through the mailbox; those to earlier stanzas are out, as all of them are
            // handled.
            for event in self.post.take_events(self.shard, before, at) {
                let _ = conn.event(event, cx); // it has a session, as was just seen
            }
        }
        let event = match progress {
            Progress::Done => Event::Handled(1),
            Progress::Held => Event::Hold,
            Progress::Queued => return,
        };
        let _ = conn.event(event, cx); // it has a session, as was just seen
    }

    fn resume(
        &mut self,
        at: ConnId,
        account: &Account,
        session: SessionId,
        secret: [u8; 16],
    ) -> Option<Reply> {
        match self.hub.find_resumable(account, session, &secret) {
            Some((session, place)) if place != self.here(at) => {
                Counters::up(&self.hub.counters.resumed);
                self.post
                    .push(place.shard, Note::TakeOver { session, at: place.conn, to: self.here(at), secret });
                None
            }
            _ => Some(Reply::Resumed(Err(ResumeFailure { h: None }))),
        }
    }

    fn wanted(&self, at: ConnId, conn: &Connection) -> Option<Wanted> {
        conn.bound().map(|bound| Wanted {
            bare: bound.jid.bare_str().into(),
            owner: bound.owner,
            session: bound.id,
            place: self.here(at),
        })
    }

    fn in_background(
        &mut self,
        at: ConnId,
        job: impl FnOnce(&Hub) -> Reply + Send + 'static,
    ) -> Option<Reply> {
        let (hub, to) = (Arc::clone(&self.hub), self.here(at));
        let queued = self.hub.outside.background.run(Box::new(move || {
            let event = Event::Reply(Box::new(job(&hub)));
            hub.outside.post.post(to.shard, &mut vec![Note::Event { session: None, at: to.conn, event }]);
        }));
        if queued { None } else { Some(Reply::Unavailable) }
    }
}

fn address_of(bound: &Bound) -> Address {
    Address { session: bound.id, bare: bound.jid.bare_str().into() }
}

impl Host for ShardState {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        let reply = match request {
            Request::Credentials { .. } | Request::VerifyPlain { .. }
                if self.hub.is_shut_out(self.peer(at), cx.now) =>
            {
                Some(Reply::Unavailable)
            }
            Request::Credentials { user, hash } => Some(self.hub.credentials(&user, hash)),
            Request::VerifyPlain { user, password } => {
                self.in_background(at, move |hub| hub.verify_plain(&user, &password))
            }
            Request::AuthResult { user, mechanism, failure } => {
                self.hub.auth_result(user.as_ref(), mechanism, failure, self.peer(at), cx.now);
                None
            }
            Request::Unauthenticated(stanza) => {
                self.hub.unauthenticated(stanza, self.here(at), self.peer(at), cx.now)
            }
            Request::Bind { account, resource } => {
                let (here, peer) = (self.here(at), self.peer(at));
                let bound = self.hub.bind(&account, resource.as_deref(), here, peer, cx.now, &mut self.post);
                Some(Reply::Bound(bound))
            }
            Request::Resume { account, session, secret, h: _ } => self.resume(at, &account, session, secret),
            Request::Stanza(stanza) => {
                self.stanza(at, stanza, conn, cx);
                None
            }
            Request::Acked(seqs) => {
                if let Some(bound) = conn.bound() {
                    self.hub.acked(&bound.jid.bare_str().into(), &seqs);
                }
                None
            }
            Request::Fetch { after, rows_max } => {
                if let Some(wanted) = self.wanted(at, conn) {
                    self.hub.fetch(wanted, after, rows_max, &mut self.post);
                }
                None
            }
            Request::Replay(seqs) => {
                if let Some(wanted) = self.wanted(at, conn) {
                    self.hub.replay(wanted, seqs, &mut self.post);
                }
                None
            }
            Request::SmEnabled => {
                conn.bound().into_iter().for_each(|bound| self.hub.resumable(bound));
                None
            }
            Request::Detach { bound, until } => {
                tracing::info!(jid = %bound.jid, "connection lost; session waits for resumption");
                self.detach(bound, until);
                None
            }
            Request::End { bound, reason } => {
                tracing::info!(jid = %bound.jid, reason, "session ended");
                self.hub.end(&bound, self.here(at), cx.now, &mut self.post);
                None
            }
            // The edge does these itself.
            Request::StartTls | Request::Close => None,
        };
        if let Some(reply) = reply {
            let _ = conn.event(Event::Reply(Box::new(reply)), cx); // it asked, so it is paused for this
        }
    }
}
