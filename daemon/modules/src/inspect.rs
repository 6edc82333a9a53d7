//! "Where is my message?": the state of one account in plain data, for the administrator. From the store
//! alone, or with what its sessions say of themselves (`inquiry.rs`).
//!
//! Reads a bounded number of rows; what lies beyond is said to be there and not counted. Never holds the body
//! of a message.
use crate::accounts::{self, AccountError};
use crate::archive;
use crate::delivery::Delivery;
use crate::row::Row;
use crate::{displayed, durable};
use godwit_session::{Sent, SessionId};
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError, schema};
use godwit_wire::element::Scope;
use godwit_wire::{Element, Jid};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Rows of the archive that are looked at.
const ROWS_MAX: u64 = 200_000;
/// Sessions in the store that are looked at.
const RESUMABLE_MAX: usize = 1_000;
/// Waiting messages that are listed.
const LISTED_MAX: usize = 20;

/// An account's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Bare JID.
    pub jid: String,
    /// When the account was made.
    pub created_ms: u64,
    /// Its sessions; `None`: no daemon was asked.
    pub sessions: Option<Vec<Session>>,
    /// Sessions that only the store knows: from before the daemon's start, for their clients to resume.
    pub resumable: Vec<Resumable>,
    /// Messages that no client has acknowledged.
    pub pending: Pending,
    /// Its archive.
    pub archive: Size,
    /// How far it has read, by what its clients published (XEP-0490) and the markers that they sent
    /// (XEP-0333).
    pub displayed: Vec<Displayed>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Resource.
    pub resource: String,
    /// The client's address, if it is known.
    pub peer: Option<String>,
    /// When it was bound.
    pub since_ms: u64,
    /// Its presence priority; `None` while unavailable.
    pub priority: Option<i8>,
    /// It gets messages to the bare JID.
    pub reads: bool,
    /// What it said of itself; `None`: it did not answer in time.
    pub report: Option<Report>,
}

/// What a session says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its connection broke; until then it waits to be resumed (XEP-0198).
    pub waits_until_ms: Option<u64>,
    /// Its client acknowledges what it gets (XEP-0198); otherwise what reached the kernel counts as received.
    pub acknowledges: bool,
    /// Its client said that nobody looks at it (XEP-0352): what can wait is held.
    pub inactive: bool,
    /// Stanzas sent and not acknowledged, messages and others.
    pub unacked: u64,
    /// Ids of the stored messages among them, oldest first; the first ones if there are many.
    pub unacked_ids: Vec<String>,
    /// All stored messages up to here were sent to it, or are not for it.
    pub sent_upto: String,
}

/// A session that was written down, to be resumed after a restart (XEP-0198).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumable {
    /// Resource.
    pub resource: String,
    /// Seconds after the daemon's start that its client has for that.
    pub resume_s_max: u32,
    /// Stanzas that were written down as sent and were not acknowledged then; messages that came in their
    /// order need no such mention.
    pub unacked: u64,
    /// Ids of the stored messages among them.
    pub unacked_ids: Vec<String>,
}

/// Messages that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// How many.
    pub messages: u64,
    /// Bytes of their rows.
    pub bytes: u64,
    /// There are more that were not counted.
    pub more: bool,
    /// When the oldest was committed.
    pub oldest_ms: Option<u64>,
    /// When the newest was.
    pub newest_ms: Option<u64>,
    /// The oldest ones.
    pub first: Vec<Message>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id in the archive.
    pub stanza_id: String,
    /// The id that its sender gave it.
    pub id: Option<String>,
    /// Bare JID of the sender.
    pub from: String,
    /// Resource it is addressed to; `None`: to the bare JID.
    pub resource: Option<String>,
    /// When it was committed.
    pub at_ms: u64,
    /// Resources to which it was sent and which have not acknowledged it.
    pub sent_to: Vec<String>,
}

/// Rows of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// How many.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// There are more that were not counted.
    pub more: bool,
    /// When the oldest was committed.
    pub oldest_ms: Option<u64>,
    /// When the newest was.
    pub newest_ms: Option<u64>,
}

/// A conversation that was read up to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Displayed {
    /// The other side.
    pub with: String,
    /// Id of the message, as the marker says it.
    pub id: String,
    /// When the marker was sent.
    pub at_ms: u64,
}

/// An account that is online.
pub(crate) struct Online {
    pub(crate) delivery: Delivery,
    pub(crate) sessions: Vec<(SessionId, Session)>,
}

/// Inspects an account in a store that no daemon uses.
pub fn without_daemon(store: &dyn Read, jid: &Jid) -> Result<Inspection, AccountError> {
    inspect(store, jid, None).map(|found| Inspection { sessions: None, ..found })
}

pub(crate) fn inspect(
    store: &dyn Read,
    jid: &Jid,
    online: Option<Online>,
) -> Result<Inspection, AccountError> {
    let bare = jid.bare_str();
    let record = accounts::read(store, bare)?.ok_or_else(|| AccountError::Missing(bare.into()))?;
    let owner = Owner(record.owner);
    let (delivery, sessions) = match online {
        Some(online) => (online.delivery, online.sessions),
        None => (load(store, owner)?, Vec::new()),
    };
    let live: Vec<SessionId> = sessions.iter().map(|(id, _)| *id).collect();
    let sessions: Vec<Session> = sessions.into_iter().map(|(_, session)| session).collect();
    Ok(Inspection {
        resumable: resumable(store, owner, &live)?.into_iter().map(|(_, session)| session).collect(),
        jid: bare.into(),
        created_ms: record.created_ms,
        pending: pending(store, owner, &delivery, &sessions)?,
        archive: size(store, owner)?,
        displayed: displayed::displayed(store, owner)?,
        sessions: Some(sessions),
    })
}

