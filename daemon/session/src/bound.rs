//! The session itself: what outlives a connection. Plain data.
use godwit_wire::Jid;
use std::collections::VecDeque;
use std::sync::Arc;

/// Session number: unique within the store's life, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// How stored messages reach the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedMode {
    /// Not yet, or no longer available for them.
    Off,
    /// Straight from the router, as they are committed.
    Live,
    /// From the archive, until level with its head; `head` is the newest position heard of meanwhile.
    CatchUp {
        /// Newest position heard of.
        head: u64,
        /// A page was asked for and has not come.
        fetching: bool,
    },
}

/// The session's place in its account's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// All stored messages up to here were sent to this session (or are not for it).
    pub last: u64,
    /// Mode.
    pub mode: FeedMode,
}

/// One stanza sent and not yet acknowledged by the client.
#[derive(Debug, Clone)]
pub enum Unacked {
    /// A stored message: its position is enough.
    Stored(u64),
    /// Anything else, kept to be sent again after a resumption.
    Inline(Arc<[u8]>),
}

/// Stream management state (XEP-0198).
#[derive(Debug, Clone)]
pub struct Sm {
    /// Secret part of the resumption id.
    pub secret: [u8; 16],
    /// The client may resume.
    pub resume: bool,
    /// Seconds it has for that.
    pub max_s: u32,
    /// Stanzas sent that the client has acknowledged, modulo 2^32.
    pub acked: u32,
}

/// A bound session.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Number.
    pub id: SessionId,
    /// The account in the store.
    pub owner: u64,
    /// Full JID.
    pub jid: Jid,
    /// Stanzas received since binding (or since `<enable/>`), modulo 2^32.
    pub received: u32,
    /// Of those, handled, modulo 2^32: the `h` that is sent.
    pub handled: u32,
    /// Place in the archive.
    pub feed: Feed,
    /// Sent and not acknowledged, oldest first.
    pub unacked: VecDeque<Unacked>,
    /// Bytes of the inline ones.
    pub unacked_bytes: u32,
    /// Stream management, if enabled.
    pub sm: Option<Box<Sm>>,
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
            feed: Feed { last: 0, mode: FeedMode::Off },
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            sm: None,
        }
    }
}
