//! Joins the edge's shards and the hub: what a shard serves, and how other threads reach it.
use godwit_edge::{Clock, Ended, Entry, Mailbox, ShardHost};
use godwit_modules::{Hub, Note, Post, ShardState};
use godwit_session::{ConnId, Connection, Cx, Event, Host, Millis, Request, Settings};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// The shards' mailboxes. The hub needs them before there are shards, and the shards need the hub.
pub(super) struct Mailboxes {
    shards: u16,
    boxes: OnceLock<Vec<Mailbox<Note>>>,
}

impl Mailboxes {
    pub(super) fn for_shards(shards: u16) -> Mailboxes {
        Mailboxes { shards, boxes: OnceLock::new() }
    }

    /// Before any shard runs; only the first call counts.
    pub(super) fn fill(&self, boxes: Vec<Mailbox<Note>>) {
        let _ = self.boxes.set(boxes);
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Mailbox<Note>> {
        self.boxes.get().into_iter().flatten()
    }
}

impl Post for Mailboxes {
    fn shards(&self) -> u16 {
        self.shards
    }

    fn post(&self, shard: u16, notes: &mut Vec<Note>) {
        match self.boxes.get().and_then(|boxes| boxes.get(usize::from(shard))) {
            Some(mailbox) => mailbox.send_batch(notes),
            None => notes.clear(),
        }
    }
}

/// What a shard serves: its part of the hub.
pub(super) struct Server {
    state: ShardState,
    clock: Clock,
}

impl Server {
    pub(super) fn new(hub: Arc<Hub>, shard: u16, settings: Arc<Settings>, clock: Clock) -> Server {
        Server { state: ShardState::new(hub, shard, settings), clock }
    }
}

impl Host for Server {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        self.state.request(at, request, conn, cx);
    }
}

impl ShardHost for Server {
    type Note = Note;

    /// The ceiling is the edge's, and who failed to log in too often is refused by the hub, with a reason.
    fn admit(&mut self, _: IpAddr, _: Entry) -> bool {
        true
    }
    fn opened(&mut self, at: ConnId, peer: IpAddr, _: Entry) {
        self.state.opened(at, peer);
    }
    fn closed(&mut self, at: ConnId, _: Ended) {
        self.state.closed(at);
    }
    fn note(&mut self, note: Note) -> Option<(ConnId, Event)> {
        self.state.note(note, (self.clock)())
    }
    fn missed(&mut self, at: ConnId, event: Event) {
        self.state.missed(at, event, (self.clock)());
    }
    fn take_over(&mut self, at: ConnId, conn: &mut Connection, cx: &mut Cx<'_>) {
        self.state.take_over(at, conn, cx);
    }
    fn deadline(&self) -> Option<Millis> {
        self.state.deadline()
    }
    fn tick(&mut self, now: Millis) {
        self.state.tick(now);
    }
    fn flush(&mut self) {
        self.state.flush();
    }
}
