//! What a shard's connections hold in memory, by owner: measured when somebody asks, from a bounded sample.
use crate::conn::{Conn, Link};
use crate::slots::Slots;
use crate::stats::ShardStats;
use crate::tls::{Handshake, Record, Tls};
use godwit_session::Connection;

/// Connections that are looked at. With more, every n-th is, and the sums are those of all.
const SAMPLE_MAX: u32 = 4_096;
/// What the TLS library holds for a handshake under way, besides our own part: measured, about 4 KB, plus
/// the certificate messages that it has not sent yet.
const LIBRARY_BYTES: usize = 6 << 10;

/// Bytes.
#[derive(Default)]
struct Sums {
    machines: usize,
    tls: usize,
    queues: usize,
}

impl Sums {
    fn add(&mut self, conn: &Conn) {
        // The slot holds the machine itself.
        self.machines += conn.machine.memory() - size_of::<Connection>();
        self.tls += match &conn.link {
            Link::Plain | Link::Tls(Tls::Failed) => 0,
            Link::Tls(Tls::Open(_)) => size_of::<Record>(),
            Link::Tls(Tls::Handshake(_)) => size_of::<Handshake>() + LIBRARY_BYTES,
        };
        self.queues += conn.spill.as_ref().map_or(0, |spill| spill.memory());
    }
}

/// Measures; `others` are the bytes of sessions that have no connection now.
pub(crate) fn measure(conns: &mut Slots<Conn>, others: usize, stats: &ShardStats) {
    let step = (conns.span() / SAMPLE_MAX).max(1);
    let (mut sums, mut seen) = (Sums::default(), 0u64);
    for slot in (0..conns.span()).step_by(step as usize) {
        if let Some(at) = conns.tenant(slot)
            && let Some(conn) = conns.get(at)
        {
            sums.add(conn);
            seen += 1;
        }
    }
    let all = conns.len() as u64;
    let scaled = |bytes: usize| (bytes as u64).saturating_mul(all).checked_div(seen).unwrap_or(0);
    stats.memory.sessions.set(scaled(sums.machines) + (conns.memory() + others) as u64);
    stats.memory.tls.set(scaled(sums.tls));
    stats.memory.queues.set(scaled(sums.queues));
    stats.memory.measured.add(1);
}
