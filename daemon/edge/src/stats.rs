//! What a shard counts. Written by its thread alone, read by anybody; no lock and no locked instruction.
use crate::Ended;
use godwit_session::{Millis, TlsVersion};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);
impl Count {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    // One writer: reading and storing cannot lose another's addition.
    pub(crate) fn add(&self, n: usize) {
        self.set(self.get().wrapping_add(n as u64));
    }

    pub(crate) fn sub(&self, n: usize) {
        self.set(self.get().saturating_sub(n as u64));
    }
}

/// Closed connections by reason.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Closed {
    pub by_peer: Count,
    pub by_us: Count,
    pub tls_failed: Count,
    pub send_queue_full: Count,
    pub io: Count,
    pub deadline: Count,
}

/// Bytes that a shard's connections hold, when they were last measured ([`crate::Control::Measure`]).
#[derive(Debug, Default)]
pub struct MemoryStats {
    /// The table of connections, their machines and sessions, and sessions that wait for one.
    pub sessions: Count,
    /// TLS.
    pub tls: Count,
    /// What waits to be sent, and input that is not whole.
    pub queues: Count,
    /// Times that they were measured.
    pub measured: Count,
}

/// Counters and gauges of one shard. Counters only grow.
#[derive(Debug, Default)]
pub struct ShardStats {
    /// Connections now.
    pub connections: Count,
    /// Accepted, ever.
    pub accepted: Count,
    /// Closed at once: the ceiling.
    pub refused_full: Count,
    /// Closed at once: no memory for it.
    pub refused_memory: Count,
    /// Times that nobody was accepted, because enough connections were on their way to a session.
    pub accept_delayed: Count,
    /// Turns that left open connections unread, because the host had enough to do.
    pub crowded: Count,
    /// Closed at once: the host did not admit the address.
    pub refused_host: Count,
    /// Times that accepting failed for want of descriptors (EMFILE, ENFILE) or memory.
    pub accept_starved: Count,
    /// Other failures of accept.
    pub accept_failed: Count,
    /// Ended, by reason.
    pub closed: Closed,
    /// Connections in the TLS handshake now.
    pub handshaking: Count,
    /// Connections with TLS 1.2 now.
    pub open_tls12: Count,
    /// Connections with TLS 1.3 now.
    pub open_tls13: Count,
    /// Connections now whose peer reads too slowly.
    pub congested: Count,
    /// Handshakes completed with TLS 1.2.
    pub handshakes_tls12: Count,
    /// Handshakes completed with TLS 1.3.
    pub handshakes_tls13: Count,
    /// Of those, resumed.
    pub handshakes_resumed: Count,
    /// Connections whose TLS failed, in the handshake or later.
    pub tls_failures: Count,
    /// Bytes read from sockets.
    pub bytes_in: Count,
    /// Bytes written to sockets.
    pub bytes_out: Count,
    /// Calls of read.
    pub reads: Count,
    /// Calls of write.
    pub writes: Count,
    /// Calls of accept.
    pub accepts: Count,
    /// Calls of epoll_wait.
    pub waits: Count,
    /// Turns of the loop.
    pub turns: Count,
    /// Notes handled.
    pub notes: Count,
    /// Times a connection became congested.
    pub congestions: Count,
    /// Bytes waiting in send queues now.
    pub queued_bytes: Count,
    /// Memory.
    pub memory: MemoryStats,
    /// When the loop turned last; it turns at least every [`crate::HEARTBEAT_MS_MAX`]. For the watchdog.
    pub heartbeat_ms: Count,
}
impl ShardStats {
    pub(crate) fn handshake(&self, version: TlsVersion, resumed: bool) {
        match version {
            TlsVersion::Tls12 => self.handshakes_tls12.add(1),
            TlsVersion::Tls13 => self.handshakes_tls13.add(1),
        }
        self.handshaking.sub(1);
        self.open(version).add(1);
        if resumed {
            self.handshakes_resumed.add(1);
        }
    }

    fn open(&self, version: TlsVersion) -> &Count {
        match version {
            TlsVersion::Tls12 => &self.open_tls12,
            TlsVersion::Tls13 => &self.open_tls13,
        }
    }

    /// A connection with TLS came from the binary before.
    pub(crate) fn tls_taken_over(&self, version: Option<TlsVersion>) {
        version.map_or(&self.handshaking, |version| self.open(version)).add(1);
    }

    /// A connection with TLS is no more; `version`: nothing if its handshake was never completed.
    pub(crate) fn tls_ended(&self, version: Option<TlsVersion>) {
        version.map_or(&self.handshaking, |version| self.open(version)).sub(1);
    }

    pub(crate) fn ended(&self, why: Ended) {
        let count = match why {
            Ended::ByPeer => &self.closed.by_peer,
            Ended::ByUs => &self.closed.by_us,
            Ended::TlsFailed => &self.closed.tls_failed,
            Ended::SendQueueFull => &self.closed.send_queue_full,
            Ended::Io => &self.closed.io,
            Ended::Deadline => &self.closed.deadline,
        };
        count.add(1);
    }

    pub(crate) fn beat(&self, now: Millis) {
        self.heartbeat_ms.set(now);
    }
}
