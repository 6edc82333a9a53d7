//! `godwitctl status [--json]`: JSON is a [`Status`].
use super::args::{Ctl, Json};
use super::exit::Failed;
use super::print;
use super::table::{bytes, micros, span, time};
use crate::admin::protocol::{Answer, ArchiveStatus, Operations, Request, Status, StoreStatus};
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
    lines.extend(store(&status.store));
    lines.push(("archives", archive(&status.archive)));
    lines.push((
        "memory",
        format!("{} resident, {} allocated", bytes(status.rss_bytes), bytes(status.memory.allocated_bytes)),
    ));
    let owners = status.owners.each();
    let owners: Vec<_> =
        owners.iter().map(|(name, n)| format!("{} {}", name.replace('_', " "), bytes(*n))).collect();
    lines.push(("", owners.join(", ")));
    lines.extend(status.overload.lines(bytes));
    for certificate in &status.certificates {
        let names = certificate.names.join(", ");
        let warning = certificate.warning.as_ref().map(|w| format!(" · {w}")).unwrap_or_default();
        lines.push(("certificate", format!("{names}, until {}{warning}", time(certificate.expires_ms))));
    }
    if !status.stuck.is_empty() {
        lines.push(("STUCK", status.stuck.join(", ")));
    }
    if status.log_level.set_ms.is_some() {
        lines.push(("log level", status.log_level.line()));
    }
    if status.log_lines_dropped > 0 {
        lines.push(("log", format!("{} lines dropped, the log was too slow", status.log_lines_dropped)));
    }
    if let Some(reload) = &status.reload {
        let how = if reload.ok { "applied" } else { "REFUSED" };
        lines.push(("reload", format!("{how} at {}", time(reload.at_ms))));
        lines.extend(reload.lines.iter().map(|line| ("", line.clone())));
    }
    let backup = match &status.backup {
        Some(backup) => {
            let (at, size) = (time(backup.at_ms), bytes(backup.bytes));
            let ago = span(status.now_ms.saturating_sub(backup.at_ms));
            format!("{} in {}, at {at} ({ago} ago), {size}", backup.id, backup.place)
        }
        None => "never: godwitctl backup create DIR".into(),
    };
    lines.push(("backup", backup));
    if let Some(upgrade) = &status.upgrade {
        lines.push(("upgrade", format!("{}: {}", time(upgrade.at_ms), upgrade.line())));
    }
    if let Some(notice) = &status.notice {
        lines.push(("NOTICE", notice.clone()));
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

fn archive(archive: &ArchiveStatus) -> String {
    let kept = archive.keep_s.map_or_else(|| "for ever".to_owned(), |keep| span(keep.saturating_mul(1_000)));
    let most = archive
        .account_bytes_max
        .map_or_else(|| "of any size".to_owned(), |max| format!("up to {}", bytes(max)));
    let (rows, disk) = (archive.rows, bytes(archive.disk_bytes));
    format!("about {rows} messages (each side's counted), {disk} on disk; kept {kept}, each account's {most}")
}

fn store(store: &StoreStatus) -> Vec<(&'static str, String)> {
    let why = match store.full {
        true => "NO SPACE",
        false => "NO WRITES",
    };
    let health = match (&store.last_error, store.ok) {
        (Some(error), false) => format!("{why} since {}: {error}", time(store.since_ms)),
        (None, false) => format!("{why} since {}", time(store.since_ms)),
        (_, true) => "ok".into(),
    };
    let memory = bytes(store.memory_bytes);
    let written = bytes(store.written_bytes);
    let (all, now) = (&store.per_sync, &store.lately);
    vec![
        ("store", format!("{health}, {written} written, {memory} of memory")),
        (
            "transactions",
            format!(
                "{}, {} waiting now, {} at most of {}; {} from submission to commit, at most {}",
                store.transactions,
                store.queued,
                store.queued_most,
                store.queue_max,
                micros(store.commit_us_mean),
                micros(store.commit_us_most)
            ),
        ),
        (
            "fsyncs",
            format!(
                "{}, each with {:.1} transactions and {:.1} messages, {} transactions at most; \
                 {}, at most {}",
                store.syncs,
                all.transactions,
                all.messages,
                store.together_most,
                micros(store.sync_us_mean),
                micros(store.sync_us_most)
            ),
        ),
        (
            "",
            format!(
                "in the last {:.0} s: {:.1}/s, each with {:.1} transactions and {:.1} messages",
                now.interval_s, now.syncs_per_s, now.per_sync.transactions, now.per_sync.messages
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::{Pace, PerSync};

    fn lines(status: &StoreStatus) -> String {
        store(status).iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    #[test]
    fn a_store_that_takes_no_writes_says_why_and_since_when() {
        let error = Some("IO error: No space left on device".to_owned());
        let mut status = StoreStatus { full: true, since_ms: 0, last_error: error, ..StoreStatus::default() };
        let text = lines(&status);
        assert!(text.contains("NO SPACE since 1970-01-01T00:00:00Z: IO error: No space left"), "{text}");
        status.full = false;
        assert!(lines(&status).contains("NO WRITES since 1970"), "{}", lines(&status));
        status.ok = true;
        let text = lines(&status);
        assert!(text.starts_with("store: ok") && !text.contains("IO error"), "{text}");
    }

    #[test]
    fn fsyncs_show_how_many_messages_share_one() {
        let per_sync = PerSync { transactions: 41.25, messages: 20.5 };
        let lately = Pace { interval_s: 5.0, syncs_per_s: 210.4, per_sync, ..Pace::default() };
        let status =
            StoreStatus { ok: true, syncs: 7, sync_us_mean: 150, per_sync, lately, ..Default::default() };
        let text = lines(&status);
        assert!(text.contains("fsyncs: 7, each with 41.2 transactions and 20.5 messages"), "{text}");
        assert!(text.contains("150 µs") && text.contains("in the last 5 s: 210.4/s"), "{text}");
    }
}
