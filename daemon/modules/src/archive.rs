//! Reads an account's archive: pages of its history, single messages, and what it amounts to.
//!
//! A query looks at a bounded number of rows. Rows are found by position, or by contact through the index
//! ([`Cf::With`]), so that a page costs the same in an archive of any size. Two kinds of rows are looked at
//! without being given: those that were stored for their delivery alone, and with a full JID in the filter
//! those of the contact's other resources. When the bound is reached among such rows, the page ends there: it
//! names the row looked at last as its end, from which the next query goes on.
use crate::row::{Row, with_hash};
use crate::xep0441_prefs::Policy;
use godwit_session::Millis;
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError, schema};
use godwit_wire::{Jid, writer::write_attr};
use std::ops::ControlFlow;

/// Rows that one page looks at.
const EXAMINED_MAX: usize = 1_000;
/// Rows that are counted; larger sets have no count.
const COUNTED_MAX: usize = 10_000;

/// What the configuration says of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Messages in one page at most, whatever the client asks for.
    pub page_rows_max: usize,
    /// Bytes of one page, as sent; one message may be larger.
    pub page_bytes_max: usize,
    /// Messages older than this have expired, in ms; `None`: they never do.
    pub keep_ms: Option<Millis>,
    /// What is archived for accounts that have no preferences.
    pub default: Policy,
}

impl Default for ArchiveSettings {
    /// The defaults of the configuration.
    fn default() -> ArchiveSettings {
        let (page_rows_max, page_bytes_max) = (250, 128 << 10);
        ArchiveSettings { page_rows_max, page_bytes_max, keep_ms: None, default: Policy::Always }
    }
}

impl ArchiveSettings {
    /// The first position that has not expired.
    pub fn oldest(&self, now: Millis) -> u64 {
        self.keep_ms.map_or(0, |keep| Seq::at(now.saturating_sub(keep)).0)
    }
}

/// Which messages of an archive.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exchanged with this address: a bare JID, or a full one.
    pub with: Option<Jid>,
    /// Positions after this one.
    pub after: u64,
    /// Positions up to this one.
    pub upto: u64,
    /// Only these positions, ascending.
    pub ids: Option<Vec<u64>>,
}

/// Which page of them.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Behind this position.
    pub after: Option<u64>,
    /// Before this position.
    pub before: Option<u64>,
    /// The end of that range rather than its beginning.
    pub from_end: bool,
    /// Messages in the page; 0: only their number is wanted.
    pub rows_max: usize,
    /// Bytes after which no further message is taken.
    pub bytes_max: usize,
    /// Bytes that the first one may have.
    pub first_bytes_max: usize,
}

/// A page, in the archive's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Messages, as the caller renders them.
    pub rows: Vec<Vec<u8>>,
    /// Positions of the first and the last one (or of the row looked at last).
    pub ends: Option<(u64, u64)>,
    /// Nothing lies beyond in the direction of reading.
    pub complete: bool,
    /// How many there are in all, if that is known.
    pub count: Option<usize>,
    /// How many come before the first one, if that is known.
    pub index: Option<usize>,
}

/// Why there is no page.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The next message has more bytes than may be sent at present.
    TooLarge,
    /// The store cannot be read.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Refused::Store(error)
    }
}

/// An id as clients know it (`feed::stanza_id`).
pub fn id(seq: u64) -> String {
    format!("{seq:016x}")
}

/// The position of an id; `None` for what no server gave out.
pub fn position(text: &str) -> Option<u64> {
    let hex = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex { u64::from_str_radix(text, 16).ok() } else { None }
}

/// One account's archive, from its oldest message that has not expired to the newest one that is committed.
pub struct Archive<'a> {
    store: &'a dyn Read,
    owner: Owner,
    oldest: u64,
    head: u64,
}

