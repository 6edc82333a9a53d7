//! Connection state machines, sans-IO: bytes and events in, bytes and requests out. No socket, clock or
//! randomness.
//!
//! A [`Connection`] is one TCP connection's XMPP side (stream, STARTTLS, SASL, binding, stream management).
//! Once a resource is bound it carries a [`Bound`]: the session itself, plain data that outlives the
//! connection (XEP-0198) and can move to another connection, another shard, or the next binary. The [`Host`]
//! answers what the machine asks ([`Request`]); [`drive`] joins the two and is what the edge and the
//! simulator call.
#![forbid(unsafe_code)]

mod bind;
pub mod bound;
pub mod connection;
pub mod csi;
pub mod detached;
pub mod drive;
pub mod event;
mod features;
mod feed;
pub mod image;
mod inbound;
mod keepalive;
pub mod keys;
mod ledger;
mod negotiation;
pub mod ns;
mod order;
mod outbound;
mod plain;
#[cfg(feature = "planted")]
pub mod planted;
mod replay;
mod sasl;
mod scram;
pub mod settings;
mod sm;
pub mod specs;
mod stream;
mod tls;

pub use bound::{Bound, Feed, FeedMode, Positions, SessionId, Sm, Unacked};
pub use connection::Connection;
pub use detached::Detached;
pub use event::{
    Account, BindFailure, ConnId, Credentials, Event, FeedPage, FeedRow, Outgoing, Place, Reply, Request,
    ResumeFailure, ScramHash, ScramKeys, Stored, TlsFacts, TlsSummary, TlsVersion,
};
pub use keys::{
    ITERATIONS, PasswordRefused, SALT_BYTES, derive_keys, fake_keys, prepare_password, verify_plain,
};
pub use ledger::{Continued, Ledger, Record, Sent, UnderWay};
pub use settings::Settings;
pub use specs::Spec;

/// Milliseconds since 1970.
pub type Millis = u64;

/// What one call has to work with: settings, the time, randomness, and where to put what comes out.
pub struct Cx<'a> {
    /// Settings in force.
    pub settings: &'a Settings,
    /// Now.
    pub now: Millis,
    /// Fills a slice with random bytes from a cryptographic source (a seeded one in tests).
    pub random: &'a mut dyn FnMut(&mut [u8]),
    /// What came out.
    pub out: &'a mut Out,
}

/// What a call produced. The caller owns and reuses it.
#[derive(Debug, Default)]
pub struct Out {
    /// Bytes for the peer, in order.
    pub bytes: Vec<u8>,
    /// Requests for the host, in order.
    pub requests: Vec<Request>,
    /// Positions of the stored messages among the bytes.
    pub sent: Vec<u64>,
}

/// The world behind a connection.
pub trait Host {
    /// Handles one request of `conn`, the connection at `at`. It may call `conn.event(…)` at once or later.
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>);

    /// Stored messages at these positions are in the output of `conn` (for whoever traces them).
    fn sent(&mut self, _at: ConnId, _seqs: &[u64], _conn: &Connection, _now: Millis) {}
}
