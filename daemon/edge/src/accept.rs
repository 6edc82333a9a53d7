//! Accepting connections: so many a turn, none above the ceilings, and no spinning when descriptors run out.
use crate::conn::{Conn, Link};
use crate::core::Core;
use crate::listen::Listener;
use crate::logs::Seldom;
use crate::refuse::Refused;
use crate::slots::Slots;
use crate::stage::Stage;
use crate::tls::Tls;
use crate::{Ceiling, Entry, ShardHost};
use godwit_session::{ConnId, Connection, Millis};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// Token of the waker; listeners and waker have generation 0, which no connection has.
pub(crate) const WAKER: Token = Token(u32::MAX as usize);

/// Connections have one token for their whole life; one epoll registration is all they cost.
pub(crate) fn token(at: ConnId) -> Token {
    Token((at.generation as usize) << 32 | at.slot as usize)
}

/// Inverse of [`token`]; generation 0 is a listener or the waker.
pub(crate) fn conn_id(token: Token) -> ConnId {
    #[allow(clippy::cast_possible_truncation)] // The two halves.
    ConnId { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

struct Door {
    socket: TcpListener,
    entry: Entry,
    /// There may be connections to accept.
    ready: bool,
}

/// A shard's listeners.
pub(crate) struct Doors {
    doors: Vec<Door>,
    ceiling: Arc<Ceiling>,
    paused_until: Option<Millis>,
    starved: Seldom,
    full: Seldom,
    failed: Seldom,
    refused: Refused,
}
impl Doors {
    pub(crate) fn new(ceiling: Arc<Ceiling>) -> Doors {
        Doors {
            doors: Vec::new(),
            ceiling,
            paused_until: None,
            starved: Seldom::default(),
            full: Seldom::default(),
            failed: Seldom::default(),
            refused: Refused::default(),
        }
    }

    pub(crate) fn add(&mut self, registry: &Registry, listener: Listener) -> io::Result<()> {
        let mut socket = TcpListener::from_std(listener.socket);
        registry.register(&mut socket, Token(self.doors.len()), Interest::READABLE)?;
        self.doors.push(Door { socket, entry: listener.entry, ready: true });
        Ok(())
    }

    /// Closes all listeners.
    pub(crate) fn close(&mut self) {
        self.doors.clear();
        self.paused_until = None;
    }

    /// Its listeners, for the hand-over.
    pub(crate) fn listeners(&self) -> Vec<(Entry, RawFd)> {
        self.doors.iter().map(|door| (door.entry, door.socket.as_raw_fd())).collect()
    }

    /// Counts a connection that was accepted by the binary before, whatever the ceiling is now.
    pub(crate) fn took_over(&self) {
        self.ceiling.enter_anyway();
    }

    /// The poll says that somebody knocks at a listener.
    pub(crate) fn knock(&mut self, index: u32) {
        if let Some(door) = self.doors.get_mut(index as usize) {
            door.ready = true;
        }
    }

    /// Is there something to accept at once? And if not, when is there something to be done here?
    pub(crate) fn waiting(&self, stage: &Stage) -> (bool, Option<Millis>) {
        let ready = self.doors.iter().any(|door| door.ready);
        let closed = stage.closed_until().filter(|_| ready);
        let next = [self.paused_until, closed, self.refused.due()].into_iter().flatten().min();
        (ready && self.paused_until.is_none() && closed.is_none(), next)
    }

    /// A connection is gone.
    pub(crate) fn left(&self) {
        self.ceiling.leave();
    }

    /// Accepts from all listeners.
    pub(crate) fn accept<H: ShardHost>(
        &mut self,
        registry: &Registry,
        conns: &mut Slots<Conn>,
        core: &mut Core<H>,
    ) {
        self.refused.sweep(core.now);
        if self.paused_until.is_some_and(|until| core.now < until) {
            return;
        }
        self.paused_until = None;
        let mut room = core.stage.room(core.now);
        if room == 0 {
            core.stats.accept_delayed.add(usize::from(self.doors.iter().any(|door| door.ready)));
        }
        for index in 0..self.doors.len() {
            for _ in 0..core.limits.accepts_per_turn_max.min(room) {
                let Some(door) = self.doors.get_mut(index).filter(|door| door.ready) else { break };
                let entry = door.entry;
                core.stats.accepts.add(1);
                match door.socket.accept() {
                    Ok((stream, peer)) => {
                        room = room.saturating_sub(1);
                        self.admit(registry, conns, core, stream, peer, entry);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => door.ready = false,
                    Err(error) => {
                        if self.accept_failed(core, &error) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// What to do about a failed accept. `true`: nothing more for now.
    fn accept_failed<H>(&mut self, core: &Core<H>, error: &io::Error) -> bool {
        // The connection that was to be accepted is gone already; there may be others.
        if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) {
            return false;
        }
        // Otherwise those who knock wait in the kernel's queue for a while. Trying at once would only spin.
        self.paused_until = Some(core.now + core.limits.accept_pause_ms);
        let shard = core.number;
        let starved = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        if error.raw_os_error().is_some_and(|code| starved.contains(&code)) {
            core.stats.accept_starved.add(1);
            if let Some(times) = self.starved.due(core.now) {
                tracing::error!(shard, %error, times, "cannot accept: no more descriptors or memory");
            }
        } else {
            core.stats.accept_failed.add(1);
            if let Some(times) = self.failed.due(core.now) {
                tracing::error!(shard, %error, times, "cannot accept");
            }
        }
        true
    }

    fn admit<H: ShardHost>(
        &mut self,
        registry: &Registry,
        conns: &mut Slots<Conn>,
        core: &mut Core<H>,
        mut stream: TcpStream,
        peer: SocketAddr,
        entry: Entry,
    ) {
        let ip = peer.ip().to_canonical();
        if self.ceiling.is_shut() {
            core.stats.refused_memory.add(1);
            if let Some(times) = self.full.due(core.now) {
                tracing::warn!(shard = core.number, times, "connections refused: no memory for them");
            }
            return self.refused.add(stream, entry, core.now);
        }
        if conns.len() >= core.limits.connections_max || !self.ceiling.enter() {
            core.stats.refused_full.add(1);
            if let Some(times) = self.full.due(core.now) {
                let (now, max) = (self.ceiling.now(), self.ceiling.max());
                tracing::warn!(
                    shard = core.number,
                    now,
                    max,
                    times,
                    "connections refused: the ceiling is reached"
                );
            }
            return self.refused.add(stream, entry, core.now);
        }
        if !core.host.admit(ip, entry) {
            core.stats.refused_host.add(1);
            self.ceiling.leave();
            return;
        }
        let link = match entry {
            Entry::StartTls => Ok(Link::Plain),
            Entry::DirectTls => Tls::accept(&core.tls, entry).map(Link::Tls),
        };
        let link = link.map_err(io::Error::other);
        let at = link.and_then(|link| {
            let direct = entry == Entry::DirectTls;
            let mut result = Ok(());
            let at = conns.insert(|at| {
                result = registry.register(&mut stream, token(at), Interest::READABLE | Interest::WRITABLE);
                let machine = Connection::client(direct, core.now);
                result.is_ok().then(|| Conn::new(stream, peer, entry, link, machine))
            });
            result.map(|()| at)
        });
        match at {
            Ok(Some(at)) => {
                if entry == Entry::DirectTls {
                    core.stats.handshaking.add(1);
                }
                if let Some(conn) = conns.get(at) {
                    core.opened(at, conn);
                }
            }
            Ok(None) => self.ceiling.leave(),
            Err(error) => {
                self.ceiling.leave();
                core.stats.accept_failed.add(1);
                if let Some(times) = self.failed.due(core.now) {
                    tracing::error!(shard = core.number, %error, times, "cannot take a connection");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_connections() {
        let at = ConnId { slot: 0xfedc_ba98, generation: 0x8765_4321 };
        assert_eq!(conn_id(token(at)), at);
        assert_eq!(conn_id(WAKER), ConnId { slot: u32::MAX, generation: 0 });
        assert_eq!(conn_id(Token(3)), ConnId { slot: 3, generation: 0 });
    }
}
