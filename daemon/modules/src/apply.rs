//! Lets effects happen: finds the sessions they are for, under their account's lock, and posts to their
//! shards. Runs on the writer's thread after a commit, in commit order, or on a shard's for stanzas with
//! nothing to write.
use crate::backlog::IdleTable;
use crate::effects::{Copied, Delivery, Effect};
use crate::hub::{Counters, Hub, Origin};
use crate::note::Poster;
use crate::pending::Completion;
use crate::pep::last::Interest;
use crate::registry::{Entry, Live};
use crate::xep0280_carbons::{self, Direction};
use crate::{feed, row};
use godwit_session::{Event, Outgoing, SessionId, Stored};
use godwit_store::{Cf, Op, Owner, Seq, Tx, schema};
use godwit_wire::{Jid, StreamCondition, StreamError, Writer};
use std::sync::Arc;

/// A message that is sent again.
pub(crate) struct Again {
    pub(crate) seq: u64,
    /// Sessions with carbons have had it, or will get it.
    pub(crate) copied: bool,
    pub(crate) outgoing: Outgoing,
}

impl Hub {
    /// In order. `seqs`: positions of the transaction's appends.
    pub(crate) fn apply(
        self: &Arc<Self>,
        origin: &Origin,
        effects: Vec<Effect>,
        seqs: &[Seq],
        post: &mut Poster,
    ) {
        // A session that has ended meanwhile has been said to be gone, and another one may have its resource.
        let presence = |effect: &Effect| matches!(effect, Effect::Presence { .. });
        if effects.iter().any(presence) && self.place(&origin.address).is_none() {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Send(bytes) => to_origin(origin, bytes, post),
                Effect::Message(delivery) => self.message(origin, &delivery, seqs, post),
                Effect::Sent { bytes, append } => self.sent(origin, bytes, append, seqs, post),
                Effect::ToFull { to, bytes, otherwise } => {
                    if !self.to_full(&to, bytes, post) && !otherwise.is_empty() {
                        to_origin(origin, otherwise.into(), post);
                    }
                }
                Effect::ToAvailable { bare, bytes } => {
                    self.to_each(&bare, &bytes, post, |entry| entry.presence.is_some());
                }
                Effect::ToInterested { bare, bytes } => {
                    self.to_each(&bare, &bytes, post, |entry| entry.interested.is_some())
                }
                Effect::Carbons(on) => self.carbons(origin, on),
                Effect::Prefs => {
                    self.registry.with(&origin.address.bare, |live| live.prefs.changed());
                }
                Effect::Interested(version) => {
                    self.entry(origin, |entry| entry.interested = Some(version));
                }
                Effect::Presence { bytes, priority } => self.presence(origin, bytes, priority, post),
                Effect::Directed(to, true) => {
                    self.entry(origin, |entry| {
                        if !entry.directed.contains(&to) {
                            entry.directed.push(to);
                        }
                    });
                }
                Effect::Directed(to, false) => {
                    self.entry(origin, |entry| entry.directed.retain(|jid| *jid != to));
                }
                Effect::Probe { bare, to } => {
                    self.probe(origin, &bare, to.as_deref(), post);
                    if let Some(to) = to {
                        self.granted(&bare, &to);
                    }
                }
                Effect::Gone { bare, to } => self.gone(&bare, &to, post),
                Effect::Caps(caps) => self.caps(origin, caps),
                Effect::Notify { notice, to } => self.notify(&notice, &to, post),
                Effect::End { bare, except, error } => self.end_all(&bare, except, &error, post),
                Effect::Removed { bare, owner } => self.removed(&bare, owner, post),
            }
        }
    }

    fn entry(&self, origin: &Origin, change: impl FnOnce(&mut Entry)) {
        self.registry.with(&origin.address.bare, |live| {
            live.session(origin.address.session).map(change);
            self.note_who(live, origin.address.session);
        });
    }

    /// RFC 6121 §8.5: who gets a message is decided here, when it is durable.
    fn message(&self, origin: &Origin, delivery: &Delivery, seqs: &[Seq], post: &mut Poster) {
        let seq = delivery.append.and_then(|at| seqs.get(at)).map(|seq| seq.0);
        let now = seq.map_or(0, |seq| self.committed(origin, delivery, seq));
        Counters::up(if seq.is_some() {
            &self.counters.messages_stored
        } else {
            &self.counters.messages_unstored
        });
        let bytes = delivery.bytes.len();
        let mut connected = false;
        let idle = |idle: &mut IdleTable| {
            seq.into_iter().for_each(|seq| idle.committed(delivery.owner, seq, bytes as u64));
        };
        let live = |live: &mut Live| {
            let full = delivery
                .resource
                .as_deref()
                .and_then(|resource| live.resource(resource))
                .map(|entry| entry.id);
            let fall_back = seq.is_some() || delivery.fall_back || delivery.resource.is_none();
            let chosen = |entry: &Entry| match full {
                Some(id) => entry.id == id,
                None => fall_back && entry.reads(),
            };
            // Who gets a copy and who the message, and nobody both.
            let copied = |entry: &Entry| {
                delivery.copied && !chosen(entry) && entry.id != origin.address.session && entry.copies(seq)
            };
            if let Some(seq) = seq {
                let taken = |entry: &Entry| chosen(entry) || (copied(entry) && entry.reads());
                live.delivery.committed(seq, live.sessions.iter().any(taken), bytes);
            }
            let extra: Box<[u8]> = seq.map(|seq| feed::stanza_id(&live.bare, seq)).unwrap_or_default().into();
            let bare = Arc::clone(&live.bare);
            for entry in live.sessions.iter_mut().filter(|entry| chosen(entry)) {
                let stored = seq.map(|seq| Stored {
                    seq,
                    prev: std::mem::replace(&mut entry.posted, seq),
                    again: false,
                    regular: full.is_some() || delivery.resource.is_none(),
                    received: Some(delivery.received),
                });
                let bytes = Arc::clone(&delivery.bytes);
                Counters::up(&self.counters.delivered);
                connected |= entry.place.conn.generation != 0;
                seq.into_iter().for_each(|seq| self.trace.posted(seq, entry.id, now));
                let outgoing = Outgoing { bytes, extra: extra.clone(), stored, number: None };
                entry.post(&bare, Event::Deliver(outgoing), post);
            }
            if delivery.copied {
                let bytes = Arc::clone(&delivery.bytes);
                let copy = Copied { direction: Direction::Received, bytes, seq };
                let changed = xep0280_carbons::post(live, &copy, copied, post);
                changed.into_iter().for_each(|id| self.note_who(live, id));
            }
            #[cfg(feature = "planted")]
            crate::planted::sent(live, seq);
        };
        self.registry.either(&delivery.bare, delivery.owner, live, idle);
        if let (Some(seq), false) = (seq, connected) {
            self.only_committed(seq, delivery.received, now);
        }
    }

    /// Copies for the sender's other sessions.
    fn sent(
        &self,
        origin: &Origin,
        bytes: Arc<[u8]>,
        append: Option<usize>,
        seqs: &[Seq],
        post: &mut Poster,
    ) {
        let seq = append.and_then(|at| seqs.get(at)).map(|seq| seq.0);
        self.registry.with(&origin.address.bare, |live| {
            let others = |entry: &Entry| entry.id != origin.address.session;
            if let Some(seq) = seq
                && live.sessions.iter().any(|entry| others(entry) && entry.copies(Some(seq)))
            {
                live.delivery.passed(seq);
            }
            let copy = Copied { direction: Direction::Sent, bytes, seq };
            let changed = xep0280_carbons::post(live, &copy, others, post);
            changed.into_iter().for_each(|id| self.note_who(live, id));
        });
    }

    /// Copies from here on. What was committed before is in the archive.
    fn carbons(&self, origin: &Origin, on: bool) {
        let head = self.outside.store.head().0;
        self.entry(origin, |entry| {
            entry.carbons_from = on.then(|| entry.carbons_from.unwrap_or(head));
            if !on {
                entry.copied.close();
            }
        });
    }

    /// To the session with a full JID; false if it is not there.
    pub(crate) fn to_full(&self, to: &Jid, bytes: Arc<[u8]>, post: &mut Poster) -> bool {
        let Some(resource) = to.resource() else { return false };
        self.registry
            .with(to.bare_str(), |live| {
                let bare = Arc::clone(&live.bare);
                live.resource(resource)?.post(&bare, plain(bytes), post);
                Some(())
            })
            .flatten()
            .is_some()
    }

    fn to_each(&self, bare: &str, bytes: &Arc<[u8]>, post: &mut Poster, chosen: impl Fn(&Entry) -> bool) {
        self.registry.with(bare, |live| {
            live.post_each(post, chosen, |_| plain(Arc::clone(bytes)));
        });
    }

    /// The origin's presence changes; with a priority of 0 or more it begins to get the account's messages.
    fn presence(&self, origin: &Origin, bytes: Option<Arc<[u8]>>, priority: i8, post: &mut Poster) {
        let head = self.outside.store.head().0;
        self.registry.with(&origin.address.bare, |live| {
            let (frontier, owed) = (live.delivery.frontier(), live.delivery.owed().to_vec());
            let owner = live.owner;
            let bare = Arc::clone(&live.bare);
            let Some(entry) = live.session(origin.address.session) else { return };
            if bytes.is_none() {
                entry.interest = Interest::default();
            }
            let reads = bytes.is_some() && priority >= 0;
            (entry.presence, entry.priority) = (bytes, priority);
            match (reads, entry.reads()) {
                (true, false) => {
                    entry.reads_from = Some(head);
                    entry.copied.close();
                    let copied = entry.copied.clone();
                    entry.posted = 0;
                    let owed = self.read_again(owner, &bare, &owed, false);
                    for again in owed.into_iter().filter(|row| !(row.copied && copied.has(row.seq))) {
                        entry.post(&bare, Event::Deliver(again.outgoing), post);
                    }
                    let from = Event::FeedFrom { after: frontier, new_after: head, number: None };
                    entry.post(&bare, from, post);
                }
                (false, true) => {
                    entry.reads_from = None;
                    entry.post(&bare, Event::FeedStop { number: None }, post);
                }
                _ => {}
            }
            self.note_who(live, origin.address.session);
        });
    }

    /// Messages that another resource was sent and never acknowledged; `addressed`: only those to a full JID.
    pub(crate) fn read_again(&self, owner: u64, bare: &str, owed: &[u64], addressed: bool) -> Vec<Again> {
        let oldest = self.oldest();
        owed.iter()
            .filter(|seq| **seq >= oldest)
            .filter_map(|&seq| {
                let key = schema::archive(Owner(owner), Seq(seq));
                let value = self.outside.store.get(Cf::Archive, &key).ok()??;
                let row = row::Row::decode(&value)
                    .filter(|row| row.incoming && (!addressed || !row.resource.is_empty()))?;
                let mut extra = feed::stanza_id(bare, seq);
                feed::delay(&mut extra, bare, seq);
                let stored = Some(Stored { seq, prev: 0, again: true, regular: false, received: None });
                let outgoing =
                    Outgoing { bytes: row.stanza.into(), extra: extra.into(), stored, number: None };
                Some(Again { seq, copied: row.copied, outgoing })
            })
            .collect()
    }

    fn probe(&self, origin: &Origin, bare: &str, to: Option<&str>, post: &mut Poster) {
        let found: Vec<Arc<[u8]>> = self
            .registry
            .with(bare, |live| live.sessions.iter().filter_map(|entry| entry.presence.clone()).collect())
            .unwrap_or_default();
        for bytes in found {
            match to {
                Some(to) => {
                    self.to_each(to, &addressed(&bytes, to), post, |entry| entry.presence.is_some());
                }
                None => to_origin(origin, addressed(&bytes, origin.jid.as_str()), post),
            }
        }
    }

    fn gone(&self, bare: &str, to: &str, post: &mut Poster) {
        let resources: Vec<Box<str>> = self
            .registry
            .with(bare, |live| {
                let available = live.sessions.iter().filter(|entry| entry.presence.is_some());
                available.map(|entry| entry.resource.clone()).collect()
            })
            .unwrap_or_default();
        for resource in resources {
            let bytes = unavailable(&format!("{bare}/{resource}"), to).into();
            self.to_each(to, &bytes, post, |entry| entry.presence.is_some());
        }
    }

    fn end_all(&self, bare: &str, except: Option<SessionId>, error: &StreamError, post: &mut Poster) {
        self.registry.with(bare, |live: &mut Live| {
            for entry in live.sessions.iter().filter(|entry| Some(entry.id) != except) {
                post.event(live.address(entry.id), entry.place, Event::Close(error.clone()));
            }
        });
    }

    fn removed(&self, bare: &str, owner: u64, post: &mut Poster) {
        let found = self.registry.with(bare, |live| {
            live.removed |= live.owner == owner;
            live.owner == owner
        });
        if found == Some(true) {
            let error = StreamError::new(StreamCondition::NotAuthorized).with_text("the account was removed");
            self.end_all(bare, None, &error, post);
        }
    }

    /// A client acknowledged stored messages.
    pub(crate) fn acked(&self, bare: &Arc<str>, seqs: &[u64]) {
        godwit_store::points::pass("sm::acked");
        self.registry.with(bare, |live| {
            for &seq in seqs {
                live.unsaved |= live.delivery.acked(seq);
            }
            self.save(live);
        });
    }

    /// A delivery record is in the store, or is not.
    pub(crate) fn saved(&self, bare: &Arc<str>, ok: bool) {
        let owner = self.registry.with(bare, |live| {
            live.saving = false;
            // A failed write is tried again with the next acknowledgement; with no session left to send one,
            // once something can be written.
            live.unsaved |= !ok && (!live.sessions.is_empty() || self.unsaved.keep(bare));
            if ok {
                self.save(live);
            }
            live.owner
        });
        let Some(owner) = owner else { return };
        self.registry.tidy(bare);
        if !ok {
            self.registry.recount(bare, owner); // by the record as it is in the store
        }
    }

    /// Writes the delivery record down if it has changed. At most one such write is under way; what changes
    /// meanwhile goes with the next. Queued under the account's lock, as other writes of it are.
    pub(crate) fn save(&self, live: &mut Live) {
        if live.saving || !live.unsaved {
            return;
        }
        let tx = Tx { ops: vec![write_delivery(live)], lazy: true, ..Tx::default() };
        let queued = self.submit(tx, Completion::Saved(Arc::clone(&live.bare))).is_ok();
        (live.saving, live.unsaved) = (queued, !queued);
        if !queued && live.sessions.is_empty() {
            self.unsaved.keep(&live.bare);
        }
    }
}

/// The change that writes an account's delivery record.
pub(crate) fn write_delivery(live: &Live) -> Op {
    let key = schema::state(Owner(live.owner), schema::State::Delivery);
    Op::Put { cf: Cf::State, key, value: live.delivery.save() }
}

/// A presence rendered without `to`, with one.
pub(crate) fn addressed(presence: &[u8], to: &str) -> Arc<[u8]> {
    const NAME: &[u8] = b"<presence";
    let mut out = Vec::with_capacity(presence.len() + to.len() + 8);
    Writer::new(&mut out).start("presence").attr("to", to);
    out.extend_from_slice(presence.strip_prefix(NAME).unwrap_or_default());
    out.into()
}

/// `<presence type='unavailable'/>` between two addresses.
pub(crate) fn unavailable(from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out)
        .start("presence")
        .attr("from", from)
        .attr("to", to)
        .attr("type", "unavailable")
        .end();
    out
}

pub(crate) fn plain(bytes: Arc<[u8]>) -> Event {
    Event::Deliver(Outgoing { bytes, extra: Box::default(), stored: None, number: None })
}

fn to_origin(origin: &Origin, bytes: Arc<[u8]>, post: &mut Poster) {
    post.event(origin.address.clone(), origin.place, plain(bytes));
}
