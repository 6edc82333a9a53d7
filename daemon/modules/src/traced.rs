//! "What became of this message?": the steps in memory (`trace.rs`) and what the store knows, put together.
//!
//! A message is found by its id in an archive, of its sender's copy or its recipient's, or by the id that
//! its sender gave it. The steps are those since the start of the daemon, and only of the last messages; the
//! store knows all that it still has. Never the message itself.
use crate::accounts::{self, AccountError};
use crate::archive;
use crate::delivery::Delivery;
use crate::hub::Hub;
use crate::row::Row;
use crate::trace::{Record, Step};
use godwit_session::SessionId;
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError, schema};
use godwit_wire::element::Scope;
use godwit_wire::{Element, Jid, ns};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Messages with one id that are shown.
const FOUND_MAX: usize = 8;
/// Rows of one archive in which an id of a sender is looked for, from the newest on.
const ROWS_MAX: usize = 100_000;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Its id in the recipient's archive.
    pub stanza_id: String,
    /// What the store has of it; `None`: nothing (any more).
    pub stored: Option<Stored>,
    /// The steps that are still in memory, in the order of time.
    pub steps: Vec<Taken>,
}

/// What the store knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The id that its sender gave it.
    pub id: Option<String>,
    /// Bare JID of the sender.
    pub from: String,
    /// Address of the recipient, with the resource if it was to one.
    pub to: String,
    /// When it was committed.
    pub at_ms: u64,
    /// Bytes of its row.
    pub bytes: u64,
    /// No client of the recipient has acknowledged it.
    pub pending: bool,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// When.
    pub at_ms: u64,
    /// `received`, `committed`, `posted`, `written`, `acknowledged`, `taken`.
    pub step: String,
    /// The session: its full JID, or its number if it has been gone for long.
    pub session: Option<String>,
}

/// Looks in a store that no daemon uses.
pub fn without_daemon(
    store: &dyn Read,
    id: &str,
    account: Option<&Jid>,
) -> Result<Vec<Traced>, AccountError> {
    let found = in_store(store, id, account)?;
    let stored = |(owner, seq)| -> Result<Traced, StoreError> {
        let stored = stored(store, owner, seq, None)?;
        Ok(Traced { stanza_id: archive::id(seq), stored, steps: Vec::new() })
    };
    Ok(found.into_iter().map(stored).collect::<Result<_, _>>()?)
}

impl Hub {
    /// What became of the messages with this id; `account`: whose archive to look in.
    pub fn traced(&self, id: &str, account: Option<&Jid>) -> Result<Vec<Traced>, AccountError> {
        let store = &*self.outside.store;
        let mut found = self.in_memory(id);
        if found.is_empty() {
            found = in_store(store, id, account)?;
        }
        let traced = |(owner, seq)| -> Result<Traced, StoreError> {
            let steps = self.trace.of(seq).iter().filter_map(|record| self.step(record)).collect();
            let stored = stored(store, owner, seq, Some(self))?;
            Ok(Traced { stanza_id: archive::id(seq), stored, steps })
        };
        Ok(found.into_iter().map(traced).collect::<Result<_, _>>()?)
    }

    /// Account and position of the messages that are still in the rings.
    fn in_memory(&self, id: &str) -> Vec<(Owner, u64)> {
        let mut seqs = self.trace.named(id);
        if let Some(seq) = archive::position(id) {
            let copied =
                seq.checked_add(1).filter(|next| self.trace.of(*next).iter().any(|r| r.step == Step::Copied));
            seqs.extend([seq].into_iter().chain(copied));
        }
        let owner = |seq: &u64| {
            let committed = self.trace.of(*seq).into_iter().find(|record| record.step == Step::Committed);
            committed.map(|record| (Owner(record.what), *seq))
        };
        seqs.iter().filter_map(owner).take(FOUND_MAX).collect()
    }

    fn step(&self, record: &Record) -> Option<Taken> {
        let (step, session) = match record.step {
            Step::Received => ("received", true),
            Step::Committed => ("committed", false),
            Step::Posted => ("posted", true),
            Step::Written => ("written", true),
            Step::Acknowledged => ("acknowledged", true),
            Step::Taken => ("taken", true),
            Step::Named | Step::Copied => return None,
        };
        let session = session.then(|| self.session_name(SessionId(record.what)));
        Some(Taken { at_ms: record.at, step: step.into(), session })
    }

    pub(crate) fn session_name(&self, id: SessionId) -> String {
        let mut found = None;
        self.registry.each(&mut |live| {
            if let Some(entry) = live.sessions.iter().find(|entry| entry.id == id) {
                found = Some(format!("{}/{}", live.bare, entry.resource));
            }
        });
        found
            .or_else(|| self.trace.name_of(id).map(String::from))
            .unwrap_or_else(|| format!("session {}, which has ended", id.0))
    }
}

