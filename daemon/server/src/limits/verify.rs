//! What is in force on this machine, compared with what was derived.
use super::rows::{Need, Place, Row, Value};
use crate::admin::protocol::Status;
use std::fs;
use std::path::PathBuf;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `/proc/sys`.
    pub proc_sys: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc/PID` of the daemon, if it runs.
    pub daemon: Option<PathBuf>,
    /// What the running daemon says for itself, by the names of the rows.
    pub told: Vec<(&'static str, u64)>,
}

/// What a limit is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This is in force.
    InForce(String),
    /// Nothing bounds it.
    Unlimited,
    /// It cannot be known, or does not exist here: why.
    Absent(&'static str),
}

/// How it compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As derived, or better.
    Good,
    /// Not as derived.
    Differs,
    /// Nothing to compare.
    Unknown,
}

/// A row, and what became of it.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What was derived.
    pub row: Row,
    /// What is there.
    pub found: Found,
    /// How it compares.
    pub state: State,
}

/// Compares all rows.
pub fn verify(rows: Vec<Row>, sources: &Sources) -> Vec<Verdict> {
    let judge = |row: Row| {
        let found = sources.look(&row);
        let state = match &found {
            Found::Absent(_) => State::Unknown,
            Found::Unlimited => State::Good,
            Found::InForce(text) if fits(&row, text) => State::Good,
            Found::InForce(_) => State::Differs,
        };
        Verdict { row, found, state }
    };
    rows.into_iter().map(judge).collect()
}

/// One line for the log of a daemon that starts: what of the kernel is not as derived, as far as it can be
/// seen (the unit hides `/proc/sys`; `godwitctl limits --verify`, which it runs before, sees all).
pub fn kernel_line(rows: Vec<Row>) -> Option<String> {
    let rows = rows.into_iter().filter(|row| matches!(row.place, Place::Sysctl | Place::OptionalSysctl));
    let verdicts = verify(rows.collect(), &Sources::here());
    let differing = verdicts.iter().filter(|verdict| verdict.state == State::Differs);
    let names: Vec<_> = differing.map(|verdict| verdict.row.name).collect();
    (!names.is_empty()).then(|| {
        format!("not as derived for this machine: {}; see godwitctl limits --verify", names.join(", "))
    })
}

impl Sources {
    /// This machine, without a daemon.
    pub fn here() -> Sources {
        Sources { proc_sys: "/proc/sys".into(), sys: "/sys".into(), daemon: None, told: Vec::new() }
    }

    /// This machine, with what a running daemon says for itself.
    pub fn of_daemon(status: &Status) -> Sources {
        Sources {
            daemon: Some(format!("/proc/{}", status.pid).into()),
            told: vec![
                ("limits.connections_max", status.ceiling.connections_max),
                ("limits.memory_mb", status.overload.memory_max_bytes >> 20),
            ],
            ..Sources::here()
        }
    }

    fn look(&self, row: &Row) -> Found {
        let read = |path: PathBuf| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        match row.place {
            Place::Sysctl => read(self.proc_sys.join(row.name.replace('.', "/")))
                .map_or(Found::Absent("cannot be read"), Found::InForce),
            Place::OptionalSysctl => read(self.proc_sys.join(row.name.replace('.', "/")))
                .map_or(Found::Absent("no firewall tracks connections"), Found::InForce),
            Place::Sysfs => read(self.sys.join(row.name))
                .map_or(Found::Absent("cannot be read"), |text| Found::InForce(chosen(&text).to_owned())),
            Place::Systemd => self.of_service(row.name),
            Place::Daemon => {
                let told = self.told.iter().find(|(name, _)| *name == row.name);
                told.map_or(Found::Absent("no daemon is running"), |(_, n)| Found::InForce(n.to_string()))
            }
        }
    }

    fn of_service(&self, name: &str) -> Found {
        let Some(daemon) = &self.daemon else { return Found::Absent("no daemon is running") };
        if name == "MemoryMax" {
            let file = daemon.join("cgroup");
            return match super::cgroup_memory_max(&file.to_string_lossy()) {
                Some(bytes) => Found::InForce(bytes.to_string()),
                None => Found::Unlimited,
            };
        }
        let limits = fs::read_to_string(daemon.join("limits")).unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        match line.and_then(|line| line.split_whitespace().next()) {
            Some("unlimited") => Found::Unlimited,
            Some(soft) => Found::InForce(soft.to_owned()),
            None => Found::Absent("cannot be read"),
        }
    }
}

/// Of `always [madvise] never` the one in brackets.
fn chosen(text: &str) -> &str {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(word, _)| word)
}

fn fits(row: &Row, text: &str) -> bool {
    let wanted = match &row.value {
        // Without huge pages nobody has to be asked.
        Value::Word(word) => return text == *word || text == "never",
        Value::Numbers(wanted) => wanted,
    };
    let found: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let Some(found) = found.filter(|found| found.len() == wanted.len()) else { return false };
    let mut pairs = found.iter().zip(wanted);
    match row.need {
        Need::AtLeast => pairs.all(|(found, wanted)| found >= wanted),
        Need::AtMost => pairs.all(|(found, wanted)| found <= wanted),
        Need::Exactly => pairs.all(|(found, wanted)| found == wanted),
        Need::Covers => {
            pairs.next().is_some_and(|(found, wanted)| found <= wanted)
                && pairs.next().is_some_and(|(found, wanted)| found >= wanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Machine, derive};
    use std::path::Path;

    fn put(dir: &Path, name: &str, text: &str) {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().expect("parent")).expect("directory");
        fs::write(file, text).expect("written");
    }

    /// A machine on which everything is as derived.
    fn machine(rows: &[Row]) -> (tempfile::TempDir, Sources) {
        let dir = tempfile::tempdir().expect("directory");
        for row in rows {
            match row.place {
                Place::Sysctl => put(dir.path(), &row.name.replace('.', "/"), &row.value.to_string()),
                Place::Sysfs => put(dir.path(), row.name, &format!("always [{}] never", row.value)),
                _ => {}
            }
        }
        put(
            dir.path(),
            "limits",
            "Limit  Soft Limit\nMax open files            99999999    99999999  files\n",
        );
        let daemon = Some(dir.path().to_owned());
        let sources =
            Sources { proc_sys: dir.path().into(), sys: dir.path().into(), daemon, told: Vec::new() };
        (dir, sources)
    }

    #[test]
    fn a_machine_set_up_as_derived_passes_and_each_change_is_found() {
        let rows = derive(Machine { ram_bytes: 4 << 30, cores: 2 }).rows();
        let (dir, sources) = machine(&rows);
        let differing = || -> Vec<&str> {
            let all = verify(rows.clone(), &sources).into_iter();
            all.filter(|verdict| verdict.state == State::Differs).map(|verdict| verdict.row.name).collect()
        };
        assert_eq!(differing(), [""; 0]);
        for (name, worse, fine) in [
            ("net.core.somaxconn", "128", "999999"),
            ("vm.swappiness", "60", "0"),
            ("net.ipv4.ip_local_port_range", "32768\t60999", "1024\t65535"),
        ] {
            put(dir.path(), &name.replace('.', "/"), worse);
            assert_eq!(differing(), [name]);
            put(dir.path(), &name.replace('.', "/"), fine);
            assert_eq!(differing(), [""; 0], "{name}");
        }
        put(dir.path(), "limits", "Max open files            1024    4096  files\n");
        assert_eq!(differing(), ["LimitNOFILE"]);
        put(dir.path(), "net/ipv4/tcp_mem", "1 2");
        assert_eq!(differing(), ["LimitNOFILE", "net.ipv4.tcp_mem"], "two of three numbers");
    }

    #[test]
    fn what_is_not_there_is_not_wrong() {
        let rows = derive(Machine { ram_bytes: 4 << 30, cores: 2 }).rows();
        let (_dir, sources) = machine(&rows);
        let of = |name: &str| {
            let verdict = verify(rows.clone(), &sources).into_iter().find(|verdict| verdict.row.name == name);
            verdict.expect("a row").state
        };
        assert_eq!(of("net.netfilter.nf_conntrack_max"), State::Unknown);
        assert_eq!(of("store.cache_mb"), State::Unknown);
    }
}
