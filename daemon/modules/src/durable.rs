//! What is written down of a resumable session, so that its client can resume it after the daemon has died
//! (XEP-0198 §5). Reading it back is `revive.rs`; why this is enough, `session::ledger` explains.
//!
//! Three rows, each written when its part changes: who it is (lazily: losing the last change loses what the
//! client will say again), how many of its stanzas are handled (with each stanza's own transaction), and what
//! was sent to it.
use crate::apply::write_delivery;
use crate::hub::{Hub, Origin};
use crate::note::{Address, Poster};
use crate::pending::Completion;
use crate::registry::{Entry, Live};
use crate::xep0280_carbons::Runs;
use godwit_session::{Bound, Event, Place, Record, SessionId};
use godwit_store::schema::{self, Part, State};
use godwit_store::{Cf, Expect, Guard, Op, Outcome, Owner, Read, StoreError, Tx, TxError};
use godwit_wire::{StreamCondition, StreamError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const VERSION: u8 = 1;
/// Ended sessions of an account whose last `h` is remembered.
const ENDED_MAX: usize = 8;

/// Who a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {
    pub(crate) resource: String,
    pub(crate) secret: [u8; 16],
    /// Seconds that the client has to resume.
    pub(crate) max_s: u32,
    pub(crate) presence: Option<Vec<u8>>,
    pub(crate) priority: i8,
    /// Version of the roster that it got.
    pub(crate) interested: Option<u64>,
    /// Copies after this position (XEP-0280).
    pub(crate) carbons_from: Option<u64>,
    /// Copies that it was sent from memory.
    pub(crate) copied: Runs,
    /// JIDs to which it sent directed presence.
    pub(crate) directed: Vec<String>,
}

/// What was sent, and the newest position of the store when that was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Out {
    pub(crate) head: u64,
    pub(crate) record: Record,
}

/// The last `h` of a session that ended without a word from its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    session: u64,
    secret: [u8; 16],
    h: u32,
}

/// The three rows of a session.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) who: Who,
    pub(crate) h: u32,
    pub(crate) out: Option<Out>,
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // postcard fails only on types it has no form for; these have none of them.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default()
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    let value = match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
        _ => None,
    };
    value.ok_or_else(|| StoreError::Corrupt(format!("{what} of a session cannot be read")))
}

/// Reads a session's rows; `None` if it is not known.
pub(crate) fn read(store: &dyn Read, owner: u64, session: u64) -> Result<Option<Rows>, StoreError> {
    let get = |part| store.get(Cf::Sessions, &schema::session(Owner(owner), session, part));
    let Some(who) = get(Part::Who)? else { return Ok(None) };
    let who = decode(&who, "the identity")?;
    let h = get(Part::In)?.and_then(|h| h.try_into().ok()).map_or(0, u32::from_be_bytes);
    let out = get(Part::Out)?.map(|out| decode(&out, "the output")).transpose()?;
    Ok(Some(Rows { who, h, out }))
}

/// Seconds that the client of a stored identity has to resume.
pub(crate) fn max_s(who: &[u8]) -> Option<u32> {
    decode::<Who>(who, "the identity").ok().map(|who| who.max_s)
}

/// The last `h` of a session that has ended, if it is still known.
pub(crate) fn ended(
    store: &dyn Read,
    owner: u64,
    session: u64,
    secret: &[u8; 16],
) -> Result<Option<u32>, StoreError> {
    let all = all_ended(store, owner)?;
    Ok(all.iter().find(|ended| ended.session == session && ended.secret == *secret).map(|ended| ended.h))
}

fn all_ended(store: &dyn Read, owner: u64) -> Result<Vec<Ended>, StoreError> {
    match store.get(Cf::State, &schema::state(Owner(owner), State::Ended))? {
        Some(bytes) => decode(&bytes, "the end"),
        None => Ok(Vec::new()),
    }
}

/// Forgets a session.
pub(crate) fn forget(tx: &mut Tx, owner: u64, session: u64) {
    for part in [Part::Who, Part::In, Part::Out] {
        tx.ops.push(Op::Delete { cf: Cf::Sessions, key: schema::session(Owner(owner), session, part) });
    }
}

/// Forgets a session but for its last `h`. The list is read and written without a guard: what two sessions of
/// an account that end at the same moment can lose of it is a courtesy.
pub(crate) fn bury(
    store: &dyn Read,
    owner: u64,
    session: u64,
    secret: [u8; 16],
    h: u32,
) -> Result<Tx, StoreError> {
    let mut tx = Tx { lazy: true, ..Tx::default() };
    forget(&mut tx, owner, session);
    let mut all = all_ended(store, owner)?;
    all.retain(|ended| ended.session != session);
    let excess = (all.len() + 1).saturating_sub(ENDED_MAX);
    all.drain(..excess);
    all.push(Ended { session, secret, h });
    let key = schema::state(Owner(owner), State::Ended);
    tx.ops.push(Op::Put { cf: Cf::State, key, value: encode(&all) });
    Ok(tx)
}

