//! How many messages wait for an account, so that it has a limit.
//!
//! What waits is what no resource has acknowledged ([`crate::delivery`]): the listed positions, and the rows
//! of the archive beyond the frontier. The latter are counted here: once, a few rows with each message that
//! comes, and from then on in memory, also for accounts that are not online (in a bounded table, the least
//! recent go). An account that reads along has nothing beyond its frontier: for it nothing is counted, and
//! nothing read.
//!
//! The bound is not exact. Above it may go what was admitted and not yet committed (as many stanzas as all
//! sessions have in work at once), and, after a restart or for an account that fell out of the table, one
//! message for each `SCAN_ROWS_MAX` rows until these are counted again.
use crate::delivery::Delivery;
use crate::module::{Cx, unreadable};
use crate::row::Row;
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError, schema};
use godwit_wire::{Condition, StanzaError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Rows counted with one message, and their bytes: what a shard reads in a fraction of a millisecond.
const SCAN_ROWS_MAX: u64 = 128;
const SCAN_BYTES_MAX: u64 = 1 << 20;
/// Accounts in one generation of one stripe's table: 64 stripes of two generations make 3 MB at most.
const GENERATION_MAX: usize = 256;

/// What waits for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Messages.
    pub messages: u64,
    /// Bytes of their rows; of those that are listed as handed over they are not known.
    pub bytes: u64,
}

/// What waits for accounts that are not online: those that left, or got a message, not long ago, since the
/// table of them is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Accounts for which something waits.
    pub accounts: u64,
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Messages to an account in its archive beyond a frontier, counted from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    rows: u64,
    bytes: u64,
    /// Counted up to here.
    upto: u64,
    /// The newest position that is known to be beyond `upto`.
    newest: u64,
    complete: bool,
}

/// Some rows, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    after: u64,
    upto: u64,
    rows: u64,
    bytes: u64,
    /// There were no more when this was counted.
    end: bool,
}

#[cfg(test)]
impl Counted {
    pub(crate) fn of(after: u64, upto: u64, rows: usize, end: bool) -> Counted {
        Counted { after, upto, rows: rows as u64, bytes: 0, end }
    }
}

impl Tally {
    /// Nothing is counted yet; rows up to `newest` may be there.
    pub(crate) fn after(frontier: u64, newest: u64) -> Tally {
        Tally { upto: frontier, newest, complete: newest <= frontier, ..Tally::default() }
    }

    /// What is beyond the frontier; `None` while that is not counted to the end.
    pub(crate) fn total(&self) -> Option<(u64, u64)> {
        self.complete.then_some((self.rows, self.bytes))
    }

    /// Where to count on.
    pub(crate) fn upto(&self) -> u64 {
        self.upto
    }

    /// A message was committed beyond the frontier. In commit order.
    pub(crate) fn committed(&mut self, seq: u64, bytes: u64) {
        if seq <= self.upto {
            return; // counting was faster than the news of the commit
        }
        self.newest = self.newest.max(seq);
        if self.complete {
            self.rows += 1;
            self.bytes += bytes;
            self.upto = seq;
        }
    }

    pub(crate) fn add(&mut self, counted: &Counted) {
        if counted.after != self.upto || self.complete {
            return; // somebody else counted these rows meanwhile
        }
        self.rows += counted.rows;
        self.bytes += counted.bytes;
        self.upto = self.upto.max(counted.upto);
        self.complete = counted.end && self.newest <= self.upto;
    }

    /// The frontier has moved to `upto`, past so many of the rows counted. Their bytes are not known: as many
    /// as those of the others.
    pub(crate) fn passed(&mut self, rows: u64, upto: u64) {
        if upto >= self.upto {
            (self.rows, self.bytes, self.upto) = (0, 0, upto);
            self.complete |= self.newest <= upto;
            return;
        }
        let left = self.rows.saturating_sub(rows);
        self.bytes = self.bytes / self.rows.max(1) * left;
        self.rows = left;
    }

    /// The same messages, seen from another frontier, beyond which `rows` of them are.
    pub(crate) fn of_rows(self, rows: u64) -> Tally {
        Tally { rows, ..self }
    }
}

