//! Writing: all that a connection said in a turn is sealed at once and written with one call; what the kernel
//! does not take waits.
use crate::conn::{Conn, Link, Phase};
use crate::core::Core;
use crate::logs::Named;
use crate::tls::Tls;
use crate::turn::Output;
use crate::{Ended, ShardHost};
use godwit_session::{ConnId, Event};
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;

impl<H: ShardHost> Core<H> {
    /// Writes what a connection has said so far in this turn, before its end, since it is much.
    pub(crate) fn write_now(&mut self, at: ConnId, conn: &mut Conn) {
        let Some(output) = self.outputs.get(conn.turn) else { return };
        let (mut raw, mut plain) = (std::mem::take(&mut output.raw), std::mem::take(&mut output.plain));
        self.write(at, conn, &mut raw, &mut plain, false);
        if let Some(output) = self.outputs.get(conn.turn) {
            raw.clear();
            plain.clear();
            (output.raw, output.plain) = (raw, plain);
        }
    }

    /// The end of a connection's turn. `true` if the connection is over and is to be removed.
    pub(crate) fn settle(&mut self, output: &mut Output, conn: &mut Conn) -> bool {
        let at = output.at;
        conn.turn = 0;
        if conn.phase != Phase::Doomed {
            let last = conn.phase == Phase::Closing;
            self.write(at, conn, &mut output.raw, &mut output.plain, last);
        }
        if conn.phase == Phase::Doomed {
            self.finish(output, conn);
            return true;
        }
        if conn.waiting() == 0 {
            if !self.held && std::mem::take(&mut conn.wrote) {
                if std::mem::take(&mut conn.congested) {
                    self.stats.congested.sub(1);
                }
                self.event(at, conn, Event::Drained);
            }
            if conn.phase == Phase::Closing && conn.notified {
                // An error means that the peer has closed already, which the next read tells.
                let _ = conn.stream.shutdown(Shutdown::Write);
                conn.phase = Phase::Lingering;
                self.tell_eof(at, conn);
            }
        } else if conn.waiting() > self.limits.queue_high && !conn.congested {
            conn.congested = true;
            self.stats.congestions.add(1);
            self.stats.congested.add(1);
            self.event(at, conn, Event::Congested);
        }
        self.queue(at, conn);
        self.arm(at, conn);
        false
    }

    /// A connection's last words, and the host's notice. The caller removes it.
    fn finish(&mut self, output: &mut Output, conn: &mut Conn) {
        let at = output.at;
        self.tell_eof(at, conn);
        if let Some(words) = self.outputs.get(conn.turn) {
            output.raw.append(&mut words.raw);
            output.plain.append(&mut words.plain);
        }
        if conn.why != Ended::Io {
            self.write(at, conn, &mut output.raw, &mut output.plain, true);
        }
        self.stats.queued_bytes.sub(conn.waiting());
        self.stats.congested.sub(usize::from(conn.congested));
        if let Link::Tls(tls) = &conn.link {
            self.stats.tls_ended(tls.version());
        }
        self.stats.ended(conn.why);
        if conn.stranger {
            self.stage.gone();
        }
        tracing::debug!(
            shard = self.number, conn = %Named(at), peer = %conn.peer(), entry = ?conn.entry, why = ?conn.why,
            "connection closed"
        );
        self.host.closed(at, conn.why);
    }

    /// Seals and writes; both buffers are used up. `last`: our close_notify comes behind.
    fn write(&mut self, at: ConnId, conn: &mut Conn, raw: &mut Vec<u8>, plain: &mut Vec<u8>, last: bool) {
        conn.wrote |= !plain.is_empty();
        let mut sealed = std::mem::take(&mut self.cipher);
        sealed.clear();
        sealed.append(raw);
        let mut result = Ok(());
        match &mut conn.link {
            Link::Plain => sealed.append(plain),
            Link::Tls(tls) if !conn.notified => {
                // What is said during a handshake or after a failure reaches nobody: it is dropped.
                if matches!(tls, Tls::Open(_)) && !plain.is_empty() {
                    result = tls.seal(plain, &mut sealed);
                }
                if last && result.is_ok() {
                    result = tls.close_notify(&mut sealed);
                }
            }
            Link::Tls(_) => {}
        }
        conn.notified |= last;
        if let Err(error) = result {
            self.log_failure(at, conn, "cannot seal", &error);
            conn.notified = true;
            self.close(at, conn, Ended::TlsFailed);
        }
        let waited = conn.waiting();
        let sent = self.send(conn, &sealed);
        self.cipher = sealed;
        if let Err(error) = sent {
            self.log_failure(at, conn, "write failed", &error);
            self.doom(at, conn, Ended::Io);
        }
        self.stats.queued_bytes.sub(waited);
        self.stats.queued_bytes.add(conn.waiting());
        if conn.waiting() > self.limits.queue_bytes_max {
            self.doom(at, conn, Ended::SendQueueFull);
        }
    }

    /// Gives the kernel what waits and `bytes`; what it does not take waits.
    fn send(&mut self, conn: &mut Conn, bytes: &[u8]) -> io::Result<()> {
        if conn.waiting() == 0 {
            let taken = if bytes.is_empty() || conn.blocked { 0 } else { self.write_once(conn, bytes)? };
            let rest = bytes.get(taken..).unwrap_or_default();
            if !rest.is_empty() {
                conn.blocked = true;
                conn.spill(self.now).append(rest);
            }
            return Ok(());
        }
        conn.spill(self.now).append(bytes);
        if conn.blocked {
            return Ok(());
        }
        let Some(mut spill) = conn.spill.take() else { return Ok(()) };
        let result = self.write_once(conn, spill.waiting());
        if let Ok(taken @ 1..) = result {
            spill.taken(taken, self.now);
        }
        conn.blocked = !spill.waiting().is_empty();
        conn.spill = Some(spill);
        conn.unspill();
        result.map(|_| ())
    }

    /// One call of write. Less than all taken means that the kernel announces when it has room again.
    fn write_once(&mut self, conn: &mut Conn, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stats.writes.add(1);
            match conn.stream.write(bytes) {
                Ok(taken) => {
                    self.stats.bytes_out.add(taken);
                    return Ok(taken);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
