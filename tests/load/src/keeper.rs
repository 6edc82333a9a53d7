//! Keeps sessions up: connects when it is time, resumes, tries again with growing pauses, finds the server
//! where it is now.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use godwit_testclient::{Event, Purpose, Resume, Rng, micros};

use crate::worker::Worker;

/// The first pause after a failed attempt, µs; it doubles with each further one.
const PAUSE: u64 = 100_000;
/// The longest, µs.
const PAUSE_MAX: u64 = 10_000_000;
/// Without a login for so long nothing more is to be expected, µs.
const STALL_MAX: u64 = 30_000_000;

/// Where the server may be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    /// In this order, over and over.
    pub(crate) list: Vec<SocketAddr>,
    /// Read again at every attempt: one address a line. A name whose address changes, without a resolver.
    pub(crate) file: Option<PathBuf>,
}

impl Addresses {
    /// For this attempt (from 0); `None` if the file names nothing.
    fn pick(&self, attempt: u32) -> Option<SocketAddr> {
        let of = |list: &[SocketAddr]| {
            let index = usize::try_from(attempt).unwrap_or(0) % list.len().max(1);
            list.get(index).copied()
        };
        match &self.file {
            Some(path) => of(&parse(&fs::read_to_string(path).unwrap_or_default())),
            None => of(&self.list),
        }
    }
}

/// The addresses of a file: one a line, `#` begins a comment.
pub(crate) fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter_map(|line| line.parse().ok()).collect()
}

#[derive(Debug, Default)]
struct Session {
    up: bool,
    /// When the connection was begun.
    since: Option<u64>,
    attempt: u32,
    /// Which address comes next; it stays with one that works.
    address: u32,
    resume: Option<Resume>,
    /// Since when it is wanted and not up.
    wanted: u64,
}

/// What an event meant for a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is up.
    Up {
        /// The server's `h` if the old session was resumed.
        resumed: Option<u32>,
        /// The server's `h` if it knew one, and no session.
        refused: Option<u32>,
        /// Connecting to bound, µs.
        took: u64,
        /// Since it was wanted, µs.
        waited: u64,
    },
    /// It was up and lost its connection; another attempt is planned.
    Down(String),
    /// An attempt failed; another is planned.
    Failed(String),
}

/// The sessions of a worker, by slot.
#[derive(Debug)]
pub(crate) struct Keeper {
    sessions: Vec<Session>,
    /// When to connect which.
    due: BTreeSet<(u64, usize)>,
    connecting: usize,
    pub(crate) up: usize,
    sm: bool,
    resume: bool,
    addresses: Addresses,
    /// When the last one came up.
    last_up: u64,
    /// Connections that may be begun and not up at the same time.
    connecting_max: usize,
    rng: Rng,
}

impl Keeper {
    /// For slots `0..count`. With `resume` sessions are resumed (XEP-0198).
    pub(crate) fn new(worker: &Worker, count: usize, sm: bool, resume: bool) -> Self {
        Self {
            sessions: (0..count).map(|_| Session::default()).collect(),
            due: BTreeSet::new(),
            connecting: 0,
            up: 0,
            sm,
            resume,
            addresses: Addresses { list: vec![worker.common.addr], file: None },
            last_up: micros(),
            connecting_max: worker.share.part(worker.common.in_flight),
            rng: Rng::new(worker.share.index as u64 + 1),
        }
    }

    /// Wants a session at `at` that never was up.
    pub(crate) fn want(&mut self, slot: usize, at: u64) {
        self.due.insert((at, slot));
    }

    /// Nobody has come up for a long time although somebody is wanted.
    pub(crate) fn stalled(&self, now: u64) -> bool {
        self.up < self.count() && now.saturating_sub(self.last_up) > STALL_MAX
    }

    /// From now on so many may connect at the same time.
    pub(crate) fn connecting_max(&mut self, max: usize) {
        self.connecting_max = max.max(1);
    }

    /// The server may be at these addresses.
    pub(crate) fn addresses(&mut self, addresses: Addresses) {
        self.addresses = addresses;
    }

