//! Sessions that were there when the daemon died or was stopped: resumed from what is written of them
//! (`durable.rs`), or forgotten when their time is up.
//!
//! A revived session goes on as if nothing had happened: the same resource, the same place in the archive,
//! the counters that both sides know. Its contacts see its presence again, and it sees theirs. It is
//! refused, with `h`, if something was lost that cannot be sent again (an answer, a roster push): then the
//! client has to start anew, and what it has received by its own `h` counts as acknowledged, so that nothing
//! comes twice.
use crate::apply::unavailable;
use crate::durable::{self, Rows, Who};
use crate::effects::Effect;
use crate::hub::{Counters, Hub, Origin};
use crate::note::{Address, Note, Poster};
use crate::pending::Completion;
use crate::pep::last::Interest;
use crate::rebuilt::{incoming, rebuilt, regular};
use crate::registry::Entry;
use crate::roster;
use godwit_session::{Account, Bound, Continued, Event, Millis, Place, Reply, ResumeFailure, SessionId};
use godwit_store::{Cf, Seq, StoreError, schema};
use godwit_wire::{Element, Scope, Stanza};
use std::net::IpAddr;
use std::sync::Arc;

/// Messages that may be counted in the archive for one resumption. A session's record is brought up to date
/// long before.
const REACH_MAX: u32 = 50_000;
/// Bytes that a revived session may be sent unasked. Nothing of what it has not acknowledged is kept as
/// bytes.
const REVIVED_BYTES_MAX: usize = 64 * 1024;
/// Who wants to resume what.
pub(crate) struct Wish {
    pub(crate) account: Account,
    pub(crate) session: SessionId,
    pub(crate) secret: [u8; 16],
    /// What the client says it has received.
    pub(crate) h: u32,
    pub(crate) to: Place,
    pub(crate) peer: Option<IpAddr>,
}

impl Wish {
    fn address(&self) -> Address {
        Address { session: self.session, bare: self.account.jid.bare_str().into() }
    }
}

/// What is wrong with a session that cannot be revived.
enum Refused {
    /// It is not known, or not this client's.
    Unknown(Option<u32>),
    /// It is, but it cannot go on: for the log.
    Lost(&'static str),
    /// It is here already.
    Here(Place),
}

impl Hub {
    /// A client wants to resume a session that is not here. Answers it. Reads the archive: on a worker.
    pub(crate) fn revive(self: &Arc<Self>, wish: &Wish, now: Millis) {
        godwit_store::points::pass("sm::revive");
        let mut post = Poster::new(self.outside.post.shards());
        let failed = match self.try_revive(wish, now, &mut post) {
            Ok(()) => None,
            Err(Refused::Here(place)) => {
                let (session, secret) = (wish.address(), wish.secret);
                post.push(place.shard, Note::TakeOver { session, at: place.conn, to: wish.to, secret });
                None
            }
            Err(Refused::Unknown(h)) => Some(h),
            Err(Refused::Lost(_)) if !self.ghosts.comes(wish.session.0) => Some(None), // as if unknown
            Err(Refused::Lost(why)) => {
                tracing::info!(account = %wish.account.jid, why, "session from before the start not resumed");
                Some(self.give_up(wish))
            }
        };
        if let Some(h) = failed {
            Counters::up(&self.counters.resumptions_failed);
            let reply = Event::Reply(Box::new(Reply::Resumed(Err(ResumeFailure { h }))));
            post.push(wish.to.shard, Note::Event { session: None, at: wish.to.conn, event: reply });
        }
        post.flush(&*self.outside.post);
    }

