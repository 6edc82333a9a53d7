//! A shard's part of the in-place upgrade: coming to rest, giving its connections away as data, and taking
//! over those of the binary before.
//!
//! At rest nothing is read, accepted, or looked at because its time has come; notes are still taken, because
//! other threads wait for what comes of them. The kernel keeps what clients send meanwhile. What was exported
//! is used by one binary only: the shard stays at rest after [`Control::Export`](crate::Control::Export)
//! until the process has become the next binary, or until [`Hold::None`] says that it failed.
//!
//! A connection keeps its slot and generation, because sessions are found by them.
use crate::conn::{Conn, Link, Phase, Spill};
use crate::core::Core;
use crate::shard::Shard;
use crate::sys;
use crate::tls::Tls;
use crate::{Ended, Entry, ShardHost};
use godwit_session::image::{Pieces, Secret};
use godwit_session::{ConnId, Connection, Millis};
use mio::Interest;
use mio::net::TcpStream;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use zeroize::Zeroizing;

/// What a shard does not do for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// It does everything.
    #[default]
    None,
    /// It accepts nobody.
    Doors,
    /// It comes to rest, see the module's documentation.
    All,
}

/// What a shard gives away.
pub struct Exported {
    /// Its connections: their number, then each as a `ConnImage`.
    pub connections: Pieces,
    /// The host's part.
    pub host: Pieces,
    /// Listeners' descriptors.
    pub listeners: Vec<(Entry, RawFd)>,
    /// Connections among these bytes.
    pub carried: u64,
    /// Connections that cannot be carried: in the middle of a handshake, or about to end. They are closed by
    /// `execve`.
    pub left: u64,
    /// Why there is nothing of use in it, if so.
    pub failed: Option<String>,
}

/// How the taking over went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adopted {
    /// Connections that go on.
    pub carried: u64,
    /// Connections of which the descriptor was not to be had.
    pub lost: u64,
}

/// What is to be taken over when the shard's thread starts.
pub(crate) struct Adoption {
    bytes: Zeroizing<Vec<u8>>,
    /// Slots that there can be.
    slots_max: u32,
    tell: Box<dyn FnOnce(Adopted) + Send>,
}

#[derive(Serialize, Deserialize)]
enum LinkImage {
    Plain,
    /// A handshake of which nothing was read yet: it begins anew.
    Fresh,
    /// [`Tls::image`].
    Open(Secret),
}

/// One connection. `M`: the machine, borrowed to be written and owned when it is read.
#[derive(Serialize, Deserialize)]
struct ConnImage<M> {
    at: ConnId,
    fd: RawFd,
    peer: SocketAddr,
    entry: Entry,
    link: LinkImage,
    phase: Phase,
    why: Ended,
    /// When the handshake or the closing must be over; 0: neither is going on.
    phase_until: Millis,
    /// Of the spill: an incomplete record, plaintext that was not read, ciphertext that was not sent, and
    /// when the kernel last took some.
    tail: Secret,
    plain: Secret,
    out: Secret,
    progress: Millis,
    congested: bool,
    wrote: bool,
    told: bool,
    peer_closed: bool,
    notified: bool,
    machine: M,
}

fn secret(bytes: &[u8]) -> Secret {
    Secret(Zeroizing::new(bytes.to_vec()))
}

fn corrupt(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the hand-over's connections: {what}"))
}

impl<H: ShardHost> Shard<H> {
    /// Takes these connections over when the shard begins to run. `tell` hears how that went.
    pub fn adopt(
        &mut self,
        bytes: Zeroizing<Vec<u8>>,
        slots_max: u32,
        tell: impl FnOnce(Adopted) + Send + 'static,
    ) {
        self.adoption = Some(Adoption { bytes, slots_max, tell: Box::new(tell) });
    }

