//! The checks, in the order in which they are told: a line for each.
use super::finding::{Finding, Notes};
use super::{
    Site, backup, certificate, clock, daemon, disk, dns, kernel, limits, paths, ports, process, store, unit,
};
use std::fmt::Write;
use std::time::Duration;

/// A check.
#[derive(Debug)]
pub struct Check {
    /// Its name, which does not change.
    pub name: &'static str,
    /// What it looks at.
    pub about: &'static str,
    /// Looks and judges.
    pub(super) look: fn(&Site) -> Finding,
    /// How long it may take.
    pub(super) limit: Duration,
    /// That it takes longer is the fault it looks for.
    late_is_red: bool,
}

impl Check {
    pub(super) const fn new(name: &'static str, about: &'static str, look: fn(&Site) -> Finding) -> Check {
        Check { name, about, look, limit: Duration::from_secs(10), late_is_red: false }
    }
    pub(super) const fn late_is_red(self) -> Check {
        Check { late_is_red: true, ..self }
    }
    pub(super) const fn limit_ms(self, ms: u64) -> Check {
        Check { limit: Duration::from_millis(ms), ..self }
    }

    /// What is said if it does not end in its time.
    pub(super) fn late(&self) -> Finding {
        let mut notes = Notes::default();
        let text = format!("no result within {:.0} s", self.limit.as_secs_f64());
        let remedy = "look at the disk and the load (dmesg, iostat, top), then run it again";
        match self.late_is_red {
            true => notes.red("late", text, remedy),
            false => notes.unseen(text, remedy),
        }
        notes.finish("")
    }
}

const fn check(name: &'static str, about: &'static str, look: fn(&Site) -> Finding) -> Check {
    Check::new(name, about, look)
}

/// All of them.
pub static CHECKS: &[Check] = &[
    check("configuration", "the file can be read and makes sense on this machine", daemon::configuration),
    check("daemon", "a daemon runs and answers, no thread is stuck", daemon::running),
    check("readiness", "clients may be sent here: the verdict of /readyz", daemon::readiness),
    check("reload", "the configuration in force is the one on disk", daemon::reload),
    check("version", "the running daemon is the binary on disk", daemon::version),
    check("upgrade", "the last upgrade went well", daemon::upgrade),
    check("limits", "limits of unit and daemon against the derived ones", limits::own),
    check("sysctls", "the kernel's limits against the derived ones", limits::sysctls),
    check("descriptors", "allowed, in use, and of the whole machine", process::descriptors),
    check("memory", "resident memory, its ceiling, and the control group's", process::memory),
    check("swap", "no part of the daemon is swapped out", process::swap),
    check("core-dumps", "no dump with keys and messages is written", process::core_dumps),
    check("clock", "synchronised, and not behind the newest message", clock::check),
    check("kernel", "new enough", kernel::version),
    check("entropy", "the kernel gives random bytes without waiting", kernel::entropy).late_is_red(),
    check("apparmor", "a profile confines the daemon", kernel::apparmor),
    check("unit", "the unit in force is as hardened as the package's", unit::check),
    check("disk", "bytes and inodes left where the data is", disk::space).late_is_red(),
    check("fsync", "time that a sync takes where the data is", disk::fsync).late_is_red(),
    check("data-directory", "nobody else can read what is in it", paths::check),
    check("store", "a sample of every family reads with its checksums", store::check).limit_ms(20_000),
    check("certificate", "chains and keys can be read and belong together", certificate::files),
    check("certificate-chain", "they lead to a root that clients trust", certificate::chains),
    check("certificate-names", "each domain has a certificate", certificate::names),
    check("certificate-days", "days that are left", certificate::days),
    check("dns-srv", "SRV records lead to ports that are open", dns::srv),
    check("dns-address", "the names that clients connect to have addresses", dns::addresses),
    check("ports", "each port answers and shakes hands with the certificate on disk", ports::reachable),
    check("listeners", "the daemon listens where the configuration says", ports::listeners),
    check("backup", "age of the newest one", backup::age),
    check("backup-content", "its files are there, a sample with the right checksum", backup::content)
        .limit_ms(20_000),
];

/// Their names, for `--only`.
pub fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

/// For `--help`: a line for each check, and what the exit status means.
pub fn help() -> String {
    let mut text = String::from("CHECKS\n");
    for check in CHECKS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<18} {}", check.name, check.about);
    }
    text + HELP
}

const HELP: &str = "
EXIT STATUS
  0  everything is green
  1  the worst is yellow: it works and is not as it should be, or could not be seen
  2  the worst is red: broken, or about to be
  3  the doctor itself failed: its output or the state of --changes cannot be written

FILES
  /etc/godwit/godwit.toml  the configuration
  DATA_DIR/doctor.json     what the last run with --changes found; --state names another file

EXAMPLES
  godwitctl doctor
  godwitctl doctor --json | jq '.checks[] | select(.level == \"red\")'
  godwitctl doctor --only fsync --only disk
  systemctl enable --now godwit-doctor.timer
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_the_table() {
        let mut names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        assert!(names.iter().all(|name| name.len() <= 18));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
        assert!(help().lines().all(|line| line.len() <= 100), "{}", help());
    }
}