/// An account that is not online: the listed positions, and the others.
#[derive(Debug, Clone, Copy)]
struct Idle {
    /// Listed as pending, less those listed as acknowledged beyond the frontier.
    listed: i64,
    tally: Tally,
}

impl Idle {
    fn waiting(&self) -> Option<Waiting> {
        let (rows, bytes) = self.tally.total()?;
        Some(Waiting { messages: rows.saturating_add_signed(self.listed), bytes })
    }
}

/// The accounts of one stripe of the registry that are not online, by number. Two generations: what was not
/// asked for since the young one was begun goes with the old one.
#[derive(Debug, Default)]
pub(crate) struct IdleTable {
    young: HashMap<u64, Idle>,
    old: HashMap<u64, Idle>,
}

impl IdleTable {
    fn get(&mut self, owner: u64) -> Option<&mut Idle> {
        if let Some(idle) = self.old.remove(&owner) {
            self.insert(owner, idle);
        }
        self.young.get_mut(&owner)
    }

    fn insert(&mut self, owner: u64, idle: Idle) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(owner, idle);
    }

    /// Adds up what is known.
    pub(crate) fn sum(&self, backlog: &mut Backlog) {
        for waiting in self.young.values().chain(self.old.values()).filter_map(Idle::waiting) {
            backlog.accounts += u64::from(waiting.messages > 0);
            backlog.messages += waiting.messages;
            backlog.bytes += waiting.bytes;
        }
    }

    /// Forgets an account: its messages are counted anew when the next one comes.
    pub(crate) fn forget(&mut self, owner: u64) {
        self.old.remove(&owner);
        self.young.remove(&owner);
    }

    /// The account goes offline.
    pub(crate) fn left(&mut self, owner: u64, delivery: &Delivery) {
        let (listed, tally) = delivery.counted();
        self.insert(owner, Idle { listed, tally });
    }

    /// The account comes online, with a record read from the store. That may lag behind the one with which it
    /// left, but the messages which wait are the same.
    pub(crate) fn came(&mut self, owner: u64, delivery: &mut Delivery) {
        if let Some(idle) = self.get(owner).copied() {
            delivery.count_from(idle.listed, idle.tally);
        }
        self.forget(owner);
    }

    pub(crate) fn committed(&mut self, owner: u64, seq: u64, bytes: u64) {
        if let Some(idle) = self.get(owner) {
            idle.tally.committed(seq, bytes);
        }
    }

    fn step(&mut self, owner: u64, fresh: Option<(i64, Tally)>, counted: Option<&Counted>) -> Step {
        if let Some((listed, tally)) = fresh
            && self.get(owner).is_none()
        {
            self.insert(owner, Idle { listed, tally });
        }
        let Some(idle) = self.get(owner) else { return Step::Load };
        if let Some(counted) = counted {
            idle.tally.add(counted);
        }
        idle.waiting().map_or(Step::Count(idle.tally.upto()), Step::Known)
    }
}

/// What is missing to know how much waits.
enum Step {
    /// Nothing.
    Known(Waiting),
    /// Rows after this position.
    Count(u64),
    /// The delivery record: the account is not online.
    Load,
}

/// Refuses a message to be stored for an account for which too much waits (XEP-0160 §2). `known`: what waits,
/// if that was known when the account was looked up.
pub(crate) fn admit(cx: &Cx<'_>, bare: &str, owner: u64, known: Option<Waiting>) -> Result<(), StanzaError> {
    let waiting = match known {
        Some(waiting) => Some(waiting),
        None => count(cx, bare, owner).map_err(unreadable)?,
    };
    let full = waiting.is_some_and(|waiting| {
        waiting.messages >= cx.settings.offline_messages_max || waiting.bytes >= cx.settings.offline_bytes_max
    });
    if full {
        let why = "too many messages wait for this account";
        return Err(StanzaError::new(Condition::ServiceUnavailable).with_text(why));
    }
    Ok(())
}

