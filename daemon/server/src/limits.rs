//! Limits as data: one function from memory and cores to every limit, and what of it is in force on this
//! machine.
//!
//! [`derive()`] is pure: `godwitctl limits` prints it for any machine. [`Ceiling`] says how many connections
//! this process may take, what bounds that, and what to do about it; the daemon never claims more.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// Memory for one connection, in bytes: 4 KiB of kernel slab, 2 KiB of the daemon while idle, and the rest
/// for buffers of the few that are active.
const CONNECTION_BYTES: u64 = 16 << 10;
/// Part of the machine's memory for connections: 1 in so many.
const CONNECTIONS_SHARE: u64 = 2;
/// Part of the machine's memory for the store's block cache and memtables: 1 in so many.
const CACHE_SHARE: u64 = 16;
const MEMTABLE_SHARE: u64 = 32;
/// Descriptors for logs, pipes, polls, admin connections and the store's own files besides its tables.
const OTHER_DESCRIPTORS: u64 = 512;
/// fs.nr_open as kernels have it.
const NR_OPEN_DEFAULT: u64 = 1_048_576;

/// What limits are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Memory that this process may use, in bytes.
    pub ram_bytes: u64,
    /// Cores.
    pub cores: u32,
}

impl Machine {
    /// This machine: its memory, or what the control group allows of it.
    pub fn here() -> Machine {
        let total = memory_bytes();
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        Machine { ram_bytes: cgroup_memory_max().map_or(total, |max| max.min(total)), cores }
    }
}

/// From the kernel itself: the unit hides `/proc/meminfo` (`ProcSubset=pid`).
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit).max(1).saturating_mul(info.totalram)
}

/// The tightest memory.max from our control group up to the root.
fn cgroup_memory_max() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups = Path::new("/sys/fs/cgroup").join(path);
    let limits = groups.ancestors().take_while(|dir| dir.starts_with("/sys/fs/cgroup"));
    limits.filter_map(|dir| fs::read_to_string(dir.join("memory.max")).ok()?.trim().parse().ok()).min()
}

/// Every limit for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Derived {
    /// Client connections at once.
    pub connections_max: u64,
    /// LimitNOFILE of the service.
    pub descriptors_max: u64,
    /// fs.nr_open: LimitNOFILE must not be above it.
    pub nr_open: u64,
    /// fs.file-max, for the whole machine.
    pub file_max: u64,
    /// Block cache of the store, in bytes.
    pub store_cache_bytes: u64,
    /// Memtables of the store, in bytes.
    pub store_memtable_bytes: u64,
    /// Table files that the store holds open.
    pub store_files_max: u64,
    /// Shards.
    pub shards: u32,
}

/// From (memory, cores) to limits.
pub fn derive(machine: Machine) -> Derived {
    let ram = machine.ram_bytes;
    let connections_max = (ram / CONNECTIONS_SHARE / CONNECTION_BYTES).max(1_000);
    let store_files_max = (ram / (4 * MIB)).clamp(512, 8_192);
    let descriptors_max = (connections_max + store_files_max + OTHER_DESCRIPTORS).next_multiple_of(4_096);
    Derived {
        connections_max,
        descriptors_max,
        nr_open: descriptors_max.max(NR_OPEN_DEFAULT),
        file_max: descriptors_max + descriptors_max / 4 + 65_536,
        store_cache_bytes: (ram / CACHE_SHARE).clamp(16 * MIB, 65_536 * MIB),
        store_memtable_bytes: (ram / MEMTABLE_SHARE).clamp(16 * MIB, 1_024 * MIB),
        store_files_max,
        shards: machine.cores.max(1),
    }
}

/// Where a limit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A kernel parameter.
    Sysctl,
    /// A directive of the service's unit.
    Systemd,
    /// The daemon itself, unless its configuration says otherwise.
    Daemon,
}

/// One limit, to be printed.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Where it is set.
    pub place: Place,
    /// Its name there.
    pub name: &'static str,
    /// Its value, in the unit of that name.
    pub value: u64,
    /// Why it has this value.
    pub why: &'static str,
}

impl Derived {
    /// All limits, in the order in which they are printed.
    pub fn rows(&self) -> Vec<Row> {
        let row = |place, name, value, why| Row { place, name, value, why };
        vec![
            row(Place::Sysctl, "fs.nr_open", self.nr_open, "a service's LimitNOFILE may not be above it"),
            row(
                Place::Sysctl,
                "fs.file-max",
                self.file_max,
                "the daemon's descriptors and a reserve for all else",
            ),
            row(
                Place::Systemd,
                "LimitNOFILE",
                self.descriptors_max,
                "connections, the store's files, a reserve",
            ),
            row(
                Place::Daemon,
                "limits.connections_max",
                self.connections_max,
                "half of the memory at 16 KiB a connection, kernel's part included",
            ),
            row(Place::Daemon, "store.cache_mb", self.store_cache_bytes / MIB, "a sixteenth of the memory"),
            row(Place::Daemon, "store.memtable_mb", self.store_memtable_bytes / MIB, "a 32nd of the memory"),
            row(Place::Daemon, "server.shards", u64::from(self.shards), "one for each core"),
        ]
    }
}

