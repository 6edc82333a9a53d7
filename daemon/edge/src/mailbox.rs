//! How other threads reach a shard: notes and control words, in order, with at most one wake per sleep.
//!
//! A note costs its sender one lock; the shard takes all there are with one lock per turn. The waker is used
//! only if the shard has said, under the same lock, that it is going to sleep: a busy shard is never woken,
//! and no wake is lost.
//!
//! The queue has no bound of its own: each note answers a request (the machine pauses after those), or comes
//! out of a bounded queue (the store's writer), or is a delivery that a sending client paid for with an
//! inbound stanza, of which `Settings::inflight_max` may be open. [`Mailbox::len`] is there for status and
//! alarms.
use crate::handover::{Exported, Hold};
use crate::listen::Listener;
use godwit_session::{Millis, Settings};
use mio::Waker;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the server tells a shard itself.
pub enum Control {
    /// Other settings from now on.
    Settings(Arc<Settings>),
    /// Further listeners (a reload).
    Listen(Vec<Listener>),
    /// Measure the memory of the connections, for [`crate::stats::MemoryStats`].
    Measure,
    /// No more listening: close the listeners, all of them.
    Deafen,
    /// Close the listeners and every stream with `<system-shutdown/>`, and end the loop when all are gone or
    /// the time has come.
    Stop {
        /// The time.
        deadline: Millis,
    },
    /// Take in less from outside, or all again.
    Hold(Hold),
    /// How many handshakes have begun and are not over?
    Shaking(Box<dyn FnOnce(usize) + Send>),
    /// Everything that the shard's connections are, as data. Only at rest.
    Export(Box<dyn FnOnce(Exported) + Send>),
}

/// A shard that is not at rest has no number of notes that are done with.
const BUSY: u64 = u64::MAX;

struct Queue<N> {
    notes: VecDeque<N>,
    controls: Vec<Control>,
    asleep: bool,
}

struct Shared<N> {
    queue: Mutex<Queue<N>>,
    len: AtomicUsize,
    /// Notes ever sent, and of those, done with; [`BUSY`] while the shard is not at rest.
    posted: AtomicU64,
    settled: AtomicU64,
    waker: Waker,
}
impl<N> Shared<N> {
    fn lock(&self) -> MutexGuard<'_, Queue<N>> {
        // The queue is whole after each operation, so a panic elsewhere while it was held does no harm.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side.
pub struct Mailbox<N> {
    shared: Arc<Shared<N>>,
}
impl<N> Clone for Mailbox<N> {
    fn clone(&self) -> Self {
        Mailbox { shared: Arc::clone(&self.shared) }
    }
}
impl<N> Mailbox<N> {
    /// Sends one note.
    pub fn send(&self, note: N) {
        self.put(1, |queue| queue.notes.push_back(note));
    }

    /// Sends all of them with one lock and at most one wake, and leaves the buffer empty for its next use.
    pub fn send_batch(&self, notes: &mut Vec<N>) {
        if !notes.is_empty() {
            self.put(notes.len(), |queue| queue.notes.extend(notes.drain(..)));
        }
    }

    /// Tells the shard itself something.
    pub fn control(&self, control: Control) {
        self.put(0, |queue| queue.controls.push(control));
    }

    /// Notes waiting.
    pub fn len(&self) -> usize {
        self.shared.len.load(Ordering::Relaxed)
    }

    /// No note waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that were ever sent to the shard.
    pub fn posted(&self) -> u64 {
        self.shared.posted.load(Ordering::Acquire)
    }

    /// Of those, the ones that are done with, and what came of them is, too; `None` while the shard is not
    /// at rest ([`Hold::All`]). Read before [`Mailbox::posted`] of any shard.
    pub fn settled(&self) -> Option<u64> {
        Some(self.shared.settled.load(Ordering::Acquire)).filter(|count| *count != BUSY)
    }

    fn put(&self, notes: usize, put: impl FnOnce(&mut Queue<N>)) {
        let mut queue = self.shared.lock();
        self.shared.posted.fetch_add(notes as u64, Ordering::Release);
        put(&mut queue);
        self.shared.len.store(queue.notes.len(), Ordering::Relaxed);
        let wake = std::mem::replace(&mut queue.asleep, false);
        drop(queue);
        if wake && let Err(error) = self.shared.waker.wake() {
            // The shard still looks at least every few seconds, when its poll times out.
            tracing::error!(%error, "cannot wake a shard");
        }
    }
}

/// The shard's side.
pub(crate) struct Inbox<N> {
    shared: Arc<Shared<N>>,
}
impl<N> Inbox<N> {
    pub(crate) fn new(waker: Waker) -> (Inbox<N>, Mailbox<N>) {
        let queue = Queue { notes: VecDeque::new(), controls: Vec::new(), asleep: false };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            len: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            settled: AtomicU64::new(BUSY),
            waker,
        });
        (Inbox { shared: Arc::clone(&shared) }, Mailbox { shared })
    }

    /// The shard is at rest, with so many notes done; `None`: it is not.
    pub(crate) fn settle(&self, notes: Option<u64>) {
        self.shared.settled.store(notes.unwrap_or(BUSY), Ordering::Release);
    }

    /// Called before sleeping: `false` if something waits, and then the shard must not sleep.
    pub(crate) fn may_sleep(&self) -> bool {
        let mut queue = self.shared.lock();
        queue.asleep = queue.notes.is_empty() && queue.controls.is_empty();
        queue.asleep
    }

    /// Called after waking: takes what is there. `notes` must be empty; the two buffers change places.
    pub(crate) fn take(&self, notes: &mut VecDeque<N>, controls: &mut Vec<Control>) {
        debug_assert!(notes.is_empty(), "taking would bring notes out of order");
        let mut queue = self.shared.lock();
        queue.asleep = false;
        std::mem::swap(notes, &mut queue.notes);
        controls.append(&mut queue.controls);
        self.shared.len.store(0, Ordering::Relaxed);
    }
}