fn load(store: &dyn Read, owner: Owner) -> Result<Delivery, StoreError> {
    let saved = store.get(Cf::State, &schema::state(owner, schema::State::Delivery))?;
    Delivery::load(saved.as_deref(), store.head().0)
        .ok_or_else(|| StoreError::Corrupt("the delivery record cannot be read".into()))
}

impl Pending {
    fn add(&mut self, seq: u64, row: &Row<'_>, bytes: usize, sessions: &[Session]) {
        let at_ms = Seq(seq).millis();
        self.messages += 1;
        self.bytes += bytes as u64;
        self.oldest_ms = self.oldest_ms.or(Some(at_ms));
        self.newest_ms = Some(at_ms);
        if self.first.len() < LISTED_MAX {
            self.first.push(message(seq, row, sessions));
        }
    }
}

/// The listed positions first: they are all before the others.
fn pending(
    store: &dyn Read,
    owner: Owner,
    delivery: &Delivery,
    sessions: &[Session],
) -> Result<Pending, StoreError> {
    let mut pending = Pending::default();
    for &seq in delivery.owed() {
        if let Some(value) = store.get(Cf::Archive, &schema::archive(owner, Seq(seq)))?
            && let Some(row) = Row::decode(&value)
        {
            pending.add(seq, &row, value.len(), sessions);
        }
    }
    pending.more = each(store, owner, delivery.frontier(), false, ROWS_MAX, &mut |seq, row, bytes| {
        if row.incoming && delivery.is_pending(seq) {
            pending.add(seq, row, bytes, sessions);
        }
    })?;
    Ok(pending)
}

fn message(seq: u64, row: &Row<'_>, sessions: &[Session]) -> Message {
    let stanza_id = archive::id(seq);
    let has = |session: &&Session| {
        session.report.as_ref().is_some_and(|report| report.unacked_ids.contains(&stanza_id))
    };
    Message {
        id: parsed(row).and_then(|stanza| stanza.root().attr("id").map(Into::into)),
        from: row.with.into(),
        resource: (!row.resource.is_empty()).then(|| row.resource.into()),
        at_ms: Seq(seq).millis(),
        sent_to: sessions.iter().filter(has).map(|session| session.resource.clone()).collect(),
        stanza_id,
    }
}

pub(crate) fn parsed(row: &Row<'_>) -> Option<Element> {
    Element::parse(row.stanza, &Scope::client()).ok()
}

fn size(store: &dyn Read, owner: Owner) -> Result<Size, StoreError> {
    let mut size = Size::default();
    size.more = each(store, owner, 0, false, ROWS_MAX, &mut |seq, _, bytes| {
        size.rows += 1;
        size.bytes += bytes as u64;
        size.oldest_ms = size.oldest_ms.or(Some(Seq(seq).millis()));
        size.newest_ms = Some(Seq(seq).millis());
    })?;
    if size.more {
        each(store, owner, 0, true, 1, &mut |seq, _, _| size.newest_ms = Some(Seq(seq).millis()))?;
    }
    Ok(size)
}

/// Sessions of the account that are in the store and not in this daemon, with their numbers: `live` are those
/// that are.
pub(crate) fn resumable(
    store: &dyn Read,
    owner: Owner,
    live: &[SessionId],
) -> Result<Vec<(u64, Resumable)>, StoreError> {
    let (start, end) = schema::everything(owner);
    let mut numbers: Vec<u64> = Vec::new();
    store.scan(&Range { cf: Cf::Sessions, start, end, reverse: false }, &mut |key, _| {
        if let Some((_, session, _)) = schema::session_of(key)
            && numbers.last() != Some(&session)
        {
            numbers.push(session);
        }
        if numbers.len() < RESUMABLE_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut found = Vec::new();
    for number in numbers.into_iter().filter(|number| !live.contains(&SessionId(*number))) {
        if let Some(rows) = durable::read(store, owner.0, number)? {
            found.push((number, Resumable::of(&rows)));
        }
    }
    Ok(found)
}

impl Resumable {
    fn of(rows: &durable::Rows) -> Resumable {
        let sent = rows.out.as_ref().map(|out| out.record.sent.as_slice()).unwrap_or_default();
        let count = |sent: &Sent| match sent {
            Sent::Stored(_) => 1,
            Sent::Presence(n) | Sent::Other(n) => u64::from(*n),
        };
        let id = |sent: &Sent| match sent {
            Sent::Stored(seq) => Some(archive::id(*seq)),
            Sent::Presence(_) | Sent::Other(_) => None,
        };
        Resumable {
            resource: rows.who.resource.clone(),
            resume_s_max: rows.who.max_s,
            unacked: sent.iter().map(count).sum(),
            unacked_ids: sent.iter().filter_map(id).collect(),
        }
    }
}

/// Visits rows after a position, at most so many; true if there are more. A row that cannot be read is left
/// out: there is another command that verifies the store.
pub(crate) fn each(
    store: &dyn Read,
    owner: Owner,
    after: u64,
    reverse: bool,
    rows_max: u64,
    visit: &mut dyn FnMut(u64, &Row<'_>, usize),
) -> Result<bool, StoreError> {
    let (start, end) = schema::archives(owner, Seq(after), store.head());
    let (mut rows, mut more) = (0, false);
    store.scan(&Range { cf: Cf::Archive, start, end, reverse }, &mut |key, value| {
        if rows >= rows_max {
            more = true;
            return ControlFlow::Break(());
        }
        rows += 1;
        if let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value)) {
            visit(seq.0, &row, value.len());
        }
        ControlFlow::Continue(())
    })?;
    Ok(more)
}
