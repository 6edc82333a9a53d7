//! A recipient: takes messages, acknowledges them, and is disturbed in its own way.

use std::time::{Duration, Instant};

use godwit_testclient::{Account, Event, Pool, Purpose, Resume, Rng, xml};

use crate::ledger::{Delivery, Key, Ledger};

/// Pause before the next attempt to connect.
const RETRY: Duration = Duration::from_millis(100);

/// What disturbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Nothing but the kills.
    Steady,
    /// Away until the end.
    Away,
    /// Stops reading for a while, then cuts the connection; comes back by resumption or by a new session.
    HalfDead,
    /// Cuts the connection often and resumes.
    Resuming,
}

/// One receiving client.
pub(crate) struct Recipient {
    index: usize,
    slot: usize,
    account: Account,
    jid: String,
    pub(crate) habit: Habit,
    resume: Option<Resume>,
    lineage: Option<usize>,
    /// Kills before it was last online.
    epoch: Option<u32>,
    /// Stanzas counted in this SM session.
    count: u32,
    acked: u32,
    retry_at: Option<Instant>,
    paused: bool,
    /// When the habit strikes next.
    next_trouble: Instant,
    /// Its own, so that its troubles follow from the seed alone.
    rng: Rng,
}

impl Recipient {
    pub(crate) fn new(
        index: usize,
        slot: usize,
        account: Account,
        jid: String,
        habit: Habit,
        now: Instant,
        rng: Rng,
    ) -> Self {
        Self {
            index,
            slot,
            account,
            jid,
            habit,
            resume: None,
            lineage: None,
            epoch: None,
            count: 0,
            acked: 0,
            retry_at: (habit != Habit::Away).then_some(now),
            paused: false,
            next_trouble: now + Duration::from_secs(1),
            rng,
        }
    }

    /// Ends all trouble: from now on it stays and takes what there is.
    pub(crate) fn settle(&mut self, now: Instant, pool: &mut Pool) {
        self.habit = Habit::Steady;
        self.unpause(pool);
        if !pool.is_open(self.slot) {
            self.retry_at = Some(now);
        }
    }

    /// Forgets the session so that the next one is new: what was confirmed must not come again.
    pub(crate) fn forget(&mut self) {
        self.resume = None;
    }

    /// True if it is there and reading.
    pub(crate) fn is_online(&self, pool: &Pool) -> bool {
        pool.is_online(self.slot) && !self.paused
    }

    fn unpause(&mut self, pool: &mut Pool) {
        if self.paused {
            self.paused = false;
            pool.pause(self.slot, false);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        ledger: &mut Ledger,
        rng: &mut Rng,
    ) -> Result<(), String> {
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
        if self.next_trouble <= now {
            self.trouble(now, pool, ledger);
        }
        // Not at once each time, so that kills meet unacknowledged deliveries of every age.
        if self.acked != self.count && !self.paused && rng.chance(30) {
            self.acknowledge(now, pool, ledger)?;
        }
        Ok(())
    }

    fn trouble(&mut self, now: Instant, pool: &mut Pool, ledger: &mut Ledger) {
        self.next_trouble = now + Duration::from_millis(self.rng.between(700, 2_500));
        match self.habit {
            Habit::Steady | Habit::Away => {}
            Habit::HalfDead if !self.paused => {
                self.paused = true;
                pool.pause(self.slot, true);
            }
            Habit::HalfDead => {
                self.disconnect(now, pool, ledger);
                if self.rng.chance(50) {
                    self.forget();
                }
            }
            Habit::Resuming => self.disconnect(now, pool, ledger),
        }
    }

    fn acknowledge(&mut self, now: Instant, pool: &mut Pool, ledger: &mut Ledger) -> Result<(), String> {
        let (Some(client), Some(lineage)) = (pool.client(self.slot), self.lineage) else { return Ok(()) };
        client.acknowledge_now(&mut Vec::new())?;
        self.acked = self.count;
        ledger.recipient_acked(lineage, now, self.count);
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
            Event::Online { resumed: Some(_), .. } => {
                self.epoch = ledger.online(self.epoch, true);
                if let Some(lineage) = self.lineage {
                    ledger.recipient_acked(lineage, now, self.count);
                }
                self.acked = self.count;
            }
            Event::Online { .. } => {
                // One that forgot its session on purpose does not count.
                self.epoch = ledger.online(self.epoch.filter(|_| self.resume.is_some()), false);
                self.lineage = Some(ledger.new_lineage());
                (self.count, self.acked) = (0, 0);
                if let Some(client) = pool.client(self.slot) {
                    client.send("<presence/>").map_err(|e| e.to_string())?;
                }
            }
            Event::Stanza(stanza) => {
                self.count += 1;
                self.stanza(&stanza, ledger);
            }
            Event::Acked(h) => {
                self.acked = h;
                if let Some(lineage) = self.lineage {
                    ledger.recipient_acked(lineage, now, h);
                }
            }
            Event::Closed(_) => self.disconnect(now, pool, ledger),
            Event::Features | Event::Ack(_) => {}
        }
        Ok(())
    }

    fn stanza(&mut self, stanza: &str, ledger: &mut Ledger) {
        if xml::name(stanza) != "message" {
            return;
        }
        let Some(body) = xml::text(stanza, "body") else { return };
        let body = body.split(' ').next().unwrap_or_default();
        let key = Key::parse(body).filter(|key| key.recipient == self.index);
        let Some((key, lineage)) = key.zip(self.lineage) else {
            ledger.violation("phantom", format!("recipient {} got {stanza}", self.index));
            return;
        };
        let origin = xml::tags(stanza, "origin-id").find_map(|t| xml::attr(t, "id"));
        let from = xml::attr(stanza, "from").unwrap_or_default();
        if origin.as_deref() != Some(body) || !from.starts_with(&format!("s{}@", key.sender)) {
            ledger.violation("forged", format!("{key} came as {stanza}"));
        }
        let ours = |tag: &&str| xml::attr(tag, "by").as_deref() == Some(self.jid.as_str());
        let Some(id) = xml::tags(stanza, "stanza-id").find(ours).and_then(|t| xml::attr(t, "id")) else {
            ledger.violation("no stanza-id", stanza);
            return;
        };
        let stanza_id = id.into_owned();
        ledger.delivered(Delivery { key, stanza_id, lineage, number: self.count });
    }

    /// Drops the connection, if there is one, and plans the next.
    pub(crate) fn disconnect(&mut self, now: Instant, pool: &mut Pool, ledger: &mut Ledger) {
        if let Some(lineage) = self.lineage {
            ledger.connection_ended(lineage, now);
        }
        self.unpause(pool);
        self.resume = pool.cut(self.slot).or(self.resume.take());
        self.retry_at = (self.habit != Habit::Away).then_some(now + RETRY);
    }
}
