//! The life of a session as the router sees it: credentials, binding, resumption, the end.
use crate::accounts;
use crate::delivery::Delivery;
use crate::effects::Effects;
use crate::hub::{Counters, Hub, Origin};
use crate::module::Closing;
use crate::note::{Address, Note, Poster};
use crate::registry::{Entry, Live};
use crate::xep0441_prefs::Known;
use godwit_session::{
    Account, BindFailure, Bound, ConnId, Credentials, Event, Millis, Place, Reply, ScramHash, SessionId,
    Unacked, keys,
};
use godwit_store::{Cf, Owner, Seq, StoreError, points, schema};
use godwit_wire::{Jid, StreamCondition, StreamError};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl Hub {
    /// Keys of a user for SCRAM; made-up ones for an unknown user.
    pub(crate) fn credentials(&self, user: &Jid, hash: ScramHash) -> Reply {
        match accounts::read(&*self.outside.store, user.bare_str()) {
            Ok(Some(record)) => Reply::Credentials(Credentials {
                account: Some(Account { jid: user.bare(), owner: record.owner }),
                keys: record.keys(hash),
            }),
            Ok(None) => Reply::Credentials(Credentials {
                account: None,
                keys: keys::fake_keys(&self.settings().secret, user, hash),
            }),
            Err(error) => {
                tracing::error!(%user, %error, "credentials cannot be read");
                Reply::Unavailable
            }
        }
    }

    /// Checks a password: milliseconds of CPU, the same for an unknown user.
    pub(crate) fn verify_plain(&self, user: &Jid, password: &str) -> Reply {
        match self.credentials(user, ScramHash::Sha256) {
            Reply::Credentials(found) => {
                let right = keys::verify_plain(password, &found.keys);
                Reply::Plain(found.account.filter(|_| right))
            }
            other => other,
        }
    }

    /// Binds a resource. A session with the same one is replaced.
    pub(crate) fn bind(
        self: &Arc<Self>,
        account: &Account,
        resource: Option<&str>,
        place: Place,
        peer: Option<IpAddr>,
        now: Millis,
        post: &mut Poster,
    ) -> Result<Box<Bound>, BindFailure> {
        let id = self.session_id();
        let made;
        let resource = match resource {
            Some(resource) => resource,
            None => {
                let mut random = [0; 8];
                (self.outside.random)(&mut random);
                made = format!("{:016x}", u64::from_be_bytes(random));
                &made
            }
        };
        let jid = account.jid.with_resource(resource).map_err(|_| BindFailure::Internal)?;
        let resource = jid.resource().unwrap_or_default();
        let bare: Arc<str> = account.jid.bare_str().into();
        if let Some(old) = self
            .registry
            .with(&bare, |live| live.resource(resource).map(|entry| (entry.id, entry.place)))
            .flatten()
        {
            self.replace(
                account,
                &jid,
                Address { session: old.0, bare: Arc::clone(&bare) },
                old.1,
                now,
                post,
            );
        }
        let settings = self.settings();
        let entry = Entry::new(id, resource, place, peer, now);
        let room = self.registry.with_or(
            &bare,
            || self.load(account.owner, &bare),
            |live| {
                let room = live.sessions.len() < settings.sessions_max && live.owner == account.owner;
                if room {
                    live.add(entry);
                }
                room
            },
        );
        match room {
            Ok(true) => {
                Counters::up(&self.counters.sessions);
                Ok(Box::new(Bound::new(id, account.owner, jid)))
            }
            Ok(false) => Err(BindFailure::TooMany),
            Err(error) => {
                tracing::error!(account = %bare, %error, "the delivery record cannot be read");
                Err(BindFailure::Internal)
            }
        }
    }

    pub(crate) fn load(&self, owner: u64, bare: &Arc<str>) -> Result<Live, StoreError> {
        let saved =
            self.outside.store.get(Cf::State, &schema::state(Owner(owner), schema::State::Delivery))?;
        let delivery = Delivery::load(saved.as_deref(), self.outside.store.head().0)
            .ok_or_else(|| StoreError::Corrupt(format!("the delivery record of {bare}")))?;
        Ok(Live {
            owner,
            bare: Arc::clone(bare),
            sessions: Vec::new(),
            delivery,
            saving: false,
            unsaved: false,
            removed: false,
            prefs: Known::default(),
        })
    }

    /// RFC 6120 §7.7.2.2: the older session ends with `<conflict/>`; its contacts see it go before the new
    /// one comes.
    fn replace(
        self: &Arc<Self>,
        account: &Account,
        jid: &Jid,
        old: Address,
        place: Place,
        now: Millis,
        post: &mut Poster,
    ) {
        let origin =
            Origin { address: old.clone(), owner: account.owner, jid: jid.clone(), place, room: 0, h: None };
        self.leave(&origin, true, now, post);
        let error = StreamError::new(StreamCondition::Conflict)
            .with_text("replaced by a new session with this resource");
        post.event(old, place, Event::Close(error));
    }

    /// Where a session is that may be resumed with this secret.
    pub(crate) fn find_resumable(
        &self,
        account: &Account,
        session: SessionId,
        secret: &[u8; 16],
    ) -> Option<(Address, Place)> {
        points::pass("sm::resume");
        self.registry
            .with(account.jid.bare_str(), |live| {
                let entry = live.session(session)?;
                // Compared only after the account has authenticated and named its own session: timing tells
                // nothing new.
                let found = entry.secret.as_ref() == Some(secret);
                let place = entry.place;
                found.then(|| (live.address(session), place))
            })
            .flatten()
    }

    /// Its client became active or inactive.
    pub(crate) fn client_state(&self, bound: &Bound) {
        self.registry.with(bound.jid.bare_str(), |live| {
            live.session(bound.id).into_iter().for_each(|entry| entry.inactive = bound.is_inactive());
        });
    }

    /// A session has lost its connection, and waits on the same shard: what was posted to the connection
    /// comes there too, and before what is posted from now on.
    pub(crate) fn detached(&self, address: &Address, place: Place) {
        points::pass("sm::detach");
        self.registry.with(&address.bare, |live| {
            if let Some(entry) = live.session(address.session) {
                entry.place = place;
                entry.inactive = false; // as every session without connection
            }
        });
        points::pass("sm::moved");
    }

    /// A session goes to another connection, by a note under its account's lock: what is posted to its new
    /// place comes behind it, and it knows how much of what was posted to the old one is still to come. One
    /// that has been replaced or removed meanwhile comes back.
    pub(crate) fn move_to(&self, address: &Address, to: Place, bound: Box<Bound>) -> Result<(), Box<Bound>> {
        points::pass("sm::take_over");
        let mut bound = Some(bound);
        self.registry.with(&address.bare, |live| {
            let entry = live.session(address.session)?;
            let mut bound = bound.take()?;
            entry.place = to;
            entry.inactive = false; // as every session on a new connection
            bound.moves(entry.posts);
            let event = Event::Reply(Box::new(Reply::Resumed(Ok(bound))));
            let note = Note::Event { session: None, at: to.conn, event };
            self.outside.post.post_locked(to.shard, &mut vec![note]);
            Some(())
        });
        points::pass("sm::moved");
        bound.map_or(Ok(()), Err)
    }

    /// Where a session is now.
    pub(crate) fn place(&self, address: &Address) -> Option<Place> {
        self.registry
            .with(&address.bare, |live| live.session(address.session).map(|entry| entry.place))
            .flatten()
    }

    /// A session is over: contacts are told, what it never acknowledged goes to the others or waits.
    /// `lost`: its client did not say so.
    pub(crate) fn end(
        self: &Arc<Self>,
        bound: &Bound,
        lost: bool,
        place: Place,
        now: Millis,
        post: &mut Poster,
    ) {
        let bare: Arc<str> = bound.jid.bare_str().into();
        points::pass("sm::end");
        let address = Address { session: bound.id, bare: Arc::clone(&bare) };
        let origin = Origin { address, owner: bound.owner, jid: bound.jid.clone(), place, room: 0, h: None };
        self.leave(&origin, bound.inflight() == 0, now, post);
        self.unwrite(bound, lost);
        let unacked: Vec<u64> = bound
            .unacked
            .iter()
            .filter_map(|sent| match sent {
                Unacked::Stored(seq) => Some(*seq),
                Unacked::Inline(_) => None,
            })
            .collect();
        if !unacked.is_empty() {
            self.redeliver(&origin, &unacked, post);
        }
        self.registry.with(&bare, |live| self.save(live));
        self.registry.tidy(&bare);
    }

    /// Takes the entry out and lets the modules say goodbye for it. Does nothing the second time.
    fn leave(self: &Arc<Self>, origin: &Origin, idle: bool, now: Millis, post: &mut Poster) {
        let session = origin.address.session;
        let Some(entry) = self
            .registry
            .with(&origin.address.bare, |live| {
                let at = live.sessions.iter().position(|entry| entry.id == session)?;
                Some(live.sessions.remove(at))
            })
            .flatten()
        else {
            return;
        };
        Counters::down(&self.counters.sessions);
        self.trace.ended(session, &format!("{}/{}", origin.address.bare, entry.resource));
        let closing = Closing { available: entry.presence.is_some(), directed: entry.directed };
        self.say_goodbye(origin, &closing, idle, now, post);
    }

    /// Lets the modules say goodbye for a session that has ended.
    pub(crate) fn say_goodbye(
        self: &Arc<Self>,
        origin: &Origin,
        closing: &Closing,
        idle: bool,
        now: Millis,
        post: &mut Poster,
    ) {
        let settings = self.settings();
        let cx = self.cx(&settings, origin, now);
        let mut fx = Effects::default();
        for module in self.modules.each() {
            if catch_unwind(AssertUnwindSafe(|| module.closed(&cx, closing, &mut fx))).is_err() {
                Counters::up(&self.counters.panics);
                let module = module.info().name;
                tracing::error!(jid = %origin.jid, module, "a module panicked at the end of a session");
            }
        }
        self.finish_end(origin, fx, idle, post);
    }

    /// XEP-0198 §5: messages that a session was sent and never acknowledged. Those to the bare JID other
    /// resources have had; those to its full JID they get now, except who gets copies of them (XEP-0280).
    /// With nobody there they stay pending.
    fn redeliver(&self, origin: &Origin, unacked: &[u64], post: &mut Poster) {
        let bare = &origin.address.bare;
        let pending = self.registry.with(bare, |live| {
            let pending: Vec<u64> =
                unacked.iter().copied().filter(|&seq| live.delivery.is_pending(seq)).collect();
            if live.is_read() { pending } else { Vec::new() }
        });
        let rows = self.read_again(origin.owner, bare, &pending.unwrap_or_default(), true);
        self.registry.with(bare, |live| {
            // A new session with the resource gets them in their order, with what else is pending for it.
            let resource = origin.jid.resource().unwrap_or_default();
            let Live { bare, sessions, .. } = live;
            for entry in sessions.iter_mut().filter(|entry| entry.reads() && *entry.resource != *resource) {
                for row in &rows {
                    let copied = entry.copies(Some(row.seq)) || entry.copied.has(row.seq);
                    if !(row.copied && copied) {
                        entry.post(bare, Event::Deliver(row.outgoing.clone()), post);
                    }
                }
            }
        });
    }

    /// A message that is to be sent again was acknowledged after that was decided, by this session perhaps,
    /// which has then forgotten that it had it.
    pub(crate) fn is_outdated(&self, session: Option<&Address>, event: &Event) -> bool {
        let (Some(to), Event::Deliver(outgoing)) = (session, event) else { return false };
        outgoing.stored.filter(|stored| stored.again).is_some_and(|stored| {
            self.registry.with(&to.bare, |live| !live.delivery.is_pending(stored.seq)).unwrap_or(false)
        })
    }

    /// A session without a connection.
    pub(crate) fn detached_place(shard: u16) -> Place {
        Place { shard, conn: ConnId::default() }
    }

    /// All positions up to here are committed.
    pub fn head(&self) -> Seq {
        self.outside.store.head()
    }
}

/// Where a crash test may stop the process between a session's arrival and `<resumed/>`.
pub(crate) fn passes(event: &Event) {
    if matches!(event, Event::Reply(reply) if matches!(**reply, Reply::Resumed(Ok(_)))) {
        points::pass("sm::before_resumed");
    }
}
