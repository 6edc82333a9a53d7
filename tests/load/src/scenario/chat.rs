//! Pairs chat: the sender keeps a window of messages in flight and sends the next when one has arrived.
//!
//! A closed loop: when the server is slow, less is asked of it. For latency under a given load see `ramp`.

use std::time::Duration;

use godwit_testclient::{Event, Pool, micros, xml};

use super::pair::Pair;
use crate::Outcome;
use crate::data::Recorder;
use crate::logins;
use crate::options::Chat;
use crate::worker::Worker;

/// Time for initial presence and rosters to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How long messages in flight may take at the end before they count as lost.
const DRAIN_MAX: Duration = Duration::from_secs(10);

struct Run<'a> {
    options: &'a Chat,
    pairs: Vec<Pair>,
    /// The receivers' addresses, as they stand in an attribute.
    to: Vec<String>,
    padding: String,
    started: u64,
    measuring: bool,
    stop: bool,
    recorder: Recorder,
}

pub(crate) fn run(worker: &mut Worker, options: &Chat) -> Outcome<()> {
    exchange(worker, options, "chat")
}

/// The same under another name.
pub(crate) fn exchange(worker: &mut Worker, options: &Chat, name: &str) -> Outcome<()> {
    let pairs = worker.share.range(options.pairs);
    let slots = worker.seat(pairs.start * 2..pairs.end * 2);
    logins::phase(worker, &format!("{name}.login"), slots.clone(), options.sm, |_, _, _| {})?;
    let mut run = Run {
        options,
        pairs: pairs.map(|_| Pair::default()).collect(),
        to: slots.clone().skip(1).step_by(2).map(|slot| xml::escape(&worker.jid(slot))).collect(),
        padding: "x".repeat(options.body),
        started: worker.started,
        measuring: false,
        stop: true,
        recorder: Recorder::new("message", "delivery", micros()),
    };
    run.turns(worker, SETTLE, |_| false)?;
    run.stop = false;
    (0..run.pairs.len()).try_for_each(|pair| run.fill(&mut worker.pool, pair))?;
    run.turns(worker, options.warmup(), |_| false)?;

    // While the others get ready the conversation goes on.
    let mut outcome = Ok(());
    worker.ready(name, |pool, slot, event| {
        if outcome.is_ok() {
            outcome = run.event(pool, slot, event);
        }
    })?;
    outcome?;
    run.recorder.restart(micros());
    run.measuring = true;
    run.turns(worker, options.seconds(), Run::complete)?;
    worker.measured(&mut run.recorder)?;
    run.measuring = false;
    run.stop = true;
    run.turns(worker, DRAIN_MAX, Run::drained)?;
    let sum = |f: fn(&Pair) -> u64| run.pairs.iter().map(f).sum::<u64>();
    let tally = &mut run.recorder.tally;
    tally.sessions = slots.len() as u64;
    tally.count("sent", sum(|p| p.sent));
    for (name, n) in [
        ("lost", sum(Pair::in_flight)),
        ("duplicated", sum(|p| p.duplicated)),
        ("out_of_order", sum(|p| p.out_of_order)),
    ] {
        tally.count(name, n);
    }
    worker.end(run.recorder)?;
    worker.leave(slots)
}

/// The text of message `n`, due at `due` µs, of at least `size` characters.
pub(crate) fn body(n: u64, due: u64, padding: &str) -> String {
    let mut body = format!("{n}:{due}:{padding}");
    body.truncate(padding.len().max(body.len() - padding.len()));
    body
}

/// The same with the time of sending, which in an open loop may be later.
pub(crate) fn timed_body(n: u64, due: u64, sent: u64, padding: &str) -> String {
    let mut body = format!("{n}:{due}:{sent}:{padding}");
    body.truncate(padding.len().max(body.len() - padding.len()));
    body
}

/// When a message of [`timed_body`] was sent.
pub(crate) fn sent_at(stanza: &str) -> Option<u64> {
    xml::text(stanza, "body")?.split(':').nth(2)?.parse().ok()
}

/// Number and time of a message made by [`body`] since `started`.
pub(crate) fn parse(stanza: &str, started: u64) -> Option<(u64, u64)> {
    let body = xml::text(stanza, "body")?;
    let mut fields = body.split(':').map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(n)), Some(Ok(due))) if due >= started => Some((n, due)),
        _ => None,
    }
}

impl Run<'_> {
    /// Runs the loop for this long, or until `done`.
    fn turns(&mut self, worker: &mut Worker, time: Duration, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        let begin = micros();
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut events = Vec::new();
        while micros() - begin < time && !done(self) {
            worker.turn(Duration::from_millis(10), &mut events)?;
            for (slot, event) in events.drain(..) {
                self.event(&mut worker.pool, slot, event)?;
            }
            if self.measuring {
                let total = self.options.messages.map(|m| m * self.pairs.len() as u64);
                worker.progress(self.recorder.tally.units, total)?;
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

    fn fill(&mut self, pool: &mut Pool, index: usize) -> Outcome<()> {
        let limit = self.options.messages.unwrap_or(u64::MAX);
        let sent_at = micros();
        let Some(pair) = self.pairs.get_mut(index).filter(|p| !p.dead && !self.stop) else { return Ok(()) };
        let (Some(client), Some(to)) = (pool.client(index * 2), self.to.get(index)) else { return Ok(()) };
        while pair.in_flight() < self.options.window && pair.sent < limit {
            let n = pair.sent;
            let body = body(n, sent_at, &self.padding);
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
        let at = micros();
        match event {
            Event::Stanza(stanza) if xml::name(&stanza) == "message" => {
                if xml::attr(&stanza, "type").as_deref() == Some("error") {
                    self.recorder.wrong("errors", at, Some(stanza));
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
                        self.recorder.latency("acknowledged", at.saturating_sub(sent));
                    }
                }
            }
            Event::Closed(reason) => {
                pool.cut(slot);
                if let Some(pair) = self.pairs.get_mut(slot / 2) {
                    pair.dead = true;
                }
                self.recorder.wrong("errors", at, Some(reason));
            }
            _ => {}
        }
        Ok(())
    }

    fn arrived(&mut self, index: usize, stanza: &str, at: u64) {
        let Some((n, sent_at)) = parse(stanza, self.started) else { return };
        let Some(pair) = self.pairs.get_mut(index) else { return };
        if pair.arrive(n) && self.measuring {
            self.recorder.done(at, at.saturating_sub(sent_at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{body, parse, sent_at, timed_body};

    #[test]
    fn bodies_have_their_size_and_say_when_they_were_due() {
        let text = body(7, 123_456, &"x".repeat(40));
        let timed = format!("<message><body>{}</body></message>", timed_body(1, 20, 300, "xx"));
        assert_eq!((parse(&timed, 0), sent_at(&timed)), (Some((1, 20)), Some(300)));
        assert_eq!(text.len(), 40);
        let message = format!("<message><body>{text}</body></message>");
        assert_eq!(parse(&message, 123_456), Some((7, 123_456)));
        assert_eq!(parse(&message, 123_457), None);
        assert_eq!(parse(&format!("<message><body>{}</body></message>", body(7, 8, "")), 0), Some((7, 8)));
        assert_eq!(parse("<message><body>hello</body></message>", 0), None);
    }
}