    pub(crate) fn hold(&mut self, hold: Hold) {
        let released = self.hold == Hold::All && hold != Hold::All;
        self.hold = hold;
        self.core.held = hold == Hold::All;
        if !released {
            return;
        }
        for at in (0..self.conns.span()).filter_map(|slot| self.conns.tenant(slot)).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get(at) else { continue };
            if let Err(error) = sys::close_on_exec(conn.stream.as_raw_fd(), true) {
                tracing::warn!(%error, "a socket stays open over exec");
            }
            self.core.wake(at, conn);
        }
    }

    /// Nothing is under way here that comes from outside or was asked for by other threads.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.hold == Hold::All && self.notes.is_empty() && self.core.outputs.is_empty()
    }

    /// Handshakes that have begun and are not over.
    pub(crate) fn shaking(&mut self) -> usize {
        let begun = |conn: &mut Conn| match &conn.link {
            Link::Tls(tls @ Tls::Handshake(_)) => !tls.is_fresh() && conn.phase == Phase::Live,
            _ => false,
        };
        let mut count = 0;
        for slot in 0..self.conns.span() {
            let Some(at) = self.conns.tenant(slot) else { continue };
            count += usize::from(self.conns.get(at).is_some_and(begun));
        }
        count
    }

    pub(crate) fn export(&mut self) -> Exported {
        let mut exported = Exported {
            connections: Pieces::default(),
            host: self.core.host.image(),
            listeners: self.doors.listeners(),
            carried: 0,
            left: 0,
            failed: None,
        };
        if !self.is_at_rest() {
            exported.failed = Some("the shard is not at rest".into());
        } else if let Err(error) = self.export_connections(&mut exported) {
            exported.failed = Some(error.to_string());
        }
        exported
    }

    fn export_connections(&mut self, exported: &mut Exported) -> io::Result<()> {
        for slot in 0..self.conns.span() {
            let Some(at) = self.conns.tenant(slot) else { continue };
            let Some(conn) = self.conns.get(at) else { continue };
            let Some(image) = self.core.image(at, conn) else {
                exported.left += 1;
                continue;
            };
            // Each is prefixed with a 1, and a 0 ends the list.
            postcard::to_io(&(1u8, &image), &mut exported.connections).map_err(io::Error::other)?;
            sys::close_on_exec(conn.stream.as_raw_fd(), false)?;
            exported.carried += 1;
        }
        postcard::to_io(&0u8, &mut exported.connections).map_err(io::Error::other)?;
        Ok(())
    }

    /// On the shard's own thread, before its first turn.
    pub(crate) fn adopt_now(&mut self) -> io::Result<()> {
        let Some(Adoption { bytes, slots_max, tell }) = self.adoption.take() else { return Ok(()) };
        let mut adopted = Adopted::default();
        let mut tenants = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((image, behind)) = next_image(rest)? {
            rest = behind;
            let at = image.at;
            match self.core.tenant(image) {
                Ok(conn) => tenants.push((at, conn)),
                Err(error) => {
                    adopted.lost += 1;
                    tracing::error!(%error, "a connection could not be taken over");
                }
            }
        }
        let all: Vec<ConnId> = tenants.iter().map(|(at, _)| *at).collect();
        if !self.conns.restore(slots_max, tenants) {
            return Err(corrupt("two are in one place, or one is nowhere"));
        }
        for at in all {
            let Some(conn) = self.conns.get(at) else { continue };
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.doors.took_over();
            conn.stranger = conn.machine.bound().is_none();
            if conn.stranger {
                self.core.stage.came();
            }
            self.poll.registry().register(&mut conn.stream, crate::accept::token(at), interest)?;
            self.core.host.opened(at, conn.peer().ip(), conn.entry);
            self.core.stats.queued_bytes.add(conn.waiting());
            self.core.stats.congested.add(usize::from(conn.congested));
            if let Link::Tls(tls) = &conn.link {
                self.core.stats.tls_taken_over(tls.version());
            }
            self.core.wake(at, conn);
            adopted.carried += 1;
        }
        self.core.stats.connections.set(self.conns.len() as u64);
        tell(adopted);
        Ok(())
    }
}

