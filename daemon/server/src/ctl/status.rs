//! `godwitctl status [--json]`: JSON is a [`Status`].
use super::args::{Ctl, Json};
use super::exit::Failed;
use super::print;
use super::table::{bytes, span, time};
use crate::admin::protocol::{Answer, Operations, Request, Status};
use std::fmt::Write;

pub(super) fn run(ctl: &Ctl, args: &Json) -> Result<(), Failed> {
    let daemon = super::way::daemon(ctl)?;
    let Answer::Status(status) = daemon.call(Request::Status)? else { return Err(super::odd()) };
    print(&if args.json { super::json(&status)? } else { text(&status) })
}

fn text(status: &Status) -> String {
    let mut lines = Vec::new();
    let up = span(status.now_ms.saturating_sub(status.started_ms));
    lines.push(("daemon", format!("godwitd {}, process {}, up {up}", status.version, status.pid)));
    lines.push(("domains", status.domains.join(", ")));
    lines.push(("connections", format!("{} of {}", status.connections, status.ceiling.connections_max)));
    lines.push(("ceiling", status.ceiling.line()));
    lines
        .push(("sessions", format!("{}, of which {} wait for resumption", status.sessions, status.detached)));
    lines.push(("store", store(status)));
    lines.push((
        "memory",
        format!("{} resident, {} allocated", bytes(status.rss_bytes), bytes(status.memory.allocated_bytes)),
    ));
    for certificate in &status.certificates {
        let names = certificate.names.join(", ");
        let warning = certificate.warning.as_ref().map(|w| format!(" · {w}")).unwrap_or_default();
        lines.push(("certificate", format!("{names}, until {}{warning}", time(certificate.expires_ms))));
    }
    if !status.stuck.is_empty() {
        lines.push(("STUCK", status.stuck.join(", ")));
    }
    if status.log_lines_dropped > 0 {
        lines.push(("log", format!("{} lines dropped, the log was too slow", status.log_lines_dropped)));
    }
    if let Some(reload) = &status.reload {
        let how = if reload.ok { "applied" } else { "REFUSED" };
        lines.push(("reload", format!("{how} at {}", time(reload.at_ms))));
        lines.extend(reload.lines.iter().map(|line| ("", line.clone())));
    }
    for (name, count) in &status.counters {
        lines.push((name, count.to_string()));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    text
}

fn store(status: &Status) -> String {
    let store = &status.store;
    let health = match (&store.last_error, store.ok) {
        (Some(error), false) => format!("NO WRITES since {}: {error}", time(store.since_ms)),
        (None, false) => format!("NO WRITES since {}", time(store.since_ms)),
        (_, true) => "ok".into(),
    };
    let memory = bytes(store.memory_bytes);
    format!("{health}, {} transactions, {} waiting, {memory} of memory", store.transactions, store.queued)
}
