//! Many clients on one mio loop, each in a numbered slot.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::conn::Scratch;
use crate::session::{Client, Event, Resume};
use crate::settings::{Account, Purpose, Settings};

/// Readiness events taken in one turn.
const EVENTS_MAX: usize = 1_024;

/// Clients and their loop.
#[derive(Debug)]
pub struct Pool {
    poll: Poll,
    ready: Events,
    settings: Settings,
    /// The session's number in slot 0, for its source address.
    first: usize,
    slots: Vec<Slot>,
    /// Slots to read again although the loop will not say so: edges are told once.
    again: BTreeSet<usize>,
    /// Slots with something to flush.
    dirty: BTreeSet<usize>,
    scratch: Vec<Event>,
    buffers: Scratch,
}

#[derive(Debug, Default)]
struct Slot {
    client: Option<Box<Client>>,
    paused: bool,
    /// Reported as closed; nothing more comes from it.
    closed: bool,
}

impl Pool {
    /// A pool without clients.
    ///
    /// # Errors
    /// When the kernel gives no epoll descriptor.
    pub fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            ready: Events::with_capacity(EVENTS_MAX),
            settings,
            first: 0,
            slots: Vec::new(),
            again: BTreeSet::new(),
            dirty: BTreeSet::new(),
            scratch: Vec::new(),
            buffers: Scratch::default(),
        })
    }

    /// Other pools have the sessions up to this one: their source addresses are left to them.
    pub fn number_from(&mut self, first: usize) {
        self.first = first;
    }

    /// Clients connect to this address from now on.
    pub fn move_to(&mut self, addr: SocketAddr) {
        self.settings.addr = addr;
    }

    /// Opens a connection in this slot; what was there is dropped without a word to the server.
    ///
    /// # Errors
    /// When there is no descriptor or port left.
    pub fn open(
        &mut self,
        slot: usize,
        account: &Account,
        purpose: Purpose,
        resume: Option<Resume>,
    ) -> io::Result<()> {
        self.cut(slot);
        let mut client =
            Box::new(Client::connect(&self.settings, account, purpose, resume, slot + self.first)?);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.conn.sock, Token(slot), interest)?;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Slot::default);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Slot { client: Some(client), ..Slot::default() };
        }
        Ok(())
    }

    /// The client in this slot; what is sent goes out at the next turn or [`flush`](Self::flush).
    pub fn client(&mut self, slot: usize) -> Option<&mut Client> {
        let client = self.slots.get_mut(slot)?.client.as_deref_mut()?;
        self.dirty.insert(slot);
        Some(client)
    }

    /// True if the slot's session is up.
    #[must_use]
    pub fn is_online(&self, slot: usize) -> bool {
        self.slots.get(slot).and_then(|s| s.client.as_deref()).is_some_and(Client::is_online)
    }

    /// True if the slot holds a connection, logged in or not.
    #[must_use]
    pub fn is_open(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|s| s.client.is_some())
    }

    /// Stops or continues reading: a half-dead client.
    pub fn pause(&mut self, slot: usize, paused: bool) {
        if let Some(place) = self.slots.get_mut(slot) {
            place.paused = paused;
            if !paused {
                self.again.insert(slot);
            }
        }
    }

    /// Closes the socket without closing the stream; returns what the session can be resumed with.
    pub fn cut(&mut self, slot: usize) -> Option<Resume> {
        self.again.remove(&slot);
        self.dirty.remove(&slot);
        let client = self.slots.get_mut(slot)?.client.take()?;
        client.resume()
    }

    /// Closes the stream, then the socket.
    pub fn close(&mut self, slot: usize) {
        if let Some(client) = self.slots.get_mut(slot).and_then(|s| s.client.as_mut()) {
            // A connection that is broken already needs no farewell.
            let _ = client.send_uncounted("</stream:stream>").and_then(|()| client.conn.flush());
        }
        self.cut(slot);
    }

    /// Writes what was queued. A broken connection is found out by reading, after what it still holds.
    pub fn flush(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(client) = self.slots.get_mut(slot).and_then(|s| s.client.as_mut()) else { continue };
            if client.conn.flush().is_err() {
                self.again.insert(slot);
            }
        }
    }

    /// Flushes, waits for the sockets at most this long, and appends what happened.
    ///
    /// # Errors
    /// When the loop itself fails.
    pub fn turn(&mut self, timeout: Duration, out: &mut Vec<(usize, Event)>) -> io::Result<()> {
        self.flush();
        let timeout = if self.again.is_empty() { timeout } else { Duration::ZERO };
        match self.poll.poll(&mut self.ready, Some(timeout)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        let mut readable = std::mem::take(&mut self.again);
        for event in &self.ready {
            let slot = event.token().0;
            if event.is_writable() {
                self.dirty.insert(slot);
            }
            if event.is_readable() || event.is_error() || event.is_read_closed() {
                readable.insert(slot);
            }
        }
        for slot in readable {
            self.read(slot, out);
        }
        self.flush();
        Ok(())
    }

    fn read(&mut self, slot: usize, out: &mut Vec<(usize, Event)>) {
        let Some(place) = self.slots.get_mut(slot).filter(|s| !s.paused && !s.closed) else { return };
        let Some(client) = place.client.as_mut() else { return };
        let outcome = client.read(&self.settings, &mut self.buffers, &mut self.scratch);
        out.extend(self.scratch.drain(..).map(|event| (slot, event)));
        match outcome {
            Ok(more) => {
                self.dirty.insert(slot);
                if more {
                    self.again.insert(slot);
                }
            }
            // The client stays in its slot so that its resumption state can be taken with `cut`.
            Err(reason) => {
                place.closed = true;
                out.push((slot, Event::Closed(reason)));
            }
        }
    }
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
