//! Accounts that were purged: transactions that were made before and come after would leave rows that nobody
//! owns.
//!
//! Asked for every transaction, so it costs nothing while nobody was purged. A number is never given to
//! another account, and a transaction waits for seconds at most: only the last accounts need to be known, and
//! none after a restart.

use std::collections::{HashSet, VecDeque};

use crate::{Op, Owner, Tx, TxError, schema};

/// Accounts remembered. Far more than are removed while one transaction waits.
const GONE_MAX: usize = 65_536;

/// The accounts purged last.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    owners: HashSet<Owner>,
    /// The same, oldest first.
    order: VecDeque<Owner>,
}

impl Gone {
    /// Refuses a transaction that would write a row for one of them.
    pub(crate) fn check(&self, tx: &Tx) -> Result<(), TxError> {
        if self.owners.is_empty() {
            return Ok(());
        }
        let gone = tx.ops.iter().filter_map(written).find(|owner| self.owners.contains(owner));
        gone.map_or(Ok(()), |owner| Err(TxError::Gone(owner)))
    }

    /// Remembers what a transaction purges; returns those that are new.
    pub(crate) fn note<'t>(&mut self, tx: &'t Tx) -> impl Iterator<Item = Owner> + use<'t> {
        let mut new = Vec::new();
        for op in &tx.ops {
            if let Op::Purge { owner } = op
                && self.owners.insert(*owner)
            {
                self.order.push_back(*owner);
                new.push(*owner);
            }
        }
        while self.order.len() > GONE_MAX {
            self.order.pop_front().map(|oldest| self.owners.remove(&oldest));
        }
        new.into_iter()
    }

    /// The round that purged these was not written.
    pub(crate) fn take_back(&mut self, owners: &[Owner]) {
        if !owners.is_empty() {
            self.order.retain(|owner| !owners.contains(owner));
            self.owners.retain(|owner| !owners.contains(owner));
        }
    }
}

/// The account for which an operation leaves a row. What only removes rows leaves none.
fn written(op: &Op) -> Option<Owner> {
    match op {
        Op::Append { owner, .. } => Some(*owner),
        Op::Put { cf, key, .. } if cf.is_owned() => schema::owner(key.as_bytes()),
        Op::Put { .. } | Op::Delete { .. } | Op::DeleteRange { .. } | Op::Purge { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(owner: u64) -> Tx {
        Tx { ops: vec![Op::Purge { owner: Owner(owner) }], ..Tx::default() }
    }

    fn append(owner: u64) -> Tx {
        Tx { ops: vec![Op::Append { owner: Owner(owner), index: None, value: Vec::new() }], ..Tx::default() }
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let mut gone = Gone::default();
        for owner in 0..=GONE_MAX as u64 {
            assert_eq!(gone.note(&purge(owner)).collect::<Vec<_>>(), [Owner(owner)]);
        }
        assert_eq!((gone.owners.len(), gone.order.len()), (GONE_MAX, GONE_MAX));
        assert_eq!(gone.check(&append(0)), Ok(()));
        assert_eq!(gone.check(&append(1)), Err(TxError::Gone(Owner(1))));
    }

    #[test]
    fn an_account_whose_removal_was_not_written_is_there() {
        let mut gone = Gone::default();
        assert_eq!(gone.note(&purge(1)).count(), 1);
        let new: Vec<_> = gone.note(&purge(1)).chain(gone.note(&purge(2)).collect::<Vec<_>>()).collect();
        gone.take_back(&new);
        assert_eq!(gone.check(&append(2)), Ok(()));
        assert_eq!(gone.check(&append(1)), Err(TxError::Gone(Owner(1))), "it was removed before");
    }
}
