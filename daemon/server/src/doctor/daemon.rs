//! The configuration and the running daemon: configuration, daemon, readiness, reload, version, upgrade.
use super::finding::{Finding, Notes, needs_daemon, unseen};
use super::site::{Daemon, Site};
use crate::admin::protocol::{HealthStatus, ReloadStatus, Status, TroubleRow, UpgradeStatus};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

/// Problems shown; the others are counted.
const SHOWN_MAX: usize = 3;
/// A file's time is coarser than a clock.
const SLACK_MS: u64 = 1_000;

pub(super) fn configuration(site: &Site) -> Finding {
    let denied = fs::File::open(&site.config_file).err().filter(|e| e.kind() == ErrorKind::PermissionDenied);
    match denied {
        Some(error) => unseen(format!("{}: {error}", site.config_file.display()), AS_ROOT),
        None => judge_configuration(&site.problems(), &site.config_file.display().to_string()),
    }
}

/// What to do about what this user may not see.
pub(super) const AS_ROOT: &str = "run it as root, or as the daemon's user";

fn judge_configuration(problems: &[String], file: &str) -> Finding {
    let mut notes = Notes::default();
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(SHOWN_MAX);
        let mut text = problems.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            text += &format!("; and {more} more");
        }
        notes.red("wrong", text, format!("mend {file}, then: godwitd --config {file} --check"));
    }
    notes.finish(format!("{file} is fine"))
}

pub(super) fn running(site: &Site) -> Finding {
    judge_running(&site.daemon, site.config.is_ok())
}

fn judge_running(daemon: &Daemon, configured: bool) -> Finding {
    let mut notes = Notes::default();
    let mut good = String::new();
    match daemon {
        Daemon::Up { status, health } => {
            let up = (status.now_ms.saturating_sub(status.started_ms)) / 1_000;
            let Status { pid, connections, .. } = status.as_ref();
            good = format!("process {pid}, up {up} s, {connections} connections");
            if !status.stuck.is_empty() {
                let remedy = "see its log and the disk; if it stays: systemctl restart godwit";
                notes.red("stuck", format!("stuck: {}", status.stuck.join(", ")), remedy);
            }
            if let Err(why) = health {
                notes.unseen(format!("does not know what this godwitctl asks: {why}"), "godwitctl upgrade");
            }
        }
        Daemon::Down if configured => notes.red(
            "down",
            "no daemon is running",
            "systemctl start godwit; if it ends: journalctl -u godwit",
        ),
        Daemon::Down => {
            notes.unseen("not found without the configuration", "name it with --config or --socket")
        }
        Daemon::Silent(why) => {
            let remedy = "see its log; if it stays: systemctl restart godwit";
            notes.red("silent", format!("a daemon is there and does not answer: {why}"), remedy);
        }
        Daemon::Forbidden(why) => notes.unseen(why.clone(), AS_ROOT),
    }
    notes.finish(good)
}

pub(super) fn readiness(site: &Site) -> Finding {
    site.health().map_or_else(needs_daemon, |health| judge_readiness(&health.troubles))
}

fn judge_readiness(troubles: &[TroubleRow]) -> Finding {
    let mut notes = Notes::default();
    for TroubleRow { what, why } in troubles {
        let cause = CAUSES.iter().find(|cause| what == *cause).copied().unwrap_or("other");
        notes.red(
            cause,
            why.clone(),
            "the runbook has a paragraph: ansible/roles/monitoring/files/RUNBOOK.md",
        );
    }
    notes.finish("ready")
}

/// As in `metrics/health.rs`.
const CAUSES: [&str; 9] =
    ["store", "queue", "shard", "thread", "certificate", "connections", "memory", "limits", "descriptors"];

/// When the configuration was read last, and when it was written.
#[derive(Default)]
struct Reload {
    last: Option<ReloadStatus>,
    started_ms: u64,
    written_ms: Option<u64>,
}

pub(super) fn reload(site: &Site) -> Finding {
    let Some(status) = site.status() else { return needs_daemon() };
    let file = site.health().map_or(&site.config_file, |health| &health.config_file);
    let modified = fs::metadata(file).and_then(|found| found.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    judge_reload(&Reload {
        last: status.reload.clone(),
        started_ms: status.started_ms,
        written_ms: since.and_then(|since| u64::try_from(since.as_millis()).ok()),
    })
}

fn judge_reload(facts: &Reload) -> Finding {
    let mut notes = Notes::default();
    let mut read_ms = facts.started_ms;
    if let Some(last) = &facts.last {
        let lines = last.lines.join("; ");
        match last.ok {
            false => notes.red(
                "refused",
                format!("the last reload was refused, all is as before: {lines}"),
                "mend it, then: systemctl reload godwit",
            ),
            true if !last.lines.is_empty() => {
                notes.yellow("waiting", lines, "godwitctl upgrade, or a restart")
            }
            true => {}
        }
        read_ms = read_ms.max(last.at_ms);
    }
    if facts.written_ms.is_some_and(|written| written > read_ms + SLACK_MS) {
        let text = "the file was written after the daemon read it last";
        notes.yellow("newer", text, "systemctl reload godwit");
    }
    notes.finish("in force")
}

/// Which programs there are.
struct Version<'a> {
    running: &'a str,
    own: &'a str,
    binary: Option<PathBuf>,
    changed: bool,
    gone: bool,
}

pub(super) fn version(site: &Site) -> Finding {
    let Some(status) = site.status() else { return needs_daemon() };
    let health: Option<&HealthStatus> = site.health();
    let binary = health.map(|health| health.binary.clone());
    let gone = |path: &PathBuf| fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    judge_version(&Version {
        running: &status.version,
        own: crate::version::version(),
        gone: binary.as_ref().is_some_and(gone),
        binary,
        changed: health.is_some_and(|health| health.binary_changed),
    })
}

