//! Stores messages for users who are away, then lets them log in and fetch.
//!
//! Senders use stream management: a message counts as stored when the server has acknowledged it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use godwit_testclient::{Event, Pool, micros, xml};

use super::chat::{body, parse};
use super::pair::Pair;
use crate::Outcome;
use crate::data::Recorder;
use crate::logins::{self, Then, log_in};
use crate::options::Offline;
use crate::worker::Worker;

/// Without progress for this long a phase ends, µs.
const STALL_MAX: u64 = 15_000_000;

pub(crate) fn run(worker: &mut Worker, options: &Offline) -> Outcome<()> {
    let away = worker.share.range(options.users);
    let senders = worker.share.range(options.senders.max(worker.share.of));
    let users = worker.seat(away);
    let senders = worker.seat(options.users + senders.start..options.users + senders.end);
    logins::phase(worker, "offline.login", senders.clone(), true, |_, _, _| {})?;
    let mut recorder = worker.begin("offline.store", "message", "acknowledged")?;
    store(worker, options, (users.clone(), senders.clone()), &mut recorder)?;
    let stored = recorder.tally.units.saturating_sub(recorder.tally.get("errors"));
    worker.end(recorder)?;
    senders.for_each(|slot| worker.pool.close(slot));

    let mut recorder = worker.begin("offline.fetch", "message", "fetched")?;
    let pairs = fetch(worker, options, users.clone(), &mut recorder)?;
    let sum = |f: fn(&Pair) -> u64| pairs.iter().map(f).sum::<u64>();
    recorder.tally.sessions = users.len() as u64;
    recorder.tally.count("lost", stored.saturating_sub(sum(|p| p.arrived)));
    recorder.tally.count("duplicated", sum(|p| p.duplicated));
    recorder.tally.count("out_of_order", sum(|p| p.out_of_order));
    worker.end(recorder)?;
    worker.leave(users)
}

/// One sender's share of the work.
#[derive(Debug, Default, Clone)]
struct Sender {
    /// Messages sent, of this sender's whole share.
    sent: u64,
    asked: u32,
    /// SM numbers and send times of what is not acknowledged.
    unacked: VecDeque<(u32, u64)>,
}

/// Each sender writes to the users that fall to it, round after round.
fn store(
    worker: &mut Worker,
    options: &Offline,
    (users, slots): (Range<usize>, Range<usize>),
    recorder: &mut Recorder,
) -> Outcome<()> {
    let mut senders = vec![Sender::default(); slots.len()];
    let to: Vec<String> = users.map(|slot| xml::escape(&worker.jid(slot))).collect();
    let padding = "x".repeat(options.body);
    let total = to.len() as u64 * options.messages;
    let (mut progress, mut events) = (micros(), Vec::new());
    while recorder.tally.units < total && micros() - progress < STALL_MAX {
        for (index, sender) in senders.iter_mut().enumerate() {
            let mine: Vec<&String> = to.iter().skip(index).step_by(slots.len().max(1)).collect();
            write(&mut worker.pool, options, slots.start + index, (sender, &mine), &padding)?;
        }
        worker.turn(Duration::from_millis(5), &mut events)?;
        for (slot, event) in events.drain(..) {
            let Some(sender) = slot.checked_sub(slots.start).and_then(|i| senders.get_mut(i)) else {
                continue;
            };
            let now = micros();
            match event {
                Event::Ack(h) => {
                    progress = now;
                    while sender.unacked.front().is_some_and(|(n, _)| h.wrapping_sub(*n) < 1 << 31) {
                        let sent = sender.unacked.pop_front().map_or(now, |(_, sent)| sent);
                        recorder.done(now, now - sent);
                    }
                }
                Event::Closed(reason) => return Err(format!("a sender was disconnected: {reason}")),
                Event::Stanza(s) if xml::attr(&s, "type").as_deref() == Some("error") => {
                    recorder.wrong("errors", now, Some(s));
                }
                _ => {}
            }
        }
        worker.progress(recorder.tally.units, Some(total))?;
    }
    recorder.tally.sessions = slots.len() as u64;
    let missing = total.saturating_sub(recorder.tally.units);
    recorder.tally.count("failed", missing);
    Ok(())
}

fn write(
    pool: &mut Pool,
    options: &Offline,
    slot: usize,
    (sender, to): (&mut Sender, &[&String]),
    padding: &str,
) -> Outcome<()> {
    let share = to.len() as u64 * options.messages;
    let window = usize::try_from(options.window).unwrap_or(1);
    while sender.sent < share && sender.unacked.len() < window {
        let Some(client) = pool.client(slot) else { return Ok(()) };
        let user = usize::try_from(sender.sent % to.len() as u64).unwrap_or(0);
        let Some(to_jid) = to.get(user) else { return Ok(()) };
        let (n, now) = (sender.sent / to.len() as u64, micros());
        let body = body(n, now, padding);
        let stanza = format!("<message to='{to_jid}' type='chat' id='o{n}'><body>{body}</body></message>");
        let number = client.send(&stanza).map_err(|e| e.to_string())?;
        sender.unacked.push_back((number, now));
        sender.sent += 1;
        sender.asked += 1;
        if sender.asked * 4 >= options.window || sender.sent == share {
            client.request_ack().map_err(|e| e.to_string())?;
            sender.asked = 0;
        }
    }
    Ok(())
}

/// Logs the users in and takes what waits for them. The latency of a message runs from the phase's start.
fn fetch(
    worker: &mut Worker,
    options: &Offline,
    slots: Range<usize>,
    recorder: &mut Recorder,
) -> Outcome<Vec<Pair>> {
    let mut users: Vec<Pair> = slots.clone().map(|_| Pair::default()).collect();
    let (first, started) = (slots.start, worker.started);
    let mut logins = Recorder::new("login", "login", micros());
    let mut got = Vec::new();
    log_in(worker, &mut logins, slots.clone(), true, Then::Stay, |_, slot, event| {
        if take(&mut users, slot - first, &event, started) {
            got.push(micros());
        }
    })?;
    got.drain(..).for_each(|at| recorder.done(at, recorder.elapsed(at)));
    recorder.tally.count("failed", logins.tally.get("failed"));
    recorder.tally.error = logins.tally.error.take();
    let total = users.len() as u64 * options.messages;
    let (mut progress, mut events) = (micros(), Vec::new());
    while users.iter().any(|u| u.arrived < options.messages) && micros() - progress < STALL_MAX {
        worker.turn(Duration::from_millis(5), &mut events)?;
        for (slot, event) in events.drain(..) {
            if take(&mut users, slot - first, &event, started) {
                progress = micros();
                recorder.done(progress, recorder.elapsed(progress));
            }
        }
        worker.progress(recorder.tally.units, Some(total))?;
    }
    Ok(users)
}

/// True if it is a message that had not come yet.
fn take(users: &mut [Pair], index: usize, event: &Event, started: u64) -> bool {
    let (Event::Stanza(stanza), Some(user)) = (event, users.get_mut(index)) else { return false };
    parse(stanza, started).is_some_and(|(n, _)| user.arrive(n))
}
