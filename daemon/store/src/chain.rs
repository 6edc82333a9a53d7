//! Chains of transactions: once one of a chain could not be written, the others are not written either, until
//! whoever submits them says that it knows of the failure. So nothing of a chain is ever durable behind
//! something that was lost, also not what was in the queue already when the write failed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Tx, TxError};

/// The chains that are broken. Their number is bounded by whoever submits: each is mended in the end.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    /// How many: while there are none, which is nearly always, nobody takes the lock.
    count: AtomicUsize,
    chains: Mutex<HashSet<u64>>,
}

impl Broken {
    /// Refuses what would be written behind a failure. What writes nothing has nothing to lose.
    pub(crate) fn check(&self, tx: &Tx) -> Result<(), TxError> {
        let broken = !tx.ops.is_empty()
            && tx.chain != 0
            && self.count.load(Ordering::Acquire) > 0
            && self.chains().contains(&tx.chain);
        if broken { Err(TxError::Broken) } else { Ok(()) }
    }

    /// A transaction of this chain was not written.
    pub(crate) fn broke(&self, chain: u64) {
        if chain != 0 {
            let mut chains = self.chains();
            chains.insert(chain);
            self.count.store(chains.len(), Ordering::Release);
        }
    }

    /// Its submitter knows.
    pub(crate) fn mend(&self, chain: u64) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut chains = self.chains();
            chains.remove(&chain);
            self.count.store(chains.len(), Ordering::Release);
        }
    }

    /// Those that are, for the next process.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.chains().iter().copied().collect()
    }

    fn chains(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
