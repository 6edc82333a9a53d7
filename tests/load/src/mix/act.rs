//! What is due is done: messages, presence, rooms, reconnections, client states; and what a new session says.

use godwit_testclient::micros;

use super::{Action, Mix};
use crate::Outcome;
use crate::scenario::chat::body;
use crate::worker::Worker;

/// Who leaves properly comes back after this, µs: at once, the server would find the old session still there,
/// end it for the new one, and send again what it had not read the acknowledgement of.
const PAUSE: u64 = 500_000;

/// Who cannot leave yet looks again after this, µs.
const LEAVE_AGAIN: u64 = 20_000;
/// Sessions that are looked at for one that is not away.
const AROUND_MAX: usize = 64;

impl Mix {
    pub(super) fn due(&mut self, worker: &mut Worker) -> Outcome<()> {
        let mut paces = std::mem::take(&mut self.paces);
        let now = micros();
        while let Some((at, slot)) = self.enter.first().copied().filter(|(at, _)| *at <= now) {
            self.enter.remove(&(at, slot));
            self.enter_room(worker, slot)?;
        }
        while let Some((at, slot)) = self.leaving.first().copied().filter(|(at, _)| *at <= now) {
            self.leaving.remove(&(at, slot));
            self.leave(worker, slot, now);
        }
        for pace in &mut paces {
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "µs of this machine's uptime"
            )]
            while pace.next <= now as f64 {
                let due = pace.next as u64;
                pace.next += pace.interval;
                self.act(worker, pace.action, due, now)?;
            }
        }
        self.paces = paces;
        Ok(())
    }

    fn act(&mut self, worker: &mut Worker, action: Action, due: u64, now: u64) -> Outcome<()> {
        let count = self.keeper.count() as u64;
        if count == 0 {
            return Ok(());
        }
        let slot = usize::try_from(self.rng.next_u64() % count).unwrap_or(0);
        // Who is away does nothing; somebody else does it.
        let mut around = (0..AROUND_MAX).map(|n| (slot + n) % self.keeper.count());
        let slot = around.find(|slot| self.keeper.is_up(*slot)).unwrap_or(slot);
        match action {
            Action::Message => {
                self.recorder.latency("behind", now.saturating_sub(due));
                let pushed = self.outboxes.get_mut(slot).and_then(|outbox| outbox.push(due));
                if let (Some(n), Some(expected)) = (pushed, self.expected.get_mut(slot ^ 1)) {
                    expected.push_back((n, due));
                    return self.send(worker, slot);
                }
                self.recorder.wrong("dropped", now, Some("too many messages wait in one session".into()));
            }
            Action::Presence => {
                let show = if self.rng.chance(50) { "away" } else { "chat" };
                self.say(worker, slot, &format!("<presence><show>{show}</show></presence>"), "presence")?;
            }
            Action::RoomMessage => {
                let inside = self.inside.get(slot).copied().unwrap_or(false);
                if let Some(rooms) = self.manner.rooms.as_ref().filter(|_| inside) {
                    let room = rooms.of(worker.number(slot));
                    self.room_messages += 1;
                    let body = body(self.room_messages, due, &self.padding);
                    let stanza =
                        format!("<message to='{room}' type='groupchat'><body>{body}</body></message>");
                    self.say(worker, slot, &stanza, "room_messages")?;
                }
            }
            Action::Reconnect => {
                self.leave(worker, slot, now);
            }
            Action::State => {
                let offered = worker.client(slot).is_some_and(|client| client.offers().csi);
                if let (true, Some(inactive)) =
                    (offered && self.keeper.is_up(slot), self.inactive.get_mut(slot))
                {
                    *inactive = !*inactive;
                    let state = if *inactive { "inactive" } else { "active" };
                    if let Some(client) = worker.client(slot) {
                        let text = format!("<{state} xmlns='urn:xmpp:csi:0'/>");
                        client.send_uncounted(&text).map_err(|e| e.to_string())?;
                    }
                    self.recorder.tally.count("states", 1);
                }
            }
        }
        Ok(())
    }

    /// Ends the session properly once everything it sent is acknowledged: otherwise nobody knows whether it
    /// has to be sent again.
    fn leave(&mut self, worker: &mut Worker, slot: usize, now: u64) {
        if !self.keeper.is_up(slot) {
            return;
        }
        if self.outboxes.get(slot).is_some_and(|outbox| !outbox.is_empty()) {
            self.leaving.insert((now + LEAVE_AGAIN, slot));
            return;
        }
        self.recorder.tally.count("reconnects", 1);
        self.keeper.leave(worker, slot, now + PAUSE);
    }

    /// Says something if the session is up.
    fn say(&mut self, worker: &mut Worker, slot: usize, stanza: &str, what: &str) -> Outcome<()> {
        if let Some(client) = worker.client(slot).filter(|_| self.keeper.is_up(slot)) {
            client.send(stanza).map_err(|e| e.to_string())?;
            self.recorder.tally.count(what, 1);
        }
        Ok(())
    }

    pub(super) fn send(&mut self, worker: &mut Worker, slot: usize) -> Outcome<()> {
        if !self.keeper.is_up(slot) {
            return Ok(());
        }
        let to = worker.jid(slot ^ 1);
        let (Some(client), Some(outbox)) = (worker.client(slot), self.outboxes.get_mut(slot)) else {
            return Ok(());
        };
        outbox.send(client, &to, &self.padding, &self.manner)
    }

    /// What a client says when its session is new.
    pub(super) fn greet(&mut self, worker: &mut Worker, slot: usize) -> Outcome<()> {
        let Some(client) = worker.client(slot) else { return Ok(()) };
        let mut say = |text: &str| client.send(text).map(drop).map_err(|e| e.to_string());
        if self.manner.roster {
            say("<iq type='get' id='roster'><query xmlns='jabber:iq:roster' ver=''/></iq>")?;
        }
        if self.manner.carbons {
            say("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")?;
        }
        say("<presence/>")?;
        if let Some(page) = self.manner.page {
            say(&page_query("page", page))?;
            if let Some(asked) = self.asked.get_mut(slot) {
                self.pages_awaited += usize::from(*asked == 0);
                *asked = micros();
            }
        }
        if let (Some(inactive), Some(inside)) = (self.inactive.get_mut(slot), self.inside.get_mut(slot)) {
            (*inactive, *inside) = (false, false);
        }
        self.enter_room(worker, slot)
    }

    fn enter_room(&mut self, worker: &mut Worker, slot: usize) -> Outcome<()> {
        let Some(rooms) = &self.manner.rooms else { return Ok(()) };
        let join = rooms.join(worker.number(slot));
        match worker.client(slot).filter(|_| self.keeper.is_up(slot)) {
            Some(client) => client.send(&join).map(drop).map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }
}

/// The last `max` messages of one's archive.
pub(crate) fn page_query(id: &str, max: u32) -> String {
    format!(
        "<iq type='set' id='{id}'><query xmlns='urn:xmpp:mam:2' queryid='{id}'>\
         <set xmlns='http://jabber.org/protocol/rsm'><max>{max}</max><before/></set></query></iq>"
    )
}
