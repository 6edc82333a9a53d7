//! One connection as its shard holds it. There may be millions: no buffer, no timer and no lock of its own.
//!
//! What cannot be finished in a turn, the tail of a TLS record or bytes that the kernel does not take, waits
//! in a [`Spill`], which exists only as long as something waits.
use crate::timer::Tick;
use crate::tls::Tls;
use crate::{Ended, Entry};
use godwit_session::{Connection, Millis};
use mio::net::TcpStream;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What is between the socket and the machine.
pub(crate) enum Link {
    /// Nothing (before STARTTLS).
    Plain,
    /// TLS, in the handshake or open.
    Tls(Tls),
}
impl Link {
    pub(crate) fn handshaking(&self) -> bool {
        matches!(self, Link::Tls(Tls::Handshake(_)))
    }
}

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Not begun.
    Live,
    /// What waits is sent, then our side is closed. What the peer sends is thrown away from here on.
    Closing,
    /// Our side is closed: the peer's end of file is awaited.
    Lingering,
    /// Removed at the end of the turn.
    Doomed,
}

/// What waits for a later turn.
#[derive(Default)]
pub(crate) struct Spill {
    /// Bytes of an incomplete TLS record.
    pub(crate) tail: Vec<u8>,
    /// Decrypted bytes that the machine has not been given: it waits for something, or the peer does not
    /// read.
    plain: Vec<u8>,
    /// Bytes for the peer …
    out: Vec<u8>,
    /// … of which so many are sent.
    sent: usize,
    /// When the kernel last took some.
    pub(crate) progress: Millis,
}
impl Spill {
    /// Bytes that the kernel has not taken.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// Bytes held, the box included.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Spill>() + self.tail.capacity() + self.plain.capacity() + self.out.capacity()
    }

    /// For the hand-over: an incomplete record, what was not read of the decrypted bytes, what was not sent.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.tail, &self.plain, self.waiting()]
    }

    /// From these; `None` if there is nothing in them.
    pub(crate) fn of(tail: Vec<u8>, plain: Vec<u8>, out: Vec<u8>, progress: Millis) -> Option<Box<Spill>> {
        let spill = Spill { tail, plain, out, sent: 0, progress };
        (!spill.is_empty()).then(|| Box::new(spill))
    }

    fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.plain.is_empty() && self.waiting().is_empty()
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        // Sent bytes are dropped when they are the greater part: each byte is moved once at most, on the
        // average.
        if self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn taken(&mut self, n: usize, now: Millis) {
        self.sent += n;
        self.progress = now;
        if self.sent >= self.out.len() {
            self.out = Vec::new();
            self.sent = 0;
        }
    }
}

