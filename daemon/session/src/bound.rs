//! The session itself: what outlives a connection. Plain data.
//!
//! Invariants: stanzas sent under stream management = `sm.acked + unacked.len()` (modulo 2^32); `received -
//! handled` stanzas are with the host or were answered here behind such ones; `feed.last` never goes back.

use crate::csi::Held;
use crate::order::Early;
use crate::{Ledger, Settings};
use godwit_wire::{Jid, rendered};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Unacknowledged stanzas besides the stored ones that wait for `unacked_max`: those that do not wait for it,
/// each of which costs a few words apart from its bytes.
const UNACKED_STANZAS_MAX: u32 = 16_384;

/// Session number: unique within the store's life, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// How stored messages reach the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeedMode {
    /// Not yet, or no longer available for them.
    Off,
    /// Straight from the router, as they are committed.
    Live,
    /// From the archive, until level with its head; `head` is the newest position heard of
    /// since the page under way was asked for.
    CatchUp {
        /// Newest position heard of since then; 0 for none.
        head: u64,
        /// A page was asked for and has not come.
        fetching: bool,
    },
}

/// The session's place in its account's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// All stored messages up to here were sent to this session (or are not for it).
    pub last: u64,
    /// Mode.
    pub mode: FeedMode,
    /// Messages to the bare JID after this position were new when the feed started.
    pub new_after: u64,
}

/// One stanza sent and not yet acknowledged by the client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Unacked {
    /// A stored message: its position is enough.
    Stored(u64),
    /// Anything else, kept to be sent again after a resumption.
    Inline(#[serde(with = "crate::image::bytes")] Arc<[u8]>),
}

/// Stream management state (XEP-0198).
#[derive(Debug, Serialize, Deserialize)]
pub struct Sm {
    /// Secret part of the resumption id.
    pub secret: [u8; 16],
    /// The client may resume.
    pub resume: bool,
    /// Seconds it has for that.
    pub max_s: u32,
    /// Stanzas sent that the client has acknowledged, modulo 2^32.
    pub acked: u32,
    /// What the store knows of it; there if the client may resume.
    pub ledger: Option<Ledger>,
    /// What came too early while the session moved. In a hand-over nothing is on its way, so this is empty.
    #[serde(skip)]
    pub(crate) early: Option<Box<Early>>,
}

impl Sm {
    /// A session that has not moved.
    pub fn new(secret: [u8; 16], resume: bool, max_s: u32, acked: u32, ledger: Option<Ledger>) -> Sm {
        Sm { secret, resume, max_s, acked, ledger, early: None }
    }
}

/// Positions in ascending order; boxed, because it is seldom needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The positions.
    pub list: VecDeque<u64>,
}

/// A bound session.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bound {
    /// Number.
    pub id: SessionId,
    /// The account in the store.
    pub owner: u64,
    /// Full JID.
    #[serde(with = "crate::image::jid")]
    pub jid: Jid,
    /// Stanzas received since binding (or since `<enable/>`), modulo 2^32.
    pub received: u32,
    /// Of those, handled, modulo 2^32: the `h` that is sent.
    pub handled: u32,
    /// Stanzas received before `<enable/>` that are still with the host; outside both counts.
    pub earlier: u32,
    /// Of those received and not handled, the ones answered here: they count once all before them do.
    pub answered: Option<Box<Positions>>,
    /// Place in the archive.
    pub feed: Feed,
    /// Pages of it asked for so far, modulo 2^32.
    pub fetches: u32,
    /// Numbered posts that have come and had their turn, modulo 2^32.
    pub arrived: u32,
    /// Positions beyond `feed.last` that were sent all the same, while feeding was off. Bounded.
    pub ahead: Option<Box<Positions>>,
    /// Sent and not acknowledged, oldest first.
    pub unacked: VecDeque<Unacked>,
    /// Bytes of the inline ones.
    pub unacked_bytes: u32,
    /// Stream management, if enabled.
    pub sm: Option<Box<Sm>>,
    /// What is held while the client is inactive (XEP-0352); `None` while it is active.
    pub held: Option<Box<Held>>,
}

impl Bound {
    /// A new session.
    pub fn new(id: SessionId, owner: u64, jid: Jid) -> Bound {
        Bound {
            id,
            owner,
            jid,
            received: 0,
            handled: 0,
            earlier: 0,
            answered: None,
            feed: Feed { last: 0, mode: FeedMode::Off, new_after: 0 },
            fetches: 0,
            arrived: 0,
            ahead: None,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            sm: None,
            held: None,
        }
    }

    /// Stanzas received and not yet counted as handled.
    pub fn inflight(&self) -> u32 {
        self.received.wrapping_sub(self.handled).saturating_add(self.earlier)
    }

    /// So many more were handled by the host. More than it has are not believed.
    pub(crate) fn count_handled(&mut self, count: u32) {
        let here = self.answered.as_ref().map_or(0, |a| u32::try_from(a.list.len()).unwrap_or(u32::MAX));
        let with_host = self.inflight().saturating_sub(here);
        debug_assert!(count <= with_host, "the host handled {count} stanzas of {with_host}");
        for _ in 0..count.min(with_host) {
            if self.earlier > 0 {
                self.earlier -= 1;
            } else {
                self.handled = self.handled.wrapping_add(1);
            }
            self.count_answered();
        }
    }