/// What bounds the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The configuration.
    Configuration,
    /// The descriptors that the process may have.
    Descriptors,
    /// Memory.
    Memory,
}

/// How many connections the daemon takes, and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Connections.
    pub connections_max: u64,
    /// What bounds them.
    pub bound_by: Bound,
    /// What to do to get more.
    pub remedy: String,
}

impl Ceiling {
    /// From what is derived, what is configured (0: nothing) and the descriptor limit in force.
    pub fn new(derived: &Derived, configured: u64, descriptors: u64) -> Ceiling {
        // With few descriptors half of them are the daemon's own: a store that cannot open its files serves
        // nobody.
        let own = (derived.store_files_max + OTHER_DESCRIPTORS).min(descriptors / 2);
        let by_descriptors = descriptors - own;
        let wanted = if configured == 0 { derived.connections_max } else { configured };
        if by_descriptors < wanted {
            let want = (wanted + own).next_multiple_of(4_096);
            let remedy = format!(
                "set LimitNOFILE={want} in the unit, with fs.nr_open at least that (now {descriptors})"
            );
            return Ceiling { connections_max: by_descriptors, bound_by: Bound::Descriptors, remedy };
        }
        if configured != 0 {
            let remedy = "raise limits.connections_max, or set it to 0 to have it derived".into();
            return Ceiling { connections_max: configured, bound_by: Bound::Configuration, remedy };
        }
        let remedy = "give the machine more memory; see godwitctl limits".into();
        Ceiling { connections_max: wanted, bound_by: Bound::Memory, remedy }
    }

    /// One line for the log.
    pub fn line(&self) -> String {
        let by = match self.bound_by {
            Bound::Configuration => "limits.connections_max",
            Bound::Descriptors => "the limit on descriptors",
            Bound::Memory => "memory",
        };
        format!("room for {} connections, bounded by {by}; for more: {}", self.connections_max, self.remedy)
    }
}

/// Raises the soft limit on descriptors to the hard one; returns the limit then in force.
pub fn raise_descriptors() -> u64 {
    let now = getrlimit(Resource::Nofile);
    // A failure leaves the old limit, and the ceiling is made from what is in force.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(NR_OPEN_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(gib: u64, cores: u32) -> Machine {
        Machine { ram_bytes: gib << 30, cores }
    }

    #[test]
    fn sixty_four_gigabytes_hold_two_million() {
        let derived = derive(machine(64, 16));
        assert!(derived.connections_max >= 2_000_000, "{derived:?}");
        assert!(derived.descriptors_max > derived.connections_max);
        assert!(derived.nr_open >= derived.descriptors_max);
        assert!(derived.file_max > derived.descriptors_max);
    }

    #[test]
    fn no_machine_promises_more_than_it_has() {
        for gib in [1, 2, 4, 8, 64, 512] {
            let derived = derive(machine(gib, 2));
            let connections = derived.connections_max * CONNECTION_BYTES;
            let sum = connections + derived.store_cache_bytes + derived.store_memtable_bytes;
            assert!(sum <= (gib << 30) * 3 / 4, "{gib} GiB: {derived:?}");
        }
    }

    #[test]
    fn the_ceiling_names_what_bounds_it() {
        let derived = derive(machine(2, 2));
        let few = Ceiling::new(&derived, 0, 1_024);
        assert_eq!((few.connections_max, few.bound_by), (512, Bound::Descriptors));
        assert!(few.line().contains("LimitNOFILE="), "{}", few.line());
        let enough = Ceiling::new(&derived, 0, derived.descriptors_max);
        assert_eq!((enough.connections_max, enough.bound_by), (derived.connections_max, Bound::Memory));
        let told = Ceiling::new(&derived, 5_000, derived.descriptors_max);
        assert_eq!((told.connections_max, told.bound_by), (5_000, Bound::Configuration));
    }

    /// Under the unit, which hides `/proc/meminfo`, every machine was taken for one with 1 GiB.
    #[test]
    fn the_memory_is_the_machines_and_not_guessed_when_proc_is_hidden() {
        let meminfo = fs::read_to_string("/proc/meminfo").expect("of the test's own machine");
        let kib = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        assert_eq!(Some(memory_bytes() / 1024), kib);
        assert!(Machine::here().ram_bytes <= memory_bytes());
    }
}
