//! Joins the edge's shards and the hub: what a shard serves, and how other threads reach it.
use crate::metrics::facts::Deliveries;
use godwit_edge::{Clock, Ended, Entry, Mailbox, ShardHost};
use godwit_modules::{Note, Post, ShardState};
use godwit_session::image::Pieces;
use godwit_session::{ConnId, Connection, Cx, Event, Host, Millis, Request};
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
    deliveries: Arc<Deliveries>,
    /// When the messages were received that this turn delivers, and their positions. Bounded by the notes of
    /// a turn.
    turn: Vec<(Millis, u64)>,
}

impl Server {
    pub(super) fn new(state: ShardState, clock: Clock, deliveries: Arc<Deliveries>) -> Server {
        Server { state, clock, deliveries, turn: Vec::new() }
    }
}

/// When a message was received that its recipient's connection now gets, and its position; nothing for
/// copies, for what is not stored, or was sent before.
fn received(event: &Event) -> Option<(Millis, u64)> {
    let Event::Deliver(outgoing) = event else { return None };
    let stored = outgoing.stored.as_ref().filter(|stored| !stored.again)?;
    Some((stored.received?, stored.seq))
}

impl Host for Server {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        self.state.request(at, request, conn, cx);
    }
    fn sent(&mut self, at: ConnId, seqs: &[u64], conn: &Connection, now: Millis) {
        self.state.sent(at, seqs, conn, now);
    }
}

impl ShardHost for Server {
    type Note = Note;

    /// The ceiling is the edge's, and who failed to log in too often is refused by the hub, with a reason.
    fn admit(&mut self, _: IpAddr, _: Entry) -> bool {
        true
    }
    fn is_crowded(&self) -> bool {
        self.state.hub().is_crowded()
    }
    fn opened(&mut self, at: ConnId, peer: IpAddr, _: Entry) {
        self.state.opened(at, peer);
    }
    fn closed(&mut self, at: ConnId, _: Ended) {
        self.state.closed(at);
    }
    fn note(&mut self, note: Note) -> Option<(ConnId, Event)> {
        let now = (self.clock)();
        let (at, event) = self.state.note(note, now)?;
        self.turn.extend(received(&event));
        Some((at, event))
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
    fn image(&mut self) -> Pieces {
        self.state.image().unwrap_or_else(|error| {
            tracing::error!(%error, "sessions that wait cannot be written down");
            Pieces::default()
        })
    }
    fn memory(&self) -> usize {
        self.state.memory()
    }
    /// The turn's output is with the kernel, but for connections that read too slowly.
    fn flush(&mut self) {
        if !self.turn.is_empty() {
            let now = (self.clock)();
            for (received, seq) in self.turn.drain(..) {
                self.deliveries.record(now.saturating_sub(received));
                self.state.hub().delivered(seq, received, now);
            }
        }
        self.state.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_session::{Outgoing, Stored};

    #[test]
    fn only_what_is_delivered_for_the_first_time_has_a_time() {
        let deliver = |stored: Option<Stored>| {
            Event::Deliver(Outgoing {
                bytes: Arc::from(&b""[..]),
                extra: Box::from(&b""[..]),
                stored,
                number: None,
            })
        };
        let stored = |again, received| Some(Stored { seq: 9, prev: 0, again, regular: false, received });
        assert_eq!(received(&deliver(stored(false, Some(1_000)))), Some((1_000, 9)));
        assert_eq!(received(&deliver(stored(true, Some(1_000)))), None);
        assert_eq!(received(&deliver(stored(false, None))), None, "a copy");
        assert_eq!(received(&deliver(None)), None);
        assert_eq!(received(&Event::TakeOver), None);
    }
}