fn judge_version(facts: &Version<'_>) -> Finding {
    let mut notes = Notes::default();
    let Version { running, own, binary, changed, gone } = facts;
    let path = binary.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    if *gone {
        let text = format!("{path} is gone: {running} runs on, and could not be started again");
        notes.red("gone", text, "install the package again");
    } else if *changed {
        let text = format!("{running} runs, and {path} is another binary by now");
        notes.yellow("installed", text, "godwitctl upgrade");
    }
    if running != own {
        let text = format!("godwitd is {running}, this godwitctl {own}");
        notes.yellow("differs", text, "godwitctl upgrade; or run the godwitctl of that version");
    }
    notes.finish(format!("{running}, as on disk"))
}

pub(super) fn upgrade(site: &Site) -> Finding {
    let Some(status) = site.status() else { return needs_daemon() };
    judge_upgrade(status.upgrade.as_ref(), status.notice.as_deref())
}

fn judge_upgrade(last: Option<&UpgradeStatus>, notice: Option<&str>) -> Finding {
    let mut notes = Notes::default();
    if let Some(notice) = notice {
        let remedy = "report it with the journal of that time; another package is tried when it is installed";
        notes.red("crashed", notice, remedy);
    }
    if let Some(last) = last.filter(|last| !last.ok) {
        notes.yellow("refused", last.line(), "mend what it says, then: godwitctl upgrade");
    }
    notes.finish(last.map_or_else(|| "none since the start".into(), UpgradeStatus::line))
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Level, UNSEEN};
    use super::super::testing::status;
    use super::*;

    #[test]
    fn a_wrong_configuration_is_red() {
        assert_eq!(judge_configuration(&[], "f").level, Level::Green);
        let problems: Vec<String> = (0..5).map(|n| format!("problem {n}")).collect();
        let found = judge_configuration(&problems, "f");
        assert!(found.level == Level::Red && found.found.ends_with("and 2 more"), "{found:?}");
    }

    #[test]
    fn a_daemon_that_is_down_silent_or_stuck_is_red() {
        let up = |stuck: &[&str]| {
            let mut status = status();
            status.stuck = stuck.iter().map(ToString::to_string).collect();
            Daemon::Up { status: Box::new(status), health: Err("not a request".into()) }
        };
        let level = |daemon: &Daemon| judge_running(daemon, true).level;
        assert_eq!(judge_running(&up(&[]), true).causes, [UNSEEN], "an older daemon");
        assert_eq!(level(&up(&["shard 0"])), Level::Red);
        assert_eq!(level(&Daemon::Down), Level::Red);
        assert_eq!(level(&Daemon::Silent("late".into())), Level::Red);
        assert_eq!(judge_running(&Daemon::Forbidden("denied".into()), true).causes, [UNSEEN]);
        assert_eq!(judge_running(&Daemon::Down, false).causes, [UNSEEN]);
    }

    #[test]
    fn what_readyz_says_is_red_and_has_its_cause() {
        let row = |what: &str| TroubleRow { what: what.into(), why: "why".into() };
        assert_eq!(judge_readiness(&[]).level, Level::Green);
        let found = judge_readiness(&[row("store"), row("later")]);
        assert!(found.level == Level::Red && found.causes == ["other", "store"], "{found:?}");
    }

    #[test]
    fn a_refused_reload_is_red_and_one_that_lacks_yellow() {
        let last = |ok, lines: &[&str]| {
            Some(ReloadStatus { at_ms: 5_000, ok, lines: lines.iter().map(ToString::to_string).collect() })
        };
        let judge = |last, written_ms| {
            let found = judge_reload(&Reload { last, started_ms: 1_000, written_ms: Some(written_ms) });
            (found.level, found.causes)
        };
        assert_eq!(judge(None, 500).0, Level::Green);
        assert_eq!(judge(last(true, &[]), 5_000).0, Level::Green);
        assert_eq!(judge(last(false, &["bad"]), 5_000), (Level::Red, vec!["refused".to_owned()]));
        assert_eq!(judge(last(true, &["server.shards takes effect"]), 5_000).0, Level::Yellow);
        assert_eq!(judge(None, 9_000), (Level::Yellow, vec!["newer".to_owned()]));
    }

    #[test]
    fn a_binary_that_is_gone_is_red_and_another_one_yellow() {
        let facts = |running, changed, gone| Version {
            running,
            own: "1",
            binary: Some("/usr/bin/godwitd".into()),
            changed,
            gone,
        };
        assert_eq!(judge_version(&facts("1", false, false)).level, Level::Green);
        assert_eq!(judge_version(&facts("1", true, false)).level, Level::Yellow);
        assert_eq!(judge_version(&facts("0", false, false)).level, Level::Yellow);
        assert_eq!(judge_version(&facts("1", true, true)).level, Level::Red);
    }

    #[test]
    fn an_upgrade_that_crashed_is_red_and_a_refused_one_yellow() {
        let mut last = UpgradeStatus {
            at_ms: 0,
            ok: true,
            from: "1".into(),
            to: Some("2".into()),
            carried: 3,
            sessions: 3,
            closed: 0,
            pause_ms: 20.0,
            message: None,
        };
        assert_eq!(judge_upgrade(None, None).level, Level::Green);
        assert_eq!(judge_upgrade(Some(&last), None).level, Level::Green);
        last.ok = false;
        last.message = Some("too old".into());
        assert_eq!(judge_upgrade(Some(&last), None).level, Level::Yellow);
        assert_eq!(judge_upgrade(None, Some("2 crashed; 1 runs again")).level, Level::Red);
    }
}
