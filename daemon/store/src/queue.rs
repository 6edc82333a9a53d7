//! What waits for the writer: a bounded queue that is emptied in one move, and wakes the writer only when it
//! sleeps.
//!
//! A submission costs one uncontended lock and no wake-up while the writer is at work: it looks again before
//! it sleeps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::stats::{Moment, Queued};
use crate::{Op, Submitted, Tx};

/// A transaction that was submitted.
pub(crate) struct Entry<C> {
    pub(crate) tx: Tx,
    pub(crate) completion: C,
    /// When that was.
    pub(crate) since: Moment,
}

/// A queue of transactions with their completions.
pub(crate) struct Queue<C> {
    waiting: Mutex<Waiting<C>>,
    wake: Condvar,
    /// Waiting, or taken and not completed.
    queued: AtomicUsize,
    queued_most: AtomicU64,
    /// So many should be queued at most (`pace.rs`).
    limit: AtomicUsize,
    /// Ever submitted, and of those, done with: the sink has had them.
    submitted: AtomicU64,
    settled: AtomicU64,
    max: usize,
}

struct Waiting<C> {
    transactions: VecDeque<Entry<C>>,
    asleep: bool,
    closed: bool,
}

impl<C> Queue<C> {
    /// An empty queue for at most `max` transactions.
    pub(crate) fn new(max: usize) -> Queue<C> {
        Queue {
            waiting: Mutex::new(Waiting { transactions: VecDeque::new(), asleep: false, closed: false }),
            wake: Condvar::new(),
            queued: AtomicUsize::new(0),
            queued_most: AtomicU64::new(0),
            limit: AtomicUsize::new(usize::MAX),
            submitted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            max,
        }
    }

    /// Adds a transaction, or gives it back if the queue is full or closed.
    pub(crate) fn push(&self, tx: Tx, completion: C) -> Submitted<C> {
        let mut waiting = self.lock();
        if waiting.closed || self.len() >= self.max {
            return Err((tx, completion));
        }
        self.submitted.fetch_add(1, Ordering::Release);
        waiting.transactions.push_back(Entry { tx, completion, since: Moment::now() });
        let queued = self.queued.fetch_add(1, Ordering::Relaxed) + 1;
        self.queued_most.fetch_max(queued as u64, Ordering::Relaxed);
        let wake = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves everything that waits to the end of `taken`; sleeps at most `patience` when both are empty.
    /// False once the queue is closed and nothing is left.
    pub(crate) fn take(&self, taken: &mut VecDeque<Entry<C>>, patience: Duration) -> bool {
        let mut waiting = self.lock();
        if waiting.transactions.is_empty() && taken.is_empty() && !waiting.closed {
            waiting.asleep = true;
            (waiting, _) = self.wake.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner);
            waiting.asleep = false;
        }
        if taken.is_empty() {
            std::mem::swap(taken, &mut waiting.transactions);
        } else {
            taken.append(&mut waiting.transactions);
        }
        !(waiting.closed && taken.is_empty())
    }

    /// Makes room again after `count` transactions were completed.
    pub(crate) fn completed(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }

    /// From now on so many should be queued at most; more are taken all the same.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// As many are queued as should be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.len() >= self.limit.load(Ordering::Relaxed)
    }

    /// The sink has had so many more.
    pub(crate) fn settle(&self, count: usize) {
        self.settled.fetch_add(count as u64, Ordering::Release);
    }

    /// Ever submitted.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::Acquire)
    }

    /// Of those, done with.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// Turns every later submission away and wakes the writer.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Transactions waiting, or taken and not completed.
    pub(crate) fn len(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// For statistics.
    pub(crate) fn queued(&self) -> Queued {
        Queued {
            now: self.len() as u64,
            most: self.queued_most.load(Ordering::Relaxed),
            max: self.max as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<C>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of keys and values that a transaction brings.
pub(crate) fn bytes(tx: &Tx) -> usize {
    let of = |op: &Op| match op {
        Op::Put { key, value, .. } => key.as_bytes().len() + value.len(),
        Op::Append { index, value, .. } => {
            2 * size_of::<u64>() + value.len() + index.map_or(0, |_| 3 * size_of::<u64>())
        }
        Op::Delete { key, .. } => key.as_bytes().len(),
        Op::DeleteRange { start, end, .. } => start.as_bytes().len() + end.as_bytes().len(),
        Op::Purge { .. } => size_of::<u64>(),
    };
    tx.ops.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_PATIENCE: Duration = Duration::ZERO;

    #[test]
    fn what_was_taken_still_counts_until_completed() {
        let queue = Queue::new(2);
        queue.push(Tx::default(), 1).unwrap();
        queue.push(Tx::default(), 2).unwrap();
        let mut taken = VecDeque::new();
        assert!(queue.take(&mut taken, NO_PATIENCE));
        assert_eq!((taken.len(), queue.len()), (2, 2));
        assert_eq!(queue.push(Tx::default(), 3).unwrap_err().1, 3);
        queue.completed(1);
        queue.push(Tx::default(), 3).unwrap();
        assert!(queue.take(&mut taken, NO_PATIENCE));
        assert_eq!(taken.iter().map(|entry| entry.completion).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((queue.queued().most, queue.queued().max), (2, 2));
    }

    #[test]
    fn a_closed_queue_is_drained_and_takes_nothing() {
        let queue = Queue::new(2);
        queue.push(Tx::default(), 1).unwrap();
        queue.close();
        assert!(queue.push(Tx::default(), 2).is_err());
        let mut taken = VecDeque::new();
        assert!(queue.take(&mut taken, NO_PATIENCE));
        taken.clear();
        assert!(!queue.take(&mut taken, NO_PATIENCE));
    }

    #[test]
    fn a_sleeping_writer_is_woken() {
        let queue = Queue::new(2);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut taken = VecDeque::new();
                while taken.is_empty() {
                    assert!(queue.take(&mut taken, Duration::from_secs(60)));
                }
                taken.len()
            });
            while !queue.lock().asleep {
                std::thread::yield_now();
            }
            queue.push(Tx::default(), 1).unwrap();
            assert_eq!(writer.join().unwrap(), 1);
        });
    }
}
