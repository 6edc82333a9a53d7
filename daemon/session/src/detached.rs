//! A session that waits for its client: what reaches it meanwhile.

use crate::{Bound, Event, Settings, Unacked};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detached {
    /// It goes on waiting.
    Kept,
    /// It goes on waiting, without a stanza of somebody else's for which it has no room.
    Shed,
    /// It goes on waiting, and now keeps something that is in no archive and cannot be asked for again.
    Unstored,
    /// More than allowed is queued for it: the host has to end it. What is stored is not lost.
    Overflow,
}

impl Bound {
    /// A note for a session without connection. Stored messages stay in the archive, where a resumption reads
    /// on; the others queue here as if sent, and are sent by the resumption. Notes about a connection mean
    /// nothing now.
    pub fn deliver_detached(&mut self, event: Event, settings: &Settings) -> Detached {
        let mut became = Detached::Kept;
        if let Some(event) = self.in_turn(event) {
            became = self.keep(event, settings);
        }
        for event in self.caught_up() {
            became = became.max(self.keep(event, settings));
        }
        became
    }

    fn keep(&mut self, event: Event, settings: &Settings) -> Detached {
        let mut unstored = false;
        match event {
            Event::Copy(seq, _) if seq <= self.feed.last => {}
            Event::Deliver(outgoing) | Event::Copy(_, outgoing) => match outgoing.stored {
                Some(at) => {
                    if self.note_stored(at) {
                        self.remember(Unacked::Stored(at.seq));
                    }
                }
                None => {
                    let bytes = outgoing.complete();
                    if self.is_late_push(&bytes) {
                        return Detached::Overflow;
                    }
                    if !outgoing.answers() && self.sheds(&bytes, false, settings) {
                        return Detached::Shed;
                    }
                    unstored = !crate::ledger::is_presence(&bytes);
                    self.remember(Unacked::Inline(bytes));
                }
            },
            Event::Handled(count) => self.count_handled(count),
            Event::HandledDurably(h) => {
                self.count_handled(1);
                self.durable(h);
            }
            Event::Failed => {
                self.count_handled(1);
                self.failed();
            }
            Event::Recorded(durable) => self.recorded(durable),
            Event::Persisted { h, durable } => self.persisted(h, durable),
            Event::FeedFrom { after, new_after, .. } => self.feed_start(after, new_after),
            Event::FeedStop { .. } => self.feed_stop(),
            _ => {}
        }
        match (self.overflows(settings), unstored) {
            (true, _) => Detached::Overflow,
            (false, true) => Detached::Unstored,
            (false, false) => Detached::Kept,
        }
    }
}