/// The change that says how many stanzas of the origin are handled.
pub(crate) fn count(origin: &Origin, h: u32) -> Op {
    put(origin.owner, origin.address.session, Part::In, h.to_be_bytes().to_vec())
}

fn put(owner: u64, session: SessionId, part: Part, value: Vec<u8>) -> Op {
    Op::Put { cf: Cf::Sessions, key: schema::session(Owner(owner), session.0, part), value }
}

/// What a session waits for.
#[derive(Debug)]
pub enum Written {
    /// Nothing.
    Who,
    /// [`Event::Recorded`].
    Record,
    /// [`Event::Persisted`].
    Count(u32),
}

impl Hub {
    /// The session may be resumed from now on: remembers its secret.
    pub(crate) fn resumable(&self, bound: &Bound) {
        godwit_store::points::pass("sm::enabled");
        let Some(sm) = bound.sm.as_ref().filter(|sm| sm.resume) else { return };
        self.registry.with(bound.jid.bare_str(), |live| {
            if let Some(entry) = live.session(bound.id) {
                entry.secret = Some(sm.secret);
                entry.max_s = sm.max_s;
            }
            self.note_who(live, bound.id);
        });
    }

    /// Writes down who a session is. Queued under the account's lock, so that the rows come in the order of
    /// the changes.
    pub(crate) fn note_who(&self, live: &mut Live, session: SessionId) {
        let owner = live.owner;
        let Some((entry, secret)) = live.session(session).and_then(|entry| {
            let secret = entry.secret?;
            Some((entry, secret))
        }) else {
            return;
        };
        let (op, place) = (write_who(owner, entry, secret), entry.place);
        let completion = Completion::Session { address: live.address(session), place, what: Written::Who };
        let tx = Tx { ops: vec![op], lazy: true, ..Tx::default() };
        if self.submit(tx, completion).is_err()
            && let Some(entry) = live.session(session)
        {
            entry.unwritten = true;
        }
    }

    /// Writes down what was sent to a session. Queued under the account's lock.
    pub(crate) fn record(&self, bound: &Bound, record: Record, place: Place, post: &mut Poster) {
        godwit_store::points::pass("sm::record");
        let mut ops = vec![self.write_out(bound, record)];
        let there = self.registry.with(bound.jid.bare_str(), |live| {
            // A record that counts says too who the session is.
            if let Some(entry) = live.session(bound.id)
                && let Some(secret) = entry.secret.filter(|_| std::mem::take(&mut entry.unwritten))
            {
                ops.push(write_who(bound.owner, entry, secret));
            }
            // What its client has acknowledged is in this record no more. So it must be in the account's: or
            // a revived session would be sent it once more.
            if live.saving || live.unsaved {
                ops.push(write_delivery(live));
            }
            let tx = Tx { ops: std::mem::take(&mut ops), ..Tx::default() };
            self.write_for(bound, place, tx, Written::Record, post);
        });
        if there.is_none() {
            self.write_for(bound, place, Tx { ops, ..Tx::default() }, Written::Record, post);
        }
    }

    /// Writes down that a session without connection keeps what would be lost with the daemon: it is then not
    /// revived.
    pub(crate) fn note_unstored(&self, bound: &Bound) {
        if bound.sm.as_ref().is_none_or(|sm| !sm.resume) {
            return;
        }
        let ops = vec![self.write_out(bound, bound.record())];
        drop(self.submit(Tx { ops, lazy: true, ..Tx::default() }, Completion::Unheard));
    }

    fn write_out(&self, bound: &Bound, record: Record) -> Op {
        let out = Out { head: self.outside.store.head().0, record };
        put(bound.owner, bound.id, Part::Out, encode(&out))
    }

