//! Creates accounts in band (XEP-0077), pipelined: several requests in flight on each of several streams.
//!
//! A server may allow one account per stream only; then the run falls back to that by itself.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use godwit_testclient::{Event, Purpose, micros, xml};

use crate::Outcome;
use crate::data::Recorder;
use crate::options::Register;
use crate::worker::Worker;

/// Attempts per account before it counts as failed.
const ATTEMPTS_MAX: u32 = 3;
/// Streams that end without one account created, in a row, before the run gives up.
const BARREN_MAX: u32 = 50;

#[derive(Default)]
struct Stream {
    /// Accounts asked for, and when.
    in_flight: BTreeMap<usize, u64>,
    taken: usize,
    created: usize,
}

struct Run {
    waiting: VecDeque<usize>,
    attempts: BTreeMap<usize, u32>,
    streams: Vec<Stream>,
    window: usize,
    per_stream: usize,
    /// Accounts that need nothing more: they exist, or were given up.
    settled: usize,
    barren: u32,
    recorder: Recorder,
}

pub(crate) fn run(worker: &mut Worker, options: &Register) -> Outcome<()> {
    let accounts = worker.share.range(options.count);
    let streams = worker.share.part(options.streams);
    worker.seat(0..streams);
    let recorder = worker.begin("register", "account", "account")?;
    let total = accounts.len();
    let mut run = Run {
        waiting: accounts.collect(),
        attempts: BTreeMap::new(),
        streams: (0..streams).map(|_| Stream::default()).collect(),
        window: options.window.max(1),
        per_stream: options.per_stream.max(1),
        settled: 0,
        barren: 0,
        recorder,
    };
    let mut events = Vec::new();
    while run.settled < total && run.barren < BARREN_MAX {
        run.open_streams(worker)?;
        worker.turn(Duration::from_millis(5), &mut events)?;
        for (slot, event) in events.drain(..) {
            run.event(worker, slot, event)?;
        }
        worker.progress(run.settled as u64, Some(total as u64))?;
    }
    if run.settled < total {
        run.recorder.tally.count("failed", (total - run.settled) as u64);
    }
    worker.end(run.recorder)
}

impl Run {
    fn open_streams(&mut self, worker: &mut Worker) -> Outcome<()> {
        for slot in 0..self.streams.len() {
            if !worker.pool.is_open(slot) && !self.waiting.is_empty() {
                let account = worker.account(slot);
                worker.pool.open(slot, &account, Purpose::Register, None).map_err(|e| e.to_string())?;
                self.reset(slot);
            }
        }
        Ok(())
    }

    fn reset(&mut self, slot: usize) {
        if let Some(stream) = self.streams.get_mut(slot) {
            let old = std::mem::take(stream);
            self.waiting.extend(old.in_flight.into_keys());
        }
    }

    fn event(&mut self, worker: &mut Worker, slot: usize, event: Event) -> Outcome<()> {
        match event {
            Event::Features => self.fill(worker, slot),
            Event::Stanza(stanza) => {
                self.answer(slot, &stanza);
                self.fill(worker, slot)
            }
            Event::Closed(reason) => {
                worker.pool.cut(slot);
                let created = self.streams.get(slot).map_or(0, |s| s.created);
                self.barren = if created == 0 { self.barren + 1 } else { 0 };
                if created == 1 {
                    self.one_per_stream();
                }
                self.recorder.tally.error = Some(reason);
                self.reset(slot);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn one_per_stream(&mut self) {
        (self.window, self.per_stream) = (1, 1);
    }

    fn fill(&mut self, worker: &mut Worker, slot: usize) -> Outcome<()> {
        let Some(stream) = self.streams.get_mut(slot) else { return Ok(()) };
        while stream.in_flight.len() < self.window && stream.taken < self.per_stream {
            let Some(index) = self.waiting.pop_front() else { break };
            let account = worker.common.account(index);
            let request = format!(
                "<iq type='set' id='reg{index}' to='{}'><query xmlns='jabber:iq:register'>\
                 <username>{}</username><password>{}</password></query></iq>",
                xml::escape(&worker.common.domain),
                xml::escape(&account.user),
                xml::escape(&account.password)
            );
            stream.in_flight.insert(index, micros());
            stream.taken += 1;
            if let Some(client) = worker.client(slot) {
                client.send(&request).map_err(|e| e.to_string())?;
            }
        }
        if stream.in_flight.is_empty() {
            worker.pool.close(slot);
            self.reset(slot);
        }
        Ok(())
    }

    fn answer(&mut self, slot: usize, stanza: &str) {
        let index = xml::attr(stanza, "id").and_then(|id| id.strip_prefix("reg")?.parse().ok());
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some((index, since)) = index.and_then(|i| Some((i, stream.in_flight.remove(&i)?))) else {
            return;
        };
        let now = micros();
        if xml::attr(stanza, "type").as_deref() == Some("result") {
            stream.created += 1;
            self.settled += 1;
            self.recorder.done(now, now - since);
        } else if xml::has(stanza, "conflict") {
            stream.created += 1;
            self.settled += 1;
            self.recorder.tally.count("existed", 1);
        } else {
            self.recorder.tally.error = Some(stanza.to_owned());
            if stream.created > 0 && self.per_stream > 1 {
                self.one_per_stream();
            }
            let attempts = self.attempts.entry(index).or_insert(0);
            *attempts += 1;
            if *attempts < ATTEMPTS_MAX {
                self.waiting.push_back(index);
            } else {
                self.settled += 1;
                self.recorder.wrong("failed", now, None);
            }
        }
    }
}
