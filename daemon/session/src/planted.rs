//! Bugs planted on purpose, so that the simulator can prove that it finds such. Behind the feature `planted`,
//! which no build for use has; one build holds all of them, and the process chooses.
use crate::{Bound, Unacked};
use std::sync::atomic::{AtomicU8, Ordering};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Planted {
    /// A stanza counts as handled when its transaction is queued, not when it is durable.
    AcknowledgedBeforeFsync = 1,
    /// A message counts as handed over when it is sent, not when its client has acknowledged it.
    CursorOnSend = 2,
    /// A resumption sends the last acknowledged message once more.
    DuplicateAfterResume = 3,
}

/// The one in force; 0: none.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Puts one in force, or none, for the whole process.
pub fn plant(bug: Option<Planted>) {
    CHOSEN.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
}

/// True if this one is in force.
pub fn is(bug: Planted) -> bool {
    CHOSEN.load(Ordering::Relaxed) == bug as u8
}

/// How many stanzas a resumption takes for acknowledged: one too few, if the last is a stored message.
pub(crate) fn once_more(bound: &Bound, count: u32) -> u32 {
    let last = count.checked_sub(1).and_then(|last| bound.unacked.get(usize::try_from(last).ok()?));
    let stored = matches!(last, Some(Unacked::Stored(_)));
    count - u32::from(stored && is(Planted::DuplicateAfterResume))
}