    /// A session that was brought up by others.
    pub(crate) fn adopt(&mut self, slot: usize) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.up = true;
            self.up += 1;
        }
    }

    pub(crate) fn is_up(&self, slot: usize) -> bool {
        self.sessions.get(slot).is_some_and(|s| s.up)
    }

    pub(crate) fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Takes the connection away, as a broken network does, and wants the session back at `at`.
    pub(crate) fn cut(&mut self, worker: &mut Worker, slot: usize, at: u64) {
        let resume = worker.pool.cut(slot);
        self.down(slot, resume, at);
    }

    /// Ends the session properly and wants a new one at `at`.
    pub(crate) fn leave(&mut self, worker: &mut Worker, slot: usize, at: u64) {
        let mut acks = Vec::new();
        if let Some(client) = worker.client(slot) {
            // What a broken connection does not take is found out by reading.
            let _ = client.acknowledge_now(&mut acks);
        }
        worker.pool.close(slot);
        self.down(slot, None, at);
    }

    fn down(&mut self, slot: usize, resume: Option<Resume>, at: u64) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.up {
            self.up -= 1;
            session.up = false;
            session.wanted = at;
            session.attempt = 0;
            session.resume = resume.filter(|_| self.resume);
        } else if session.wanted == 0 {
            session.wanted = at;
        }
        if session.since.take().is_some() {
            self.connecting -= 1;
        }
        self.due.insert((at, slot));
    }

    /// Connects what is due.
    pub(crate) fn tick(&mut self, worker: &mut Worker, changes: &mut Vec<(usize, Change)>) {
        let now = micros();
        while self.connecting < self.connecting_max {
            let Some(&(at, slot)) = self.due.first().filter(|(at, _)| *at <= now) else { return };
            self.due.remove(&(at, slot));
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if session.wanted == 0 {
                session.wanted = at;
            }
            let addr = self.addresses.pick(session.address);
            let opened = match addr {
                Some(addr) => {
                    worker.pool.move_to(addr);
                    let purpose = Purpose::Session { sm: self.sm };
                    let account = worker.account(slot);
                    worker
                        .pool
                        .open(slot, &account, purpose, session.resume.clone())
                        .map_err(|e| e.to_string())
                }
                None => Err("no address for the server".to_owned()),
            };
            match opened {
                Ok(()) => {
                    session.since = Some(now);
                    self.connecting += 1;
                }
                Err(error) => {
                    self.retry(slot, now);
                    changes.push((slot, Change::Failed(format!("connecting: {error}"))));
                }
            }
        }
    }

    fn retry(&mut self, slot: usize, now: u64) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let pause = PAUSE.saturating_mul(1 << session.attempt.min(20)).min(PAUSE_MAX);
        session.attempt = session.attempt.saturating_add(1);
        session.address = session.address.wrapping_add(1);
        if session.since.take().is_some() {
            self.connecting -= 1;
        }
        // Between half of it and one and a half, or all would come again at the same moment.
        self.due.insert((now + self.rng.between(pause / 2, pause + pause / 2), slot));
    }

    /// What an event means; `None` if it is not about the session's life.
    pub(crate) fn event(&mut self, worker: &mut Worker, slot: usize, event: &Event) -> Option<Change> {
        let now = micros();
        match event {
            Event::Online { resumed, refused, .. } => {
                let session = self.sessions.get_mut(slot)?;
                let took = now.saturating_sub(session.since.take()?);
                self.connecting -= 1;
                self.up += 1;
                self.last_up = now;
                let waited = now.saturating_sub(session.wanted);
                (session.up, session.attempt, session.wanted, session.resume) = (true, 0, 0, None);
                Some(Change::Up { resumed: *resumed, refused: *refused, took, waited })
            }
            Event::Closed(reason) => {
                let resume = worker.pool.cut(slot);
                if self.is_up(slot) {
                    let pause = self.rng.between(0, PAUSE);
                    self.down(slot, resume, now + pause);
                    Some(Change::Down(reason.clone()))
                } else {
                    self.retry(slot, now);
                    Some(Change::Failed(reason.clone()))
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, parse};

    #[test]
    fn addresses_take_turns_and_files_are_read_again() {
        let list = parse("127.0.0.1:5223 # here\n\nnonsense\n127.0.0.2:5223\n");
        assert_eq!(list.len(), 2);
        let addresses = Addresses { list: list.clone(), file: None };
        assert_eq!(addresses.pick(0), list.first().copied());
        assert_eq!(addresses.pick(3), list.get(1).copied());
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("hosts");
        let addresses = Addresses { list, file: Some(file.clone()) };
        assert_eq!(addresses.pick(0), None);
        std::fs::write(&file, "127.0.0.9:1\n").expect("written");
        assert_eq!(addresses.pick(7).map(|a| a.to_string()).as_deref(), Some("127.0.0.9:1"));
    }
}
