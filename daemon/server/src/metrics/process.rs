//! What the kernel says of this process. Reading costs a few dozen system calls: for each answer, not for
//! each stanza.
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::fs;

/// Figures of the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Process {
    /// CPU time of all threads, in seconds.
    pub cpu_s: f64,
    /// Resident set.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Descriptors in use.
    pub descriptors: u64,
    /// Descriptors allowed.
    pub descriptors_max: u64,
    /// Threads.
    pub threads: u64,
    /// How often threads waited and were switched away from.
    pub switches: Switches,
}

/// Context switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Switches {
    /// By waiting.
    pub voluntary: u64,
    /// By the scheduler, in favour of another.
    pub involuntary: u64,
}

/// Reads the figures; remembers the switches of threads that have ended, which the kernel forgets.
#[derive(Debug, Default)]
pub struct Reader {
    living: BTreeMap<String, Switches>,
    ended: Switches,
}

impl Reader {
    /// The figures now; 0 for what cannot be read.
    pub fn read(&mut self) -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: field(&status, "VmRSS:").saturating_mul(1024),
            virtual_bytes: field(&status, "VmSize:").saturating_mul(1024),
            descriptors: descriptors(),
            descriptors_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            threads: field(&status, "Threads:"),
            switches: self.switches(tasks()),
        }
    }

    fn switches(&mut self, now: BTreeMap<String, Switches>) -> Switches {
        let before = std::mem::replace(&mut self.living, now);
        for (task, last) in before {
            if !self.living.contains_key(&task) {
                self.ended.add(last);
            }
        }
        let mut all = self.ended;
        self.living.values().for_each(|task| all.add(*task));
        all
    }
}

impl Switches {
    fn add(&mut self, other: Switches) {
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
    }
}

/// Each thread's switches, by its number.
fn tasks() -> BTreeMap<String, Switches> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let read = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let switches = Switches {
            voluntary: field(&status, "voluntary_ctxt_switches:"),
            involuntary: field(&status, "nonvoluntary_ctxt_switches:"),
        };
        Some((task.file_name().to_string_lossy().into_owned(), switches))
    };
    tasks.filter_map(|task| read(task.ok()?)).collect()
}

/// Connections that found a listener's queue full, of all listeners on this machine, since it started; 0 if
/// that cannot be read.
pub fn backlog_overflows() -> u64 {
    let text = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(name, _)| *name == "ListenOverflows").and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
}

/// The resident set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resident {
    /// All of it, in bytes.
    pub all: u64,
    /// Of files that are mapped: code and constants.
    pub files: u64,
    /// Of no file: the heap and the threads' stacks.
    pub anonymous: u64,
}

/// Read now; 0 for what cannot be read.
pub fn resident() -> Resident {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name| field(&status, name).saturating_mul(1024);
    Resident { all: bytes("VmRSS:"), files: bytes("RssFile:"), anonymous: bytes("RssAnon:") }
}

/// The first number behind a name at the begin of a line.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Since Linux 6.2 the directory's size is the number of descriptors; before, they have to be counted.
fn descriptors() -> u64 {
    match fs::metadata("/proc/self/fd") {
        Ok(directory) if directory.len() > 0 => directory.len(),
        _ => fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let process = Reader::default().read();
        assert!(process.cpu_s > 0.0 && process.resident_bytes > 1 << 20, "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes && process.threads > 0, "{process:?}");
        assert!(process.descriptors > 2 && process.descriptors_max >= process.descriptors, "{process:?}");
    }

    #[test]
    fn switches_of_ended_threads_are_kept() {
        let task = |n: &str, voluntary| (n.to_owned(), Switches { voluntary, involuntary: 1 });
        let mut reader = Reader::default();
        let first = reader.switches([task("1", 10), task("2", 5)].into());
        assert_eq!(first, Switches { voluntary: 15, involuntary: 2 });
        let second = reader.switches([task("1", 12)].into());
        assert_eq!(second, Switches { voluntary: 17, involuntary: 2 });
        let third = reader.switches([task("1", 12), task("3", 1)].into());
        assert_eq!(third, Switches { voluntary: 18, involuntary: 3 });
    }

    #[test]
    fn only_a_whole_name_is_found() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nVmRSS:\t  12 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 3);
        assert_eq!((field(status, "VmRSS:"), field(status, "VmSize:")), (12, 0));
    }
}
