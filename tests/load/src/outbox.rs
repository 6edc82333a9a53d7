//! Messages of one session on their way to one other: what is due, sent and not acknowledged, what arrived.

use std::collections::VecDeque;

use godwit_testclient::{Client, micros, xml};

use crate::Outcome;
use crate::mix::Manner;
use crate::scenario::chat::timed_body;

/// Messages that may wait in one session, sent or not; more are dropped and counted.
const WAITING_MAX: usize = 20_000;

/// A message that the server has not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    n: u64,
    /// When it should have been sent, µs.
    due: u64,
    /// Its number in the stream-management session, once it was sent there.
    number: Option<u32>,
}

/// One sender's side.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    next: u64,
    waiting: VecDeque<Waiting>,
    since_ask: u32,
}

impl Outbox {
    /// Another message is due: its number, unless too many wait already.
    pub(crate) fn push(&mut self, due: u64) -> Option<u64> {
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let n = self.next;
        self.waiting.push_back(Waiting { n, due, number: None });
        self.next += 1;
        Some(n)
    }

    /// Messages so far.
    pub(crate) fn made(&self) -> u64 {
        self.next
    }

    /// Sends what was not sent yet and the window allows; with stream management it stays until it is
    /// acknowledged.
    pub(crate) fn send(
        &mut self,
        client: &mut Client,
        to: &str,
        padding: &str,
        manner: &Manner,
    ) -> Outcome<()> {
        let sent = self.waiting.iter().take_while(|w| w.number.is_some()).count();
        let window = if manner.sm { manner.window.max(1).saturating_sub(sent) } else { usize::MAX };
        for waiting in self.waiting.iter_mut().skip(sent).take(window) {
            waiting.number = Some(client.send(&stanza(waiting, to, padding)).map_err(|e| e.to_string())?);
            self.since_ask += 1;
            if manner.sm && self.since_ask >= manner.ack_every {
                self.since_ask = 0;
                client.request_ack().map_err(|e| e.to_string())?;
            }
        }
        if !manner.sm {
            self.waiting.clear();
        }
        Ok(())
    }

    /// The server has these; the times at which they were due are handed to `done`.
    pub(crate) fn acknowledged(&mut self, h: u32, mut done: impl FnMut(u64)) {
        // Counters wrap: what lies at most half a circle behind `h` is acknowledged.
        let covered = |w: &Waiting| w.number.is_some_and(|n| h.wrapping_sub(n) < 1 << 31);
        while let Some(first) = self.waiting.front().copied().filter(covered) {
            self.waiting.pop_front();
            done(first.due);
        }
    }

    /// The old session goes on: what the server does not have is sent again under the same numbers.
    pub(crate) fn resumed(&mut self, client: &mut Client, to: &str, padding: &str) -> Outcome<()> {
        for waiting in self.waiting.iter().filter(|w| w.number.is_some()) {
            client.send_uncounted(&stanza(waiting, to, padding)).map_err(|e| e.to_string())?;
        }
        client.request_ack().map_err(|e| e.to_string())
    }

    /// A new session: nothing that waits was sent in it.
    pub(crate) fn anew(&mut self) {
        self.waiting.iter_mut().for_each(|w| w.number = None);
    }

    /// Everything is on its way, and with stream management acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn stanza(waiting: &Waiting, to: &str, padding: &str) -> String {
    let (n, body) = (waiting.n, timed_body(waiting.n, waiting.due, micros(), padding));
    format!("<message to='{}' type='chat' id='m{n}'><body>{body}</body></message>", xml::escape(to))
}

#[cfg(test)]
mod tests {
    use super::{Outbox, WAITING_MAX};

    #[test]
    fn acknowledgements_take_what_they_cover() {
        let mut outbox = Outbox::default();
        (0..5).for_each(|due| assert_eq!(outbox.push(due), Some(due)));
        for (waiting, number) in outbox.waiting.iter_mut().zip([u32::MAX - 1, u32::MAX, 0, 1]) {
            waiting.number = Some(number);
        }
        let mut due = Vec::new();
        outbox.acknowledged(0, |at| due.push(at));
        assert_eq!(due, [0, 1, 2]);
        // What was never sent is not covered, whatever the server says.
        outbox.acknowledged(99, |at| due.push(at));
        assert_eq!((due.len(), outbox.is_empty()), (4, false));
        outbox.anew();
        outbox.acknowledged(99, |_| unreachable!("nothing was sent"));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::default();
        assert_eq!((0..WAITING_MAX as u64 + 5).filter(|n| outbox.push(*n).is_some()).count(), WAITING_MAX);
        assert_eq!(outbox.made(), WAITING_MAX as u64);
    }
}