/// The first of these connections, and the bytes behind it.
fn next_image(bytes: &[u8]) -> io::Result<Option<(ConnImage<Connection>, &[u8])>> {
    match postcard::take_from_bytes::<u8>(bytes).map_err(corrupt)? {
        (0, []) => Ok(None),
        (1, rest) => postcard::take_from_bytes(rest).map(Some).map_err(corrupt),
        _ => Err(corrupt("something is behind their end")),
    }
}

/// Reads a section of connections without taking any of them over: how many there are.
pub fn count_connections(bytes: &[u8]) -> io::Result<u64> {
    let (mut rest, mut count) = (bytes, 0);
    while let Some((image, behind)) = next_image(rest)? {
        if let LinkImage::Open(record) = &image.link {
            Tls::from_image(&record.0).ok_or_else(|| corrupt("not a record layer"))?;
        }
        (rest, count) = (behind, count + 1);
    }
    Ok(count)
}

impl<H: ShardHost> Core<H> {
    /// `None`: it cannot be carried.
    fn image<'c>(&self, at: ConnId, conn: &'c Conn) -> Option<ConnImage<&'c Connection>> {
        let link = match &conn.link {
            Link::Plain => LinkImage::Plain,
            Link::Tls(tls) if tls.is_fresh() => LinkImage::Fresh,
            Link::Tls(tls) => LinkImage::Open(secret(tls.image()?.as_slice())),
        };
        if conn.phase == Phase::Doomed {
            return None;
        }
        let [tail, plain, out] = conn.spill.as_ref().map(|spill| spill.parts()).unwrap_or_default();
        Some(ConnImage {
            at,
            fd: conn.stream.as_raw_fd(),
            peer: conn.peer(),
            entry: conn.entry,
            link,
            phase: conn.phase,
            why: conn.why,
            phase_until: if conn.phase_until == 0 { 0 } else { self.wheel.millis(conn.phase_until) },
            tail: secret(tail),
            plain: secret(plain),
            out: secret(out),
            progress: conn.spill.as_ref().map_or(0, |spill| spill.progress),
            congested: conn.congested,
            wrote: conn.wrote,
            told: conn.told,
            peer_closed: conn.peer_closed,
            notified: conn.notified,
            machine: &conn.machine,
        })
    }

    fn tenant(&self, image: ConnImage<Connection>) -> io::Result<Conn> {
        let link = match &image.link {
            LinkImage::Plain => Link::Plain,
            LinkImage::Fresh => Link::Tls(Tls::accept(&self.tls, image.entry).map_err(io::Error::other)?),
            LinkImage::Open(record) => {
                Link::Tls(Tls::from_image(&record.0).ok_or_else(|| corrupt("not a record layer"))?)
            }
        };
        let socket = std::net::TcpStream::from(sys::adopt_socket(image.fd)?);
        let stream = TcpStream::from_std(socket);
        let mut conn = Conn::new(stream, image.peer, image.entry, link, image.machine);
        let taken = |mut secret: Secret| std::mem::take(&mut *secret.0);
        let (tail, plain, out) = (taken(image.tail), taken(image.plain), taken(image.out));
        conn.spill = Spill::of(tail, plain, out, image.progress);
        // The kernel says once more whether it takes bytes, and whether there are some.
        conn.blocked = conn.waiting() > 0;
        conn.phase = image.phase;
        conn.why = image.why;
        conn.phase_until = if image.phase_until == 0 { 0 } else { self.wheel.tick(image.phase_until) };
        conn.congested = image.congested;
        conn.wrote = image.wrote;
        conn.told = image.told;
        conn.peer_closed = image.peer_closed;
        conn.notified = image.notified;
        Ok(conn)
    }

    /// It goes on after a rest: what it had to do by itself is put in line.
    fn wake(&mut self, at: ConnId, conn: &mut Conn) {
        if conn.wrote || conn.phase == Phase::Closing || conn.waiting() > 0 && !conn.blocked {
            self.outputs.of(at, &mut conn.turn);
        }
        self.queue(at, conn);
        self.arm(at, conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_connection_is_that_on_file() {
        crate::forms::compare::<ConnImage<Connection>>(env!("CARGO_MANIFEST_DIR"));
    }
}
