//! Holds the database while calls use it, and exchanges it while none does.
//!
//! A call that begins during an exchange waits for its end. Calls under way are waited for; one made from
//! inside a scan is part of that scan and is let through, or the two would wait for each other.

use std::cell::Cell;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How often, and after which pause, an exchange asks whether the last call has ended.
const LEAVE_TRIES: u32 = 5_000;
const LEAVE_PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    /// Scans that this thread is in the middle of.
    static SCANS: Cell<u32> = const { Cell::new(0) };
}

/// A place for one shared thing; empty once it was taken out.
pub(crate) struct Slot<T> {
    /// Held shared for the moment in which a call begins, exclusively for an exchange.
    gate: RwLock<()>,
    held: RwLock<Option<Arc<T>>>,
}

impl<T> Slot<T> {
    pub(crate) fn new(thing: T) -> Slot<T> {
        Slot { gate: RwLock::new(()), held: RwLock::new(Some(Arc::new(thing))) }
    }

    /// What is there, for one call.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        let outermost = SCANS.get() == 0;
        let _begins = outermost.then(|| self.gate.read().unwrap_or_else(PoisonError::into_inner));
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts into the slot what `with` makes of its content, while no call uses it. False if a call does not
    /// end.
    pub(crate) fn exchange(&self, with: impl FnOnce(Option<T>) -> Option<T>) -> bool {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..LEAVE_TRIES {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            match held.take().map(Arc::try_unwrap).transpose() {
                Ok(thing) => {
                    *held = with(thing).map(Arc::new);
                    return true;
                }
                Err(shared) => *held = Some(shared),
            }
            drop(held);
            std::thread::sleep(LEAVE_PAUSE);
        }
        false
    }
}

/// Lasts as long as a scan.
pub(crate) struct Scan(());

impl Scan {
    pub(crate) fn begin() -> Scan {
        SCANS.set(SCANS.get() + 1);
        Scan(())
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        SCANS.set(SCANS.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn an_exchange_waits_for_a_scan_which_may_read_on_meanwhile() {
        let slot = Slot::new(1);
        let (entered, has_entered) = channel();
        std::thread::scope(|scope| {
            let scan = scope.spawn(|| {
                let outer = slot.get().unwrap();
                let _scan = Scan::begin();
                entered.send(()).unwrap();
                while slot.gate.try_read().is_ok() {
                    std::thread::yield_now();
                }
                // The exchange has begun: a call inside of the scan still ends.
                (*outer, *slot.get().unwrap())
            });
            has_entered.recv().unwrap();
            assert!(slot.exchange(|old| old.map(|old| old + 1)));
            assert_eq!(scan.join().unwrap(), (1, 1));
        });
        assert_eq!(slot.get().as_deref(), Some(&2));
    }

    #[test]
    fn what_was_taken_out_is_gone() {
        let slot = Slot::new(1);
        assert!(slot.exchange(|_| None));
        assert_eq!(slot.get(), None);
    }
}
