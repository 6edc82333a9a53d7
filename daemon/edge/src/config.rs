//! What a shard is given when it starts, and every bound it holds to.
use crate::clock::Clock;
use godwit_session::{Millis, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bounds of one shard.
#[derive(Debug, Clone, Copy)]
pub struct EdgeLimits {
    /// Bytes that wait for one peer to read, before its connection is closed.
    pub queue_bytes_max: usize,
    /// Bytes waiting above which the machine is told that the connection is congested.
    pub queue_high: usize,
    /// Bytes waiting up to which the shard reads from a connection: who does not read is not read from.
    pub queue_low: usize,
    /// A peer that accepts not one byte for so long, while some wait, is closed.
    pub write_stall_ms_max: Millis,
    /// From the decision to close until the peer has taken everything and closed, too.
    pub linger_ms_max: Millis,
    /// Connections of this shard, its share of [`Ceiling`] with some slack.
    pub connections_max: usize,
    /// Connections accepted from one listener in a turn of the loop.
    pub accepts_per_turn_max: usize,
    /// Connections in the handshake served in a turn; open ones are all served in each turn.
    pub handshakes_per_turn_max: usize,
    /// Connections without a session that a shard lets in whatever the pace of logins is; more only as that
    /// allows, see `stage.rs`.
    pub strangers_min: usize,
    /// Notes handled in a turn.
    pub notes_per_turn_max: usize,
    /// Connections told to close in a turn when the shard stops.
    pub closings_per_turn_max: u32,
    /// No accepting for so long after the process ran out of descriptors.
    pub accept_pause_ms: Millis,
}
impl Default for EdgeLimits {
    fn default() -> Self {
        EdgeLimits {
            queue_bytes_max: 2 << 20,
            queue_high: 256 << 10,
            queue_low: 64 << 10,
            write_stall_ms_max: 60_000,
            linger_ms_max: 5_000,
            connections_max: usize::MAX,
            accepts_per_turn_max: 64,
            handshakes_per_turn_max: 16,
            strangers_min: 256,
            notes_per_turn_max: 4096,
            closings_per_turn_max: 1024,
            accept_pause_ms: 500,
        }
    }
}

/// Fills a slice with random bytes from a cryptographic source.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What a shard is made of, besides listeners and host.
pub struct ShardConfig {
    /// Its number: the thread's name, the log's field.
    pub number: u16,
    /// Settings of the machines.
    pub settings: Arc<Settings>,
    /// The time.
    pub clock: Clock,
    /// Random bytes for the machines.
    pub random: Random,
    /// Bounds.
    pub limits: EdgeLimits,
    /// How many connections all shards may have.
    pub ceiling: Arc<Ceiling>,
}

/// The process's connections, counted over all shards.
#[derive(Debug)]
pub struct Ceiling {
    now: AtomicUsize,
    connections_max: AtomicUsize,
    shut: AtomicBool,
}
impl Ceiling {
    /// Room for so many.
    pub fn new(connections_max: usize) -> Arc<Ceiling> {
        Arc::new(Ceiling {
            now: AtomicUsize::new(0),
            connections_max: AtomicUsize::new(connections_max),
            shut: AtomicBool::new(false),
        })
    }

    /// Connections now.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// The ceiling.
    pub fn max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Another ceiling; those above it stay.
    pub fn set_max(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    /// Whether connections are turned away whatever their number: the process has no memory for them.
    pub fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
    }

    /// Connections are turned away for want of memory.
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    /// Takes a place, if there is one. A place is counted first and given back if it was one too many.
    pub(crate) fn enter(&self) -> bool {
        let fits = self.now.fetch_add(1, Ordering::Relaxed) < self.max();
        if !fits {
            self.leave();
        }
        fits
    }

    /// Takes a place, if there is one or not.
    pub(crate) fn enter_anyway(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a place back.
    pub(crate) fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}