    fn try_revive(self: &Arc<Self>, wish: &Wish, now: Millis, post: &mut Poster) -> Result<(), Refused> {
        let store = &*self.outside.store;
        let (owner, session) = (wish.account.owner, wish.session.0);
        // Of one that came back already, or is of this life, rows may be left that say nothing any more.
        let rows = match self.ghosts.may_come(session) {
            true => durable::read(store, owner, session).map_err(|e| unread(&e))?,
            false => None,
        };
        let Some(rows) = rows else {
            if let Some((_, place)) = self.find_resumable(&wish.account, wish.session, &wish.secret) {
                return Err(Refused::Here(place)); // another connection was faster
            }
            return Err(Refused::Unknown(
                durable::ended(store, owner, session, &wish.secret).map_err(|e| unread(&e))?,
            ));
        };
        if rows.who.secret != wish.secret {
            return Err(Refused::Unknown(None));
        }
        let at = self.continue_at(owner, &rows, wish.h)?;
        if at.acked != wish.h {
            return Err(Refused::Lost("it claims more than it was sent"));
        }
        if at.lost > 0 {
            return Err(Refused::Lost("answers are lost"));
        }
        let record = rows.out.as_ref().map(|out| out.record.clone()).unwrap_or_default();
        let has = at.has.clone();
        let (bound, mut entry) =
            rebuilt(wish, &rows, &record, at, now).ok_or(Refused::Lost("its address"))?;
        let (jid, reads) = (bound.jid.clone(), entry.reads());
        entry.interest = Interest::revived(Seq(self.began).millis());
        self.settle_in(wish, bound, entry, record.pushed)?;
        Counters::up(&self.counters.sessions);
        Counters::up(&self.counters.revived);
        tracing::info!(%jid, "session from before the start resumed");
        self.acked(&wish.address().bare, &has);
        self.announce(wish, &rows.who, reads, now, post);
        Ok(())
    }

    /// What the client has, by its `h`.
    fn continue_at(&self, owner: u64, rows: &Rows, h: u32) -> Result<Continued, Refused> {
        let store = &*self.outside.store;
        let out = rows.out.as_ref().ok_or(Refused::Lost("its output was not written down"))?;
        let gap = store.get(Cf::Meta, &schema::meta_gap()).map_err(|e| unread(&e))?;
        let gap = gap.and_then(|gap| gap.try_into().ok()).map_or(0, u64::from_be_bytes);
        if out.head < gap {
            return Err(Refused::Lost("writing had failed meanwhile"));
        }
        let reach = out.record.reaches(h);
        if reach > REACH_MAX {
            return Err(Refused::Lost("it claims more than it was sent"));
        }
        let regular = if out.record.reads {
            regular(store, owner, &out.record, &rows.who.resource, self.began, reach)
                .map_err(|e| unread(&e))?
        } else {
            Vec::new()
        };
        Ok(out.record.continue_at(h, regular))
    }

    /// Puts the session where its client is. The answer goes out under the account's lock, so that whatever
    /// is posted to the session comes after it.
    fn settle_in(&self, wish: &Wish, bound: Box<Bound>, entry: Entry, pushed: u64) -> Result<(), Refused> {
        let settings = self.settings();
        let bare: Arc<str> = wish.account.jid.bare_str().into();
        let (frontier, before) =
            self.before(wish.account.owner, &bare, bound.feed.last).map_err(|e| unread(&e))?;
        self.registry
            .with_or(
                &bare,
                || self.load(wish.account.owner, &bare),
                |live| {
                    if let Some(here) = live.session(wish.session) {
                        let known = here.secret == Some(wish.secret);
                        return Err(if known { Refused::Here(here.place) } else { Refused::Unknown(None) });
                    }
                    if live.resource(&entry.resource).is_some() {
                        return Err(Refused::Lost("its resource is in use"));
                    }
                    if live.sessions.len() >= settings.sessions_max || live.owner != wish.account.owner {
                        return Err(Refused::Lost("too many sessions"));
                    }
                    // Here, as a change that is committed later finds the session, and sends it a push.
                    let (_, version) =
                        roster::version(&*self.outside.store, live.owner).map_err(|e| unread(&e))?;
                    if entry.interested.is_some_and(|got| got.max(pushed) != version) {
                        return Err(Refused::Lost("the roster has changed"));
                    }
                    if !self.ghosts.comes(wish.session.0) {
                        return Err(Refused::Unknown(None));
                    }
                    if entry.reads() {
                        live.delivery.read(frontier, before, bound.feed.last);
                    }
                    live.add(entry);
                    let event = Event::Reply(Box::new(Reply::Resumed(Ok(bound))));
                    let note = Note::Event { session: None, at: wish.to.conn, event };
                    self.outside.post.post_locked(wish.to.shard, &mut vec![note]);
                    Ok(())
                },
            )
            .map_err(|e| unread(&e))?
    }

