//! Holds idle sessions: what does one cost the server in memory, and in CPU while nothing happens?

use std::time::Duration;

use godwit_testclient::{Event, Pool, now};
use serde_json::json;

use crate::Outcome;
use crate::options::{Common, Idle};
use crate::procstat::{Sample, cost};
use crate::ramp::{Then, ramp};
use crate::report::{Report, human_latency, json_latency};

pub(crate) fn run(pool: &mut Pool, common: &Common, options: &Idle, report: &mut Report) -> Outcome<()> {
    let before = Sample::of(common.server_pid);
    let ours = Sample::of(Some(std::process::id()));
    let ramp = ramp(pool, common, 0..options.sessions, options.sm, Then::Stay, |_, _| {})?;
    let after = Sample::of(common.server_pid);
    let sessions = ramp.online as u64;
    let login = cost(before, after, sessions, "login");
    let human = format!(
        "{sessions} sessions at {:.0}/s, {}; {}; {}; here {} bytes per session",
        ramp.per_second(),
        human_latency(&ramp.latency),
        login.human,
        ramp.trouble(),
        growth(ours, Sample::of(Some(std::process::id())), sessions).unwrap_or(0)
    );
    let value = json!({
        "sessions": sessions, "failed": ramp.failed, "retried": ramp.retried, "per_second": ramp.per_second(),
        "latency": json_latency(&ramp.latency), "server": login.json,
        "rss_per_session": growth(before, after, sessions),
    });
    report.phase("idle.login", &human, value)?;
    if let Some(bytes) = growth(before, after, sessions) {
        println!("idle.login: server RSS grew by {bytes} bytes per session (before settling)");
    }

    let mut lost = hold(pool, options.settle())?;
    let settled = Sample::of(common.server_pid);
    memory(report, "idle.settled", (before, settled), sessions, lost)?;

    lost += hold(pool, options.hold())?;
    let held = Sample::of(common.server_pid);
    memory(report, "idle.held", (before, held), sessions, lost)?;
    if let (Some(from), Some(to)) = (settled, held) {
        println!("idle.held: while holding: {}", cost(Some(from), Some(to), sessions, "session").human);
    }
    (0..options.sessions).for_each(|slot| pool.close(slot));
    if ramp.failed + lost == 0 { Ok(()) } else { Err("not all sessions came up and stayed".into()) }
}

fn memory(
    report: &mut Report,
    phase: &str,
    (before, after): (Option<Sample>, Option<Sample>),
    sessions: u64,
    lost: usize,
) -> Outcome<()> {
    let bytes = growth(before, after, sessions);
    let (from, to) = (before.map_or(0, |s| s.rss), after.map_or(0, |s| s.rss));
    let human = match bytes {
        Some(bytes) => {
            format!("server RSS {} -> {} KB: {bytes} bytes per session; {lost} lost", from / 1024, to / 1024)
        }
        None => format!("server not measured (--server-pid); {lost} lost"),
    };
    report.phase(
        phase,
        &human,
        json!({"sessions": sessions, "lost": lost, "rss_before": from, "rss": to, "rss_per_session": bytes}),
    )
}

fn growth(before: Option<Sample>, after: Option<Sample>, sessions: u64) -> Option<u64> {
    Some(after?.rss.saturating_sub(before?.rss) / sessions.max(1))
}

/// Keeps the sessions for this long and counts those that the server dropped.
fn hold(pool: &mut Pool, time: Duration) -> Outcome<usize> {
    let begin = now();
    let mut lost = 0;
    let mut events = Vec::new();
    while begin.elapsed() < time {
        pool.turn(Duration::from_millis(50), &mut events).map_err(|e| e.to_string())?;
        for (slot, event) in events.drain(..) {
            if matches!(event, Event::Closed(_)) {
                pool.cut(slot);
                lost += 1;
            }
        }
    }
    Ok(lost)
}
