//! Creates accounts in band (XEP-0077), pipelined: several requests in flight on each of several streams.
//!
//! A server may allow one account per stream only; then the run falls back to that by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use godwit_testclient::{Event, Pool, Purpose, now, xml};
use serde_json::json;

use crate::Outcome;
use crate::options::{Common, Register};
use crate::procstat::{Sample, cost};
use crate::report::Report;

/// Attempts per account before it counts as failed.
const ATTEMPTS_MAX: u32 = 3;
/// Streams that end without one account created, in a row, before the run gives up.
const BARREN_MAX: u32 = 50;

#[derive(Default)]
struct Stream {
    in_flight: BTreeSet<usize>,
    taken: usize,
    created: usize,
}

struct Run<'a> {
    common: &'a Common,
    waiting: VecDeque<usize>,
    attempts: BTreeMap<usize, u32>,
    streams: Vec<Stream>,
    window: usize,
    per_stream: usize,
    created: usize,
    existed: usize,
    failed: usize,
    barren: u32,
    error: Option<String>,
}

pub(crate) fn run(pool: &mut Pool, common: &Common, options: &Register, report: &mut Report) -> Outcome<()> {
    let mut run = Run {
        common,
        waiting: (0..options.count).collect(),
        attempts: BTreeMap::new(),
        streams: (0..options.streams.max(1)).map(|_| Stream::default()).collect(),
        window: options.window.max(1),
        per_stream: options.per_stream.max(1),
        created: 0,
        existed: 0,
        failed: 0,
        barren: 0,
        error: None,
    };
    let before = Sample::of(common.server_pid);
    let begin = now();
    let mut events = Vec::new();
    while run.created + run.existed + run.failed < options.count && run.barren < BARREN_MAX {
        run.open_streams(pool)?;
        pool.turn(Duration::from_millis(5), &mut events).map_err(|e| e.to_string())?;
        for (slot, event) in events.drain(..) {
            run.event(pool, slot, event)?;
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let after = Sample::of(common.server_pid);
    let done = run.created as u64;
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = done as f64 / took;
    let cost = cost(before, after, done, "account");
    let human = format!(
        "{} created, {} existed, {} failed in {took:.1} s ({rate:.0}/s); {}{}",
        run.created,
        run.existed,
        options.count - run.created - run.existed,
        cost.human,
        run.error.as_deref().map(|e| format!(" (last error: {e})")).unwrap_or_default()
    );
    let value =
        json!({"created": run.created, "existed": run.existed, "per_second": rate, "server": cost.json});
    report.phase("register", &human, value)?;
    let complete = run.created + run.existed == options.count;
    if complete { Ok(()) } else { Err("not all accounts were created".into()) }
}

impl Run<'_> {
    fn open_streams(&mut self, pool: &mut Pool) -> Outcome<()> {
        for slot in 0..self.streams.len() {
            if !pool.is_open(slot) && !self.waiting.is_empty() {
                let account = self.common.account(slot);
                pool.open(slot, &account, Purpose::Register, None).map_err(|e| e.to_string())?;
                self.reset(slot);
            }
        }
        Ok(())
    }

    fn reset(&mut self, slot: usize) {
        if let Some(stream) = self.streams.get_mut(slot) {
            let old = std::mem::take(stream);
            self.waiting.extend(old.in_flight);
        }
    }

    fn event(&mut self, pool: &mut Pool, slot: usize, event: Event) -> Outcome<()> {
        match event {
            Event::Features => self.fill(pool, slot),
            Event::Stanza(stanza) => {
                self.answer(slot, &stanza);
                self.fill(pool, slot)
            }
            Event::Closed(reason) => {
                pool.cut(slot);
                let created = self.streams.get(slot).map_or(0, |s| s.created);
                self.barren = if created == 0 { self.barren + 1 } else { 0 };
                if created == 1 {
                    self.one_per_stream();
                }
                self.error = Some(reason);
                self.reset(slot);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn one_per_stream(&mut self) {
        (self.window, self.per_stream) = (1, 1);
    }

    fn fill(&mut self, pool: &mut Pool, slot: usize) -> Outcome<()> {
        let Some(stream) = self.streams.get_mut(slot) else { return Ok(()) };
        while stream.in_flight.len() < self.window && stream.taken < self.per_stream {
            let Some(index) = self.waiting.pop_front() else { break };
            let account = self.common.account(index);
            let request = format!(
                "<iq type='set' id='reg{index}' to='{}'><query xmlns='jabber:iq:register'>\
                 <username>{}</username><password>{}</password></query></iq>",
                xml::escape(&self.common.domain),
                xml::escape(&account.user),
                xml::escape(&account.password)
            );
            stream.in_flight.insert(index);
            stream.taken += 1;
            if let Some(client) = pool.client(slot) {
                client.send(&request).map_err(|e| e.to_string())?;
            }
        }
        if stream.in_flight.is_empty() {
            pool.close(slot);
            self.reset(slot);
        }
        Ok(())
    }

    fn answer(&mut self, slot: usize, stanza: &str) {
        let index = xml::attr(stanza, "id").and_then(|id| id.strip_prefix("reg")?.parse().ok());
        let Some(stream) = self.streams.get_mut(slot) else { return };
        let Some(index) = index.filter(|index| stream.in_flight.remove(index)) else { return };
        if xml::attr(stanza, "type").as_deref() == Some("result") {
            stream.created += 1;
            self.created += 1;
        } else if xml::has(stanza, "conflict") {
            stream.created += 1;
            self.existed += 1;
        } else {
            self.error = Some(stanza.to_owned());
            if stream.created > 0 && self.per_stream > 1 {
                self.one_per_stream();
            }
            let attempts = self.attempts.entry(index).or_insert(0);
            *attempts += 1;
            if *attempts < ATTEMPTS_MAX { self.waiting.push_back(index) } else { self.failed += 1 }
        }
    }
}