/// A connection.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    pub(crate) machine: Connection,
    pub(crate) link: Link,
    pub(crate) spill: Option<Box<Spill>>,
    /// Tick at which the wheel looks at it, 0: none.
    pub(crate) armed: Tick,
    /// Tick at which the handshake or the closing must be over, 0: neither is going on.
    pub(crate) phase_until: Tick,
    /// Place of its output in this turn's list plus one, 0: none so far.
    pub(crate) turn: u32,
    peer_ip: [u8; 16],
    peer_port: u16,
    pub(crate) entry: Entry,
    pub(crate) phase: Phase,
    /// Why it ends, once it does.
    pub(crate) why: Ended,
    /// There may be something to read.
    pub(crate) readable: bool,
    /// The peer has closed its side; a short read does not mean that nothing is left.
    pub(crate) read_closed: bool,
    /// The kernel takes nothing until it says so.
    pub(crate) blocked: bool,
    /// It is in a list of those to read from.
    pub(crate) queued: bool,
    /// The machine was told that it is congested.
    pub(crate) congested: bool,
    /// Output of the machine went to the queue or the kernel since it was last told that all is gone.
    pub(crate) wrote: bool,
    /// The machine has had its end of file.
    pub(crate) told: bool,
    /// The peer's close_notify came, behind bytes that are still to be read.
    pub(crate) peer_closed: bool,
    /// Our close_notify is in the queue.
    pub(crate) notified: bool,
    /// It had no session yet.
    pub(crate) stranger: bool,
}
impl Conn {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        entry: Entry,
        link: Link,
        machine: Connection,
    ) -> Conn {
        let ip = match peer.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Conn {
            stream,
            machine,
            link,
            spill: None,
            armed: 0,
            phase_until: 0,
            turn: 0,
            peer_ip: ip.octets(),
            peer_port: peer.port(),
            entry,
            phase: Phase::Live,
            why: Ended::ByUs,
            readable: false,
            read_closed: false,
            blocked: false,
            queued: false,
            congested: false,
            wrote: false,
            told: false,
            peer_closed: false,
            notified: false,
            stranger: true,
        }
    }

    /// The peer's address, IPv4 as such.
    pub(crate) fn peer(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.peer_ip).to_canonical(), self.peer_port)
    }

    /// Bytes waiting for the peer.
    pub(crate) fn waiting(&self) -> usize {
        self.spill.as_ref().map_or(0, |spill| spill.waiting().len())
    }

    pub(crate) fn spill(&mut self, now: Millis) -> &mut Spill {
        self.spill.get_or_insert_with(|| Box::new(Spill { progress: now, ..Spill::default() }))
    }

    /// Gives the spill's memory back if nothing waits.
    pub(crate) fn unspill(&mut self) {
        if self.spill.as_ref().is_some_and(|spill| spill.is_empty()) {
            self.spill = None;
        }
    }

    /// Keeps an incomplete record.
    pub(crate) fn keep_tail(&mut self, tail: &[u8], now: Millis) {
        if !tail.is_empty() {
            self.spill(now).tail = tail.to_vec();
        }
    }

    /// Takes the incomplete record out.
    pub(crate) fn take_tail(&mut self) -> Vec<u8> {
        let tail = self.spill.as_mut().map(|spill| std::mem::take(&mut spill.tail)).unwrap_or_default();
        self.unspill();
        tail
    }

    /// Keeps decrypted bytes for later; at most what one read brought.
    pub(crate) fn keep_plain(&mut self, plain: &[u8], now: Millis) {
        if !plain.is_empty() {
            self.spill(now).plain.extend_from_slice(plain);
        }
    }

    pub(crate) fn has_plain(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| !spill.plain.is_empty())
    }

    /// Takes the decrypted bytes out.
    pub(crate) fn take_plain(&mut self) -> Vec<u8> {
        let plain = self.spill.as_mut().map(|spill| std::mem::take(&mut spill.plain)).unwrap_or_default();
        self.unspill();
        plain
    }

    /// May the machine go on with what there is?
    pub(crate) fn may_go_on(&self, queue_low: usize) -> bool {
        self.phase == Phase::Live && !self.told && !self.machine.paused() && self.waiting() <= queue_low
    }

    /// May the shard read from it now? A handshake is read whatever the machine waits for; the rest of a
    /// closing connection is read to be thrown away.
    pub(crate) fn wants_input(&self, queue_low: usize) -> bool {
        match self.phase {
            Phase::Live => self.link.handshaking() || self.may_go_on(queue_low),
            Phase::Closing | Phase::Lingering => true,
            Phase::Doomed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spill_keeps_order_and_gives_memory_back() {
        let mut spill = Spill::default();
        let mut expected: Vec<u8> = Vec::new();
        for round in 0..200_u8 {
            spill.append(&[round; 100]);
            expected.extend([round; 100]);
            let n = usize::from(round) % 97;
            spill.taken(n, 0);
            expected.drain(..n);
            assert_eq!(spill.waiting(), expected);
        }
        assert!(spill.out.len() <= 2 * expected.len() + 100, "sent bytes are dropped");
        spill.taken(expected.len(), 0);
        assert_eq!((spill.waiting().len(), spill.out.capacity()), (0, 0));
    }

    #[test]
    fn a_connection_is_small() {
        // The socket has some more in a debug build.
        let own = size_of::<Conn>() - size_of::<Connection>() - size_of::<TcpStream>();
        assert!(own <= 96, "{own} bytes besides machine and socket");
    }
}
