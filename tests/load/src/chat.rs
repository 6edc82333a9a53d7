//! Pairs chat: the sender keeps a window of messages in flight and sends the next when one has arrived.

use std::time::{Duration, Instant};

use godwit_testclient::{Event, Pool, now, xml};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::Outcome;
use crate::options::{Chat, Common};
use crate::pair::Pair;
use crate::procstat::{Sample, cost};
use crate::ramp::{Then, ramp};
use crate::report::{Report, histogram, human_latency, json_latency};
use crate::syscalls::Syscalls;

/// Time for initial presence and rosters to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How long messages in flight may take at the end before they count as lost.
const DRAIN_MAX: Duration = Duration::from_secs(10);

struct Run<'a> {
    common: &'a Common,
    options: &'a Chat,
    pairs: Vec<Pair>,
    padding: String,
    begin: Instant,
    measuring: bool,
    stop: bool,
    measured: u64,
    errors: u64,
    error: Option<String>,
    latency: Histogram<u64>,
    ack_latency: Histogram<u64>,
}

pub(crate) fn run(pool: &mut Pool, common: &Common, options: &Chat, report: &mut Report) -> Outcome<()> {
    let ramp = ramp(pool, common, 0..options.pairs * 2, options.sm, Then::Stay, |_, _| {})?;
    if ramp.failed > 0 {
        return Err(format!("logging in: {}", ramp.trouble()));
    }
    let mut run = Run {
        common,
        options,
        pairs: (0..options.pairs).map(|_| Pair::default()).collect(),
        padding: "x".repeat(options.body),
        begin: now(),
        measuring: false,
        stop: true,
        measured: 0,
        errors: 0,
        error: None,
        latency: histogram()?,
        ack_latency: histogram()?,
    };
    run.turns(pool, SETTLE, |_| false)?;
    run.stop = false;
    (0..options.pairs).try_for_each(|pair| run.fill(pool, pair))?;
    run.turns(pool, options.warmup(), |_| false)?;

    run.measuring = true;
    let before = Sample::of(common.server_pid);
    let syscalls = Syscalls::start(common.syscalls, common.server_pid);
    let begin = now();
    run.turns(pool, options.seconds(), Run::complete)?;
    let took = begin.elapsed();
    let syscalls = syscalls.stop();
    let after = Sample::of(common.server_pid);
    run.measuring = false;
    run.stop = true;
    run.turns(pool, DRAIN_MAX, Run::drained)?;
    run.report(report, took, (before, after), syscalls)?;
    (0..options.pairs * 2).for_each(|slot| pool.close(slot));
    Ok(())
}

