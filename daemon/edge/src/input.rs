//! Reading: one read per connection and turn, decrypted in the shard's scratch buffers, given to the machine.
use crate::conn::{Conn, Link, Phase};
use crate::core::Core;
use crate::logs::Named;
use crate::tls::{self, TlsError};
use crate::{Ended, ShardHost};
use godwit_session::{ConnId, Event};
use std::io::{self, ErrorKind, Read};

/// What is read at once. Holds the largest TLS record several times over.
pub(crate) const INPUT_BYTES: usize = 64 << 10;

impl<H: ShardHost> Core<H> {
    /// Reads once from a connection whose turn it is in the line, which it leaves or joins again.
    pub(crate) fn read(&mut self, at: ConnId, conn: &mut Conn) {
        conn.queued = false;
        if !conn.wants_input(self.limits.queue_low) {
            return;
        }
        if conn.phase == Phase::Live && (conn.has_plain() || conn.peer_closed) {
            let plain = conn.take_plain();
            self.bytes(at, conn, &plain);
            if conn.peer_closed && conn.phase == Phase::Live && !conn.has_plain() {
                self.doom(at, conn, Ended::ByPeer);
            }
            return self.queue(at, conn);
        }
        if !conn.readable {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        match self.fill(conn, &mut input) {
            Ok(0) => self.doom(at, conn, Ended::ByPeer),
            Ok(length) if conn.phase == Phase::Live => {
                if let Some(input) = input.get_mut(..length) {
                    self.feed(at, conn, input);
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => conn.readable = false,
            Err(error) => {
                self.log_failure(at, conn, "read failed", &error);
                self.doom(at, conn, Ended::Io);
            }
        }
        self.input = input;
        self.queue(at, conn);
    }

    /// Reads behind the kept tail of a record, if there is one; returns the bytes there are then, 0 at the
    /// end.
    fn fill(&mut self, conn: &mut Conn, input: &mut [u8]) -> io::Result<usize> {
        let tail = conn.spill.as_ref().map_or(&[][..], |spill| &spill.tail);
        let kept = tail.len();
        let Some((head, room)) = input.split_at_mut_checked(kept) else {
            return Err(io::Error::other("an incomplete record fills the buffer"));
        };
        head.copy_from_slice(tail);
        let read = loop {
            self.stats.reads.add(1);
            match conn.stream.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.stats.bytes_in.add(read);
        if read == 0 {
            return Ok(0);
        }
        // The kernel gives all it has: a short read means that more will be announced, but for an end already
        // announced.
        if read < room.len() && !conn.read_closed {
            conn.readable = false;
        }
        drop(conn.take_tail());
        Ok(kept + read)
    }

    fn feed(&mut self, at: ConnId, conn: &mut Conn, input: &mut [u8]) {
        match conn.link {
            Link::Plain => self.bytes(at, conn, input),
            Link::Tls(_) => self.decrypt(at, conn, input),
        }
    }

    /// Takes all whole records; the rest is kept.
    fn decrypt(&mut self, at: ConnId, conn: &mut Conn, mut input: &mut [u8]) {
        while conn.phase == Phase::Live {
            let Link::Tls(tls) = &mut conn.link else { return };
            self.plain.clear();
            let received = tls.receive(input, &mut self.plain, &mut self.raw);
            if !self.raw.is_empty() {
                self.outputs.of(at, &mut conn.turn).raw.append(&mut self.raw);
            }
            if !self.plain.is_empty() {
                let plain = std::mem::take(&mut self.plain);
                self.bytes(at, conn, &plain);
                self.plain = plain;
            }
            let received = match received {
                Ok(received) => received,
                Err(error) => return self.tls_failed(at, conn, &error),
            };
            input = input.get_mut(received.consumed..).unwrap_or_default();
            match received.event {
                Some(tls::Event::HandshakeDone(facts)) => {
                    self.stats.handshake(facts.version, facts.resumed);
                    conn.phase_until = 0;
                    self.event(at, conn, Event::TlsDone(facts));
                }
                // Once the machine has read what came before.
                Some(tls::Event::PeerClosed) => {
                    conn.peer_closed = true;
                    return;
                }
                None => return conn.keep_tail(input, self.now),
            }
        }
    }

    /// The alert is on its way out; the session need not wait for that.
    fn tls_failed(&mut self, at: ConnId, conn: &mut Conn, error: &TlsError) {
        self.stats.tls_failures.add(1);
        let (shard, peer) = (self.number, conn.peer());
        if error.blames_peer() {
            tracing::debug!(shard, conn = %Named(at), %peer, %error, "TLS failed");
        } else {
            tracing::error!(shard, conn = %Named(at), %peer, %error, "TLS failed");
        }
        conn.notified = true;
        self.close(at, conn, Ended::TlsFailed);
        self.tell_eof(at, conn);
    }
}
