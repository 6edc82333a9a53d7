//! What the operator has to know now: the conditions of the alerts in `ansible/roles/monitoring/files/`, as
//! far as the status tells them, with the same thresholds.
use super::sample::{Latency, Rates};
use crate::admin::protocol::Status;
use crate::ctl::table::{micros, span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Clients suffer.
    Critical,
    /// They will, if nothing is done.
    Warning,
    /// Worth knowing.
    Remark,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) weight: Weight,
    pub(super) text: String,
}

/// Part of the disk that must be free, in hundredths.
const DISK_FREE_PERCENT_MIN: u64 = 10;
/// Parts of what is allowed, in hundredths.
const DESCRIPTORS_PERCENT_MAX: u64 = 95;
const CONNECTIONS_PERCENT_MAX: u64 = 90;
const MEMORY_PERCENT_MAX: u64 = 95;
/// Age of a backup.
const BACKUP_MS_MAX: u64 = 26 * 3_600_000;
/// p99.
const COMMIT_US_MAX: u64 = 500_000;
const DELIVERY_US_MAX: u64 = 1_000_000;
/// A second.
const FAILED_LOGINS_MAX: f64 = 5.0;

/// The worst first.
pub(super) fn alerts(status: &Status, rates: &Rates, delivery: Latency, commit: Latency) -> Vec<Alert> {
    let mut found: Vec<Alert> = Vec::new();
    let mut add = |weight, text: String| {
        // A certificate that has expired is in both lists.
        if !found.iter().any(|alert| alert.text == text) {
            found.push(Alert { weight, text });
        }
    };
    status.load.not_ready.iter().for_each(|why| add(Weight::Critical, why.clone()));
    if rates.writes_refused > 0.0 {
        add(Weight::Critical, format!("{:.1} stanzas/s cannot be written", rates.writes_refused));
    }
    for warning in status.certificates.iter().filter_map(|certificate| certificate.warning.clone()) {
        add(Weight::Warning, warning);
    }
    rooms(status, &mut add);
    if rates.refused > 0.0 {
        add(
            Weight::Warning,
            format!("{:.1} connections/s are refused: {}", rates.refused, status.ceiling.line()),
        );
    }
    if rates.logins_failed > FAILED_LOGINS_MAX {
        add(Weight::Warning, format!("{:.0} logins/s fail: somebody tries passwords", rates.logins_failed));
    }
    if let Some(us) = delivery.p99_us.filter(|us| *us > DELIVERY_US_MAX) {
        add(Weight::Warning, format!("messages take {} to their recipients (p99)", micros(us)));
    }
    if let Some(us) = commit.p99_us.filter(|us| *us > COMMIT_US_MAX) {
        add(Weight::Warning, format!("commits take {} (p99): see what the disk does", micros(us)));
    }
    if status.load.stalling {
        add(Weight::Warning, "the store slows writes down: compactions do not keep up".into());
    }
    if rates.slow > 0.0 {
        let text =
            format!("{:.1} messages/s are slow (log.slow_stanza): the log has their steps", rates.slow);
        add(Weight::Warning, text);
    }
    if status.reload.as_ref().is_some_and(|reload| !reload.ok) {
        add(Weight::Warning, "the last reload was refused: godwitctl status".into());
    }
    backup(status, &mut add);
    if status.log_lines_dropped > 0 {
        add(Weight::Remark, format!("{} lines dropped, the log was too slow", status.log_lines_dropped));
    }
    if status.log_level.set_ms.is_some() {
        add(Weight::Remark, format!("log level {}", status.log_level.line()));
    }
    found.sort_by_key(|alert| alert.weight);
    found
}

/// What is nearly used up.
fn rooms(status: &Status, add: &mut impl FnMut(Weight, String)) {
    let load = &status.load;
    if load.disk_bytes > 0 && load.disk_free_bytes * 100 < load.disk_bytes * DISK_FREE_PERCENT_MIN {
        add(
            Weight::Warning,
            format!("{} % of the disk are free", load.disk_free_bytes * 100 / load.disk_bytes),
        );
    }
    let parts = [
        ("descriptors", load.descriptors, load.descriptors_max, DESCRIPTORS_PERCENT_MAX),
        ("connections", status.connections, status.ceiling.connections_max, CONNECTIONS_PERCENT_MAX),
        ("memory", status.rss_bytes, status.overload.memory_max_bytes, MEMORY_PERCENT_MAX),
    ];
    for (what, used, max, percent_max) in parts {
        let percent = super::percent(used, max);
        if percent > percent_max {
            add(Weight::Warning, format!("{percent} % of the {what} are used"));
        }
    }
}

fn backup(status: &Status, add: &mut impl FnMut(Weight, String)) {
    match &status.backup {
        None => add(Weight::Warning, "there is no backup: godwitctl backup create DIR".into()),
        Some(backup) => {
            let age = status.now_ms.saturating_sub(backup.at_ms);
            if age > BACKUP_MS_MAX {
                add(Weight::Warning, format!("the last backup is {} old", span(age)));
            }
        }
    }
    if let Some(notice) = &status.notice {
        add(Weight::Warning, notice.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;

    fn texts(status: &Status, rates: &Rates) -> Vec<String> {
        let none = Latency::default();
        alerts(status, rates, none, none).into_iter().map(|alert| alert.text).collect()
    }

    #[test]
    fn a_box_that_is_well_has_none() {
        assert_eq!(texts(&status(), &Rates::default()), [""; 0]);
    }

    #[test]
    fn the_worst_comes_first_and_nothing_twice() {
        let mut status = status();
        status.backup = None;
        let expired = "certificate a.pem expired 3 days ago".to_owned();
        status.certificates[0].warning = Some(expired.clone());
        status.load.not_ready = vec![expired.clone()];
        let found = texts(&status, &Rates { refused: 2.0, ..Rates::default() });
        assert_eq!(found.iter().position(|text| *text == expired), Some(0), "{found:?}");
        assert!(found[1].starts_with("2.0 connections/s are refused: room for 19103"), "{found:?}");
        assert_eq!(found[2..], ["there is no backup: godwitctl backup create DIR"]);
    }

    #[test]
    fn what_is_nearly_used_up_is_told_and_what_is_slow() {
        let mut status = status();
        (status.load.disk_bytes, status.load.disk_free_bytes) = (1_000, 99);
        (status.load.descriptors, status.load.descriptors_max) = (97, 100);
        status.backup.as_mut().expect("a backup").at_ms = 0;
        status.now_ms = 3 * 86_400_000;
        let slow = Latency { p50_us: Some(1), p99_us: Some(2_000_000) };
        let found = alerts(&status, &Rates::default(), slow, slow);
        let texts: Vec<&str> = found.iter().map(|alert| alert.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "9 % of the disk are free",
                "97 % of the descriptors are used",
                "messages take 2.0 s to their recipients (p99)",
                "commits take 2.0 s (p99): see what the disk does",
                "the last backup is 3days old"
            ]
        );
    }
}
