//! Stores messages for users who are away, then lets them log in and fetch.
//!
//! Senders use stream management: a message counts as stored when the server has acknowledged it.

use std::time::Duration;

use godwit_testclient::{Event, Pool, now, xml};
use serde_json::json;

use crate::Outcome;
use crate::options::{Common, Offline};
use crate::pair::Pair;
use crate::procstat::{Sample, cost};
use crate::ramp::{Then, ramp};
use crate::report::Report;

/// Without progress for this long a phase ends.
const STALL_MAX: Duration = Duration::from_secs(15);

pub(crate) fn run(pool: &mut Pool, common: &Common, options: &Offline, report: &mut Report) -> Outcome<()> {
    let senders = options.users..options.users + options.senders.max(1);
    let ramped = ramp(pool, common, senders.clone(), true, Then::Stay, |_, _| {})?;
    if ramped.failed > 0 {
        return Err(format!("logging in the senders: {}", ramped.trouble()));
    }
    let before = Sample::of(common.server_pid);
    let begin = now();
    let (stored, errors) = store(pool, common, options)?;
    phase(report, "offline.store", stored, errors, begin.elapsed(), (before, Sample::of(common.server_pid)))?;
    senders.for_each(|slot| pool.close(slot));

    let before = Sample::of(common.server_pid);
    let begin = now();
    let users = fetch(pool, common, options)?;
    let sum = |f: fn(&Pair) -> u64| users.iter().map(f).sum::<u64>();
    let (fetched, lost) = (sum(|p| p.arrived), stored.saturating_sub(sum(|p| p.arrived)));
    let after = Sample::of(common.server_pid);
    phase(report, "offline.fetch", fetched, lost, begin.elapsed(), (before, after))?;
    let (duplicated, disorder) = (sum(|p| p.duplicated), sum(|p| p.out_of_order));
    println!("offline.fetch: {lost} lost, {duplicated} duplicated, {disorder} out of order");
    (0..options.users).for_each(|slot| pool.close(slot));
    if lost + duplicated + disorder + errors == 0 { Ok(()) } else { Err("not all went well".into()) }
}

fn phase(
    report: &mut Report,
    name: &str,
    count: u64,
    wrong: u64,
    took: Duration,
    (before, after): (Option<Sample>, Option<Sample>),
) -> Outcome<()> {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = count as f64 / took.as_secs_f64();
    let cost = cost(before, after, count, "message");
    let human = format!("{count} messages at {rate:.0}/s, {wrong} wrong; {}", cost.human);
    let value = json!({"messages": count, "per_second": rate, "wrong": wrong, "server": cost.json});
    report.phase(name, &human, value)
}

/// One sender's share of the work.
#[derive(Debug, Default, Clone, Copy)]
struct Sender {
    /// Messages sent, of this sender's whole share.
    sent: u64,
    /// SM number of the first message and what was acknowledged.
    base: u32,
    acked: u32,
    asked: u32,
}

/// Each sender writes to the users that fall to it, round after round. Returns stored and refused.
fn store(pool: &mut Pool, common: &Common, options: &Offline) -> Outcome<(u64, u64)> {
    let mut senders = vec![Sender::default(); options.senders.max(1)];
    let padding = "x".repeat(options.body);
    let total = options.users as u64 * options.messages;
    let (mut errors, mut progress, mut events) = (0, now(), Vec::new());
    loop {
        for (index, sender) in senders.iter_mut().enumerate() {
            write(pool, common, options, (index, sender), &padding)?;
        }
        pool.turn(Duration::from_millis(5), &mut events).map_err(|e| e.to_string())?;
        for (slot, event) in events.drain(..) {
            let Some(sender) = slot.checked_sub(options.users).and_then(|i| senders.get_mut(i)) else {
                continue;
            };
            match event {
                Event::Ack(h) => {
                    sender.acked = h.saturating_sub(sender.base);
                    progress = now();
                }
                Event::Closed(reason) => return Err(format!("a sender was disconnected: {reason}")),
                Event::Stanza(s) if xml::attr(&s, "type").as_deref() == Some("error") => errors += 1,
                _ => {}
            }
        }
        let stored: u64 = senders.iter().map(|s| u64::from(s.acked)).sum();
        if stored >= total || progress.elapsed() > STALL_MAX {
            return Ok((stored - errors, errors));
        }
    }
}

fn write(
    pool: &mut Pool,
    common: &Common,
    options: &Offline,
    (index, sender): (usize, &mut Sender),
    padding: &str,
) -> Outcome<()> {
    let mine = (index..options.users).step_by(options.senders.max(1)).len() as u64;
    let share = mine * options.messages;
    let Some(client) = pool.client(options.users + index) else { return Ok(()) };
    let in_flight = |s: &Sender| s.sent - u64::from(s.acked);
    while sender.sent < share && in_flight(sender) < u64::from(options.window) {
        let user = index + usize::try_from(sender.sent % mine).unwrap_or(0) * options.senders.max(1);
        let n = sender.sent / mine;
        let to = xml::escape(&common.jid(user));
        let stanza = format!("<message to='{to}' type='chat' id='o{n}'><body>{n}:{padding}</body></message>");
        let number = client.send(&stanza).map_err(|e| e.to_string())?;
        if sender.sent == 0 {
            sender.base = number - 1;
        }
        sender.sent += 1;
        sender.asked += 1;
        if sender.asked * 4 >= options.window || sender.sent == share {
            client.request_ack().map_err(|e| e.to_string())?;
            sender.asked = 0;
        }
    }
    Ok(())
}

/// Logs the users in and takes what waits for them.
fn fetch(pool: &mut Pool, common: &Common, options: &Offline) -> Outcome<Vec<Pair>> {
    let mut users: Vec<Pair> = (0..options.users).map(|_| Pair::default()).collect();
    let take = |users: &mut Vec<Pair>, slot: usize, event: &Event| {
        if let (Event::Stanza(stanza), Some(user)) = (event, users.get_mut(slot)) {
            let n = xml::text(stanza, "body").and_then(|b| b.split(':').next()?.parse().ok());
            return n.is_some_and(|n| user.arrive(n));
        }
        false
    };
    let ramped = ramp(pool, common, 0..options.users, true, Then::Stay, |slot, event| {
        take(&mut users, slot, &event);
    })?;
    if ramped.failed > 0 {
        println!("offline.fetch: {}", ramped.trouble());
    }
    let (mut progress, mut events, mut acks) = (now(), Vec::new(), Vec::new());
    while users.iter().any(|u| u.arrived < options.messages) && progress.elapsed() < STALL_MAX {
        pool.turn(Duration::from_millis(5), &mut events).map_err(|e| e.to_string())?;
        for (slot, event) in events.drain(..) {
            if take(&mut users, slot, &event) {
                progress = now();
            }
        }
    }
    // Without the acknowledgement the server would have to keep what it delivered.
    for slot in 0..options.users {
        if let Some(client) = pool.client(slot) {
            client.acknowledge_now(&mut acks)?;
        }
    }
    pool.turn(Duration::from_millis(50), &mut events).map_err(|e| e.to_string())?;
    Ok(users)
}