    /// Writes down how many stanzas of a session are handled. A transaction under way may hold a later count,
    /// which this one must not undo.
    pub(crate) fn persist(&self, bound: &Bound, h: u32, place: Place, post: &mut Poster) {
        let key = schema::session(Owner(bound.owner), bound.id.0, Part::In);
        let known = match self.outside.store.get(Cf::Sessions, &key) {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(jid = %bound.jid, %error, "the store cannot be read");
                None
            }
        };
        let (ops, guards) = match known.as_deref() {
            Some(known) if later(Some(known), h).to_be_bytes() == known => Default::default(),
            _ => {
                let expect = known.map_or(Expect::Absent, Expect::Value);
                let guard = Guard { cf: Cf::Sessions, key, expect };
                (vec![put(bound.owner, bound.id, Part::In, h.to_be_bytes().to_vec())], vec![guard])
            }
        };
        let tx = Tx { ops, guards, chain: bound.id.0, ..Tx::default() };
        self.write_for(bound, place, tx, Written::Count(h), post);
    }

    fn write_for(&self, bound: &Bound, place: Place, tx: Tx, what: Written, post: &mut Poster) {
        let address = Address { session: bound.id, bare: bound.jid.bare_str().into() };
        let completion = Completion::Session { address: address.clone(), place, what };
        if self.submit(tx, completion).is_err() {
            // Sending on without a record would be a lie after a crash, and the writer will not note a gap.
            let error = StreamError::new(StreamCondition::ResourceConstraint).with_text("the server is busy");
            post.event(address, place, Event::Close(error));
        }
    }

    /// A session's row is durable, or is not going to be.
    pub(crate) fn written(
        &self,
        address: Address,
        place: Place,
        what: &Written,
        outcome: &Outcome,
        post: &mut Poster,
    ) {
        godwit_store::points::pass("sm::written");
        if matches!(outcome, Err(TxError::Closing)) {
            return; // nothing more is sent without a record: the store notes no gap now
        }
        if outcome.is_err() && matches!(what, Written::Who | Written::Record) {
            self.registry.with(&address.bare, |live| {
                live.session(address.session).into_iter().for_each(|entry| entry.unwritten = true);
            });
        }
        let event = match what {
            Written::Who => return,
            Written::Record => Event::Recorded(outcome.is_ok()),
            // The count has changed since it was read: to a later one, as counts are written in their order.
            Written::Count(h) => {
                let durable = outcome.is_ok() || matches!(outcome, Err(TxError::Conflict));
                Event::Persisted { h: *h, durable }
            }
        };
        post.event(address, place, event);
    }

    /// Takes a session's rows away. `lost`: the client did not say goodbye, and may want to know its count.
    /// Stanzas that are still under way come first: their count is the last.
    pub(crate) fn unwrite(self: &Arc<Self>, bound: &Bound, lost: bool) {
        let Some(sm) = bound.sm.as_ref().filter(|sm| sm.resume) else { return };
        let rest =
            Rest { owner: bound.owner, session: bound.id, secret: sm.secret, h: bound.durable_h(), lost };
        if bound.inflight() == 0 {
            return self.bury(&rest);
        }
        let hub = Arc::clone(self);
        let told = Completion::Told(Box::new(move |_| hub.bury(&rest)));
        drop(self.submit(Tx::default(), told)); // as below
    }

    fn bury(&self, rest: &Rest) {
        let (store, owner, session) = (&*self.outside.store, rest.owner, rest.session);
        let tx = if rest.lost {
            let key = schema::session(Owner(owner), session.0, Part::In);
            let h = store.get(Cf::Sessions, &key).map(|known| later(known.as_deref(), rest.h));
            h.and_then(|h| bury(store, owner, session.0, rest.secret, h))
        } else {
            let mut tx = Tx { lazy: true, ..Tx::default() };
            forget(&mut tx, owner, session.0);
            Ok(tx)
        };
        match tx {
            // With a full queue the rows stay until the next start finds them.
            Ok(tx) => drop(self.submit(tx, Completion::Ended(session))),
            Err(error) => tracing::error!(session = session.0, %error, "the store cannot be read"),
        }
    }
}

/// What is left of a session that has ended.
struct Rest {
    owner: u64,
    session: SessionId,
    secret: [u8; 16],
    h: u32,
    lost: bool,
}

/// The later one of a stored count and another.
fn later(stored: Option<&[u8]>, h: u32) -> u32 {
    match stored.and_then(|stored| stored.try_into().ok()).map(u32::from_be_bytes) {
        // Half of all numbers are ahead of `h`, the other half behind it.
        Some(stored) if stored.wrapping_sub(h) < 1 << 31 => stored,
        _ => h,
    }
}

/// The change that says who a session is.
fn write_who(owner: u64, entry: &Entry, secret: [u8; 16]) -> Op {
    put(owner, entry.id, Part::Who, encode(&who(entry, secret)))
}

fn who(entry: &Entry, secret: [u8; 16]) -> Who {
    Who {
        resource: entry.resource.to_string(),
        secret,
        max_s: entry.max_s,
        presence: entry.presence.as_ref().map(|bytes| bytes.to_vec()),
        priority: entry.priority,
        interested: entry.interested,
        carbons_from: entry.carbons_from,
        copied: entry.copied.clone(),
        directed: entry.directed.iter().map(|jid| jid.as_str().to_owned()).collect(),
    }
}
