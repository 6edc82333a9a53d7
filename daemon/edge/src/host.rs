//! The seam between a shard and what it serves.
use godwit_session::image::Pieces;
use godwit_session::{ConnId, Connection, Event, Millis};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Which listener a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// Plain, STARTTLS required.
    StartTls,
    /// TLS first (XEP-0368).
    DirectTls,
}

/// What is wrong with a connection that ends, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Ended {
    ByPeer,
    ByUs,
    TlsFailed,
    SendQueueFull,
    Io,
    Deadline,
}

/// One per shard, on the shard's thread: everything behind the connections. The shard owns sockets, TLS,
/// buffers and timers; the host owns sessions without a connection and answers the machines' requests
/// ([`godwit_session::Host`]).
pub trait ShardHost: godwit_session::Host {
    /// What other threads send to this shard.
    type Note: Send + 'static;
    /// May this address open a connection now? `false` closes it at once, before any allocation.
    fn admit(&mut self, peer: IpAddr, entry: Entry) -> bool;
    /// So much that was read is under way that nothing more should be read from open connections just now.
    /// What was read before is done sooner for it.
    fn is_crowded(&self) -> bool {
        false
    }
    /// A connection was admitted.
    fn opened(&mut self, at: ConnId, peer: IpAddr, entry: Entry);
    /// A connection is gone; its machine had its [`Event::Eof`] before.
    fn closed(&mut self, at: ConnId, why: Ended);
    /// A note: either an event for a connection of this shard, or done here.
    fn note(&mut self, note: Self::Note) -> Option<(ConnId, Event)>;
    /// The connection of an event is gone, or the event did not fit it. The host finds the session or drops
    /// it.
    fn missed(&mut self, at: ConnId, event: Event);
    /// The session of a connection was asked for (it is resumed elsewhere): called for [`Event::TakeOver`]
    /// notes.
    fn take_over(&mut self, at: ConnId, conn: &mut Connection, cx: &mut godwit_session::Cx<'_>);
    /// When the host wants [`ShardHost::tick`].
    fn deadline(&self) -> Option<Millis>;
    /// The deadline has come (sessions that were not resumed in time).
    fn tick(&mut self, now: Millis);
    /// Bytes of the sessions that have no connection now, for the memory account.
    fn memory(&self) -> usize {
        0
    }
    /// At rest: what the host has to hand over to the next binary besides the connections, as bytes.
    fn image(&mut self) -> Pieces {
        Pieces::default()
    }
    /// Called once at the end of each turn of the loop, after all output was written: batched work (posts to
    /// other shards) goes out.
    fn flush(&mut self);
}