/// What waits for an account that does not read along; `None` if that is not counted to the end yet.
fn count(cx: &Cx<'_>, bare: &str, owner: u64) -> Result<Option<Waiting>, StoreError> {
    let step = |fresh: Option<(i64, Tally)>, counted: Option<&Counted>| {
        cx.registry.either(
            bare,
            owner,
            |live| live.delivery.step(counted),
            |idle| idle.step(owner, fresh, counted),
        )
    };
    let mut found = step(None, None);
    if matches!(found, Step::Load) {
        let head = cx.store.head().0;
        let record = cx.store.get(Cf::State, &schema::state(Owner(owner), schema::State::Delivery))?;
        let record = Delivery::load(record.as_deref(), head)
            .ok_or_else(|| StoreError::Corrupt(format!("the delivery record of {bare}")))?;
        found = step(Some(record.counted()), None);
    }
    if let Step::Count(after) = found {
        found = step(None, Some(&scan(cx.store, owner, after)?));
    }
    Ok(match found {
        Step::Known(waiting) => Some(waiting),
        Step::Count(_) | Step::Load => None,
    })
}

/// Counts some rows after a position.
fn scan(store: &dyn Read, owner: u64, after: u64) -> Result<Counted, StoreError> {
    let head = store.head();
    let (start, end) = schema::archives(Owner(owner), Seq(after), head);
    let mut counted = Counted { after, upto: head.0, end: true, ..Counted::default() };
    let (mut rows, mut bytes) = (0, 0);
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: false }, &mut |key, value| {
        rows += 1;
        bytes += value.len() as u64;
        if Row::decode(value).is_some_and(|row| row.incoming) {
            counted.rows += 1;
            counted.bytes += value.len() as u64;
        }
        if rows < SCAN_ROWS_MAX && bytes < SCAN_BYTES_MAX {
            return ControlFlow::Continue(());
        }
        (counted.upto, counted.end) = (schema::archive_seq(key).map_or(after, |seq| seq.0), false);
        ControlFlow::Break(())
    })?;
    Ok(counted)
}

impl Delivery {
    fn step(&mut self, counted: Option<&Counted>) -> Step {
        if let Some(counted) = counted {
            self.count(counted);
        }
        self.waiting().map_or(Step::Count(self.counted().1.upto()), Step::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_while_it_is_counted_is_counted_once() {
        let mut tally = Tally::after(10, 100);
        tally.add(&Counted { after: 10, upto: 50, rows: 4, bytes: 40, end: false });
        assert_eq!(tally.total(), None);
        tally.committed(110, 7); // after the head that the next count saw
        tally.add(&Counted { after: 50, upto: 105, rows: 5, bytes: 50, end: true });
        assert_eq!(tally.total(), None, "one is missing");
        tally.add(&Counted { after: 105, upto: 120, rows: 2, bytes: 14, end: true });
        assert_eq!(tally.total(), Some((11, 104)));
        tally.committed(120, 7); // the news of a commit that was counted
        assert_eq!(tally.total(), Some((11, 104)));
        tally.committed(121, 7);
        tally.add(&Counted { after: 105, upto: 120, rows: 2, bytes: 14, end: true });
        assert_eq!(tally.total(), Some((12, 111)), "an old count changes nothing");
    }

    #[test]
    fn accounts_that_nobody_asks_for_are_forgotten() {
        let mut table = IdleTable::default();
        let idle = |rows| Idle { listed: 0, tally: Tally::after(0, 0).of_rows(rows) };
        table.insert(0, idle(3));
        for owner in 1..=3 * GENERATION_MAX as u64 {
            table.insert(owner, idle(1));
            assert!(table.get(0).is_some_and(|idle| idle.waiting().is_some_and(|w| w.messages == 3)));
            assert!(table.young.len() + table.old.len() <= 2 * GENERATION_MAX);
        }
        assert!(table.get(1).is_none());
        let mut backlog = Backlog::default();
        table.sum(&mut backlog);
        let others = (table.young.len() + table.old.len()) as u64 - 1;
        assert_eq!((backlog.accounts, backlog.messages), (others + 1, others + 3));
    }
}
