//! A sender: numbered messages to every recipient, stream management, resumption, resending.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use godwit_testclient::{Account, Event, Pool, Purpose, Resume, Rng, xml};

use crate::ledger::{Key, Ledger};

/// Unacknowledged messages at most.
const WINDOW: usize = 40;
/// Pause before the next attempt to connect.
const RETRY: Duration = Duration::from_millis(100);

/// Whom to write to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The bare JID.
    pub(crate) jid: String,
    /// Characters that make the body long; fills the buffers of a recipient who does not read.
    pub(crate) padding: usize,
    /// The number of the next message.
    pub(crate) next: u32,
}

/// One sending client.
pub(crate) struct Sender {
    /// Its index too.
    slot: usize,
    account: Account,
    targets: Vec<Target>,
    /// Sent and not acknowledged, with the number in the SM session.
    unacked: VecDeque<(u32, Key)>,
    /// To be sent again, before anything new.
    again: VecDeque<Key>,
    resume: Option<Resume>,
    /// The highest `h` of this SM session: what the server has taken responsibility for.
    acked_h: u32,
    /// Kills before it was last online.
    epoch: Option<u32>,
    retry_at: Option<Instant>,
    next_send: Instant,
    interval: Duration,
    /// Every other sender loses its connection now and then and resumes.
    next_cut: Option<Instant>,
    rng: Rng,
    pub(crate) stopped: bool,
}

impl Sender {
    /// A sender in the slot of its own index.
    pub(crate) fn new(
        index: usize,
        account: Account,
        targets: Vec<Target>,
        interval: Duration,
        now: Instant,
        rng: Rng,
    ) -> Self {
        Self {
            slot: index,
            account,
            targets,
            unacked: VecDeque::new(),
            again: VecDeque::new(),
            resume: None,
            acked_h: 0,
            epoch: None,
            retry_at: Some(now),
            next_send: now,
            interval,
            next_cut: (index % 2 == 1).then_some(now + Duration::from_secs(1)),
            rng,
            stopped: false,
        }
    }

    /// Everything sent is acknowledged.
    pub(crate) fn is_settled(&self) -> bool {
        self.unacked.is_empty() && self.again.is_empty()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, pool: &mut Pool, ledger: &mut Ledger) -> Result<(), String> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            let purpose = Purpose::Session { sm: true };
            if pool.open(self.slot, &self.account, purpose, self.resume.clone()).is_err() {
                self.retry_at = Some(now + RETRY);
            }
        }
        if !pool.is_online(self.slot) {
            return Ok(());
        }
        if self.next_cut.is_some_and(|at| at <= now) && !self.stopped {
            self.next_cut = Some(now + Duration::from_millis(self.rng.between(500, 3_000)));
            self.disconnect(now, pool);
            return Ok(());
        }
        let mut sent = false;
        while self.unacked.len() < WINDOW {
            let key = match self.again.pop_front() {
                Some(key) => key,
                None if self.stopped || self.next_send > now => break,
                None => self.fresh(now),
            };
            self.send(key, pool, ledger)?;
            sent = true;
        }
        match pool.client(self.slot) {
            Some(client) if sent => client.request_ack().map_err(|e| e.to_string()),
            _ => Ok(()),
        }
    }

    fn fresh(&mut self, now: Instant) -> Key {
        // A client that was away does not catch up: the pace counts from now.
        self.next_send = self.next_send.max(now) + self.interval;
        let recipient = usize::try_from(self.rng.next_u64() % self.targets.len() as u64).unwrap_or(0);
        let n = self.targets.get_mut(recipient).map_or(0, |target| {
            target.next += 1;
            target.next - 1
        });
        Key { sender: self.slot, recipient, n }
    }

    fn stanza(&self, key: Key) -> String {
        let Some(target) = self.targets.get(key.recipient) else { return String::new() };
        let (to, padding) = (xml::escape(&target.jid), "x".repeat(target.padding));
        format!(
            "<message to='{to}' type='chat' id='{key}'><body>{key} {padding}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='{key}'/></message>"
        )
    }

    fn send(&mut self, key: Key, pool: &mut Pool, ledger: &mut Ledger) -> Result<(), String> {
        let Some(client) = pool.client(self.slot) else { return Ok(()) };
        let number = client.send(&self.stanza(key)).map_err(|e| e.to_string())?;
        ledger.sent.entry(key).or_default().sessions += 1;
        self.unacked.push_back((number, key));
        Ok(())
    }

    /// Takes what the connection has to tell.
    pub(crate) fn event(
        &mut self,
        now: Instant,
        event: Event,
        pool: &mut Pool,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        match event {
            Event::Online { resumed: Some(h), .. } => {
                self.epoch = ledger.online(self.epoch, true);
                self.acked(h, ledger);
                let Some(client) = pool.client(self.slot) else { return Ok(()) };
                // Same session: the stanzas keep their numbers and the server can have them only once.
                for (_, key) in &self.unacked {
                    client.send_uncounted(&self.stanza(*key)).map_err(|e| e.to_string())?;
                }
                client.request_ack().map_err(|e| e.to_string())?;
            }
            Event::Online { refused, .. } => {
                self.epoch = ledger.online(self.epoch, false);
                if let Some(h) = refused {
                    self.acked(h, ledger);
                }
                self.acked_h = 0;
                let left: Vec<Key> = self.unacked.drain(..).map(|(_, key)| key).collect();
                left.into_iter().rev().for_each(|key| self.again.push_front(key));
                self.resume = None;
            }
            Event::Ack(h) => self.acked(h, ledger),
            Event::Stanza(stanza) if xml::attr(&stanza, "type").as_deref() == Some("error") => {
                if let Some(key) = xml::attr(&stanza, "id").and_then(|id| Key::parse(&id)) {
                    ledger.sent.entry(key).or_default().bounced = true;
                }
                ledger.violation("bounced", stanza);
            }
            Event::Closed(_) => self.disconnect(now, pool),
            _ => {}
        }
        Ok(())
    }

    fn acked(&mut self, h: u32, ledger: &mut Ledger) {
        let newest = self.unacked.back().map(|(number, _)| *number);
        if newest.is_some_and(|newest| h > newest) {
            ledger.violation("absurd h", format!("{h} though only {newest:?} were sent"));
        }
        // Also across resumptions, and those across a kill: what was acknowledged stays so.
        if h < self.acked_h {
            ledger.violation("h went back", format!("{h} after {} to sender {}", self.acked_h, self.slot));
        }
        self.acked_h = self.acked_h.max(h);
        while let Some(&(number, key)) = self.unacked.front() {
            if number > h {
                break;
            }
            self.unacked.pop_front();
            ledger.sent.entry(key).or_default().acked = true;
        }
    }

    /// Drops the connection, if there is one, and plans the next.
    pub(crate) fn disconnect(&mut self, now: Instant, pool: &mut Pool) {
        // An unfinished login leaves the older identifier as good as it was.
        self.resume = pool.cut(self.slot).or(self.resume.take());
        self.retry_at = Some(now + RETRY);
    }
}