    /// The account's frontier, and the messages to it from there up to a place. A revived session reads on
    /// from its own place, and what it was sent before is known: without these the frontier would stay
    /// behind that place for good, and everything from there on be listed, up to the limit, then forgotten,
    /// and come again. Read without the account's lock; a frontier that moves on meanwhile skips what it has
    /// passed.
    fn before(&self, owner: u64, bare: &Arc<str>, place: u64) -> Result<(u64, Vec<u64>), StoreError> {
        let frontier = match self.registry.with(bare, |live| live.delivery.frontier()) {
            Some(frontier) => frontier,
            None => self.load(owner, bare)?.delivery.frontier(),
        };
        let before = incoming(&*self.outside.store, owner, (frontier, place), usize::MAX, &|_, _| true)?;
        Ok((frontier, before))
    }

    /// Its contacts may have seen it go, and it has not heard of them since: its presence is handled again,
    /// and it is told theirs.
    fn announce(self: &Arc<Self>, wish: &Wish, who: &Who, reads: bool, now: Millis, post: &mut Poster) {
        let Some(presence) = who.presence.as_deref().and_then(parsed) else { return };
        let Ok(jid) = wish.account.jid.with_resource(&who.resource) else { return };
        let (address, owner, place) = (wish.address(), wish.account.owner, wish.to);
        let origin = Origin { address, owner, jid, place, room: REVIVED_BYTES_MAX, h: None };
        let settings = self.settings();
        let cx = self.cx(&settings, &origin, now);
        let Ok(mut fx) = crate::route::route(&cx, &presence) else { return };
        // As the initial presence of another one would: sessions of the same account may have come before it.
        if reads {
            fx.then(Effect::Probe { bare: wish.address().bare.as_ref().into(), to: None });
        }
        let told = roster::each(cx.store, owner, &mut |contact, item| {
            if !item.to {
                return;
            }
            let there = cx.sessions(contact, |entries| entries.iter().any(|e| e.presence.is_some()));
            match there {
                // One that was not available before has just been told.
                Some(true) if !reads => {}
                Some(true) => fx.then(Effect::Probe { bare: contact.into(), to: None }),
                _ => fx.send(unavailable(contact, origin.jid.as_str())),
            }
        });
        if let Err(error) = told {
            tracing::error!(jid = %origin.jid, %error, "the roster cannot be read; contacts were not told");
        }
        // On the writer's thread, or what it posts to the session could overtake the begin of its feed.
        self.finish_end(&origin, fx, false, post);
    }

    /// The session cannot go on: what its client has counts as acknowledged, the rest is for its next
    /// session.
    fn give_up(self: &Arc<Self>, wish: &Wish) -> Option<u32> {
        let (owner, session) = (wish.account.owner, wish.session.0);
        let store = &*self.outside.store;
        let rows = durable::read(store, owner, session).ok().flatten()?;
        // One that claims more than is known got what could not be written down while the disk was full:
        // after all the rest. (If it lies, it takes messages from nobody but itself.)
        if let Ok(at) = self.continue_at(owner, &rows, wish.h) {
            self.acked_offline(owner, &wish.address().bare, &at.has);
        }
        self.say_gone(&wish.account.jid, owner, wish.session, &rows.who);
        match durable::bury(store, owner, session, wish.secret, rows.h) {
            Ok(tx) => drop(self.submit(tx, Completion::Unheard)),
            Err(error) => tracing::error!(account = %wish.account.jid, %error, "the store cannot be read"),
        }
        Some(rows.h)
    }

    /// As [`Hub::acked`], also for an account that is not online.
    fn acked_offline(&self, owner: u64, bare: &Arc<str>, seqs: &[u64]) {
        let loaded = self.registry.with_or(bare, || self.load(owner, bare), |live| live.owner == owner);
        match loaded {
            Ok(true) => self.acked(bare, seqs),
            Ok(false) => {}
            Err(error) => tracing::error!(account = %bare, %error, "the delivery record cannot be read"),
        }
        self.registry.tidy(bare);
    }
}

/// A presence as it was written down.
fn parsed(presence: &[u8]) -> Option<Stanza> {
    Stanza::from_element(Element::parse(presence, &Scope::client()).ok()?).ok().flatten()
}

fn unread(error: &StoreError) -> Refused {
    tracing::error!(%error, "a session from before the start cannot be read");
    Refused::Unknown(None)
}