/// Account and position of messages that the store has, the newest first.
fn in_store(store: &dyn Read, id: &str, account: Option<&Jid>) -> Result<Vec<(Owner, u64)>, AccountError> {
    let mut found = Vec::new();
    match (archive::position(id), account) {
        (Some(seq), Some(jid)) => found.extend(at(store, owner_of(store, jid)?, seq)?),
        (Some(seq), None) => found.extend(anywhere(store, seq)?),
        (None, Some(jid)) => by_id(store, owner_of(store, jid)?, id, &mut found)?,
        (None, None) => {}
    }
    Ok(found)
}

fn owner_of(store: &dyn Read, jid: &Jid) -> Result<Owner, AccountError> {
    let record = accounts::read(store, jid.bare_str())?;
    record.map(|record| Owner(record.owner)).ok_or_else(|| AccountError::Missing(jid.bare_str().into()))
}

/// A position in one archive; of a sent message, where its recipient has it.
fn at(store: &dyn Read, owner: Owner, seq: u64) -> Result<Option<(Owner, u64)>, StoreError> {
    let Some(value) = store.get(Cf::Archive, &schema::archive(owner, Seq(seq)))? else { return Ok(None) };
    let Some(row) = Row::decode(&value) else { return Ok(None) };
    if row.incoming {
        return Ok(Some((owner, seq)));
    }
    // Both rows are of one transaction, the recipient's directly behind the sender's.
    let other = accounts::read(store, row.with)?.map(|record| Owner(record.owner));
    let next = seq.saturating_add(1);
    match other {
        Some(other) if store.get(Cf::Archive, &schema::archive(other, Seq(next)))?.is_some() => {
            Ok(Some((other, next)))
        }
        _ => Ok(Some((owner, seq))),
    }
}

/// A position in whichever archive has it: one read for each account.
fn anywhere(store: &dyn Read, seq: u64) -> Result<Option<(Owner, u64)>, StoreError> {
    let (mut found, mut bad) = (None, None);
    accounts::each(store, None, &mut |_, record| match at(store, Owner(record.owner), seq) {
        Ok(None) => ControlFlow::Continue(()),
        Ok(there) => {
            found = there;
            ControlFlow::Break(())
        }
        Err(error) => {
            bad = Some(error);
            ControlFlow::Break(())
        }
    })?;
    bad.map_or(Ok(found), Err)
}

/// Messages of one archive with an id of their sender, the newest first.
fn by_id(store: &dyn Read, owner: Owner, id: &str, found: &mut Vec<(Owner, u64)>) -> Result<(), StoreError> {
    let (start, end) = schema::archives(owner, Seq(0), store.head());
    let (mut seqs, mut rows) = (Vec::new(), 0);
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: true }, &mut |key, value| {
        rows += 1;
        if let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value))
            && ids(&row).iter().flatten().any(|known| known == id)
        {
            seqs.push(seq.0);
        }
        if rows < ROWS_MAX && seqs.len() < FOUND_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    for seq in seqs {
        found.extend(at(store, owner, seq)?);
    }
    Ok(())
}

/// The ids that a message has from its sender: its `id` and its origin id.
fn ids(row: &Row<'_>) -> [Option<String>; 2] {
    let Ok(stanza) = Element::parse(row.stanza, &Scope::client()) else { return [None, None] };
    let root = stanza.root();
    let origin = root.child("origin-id", ns::STANZA_IDS).and_then(|origin| origin.attr("id"));
    [root.attr("id").map(Into::into), origin.map(Into::into)]
}

fn stored(store: &dyn Read, owner: Owner, seq: u64, hub: Option<&Hub>) -> Result<Option<Stored>, StoreError> {
    let Some(value) = store.get(Cf::Archive, &schema::archive(owner, Seq(seq)))? else { return Ok(None) };
    let Some(row) = Row::decode(&value) else { return Ok(None) };
    let name = store.get(Cf::State, &schema::state(owner, schema::State::Name))?.unwrap_or_default();
    let bare = String::from_utf8_lossy(&name).into_owned();
    let (from, mut to) = if row.incoming { (row.with.into(), bare.clone()) } else { (bare, row.with.into()) };
    let pending = row.incoming && is_pending(store, owner, &to, seq, hub)?;
    if !row.resource.is_empty() {
        to = format!("{to}/{}", row.resource);
    }
    let [id, _] = ids(&row);
    Ok(Some(Stored { id, from, to, at_ms: Seq(seq).millis(), bytes: value.len() as u64, pending }))
}

/// By the record of an account that is online, or the one in the store.
fn is_pending(
    store: &dyn Read,
    owner: Owner,
    bare: &str,
    seq: u64,
    hub: Option<&Hub>,
) -> Result<bool, StoreError> {
    let live = hub.and_then(|hub| hub.registry.with(bare, |live| live.delivery.is_pending(seq)));
    if let Some(pending) = live {
        return Ok(pending);
    }
    let saved = store.get(Cf::State, &schema::state(owner, schema::State::Delivery))?;
    Ok(Delivery::load(saved.as_deref(), store.head().0).is_none_or(|record| record.is_pending(seq)))
}