    /// The stanza just received was answered here.
    pub(crate) fn count_here(&mut self) {
        self.answered.get_or_insert_default().list.push_back(u64::from(self.received));
        self.count_answered();
    }

    /// Counts stanzas answered here that have become the next in order.
    fn count_answered(&mut self) {
        let Some(answered) = &mut self.answered else { return };
        while self.earlier == 0
            && answered.list.front() == Some(&u64::from(self.handled.wrapping_add(1)))
            && self.handled != self.received
        {
            answered.list.pop_front();
            self.handled = self.handled.wrapping_add(1);
        }
        if answered.list.is_empty() {
            self.answered = None;
        }
    }

    /// Counts start anew at `<enable/>`; what is still with the host stays out of them.
    pub(crate) fn restart_counts(&mut self) {
        let here = self.answered.take().map_or(0, |a| u32::try_from(a.list.len()).unwrap_or(u32::MAX));
        self.earlier = self.inflight().saturating_sub(here);
        self.received = 0;
        self.handled = 0;
    }

    /// Stanzas sent and not acknowledged.
    pub(crate) fn unacked_len(&self) -> u32 {
        u32::try_from(self.unacked.len()).unwrap_or(u32::MAX)
    }

    /// Remembers a stanza until the client acknowledges it. Without stream management nothing will be sent
    /// again, so only positions are kept, to be reported once they have left.
    pub(crate) fn remember(&mut self, sent: Unacked) {
        match &sent {
            Unacked::Inline(_) if self.sm.is_none() => return,
            Unacked::Inline(bytes) => {
                self.unacked_bytes = self.unacked_bytes.saturating_add(length(bytes));
                self.note_push(bytes);
            }
            Unacked::Stored(_) => {}
        }
        self.unacked.push_back(sent);
    }

    /// Drops the oldest `count` stanzas as acknowledged; gives the positions among them.
    pub(crate) fn forget_oldest(&mut self, count: u32) -> Vec<u64> {
        let mut stored = Vec::new();
        for _ in 0..count {
            match self.unacked.pop_front() {
                Some(Unacked::Stored(seq)) => stored.push(seq),
                Some(Unacked::Inline(bytes)) => {
                    self.unacked_bytes = self.unacked_bytes.saturating_sub(length(&bytes));
                }
                None => break,
            }
        }
        if let Some(sm) = &mut self.sm {
            sm.acked = sm.acked.wrapping_add(count);
        }
        self.forgot(count);
        if self.unacked.is_empty() {
            self.unacked = VecDeque::new();
        }
        stored
    }

    /// True if more is kept for a resumption than is allowed.
    pub(crate) fn overflows(&self, settings: &Settings) -> bool {
        let count_max = UNACKED_STANZAS_MAX.saturating_add(settings.unacked_max);
        self.unacked_bytes > settings.unacked_bytes_max || self.unacked_len() > count_max
    }

    /// True if a stanza in no archive is dropped: it comes from somebody else, and takes room that the
    /// session needs for itself. Or one could end another's session by sending it more than it can take.
    /// What is not stored is promised to nobody.
    pub(crate) fn sheds(&self, stanza: &[u8], congested: bool, settings: &Settings) -> bool {
        let bytes = self.unacked_bytes.saturating_add(length(stanza));
        let full = self.sm.is_some() && bytes > settings.unacked_bytes_max / 2;
        let slow = congested && rendered::is_named(stanza, "message");
        (full || slow) && self.is_foreign(stanza)
    }

    /// Sent by somebody else than the server or the account itself.
    fn is_foreign(&self, stanza: &[u8]) -> bool {
        let own = [self.jid.domain(), self.jid.bare_str()];
        rendered::attr(stanza, "from").is_some()
            && !own.into_iter().any(|from| rendered::has_attr(stanza, "from", from))
    }

    /// Bytes that may still be sent inline before the client acknowledges some. Without stream management
    /// nothing is kept, and only the send queue bounds what is sent.
    pub fn room(&self, settings: &Settings) -> usize {
        let kept = if self.sm.is_some() { self.unacked_bytes } else { 0 };
        usize::try_from(settings.unacked_bytes_max.saturating_sub(kept)).unwrap_or(usize::MAX)
    }

    /// The connection is gone: what it had asked for will not come.
    pub(crate) fn unplug(&mut self) {
        self.wake();
        if let FeedMode::CatchUp { fetching, .. } = &mut self.feed.mode {
            *fetching = false;
        }
    }

    /// Bytes held, the box included.
    pub fn memory(&self) -> usize {
        let inline = |u: &Unacked| match u {
            Unacked::Inline(bytes) => bytes.len() + 2 * size_of::<usize>(),
            Unacked::Stored(_) => 0,
        };
        let positions = |p: &Positions| size_of::<Positions>() + p.list.capacity() * size_of::<u64>();
        size_of::<Bound>()
            + self.jid.as_str().len()
            + self.unacked.capacity() * size_of::<Unacked>()
            + self.unacked.iter().map(inline).sum::<usize>()
            + self.sm.as_ref().map_or(0, |sm| size_of::<Sm>() + sm.early.as_deref().map_or(0, Early::memory))
            + self.answered.as_deref().map_or(0, positions)
            + self.ahead.as_deref().map_or(0, positions)
            + self.held.as_deref().map_or(0, Held::memory)
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
