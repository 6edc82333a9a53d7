//! Makes one atomic batch of a round's transactions: guards, sequence numbers, outcomes. Shared by both
//! stores, so that the twin in memory decides exactly as the one on disk does.
//!
//! A guard sees the store as it was before the round plus what earlier transactions of the round did. For
//! that, only guarded keys are remembered; a round without guards remembers nothing.

use std::collections::BTreeMap;

use crate::chain::Broken;
use crate::gone::Gone;
use crate::sequence::Sequencer;
use crate::{Cf, Expect, Guard, Key, Op, Outcome, Owner, Seq, StoreError, Tx, TxError, schema};

/// Where a batch goes, and what it is checked against.
pub(crate) trait Target {
    /// Reads a key as it was before the round.
    fn read(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, StoreError>;
    /// Adds a write to the batch.
    fn put(&mut self, cf: Cf, key: &Key, value: &[u8]);
    /// Adds a removal to the batch.
    fn delete(&mut self, cf: Cf, key: &Key);
    /// Adds a removal of `start..end` to the batch; `start < end`.
    fn delete_range(&mut self, cf: Cf, start: &Key, end: &Key);
}

/// What became of a round before its write.
#[derive(Debug)]
pub(crate) struct Built {
    /// One for each transaction, in order; they hold only if the write succeeds.
    pub(crate) outcomes: Vec<Outcome>,
    /// The last sequence number given out, if there was one.
    pub(crate) head: Option<Seq>,
    /// Whether anything is to be written.
    pub(crate) writes: bool,
    /// Whether something is written that must not be lost.
    pub(crate) sync: bool,
    /// Accounts that the round purges; they are back if the write fails.
    pub(crate) purged: Vec<Owner>,
}

/// Puts the transactions into the target's batch.
pub(crate) fn build<'t>(
    round: impl Iterator<Item = &'t Tx> + Clone,
    now_ms: u64,
    sequencer: &mut Sequencer,
    (gone, broken): (&mut Gone, &Broken),
    target: &mut dyn Target,
) -> Built {
    let mut overlay = Overlay::new(round.clone());
    let mut built =
        Built { outcomes: Vec::new(), head: None, writes: false, sync: false, purged: Vec::new() };
    for tx in round {
        let outcome = broken
            .check(tx)
            .and_then(|()| gone.check(tx))
            .and_then(|()| overlay.check(&tx.guards, target))
            .and_then(|()| number(tx, now_ms, sequencer));
        if tx.breaks || matches!(outcome, Err(TxError::Failed(_))) {
            broken.broke(tx.chain);
        }
        if let Ok(seqs) = &outcome {
            apply(tx, seqs, &mut overlay, target);
            built.purged.extend(gone.note(tx));
            built.head = seqs.last().copied().or(built.head);
            built.writes |= !tx.ops.is_empty();
            built.sync |= !tx.ops.is_empty() && !tx.lazy;
        }
        built.outcomes.push(outcome);
    }
    // What was decided while nothing could be written is told from what came after by this number.
    if built.writes
        && let Some(gap) = sequencer.gap(now_ms)
    {
        target.put(Cf::Meta, &schema::meta_gap(), &gap.0.to_be_bytes());
        (built.head, built.sync) = (Some(gap), true);
    }
    if let Some(head) = built.head {
        target.put(Cf::Meta, &schema::meta_head(), &head.0.to_be_bytes());
    }
    built
}

/// What becomes of a round that was not written: what had nothing to write has not failed. (Its guards held
/// in the store as it was, or an earlier one of the round changed what they guard, and that is a conflict.)
pub(crate) fn failed<'t>(
    round: impl Iterator<Item = &'t Tx>,
    outcomes: Vec<Outcome>,
    error: &TxError,
    broken: &Broken,
) -> Vec<Outcome> {
    let outcome = |(tx, built): (&Tx, Outcome)| {
        if tx.breaks || !tx.ops.is_empty() {
            broken.broke(tx.chain);
        }
        if tx.ops.is_empty() {
            return built;
        }
        Err(error.clone())
    };
    round.zip(outcomes).map(outcome).collect()
}

