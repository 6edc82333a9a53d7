//! What threads send to shards, and the three seams to the outside: shards' mailboxes, background threads,
//! and the clock-free rest.
use godwit_session::{ConnId, Event, Place, SessionId};

/// A message to one shard.
#[derive(Debug)]
pub enum Note {
    /// Something for a connection, or for the session that it carried when the note was written.
    Event {
        /// The session; `None` for a connection that has none yet.
        session: Option<Address>,
        /// Connection it was at (generation 0: detached).
        at: ConnId,
        /// What.
        event: Event,
    },
    /// Another connection wants to resume a session that lives here.
    TakeOver {
        /// The session.
        session: Address,
        /// Connection it was at.
        at: ConnId,
        /// Who wants it.
        to: Place,
        /// Secret shown.
        secret: [u8; 16],
    },
}

/// A session and its account: enough to find it in the registry wherever it has gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Session.
    pub session: SessionId,
    /// Bare JID of its account.
    pub bare: std::sync::Arc<str>,
}

/// Shards' mailboxes.
pub trait Post: Send + Sync {
    /// Number of shards.
    fn shards(&self) -> u16;
    /// Delivers notes in order; drains the vector. Wakes the shard at most once.
    fn post(&self, shard: u16, notes: &mut Vec<Note>);
    /// The same under an account's lock: whatever is decided for the account from then on comes behind it.
    fn post_locked(&self, shard: u16, notes: &mut Vec<Note>) {
        self.post(shard, notes);
    }
}

/// Threads for work that would stall a shard: ranges of the archive, password hashing.
pub trait Background: Send + Sync {
    /// Queues a job; jobs of all callers share a few threads. `false`: the queue is full (bounded), the job
    /// was dropped.
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool;
}

/// Collects notes per shard and sends each shard's in one go.
#[derive(Debug)]
pub struct Poster {
    shards: Vec<Vec<Note>>,
    /// What goes out once all of that has.
    last: Vec<Vec<Note>>,
    /// What waits here comes from the session whose stanza is handled next: another thread that handles that
    /// one must not post before it.
    pub(crate) urgent: bool,
}

impl Poster {
    /// For so many shards.
    pub fn new(shards: u16) -> Poster {
        let none = || (0..shards).map(|_| Vec::new()).collect();
        Poster { shards: none(), last: none(), urgent: false }
    }

    /// Adds a note.
    pub fn push(&mut self, shard: u16, note: Note) {
        if let Some(notes) = self.shards.get_mut(usize::from(shard)) {
            notes.push(note);
        }
    }

    /// Adds an event for a session.
    pub fn event(&mut self, session: Address, place: Place, event: Event) {
        self.push(place.shard, Note::Event { session: Some(session), at: place.conn, event });
    }

    /// Adds an event for a session that comes after everything else that is posted here, to whatever shard:
    /// what the session does upon it may be posted by another thread, and must not overtake that.
    pub fn last(&mut self, session: Address, place: Place, event: Event) {
        if let Some(notes) = self.last.get_mut(usize::from(place.shard)) {
            notes.push(Note::Event { session: Some(session), at: place.conn, event });
        }
    }

    /// Before work goes to another thread.
    pub(crate) fn hand_over(&mut self, post: &dyn Post) {
        if std::mem::take(&mut self.urgent) {
            self.flush(post);
        }
    }

    /// Notes that wait.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    /// No note waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that wait for a shard.
    pub fn count(&self, shard: u16) -> usize {
        self.shards.get(usize::from(shard)).map_or(0, Vec::len)
    }

    /// Takes out the events for one connection among the notes for its shard from number `from` on.
    pub fn take_events(&mut self, shard: u16, from: usize, conn: ConnId) -> Vec<Event> {
        let Some(notes) = self.shards.get_mut(usize::from(shard)).filter(|notes| notes.len() > from) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        for note in notes.split_off(from) {
            match note {
                Note::Event { at, event, .. } if at == conn => events.push(event),
                other => notes.push(other),
            }
        }
        events
    }

    /// Sends all, under an account's lock.
    pub(crate) fn flush_locked(&mut self, post: &dyn Post) {
        for notes in [&mut self.shards, &mut self.last] {
            for (shard, notes) in (0u16..).zip(notes).filter(|(_, notes)| !notes.is_empty()) {
                post.post_locked(shard, notes);
            }
        }
    }

    /// Sends all.
    pub fn flush(&mut self, post: &dyn Post) {
        for notes in [&mut self.shards, &mut self.last] {
            for (shard, notes) in (0u16..).zip(notes).filter(|(_, notes)| !notes.is_empty()) {
                post.post(shard, notes);
            }
        }
    }
}