impl Run<'_> {
    /// Runs the loop for this long, or until `done`.
    fn turns(&mut self, pool: &mut Pool, time: Duration, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        let begin = now();
        let mut events = Vec::new();
        while begin.elapsed() < time && !done(self) {
            pool.turn(Duration::from_millis(10), &mut events).map_err(|e| e.to_string())?;
            for (slot, event) in events.drain(..) {
                self.event(pool, slot, event)?;
            }
        }
        Ok(())
    }

    /// Every message that was asked for has arrived.
    fn complete(&self) -> bool {
        self.options.messages.is_some_and(|m| self.pairs.iter().all(|p| p.dead || p.arrived >= m))
    }

    fn drained(&self) -> bool {
        self.pairs.iter().all(|p| p.dead || p.in_flight() == 0)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn fill(&mut self, pool: &mut Pool, index: usize) -> Outcome<()> {
        let limit = self.options.messages.unwrap_or(u64::MAX);
        let sent_at = self.micros();
        let Some(pair) = self.pairs.get_mut(index).filter(|p| !p.dead && !self.stop) else { return Ok(()) };
        let Some(client) = pool.client(index * 2) else { return Ok(()) };
        let to = xml::escape(&self.common.jid(index * 2 + 1));
        while pair.in_flight() < self.options.window && pair.sent < limit {
            let n = pair.sent;
            let mut body = format!("{n}:{sent_at}:{}", self.padding);
            body.truncate(self.options.body.max(body.len() - self.padding.len()));
            let stanza = format!("<message to='{to}' type='chat' id='m{n}'><body>{body}</body></message>");
            let number = client.send(&stanza).map_err(|e| e.to_string())?;
            pair.sent += 1;
            if self.options.sm {
                pair.unacked.push_back((number, sent_at));
                if pair.sent.is_multiple_of(self.options.ack_every.max(1)) {
                    client.request_ack().map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, pool: &mut Pool, slot: usize, event: Event) -> Outcome<()> {
        let at = self.micros();
        match event {
            Event::Stanza(stanza) if xml::name(&stanza) == "message" => {
                if xml::attr(&stanza, "type").as_deref() == Some("error") {
                    self.trouble(stanza);
                } else if slot % 2 == 1 {
                    self.arrived(slot / 2, &stanza, at);
                    self.fill(pool, slot / 2)?;
                }
            }
            Event::Ack(h) => {
                let Some(pair) = self.pairs.get_mut(slot / 2) else { return Ok(()) };
                while let Some(&(n, sent)) = pair.unacked.front() {
                    // Counters wrap: what lies at most half a circle behind `h` is acknowledged.
                    if h.wrapping_sub(n) >= 1 << 31 {
                        break;
                    }
                    pair.unacked.pop_front();
                    if self.measuring {
                        self.ack_latency.saturating_record(at.saturating_sub(sent));
                    }
                }
            }
            Event::Closed(reason) => {
                pool.cut(slot);
                if let Some(pair) = self.pairs.get_mut(slot / 2) {
                    pair.dead = true;
                }
                self.trouble(reason);
            }
            _ => {}
        }
        Ok(())
    }

    fn arrived(&mut self, index: usize, stanza: &str, at: u64) {
        let body = xml::text(stanza, "body").unwrap_or_default();
        let mut fields = body.split(':').map(str::parse);
        let (Some(Ok(n)), Some(Ok(sent_at))) = (fields.next(), fields.next()) else { return };
        let Some(pair) = self.pairs.get_mut(index) else { return };
        if pair.arrive(n) && self.measuring {
            self.measured += 1;
            self.latency.saturating_record(at.saturating_sub(sent_at));
        }
    }

    fn trouble(&mut self, reason: String) {
        self.errors += 1;
        self.error = Some(reason);
    }

    fn report(
        &self,
        report: &mut Report,
        took: Duration,
        (before, after): (Option<Sample>, Option<Sample>),
        syscalls: Option<u64>,
    ) -> Outcome<()> {
        let sum = |f: fn(&Pair) -> u64| self.pairs.iter().map(f).sum::<u64>();
        let (sent, lost) = (sum(|p| p.sent), sum(Pair::in_flight));
        let (duplicated, out_of_order) = (sum(|p| p.duplicated), sum(|p| p.out_of_order));
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let (rate, syscalls) = (
            self.measured as f64 / took.as_secs_f64(),
            syscalls.map(|n| n as f64 / self.measured.max(1) as f64),
        );
        let cost = cost(before, after, self.measured, "message");
        let mut human = format!(
            "{rate:.0} messages/s over {:.1} s ({} pairs, window {}); {}; {}",
            took.as_secs_f64(),
            self.options.pairs,
            self.options.window,
            human_latency(&self.latency),
            cost.human
        );
        if let Some(n) = syscalls {
            human += &format!("; {n:.2} system calls per message");
        }
        if self.options.sm {
            human += &format!("; acknowledged: {}", human_latency(&self.ack_latency));
        }
        human += &format!(
            "; {sent} sent, {lost} lost, {duplicated} duplicated, {out_of_order} out of order, {} errors{}",
            self.errors,
            self.error.as_deref().map(|e| format!(" (last: {e})")).unwrap_or_default()
        );
        let value = json!({
            "messages_per_second": rate, "seconds": took.as_secs_f64(), "pairs": self.options.pairs,
            "window": self.options.window, "body": self.options.body, "sm": self.options.sm,
            "latency": json_latency(&self.latency), "ack_latency": json_latency(&self.ack_latency),
            "server": cost.json, "syscalls_per_message": syscalls, "sent": sent, "lost": lost,
            "duplicated": duplicated, "out_of_order": out_of_order, "errors": self.errors,
        });
        report.phase("chat", &human, value)?;
        if lost + duplicated + out_of_order + self.errors == 0 {
            Ok(())
        } else {
            Err("not all went well".into())
        }
    }
}
