//! Accounts nobody is online of whose delivery record could not be written (`apply.rs`): tried again once
//! writing works. Given up, their messages would come once more to clients that have acknowledged them.
use crate::hub::Hub;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Accounts kept; of more than that the record is given up.
const ACCOUNTS_MAX: usize = 10_000;
/// Tried again after one round that was written.
const AT_ONCE_MAX: usize = 100;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Unsaved(Mutex<BTreeSet<Arc<str>>>);

impl Unsaved {
    /// Keeps an account; false if there is no room.
    pub(crate) fn keep(&self, bare: &Arc<str>) -> bool {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = list.len() < ACCOUNTS_MAX;
        if room {
            list.insert(Arc::clone(bare));
        }
        room
    }

    fn take(&self) -> Vec<Arc<str>> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..AT_ONCE_MAX).map_while(|_| list.pop_first()).collect()
    }
}

impl Hub {
    /// Something was written.
    pub(crate) fn save_again(&self) {
        for bare in self.unsaved.take() {
            self.registry.with(&bare, |live| self.save(live));
        }
    }
}
