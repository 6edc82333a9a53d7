//! What sessions hear, and what it means for the figures.

use godwit_testclient::{Event, micros, xml};

use super::Mix;
use crate::Outcome;
use crate::keeper::Change;
use crate::scenario::chat::{parse, sent_at};
use crate::worker::Worker;

/// Who is not let into a room tries again after this, µs: its creator may not have unlocked it yet.
const ENTER_AGAIN: u64 = 500_000;

impl Mix {
    fn acknowledged(&mut self, slot: usize, h: u32) {
        let now = micros();
        let (window, recorder) = (self.window, &mut self.recorder);
        if let Some(outbox) = self.outboxes.get_mut(slot) {
            outbox.acknowledged(h, |due| {
                if (window.0..window.1).contains(&due) {
                    recorder.latency("acknowledged", now.saturating_sub(due));
                }
            });
        }
    }

    pub(super) fn changed(&mut self, worker: &mut Worker, slot: usize, change: Change) -> Outcome<()> {
        let now = micros();
        if let (Change::Up { .. }, Some(since)) = (&change, self.up_since.get_mut(slot)) {
            *since = now;
        }
        match change {
            Change::Up { resumed: Some(h), waited, .. } => {
                self.back("resumed", waited);
                self.acknowledged(slot, h);
                let to = worker.jid(slot ^ 1);
                if let (Some(client), Some(outbox)) = (worker.client(slot), self.outboxes.get_mut(slot)) {
                    outbox.resumed(client, &to, &self.padding)?;
                }
                self.send(worker, slot)
            }
            Change::Up { refused, took, waited, .. } => {
                if self.recorder.tally.unit == "login" {
                    self.recorder.done(now, took);
                } else {
                    self.recorder.latency("login", took);
                    self.back("new_sessions", waited);
                }
                if let Some(h) = refused {
                    self.acknowledged(slot, h);
                }
                if let Some(outbox) = self.outboxes.get_mut(slot) {
                    outbox.anew();
                }
                self.greet(worker, slot)?;
                self.send(worker, slot)
            }
            Change::Down(reason) => {
                self.recorder.tally.count("disconnected", 1);
                self.recorder.tally.error = Some(reason);
                Ok(())
            }
            Change::Failed(reason) => {
                self.recorder.tally.count("retried", 1);
                self.recorder.tally.error = Some(reason);
                Ok(())
            }
        }
    }

    fn back(&mut self, how: &str, waited: u64) {
        self.recorder.tally.count(how, 1);
        self.recorder.latency("back", waited);
    }

    pub(super) fn event(&mut self, worker: &mut Worker, slot: usize, event: Event) -> Outcome<()> {
        match event {
            Event::Ack(h) => {
                self.acknowledged(slot, h);
                // The window may have room again.
                self.send(worker, slot)?;
            }
            Event::Stanza(stanza) => match xml::name(&stanza) {
                "message" => self.message(slot, stanza),
                "iq" => self.iq(worker, slot, &stanza)?,
                "presence" if self.manner.rooms.is_some() => self.presence(worker, slot, &stanza)?,
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, slot: usize, stanza: String) {
        let now = micros();
        match xml::attr(&stanza, "type").as_deref() {
            Some("error") => return self.recorder.wrong("errors", now, Some(stanza)),
            Some("groupchat") => {
                if let Some((_, due)) = parse(&stanza, self.started) {
                    self.recorder.tally.count("room_deliveries", 1);
                    self.recorder.latency("room", now.saturating_sub(due));
                }
                return;
            }
            _ => {}
        }
        if xml::has(&stanza, "forwarded") {
            return self.recorder.tally.count("forwarded", 1);
        }
        let Some((n, due)) = parse(&stanza, self.started) else { return };
        let (Some(pair), Some(expected)) = (self.arrived.get_mut(slot), self.expected.get_mut(slot)) else {
            return;
        };
        match expected.front() {
            Some((first, _)) if *first == n => drop(expected.pop_front()),
            _ => expected.retain(|(other, _)| *other != n),
        }
        let (in_window, took) = ((self.window.0..self.window.1).contains(&due), now.saturating_sub(due));
        if pair.arrive(n) && in_window {
            if let Some(longest) = self.longest.get_mut(slot) {
                *longest = took.max(*longest);
            }
            if let Some(sent) = sent_at(&stanza) {
                self.recorder.latency("service", now.saturating_sub(sent));
            }
            let away = self.manner.away_apart && self.up_since.get(slot).is_some_and(|since| due < *since);
            match (now < self.window.1, away) {
                (true, false) => self.recorder.done(now, took),
                (true, true) => self.recorder.done_apart(now, "returned", took),
                (false, false) => self.recorder.latency("delivery", took),
                (false, true) => self.recorder.latency("returned", took),
            }
        }
    }

    /// Of a room: whether one is in, has to unlock it first, or has to wait until somebody else has.
    fn presence(&mut self, worker: &mut Worker, slot: usize, stanza: &str) -> Outcome<()> {
        let status =
            |code: &str| xml::tags(stanza, "status").any(|s| xml::attr(s, "code").as_deref() == Some(code));
        if xml::attr(stanza, "type").as_deref() == Some("error") {
            self.recorder.tally.count("entered_later", 1);
            self.enter.insert((micros() + ENTER_AGAIN, slot));
            return Ok(());
        }
        if !status("110") || xml::attr(stanza, "type").is_some() {
            return Ok(());
        }
        if let Some(inside) = self.inside.get_mut(slot) {
            *inside = true;
        }
        let unlock = self.manner.rooms.as_ref().map(|rooms| rooms.unlock(worker.number(slot)));
        match (worker.client(slot), unlock) {
            (Some(client), Some(unlock)) if status("201") => {
                client.send(&unlock).map(drop).map_err(|e| e.to_string())
            }
            _ => Ok(()),
        }
    }

    fn page_came(&mut self, slot: usize) {
        if let Some(asked) = self.asked.get_mut(slot).filter(|asked| **asked != 0) {
            *asked = 0;
            self.pages_awaited -= 1;
        }
    }

    fn iq(&mut self, worker: &mut Worker, slot: usize, stanza: &str) -> Outcome<()> {
        let id = xml::attr(stanza, "id");
        match (id.as_deref(), xml::attr(stanza, "type").as_deref()) {
            (Some("page"), Some("result")) => {
                let asked = self.asked.get(slot).copied().unwrap_or(0);
                self.recorder.latency("page", micros().saturating_sub(asked));
                self.page_came(slot);
            }
            (Some("page" | "carbons" | "roster"), Some("error")) => {
                self.recorder.tally.count("unsupported", 1);
                self.page_came(slot);
                self.recorder.tally.error = Some(stanza.to_owned());
            }
            // A ping of the server's, or a question about capabilities: nobody here answers more than this.
            (Some(id), Some("get")) => {
                let to = xml::attr(stanza, "from").map(|from| format!(" to='{}'", xml::escape(&from)));
                let to = to.unwrap_or_default();
                let answer = format!("<iq type='result' id='{}'{to}/>", xml::escape(id));
                if let Some(client) = worker.client(slot) {
                    client.send(&answer).map_err(|e| e.to_string())?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