type Visit<'v> = &'v mut dyn FnMut(u64, &Row<'_>) -> ControlFlow<()>;

impl<'a> Archive<'a> {
    /// Messages before `oldest` have expired, whether they are still on the disk or not.
    pub fn new(store: &'a dyn Read, owner: u64, oldest: u64) -> Archive<'a> {
        Archive { store, owner: Owner(owner), oldest, head: store.head().0 }
    }

    /// One row.
    fn row<T>(&self, seq: u64, use_it: impl FnOnce(&Row<'_>) -> T) -> Result<Option<T>, StoreError> {
        if seq < self.oldest || seq > self.head {
            return Ok(None);
        }
        let bytes = self.store.get(Cf::Archive, &schema::archive(self.owner, Seq(seq)))?;
        let Some(bytes) = bytes else { return Ok(None) };
        Row::decode(&bytes).map(|row| Some(use_it(&row))).ok_or_else(|| self.damaged(seq))
    }

    fn damaged(&self, seq: u64) -> StoreError {
        StoreError::Corrupt(format!("row {} of the archive of account number {}", id(seq), self.owner.0))
    }

    /// A position that a client names as its place in the archive. What was only stored for delivery had a
    /// stanza id too, so it is a place, though not part of the history.
    pub fn is_place(&self, seq: u64) -> Result<bool, StoreError> {
        Ok(self.row(seq, |_| ())?.is_some())
    }

    /// A message of the history.
    pub fn is_message(&self, seq: u64) -> Result<bool, StoreError> {
        Ok(self.row(seq, |row| !row.hidden)?.unwrap_or(false))
    }

    /// Rows after a position up to another, in one direction, as far as they can be told apart by keys.
    fn walk(
        &self,
        filter: &Filter,
        range: (u64, u64),
        back: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let (after, upto) = (range.0.max(self.oldest.saturating_sub(1)), range.1.min(self.head));
        if let Some(ids) = &filter.ids {
            return self.walk_ids(ids, (after, upto), back, visit);
        }
        let (cf, (start, end)) = match &filter.with {
            None => (Cf::Archive, schema::archives(self.owner, Seq(after), Seq(upto))),
            Some(jid) => {
                let hash = with_hash(jid.bare_str());
                (Cf::With, schema::withs(self.owner, hash, Seq(after), Seq(upto)))
            }
        };
        let mut failed = None;
        let mut each = |key: &[u8], value: &[u8]| {
            let step = match cf {
                Cf::With => match schema::with_parts(key) {
                    Some((_, seq)) => self.row(seq.0, |row| visit(seq.0, row)),
                    None => Err(self.damaged(0)),
                },
                _ => match (schema::archive_seq(key), Row::decode(value)) {
                    (Some(seq), Some(row)) => Ok(Some(visit(seq.0, &row))),
                    (seq, _) => Err(self.damaged(seq.map_or(0, |seq| seq.0))),
                },
            };
            match step {
                // An index row whose message has just been removed says nothing.
                Ok(flow) => flow.unwrap_or(ControlFlow::Continue(())),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        self.store.scan(&Range { cf, start, end, reverse: back }, &mut each)?;
        failed.map_or(Ok(()), Err)
    }

    fn walk_ids(
        &self,
        ids: &[u64],
        range: (u64, u64),
        back: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let inside = |seq: &&u64| range.0 < **seq && **seq <= range.1;
        let mut forward = ids.iter().filter(inside);
        let mut backward = ids.iter().rev().filter(inside);
        while let Some(&seq) = if back { backward.next() } else { forward.next() } {
            if self.row(seq, |row| visit(seq, row))?.is_some_and(|flow| flow.is_break()) {
                break;
            }
        }
        Ok(())
    }

    /// A page; `render` makes of a message what is sent.
    pub fn page(
        &self,
        filter: &Filter,
        wanted: &Wanted,
        render: &dyn Fn(u64, &Row<'_>) -> Vec<u8>,
    ) -> Result<Page, Refused> {
        if wanted.rows_max == 0 {
            return Ok(self.count(filter)?);
        }
        let after = filter.after.max(wanted.after.unwrap_or(0));
        let upto = filter.upto.min(wanted.before.map_or(u64::MAX, |before| before.saturating_sub(1)));
        let mut found = Found::default();
        self.walk(filter, (after, upto), wanted.from_end, &mut |seq, row| {
            found.take(seq, row, filter, wanted, render)
        })?;
        if found.too_large {
            return Err(Refused::TooLarge);
        }
        Ok(found.page(wanted))
    }

    /// How many messages match; without a number if that would take too long to find out.
    fn count(&self, filter: &Filter) -> Result<Page, StoreError> {
        let (mut count, mut examined) = (0, 0);
        self.walk(filter, (filter.after, filter.upto), false, &mut |_, row| {
            examined += 1;
            count += usize::from(matches(filter, row));
            if examined > COUNTED_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let known = examined <= COUNTED_MAX;
        Ok(Page { complete: known && count == 0, count: known.then_some(count), ..Page::default() })
    }

    /// Positions of the first and the last message of the history; `None` if it is empty.
    pub fn ends(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let all = Filter { upto: u64::MAX, ..Filter::default() };
        let end = |back| {
            let (mut found, mut examined) = (None, 0);
            self.walk(&all, (0, u64::MAX), back, &mut |seq, row| {
                examined += 1;
                // Among very many rows that are no history the place where the search ended is close enough.
                if row.hidden && examined < COUNTED_MAX {
                    return ControlFlow::Continue(());
                }
                found = Some(seq);
                ControlFlow::Break(())
            })
            .map(|()| found)
        };
        Ok(end(false)?.zip(end(true)?))
    }
}

/// A page in the making, in the direction of reading.
#[derive(Default)]
struct Found {
    rows: Vec<Vec<u8>>,
    bytes: usize,
    /// Positions of the first and the last message taken.
    taken: Option<(u64, u64)>,
    examined: usize,
    /// Where the bound was reached.
    stopped: Option<u64>,
    /// A further message is there.
    more: bool,
    too_large: bool,
}

impl Found {
    fn take(
        &mut self,
        seq: u64,
        row: &Row<'_>,
        filter: &Filter,
        wanted: &Wanted,
        render: &dyn Fn(u64, &Row<'_>) -> Vec<u8>,
    ) -> ControlFlow<()> {
        if matches(filter, row) {
            if self.rows.len() >= wanted.rows_max {
                self.more = true;
                return ControlFlow::Break(());
            }
            let rendered = render(seq, row);
            let first = self.rows.is_empty();
            let most = if first { wanted.first_bytes_max } else { wanted.bytes_max };
            self.bytes += rendered.len();
            if self.bytes > most {
                (self.more, self.too_large) = (true, first);
                return ControlFlow::Break(());
            }
            self.rows.push(rendered);
            self.taken = Some((self.taken.map_or(seq, |(first, _)| first), seq));
        }
        self.examined += 1;
        if self.examined >= EXAMINED_MAX {
            self.stopped = Some(seq);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn page(mut self, wanted: &Wanted) -> Page {
        let ends = match (self.taken, self.stopped) {
            (Some((first, _)), Some(stopped)) => Some((first, stopped)),
            (None, Some(stopped)) => Some((stopped, stopped)),
            (taken, None) => taken,
        };
        let complete = !self.more && self.stopped.is_none();
        // The whole set in one page: then these two are known without counting.
        let whole = complete && wanted.after.is_none() && wanted.before.is_none();
        let begins = !wanted.from_end && wanted.after.is_none() && !self.rows.is_empty();
        if wanted.from_end {
            self.rows.reverse();
        }
        Page {
            count: whole.then_some(self.rows.len()),
            index: (begins || (whole && !self.rows.is_empty())).then_some(0),
            ends: if wanted.from_end { ends.map(|(last, first)| (first, last)) } else { ends },
            complete,
            rows: self.rows,
        }
    }
}

/// What the keys do not tell: whether the row is history, and exchanged with the very address.
fn matches(filter: &Filter, row: &Row<'_>) -> bool {
    if row.hidden {
        return false;
    }
    let Some(with) = &filter.with else { return true };
    if *row.with != *with.bare_str() {
        return false; // by the index, another address with the same hash
    }
    let Some(resource) = with.resource() else { return true };
    if !row.incoming {
        return row.resource == resource;
    }
    is_from(row.stanza, with)
}

/// The sender's resource stands in the stanza alone. A row was rendered here, so that no value in its start
/// tag holds a quote or an angle bracket: what looks like the attribute is the attribute.
fn is_from(stanza: &[u8], jid: &Jid) -> bool {
    let mut attribute = Vec::new();
    write_attr(&mut attribute, "from", jid.as_str());
    let tag = stanza.split(|byte| *byte == b'>').next().unwrap_or_default();
    tag.windows(attribute.len()).any(|window| window == attribute)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