/// Sequence numbers for a transaction's appends.
fn number(tx: &Tx, now_ms: u64, sequencer: &mut Sequencer) -> Outcome {
    let appends = tx.ops.iter().filter(|op| matches!(op, Op::Append { .. }));
    appends
        .map(|_| sequencer.next(now_ms).ok_or_else(|| TxError::Failed("no sequence number left".into())))
        .collect()
}

fn apply(tx: &Tx, seqs: &[Seq], overlay: &mut Overlay, target: &mut dyn Target) {
    let mut seqs = seqs.iter();
    for op in &tx.ops {
        match op {
            Op::Put { cf, key, value } => put(*cf, key, value, overlay, target),
            Op::Append { owner, index, value } => {
                if let Some(seq) = seqs.next() {
                    put(Cf::Archive, &schema::archive(*owner, *seq), value, overlay, target);
                    if let Some(hash) = index {
                        put(Cf::With, &schema::with(*owner, *hash, *seq), &[], overlay, target);
                    }
                }
            }
            Op::Delete { cf, key } => {
                overlay.note(*cf, key, None);
                target.delete(*cf, key);
            }
            Op::DeleteRange { cf, start, end } if start < end => {
                overlay.note_range(*cf, start, end);
                target.delete_range(*cf, start, end);
            }
            // An empty or inverted range holds no key; RocksDB would refuse the whole batch for it.
            Op::DeleteRange { .. } => {}
            Op::Purge { owner } => {
                let (start, end) = schema::everything(*owner);
                for cf in Cf::ALL.into_iter().filter(|cf| cf.is_owned()) {
                    overlay.note_range(cf, &start, &end);
                    target.delete_range(cf, &start, &end);
                }
            }
        }
    }
}

fn put(cf: Cf, key: &Key, value: &[u8], overlay: &mut Overlay, target: &mut dyn Target) {
    overlay.note(cf, key, Some(value));
    target.put(cf, key, value);
}

/// What is known of a guarded key.
enum Known {
    /// Nothing yet: ask the store.
    Unread,
    /// Its value, or that it is absent, at this point of the round.
    Now(Option<Vec<u8>>),
}

/// The guarded keys of a round.
struct Overlay(BTreeMap<(Cf, Key), Known>);

impl Overlay {
    fn new<'t>(round: impl Iterator<Item = &'t Tx>) -> Overlay {
        let guards = round.flat_map(|tx| &tx.guards);
        Overlay(guards.map(|guard| ((guard.cf, guard.key.clone()), Known::Unread)).collect())
    }

    fn check(&mut self, guards: &[Guard], target: &dyn Target) -> Result<(), TxError> {
        for guard in guards {
            let known = self.0.entry((guard.cf, guard.key.clone())).or_insert(Known::Unread);
            if let Known::Unread = known {
                let value = target.read(guard.cf, &guard.key).map_err(|e| TxError::Failed(e.to_string()))?;
                *known = Known::Now(value);
            }
            let holds = match (&guard.expect, &*known) {
                (Expect::Absent, Known::Now(found)) => found.is_none(),
                (Expect::Value(wanted), Known::Now(found)) => found.as_ref() == Some(wanted),
                (_, Known::Unread) => false,
            };
            if !holds {
                return Err(TxError::Conflict);
            }
        }
        Ok(())
    }

    fn note(&mut self, cf: Cf, key: &Key, value: Option<&[u8]>) {
        if self.0.is_empty() {
            return;
        }
        if let Some(known) = self.0.get_mut(&(cf, key.clone())) {
            *known = Known::Now(value.map(<[u8]>::to_vec));
        }
    }

    fn note_range(&mut self, cf: Cf, start: &Key, end: &Key) {
        for (_, known) in self.0.range_mut((cf, start.clone())..(cf, end.clone())) {
            *known = Known::Now(None);
        }
    }
}
