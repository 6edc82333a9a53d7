//! Limits as data: one function from memory and cores to every limit, and what of it is in force here.
//!
//! [`derive()`] is pure: `godwitctl limits` prints it for any machine, each limit with its reason and source
//! (`rows.rs`). [`Ceiling`] says how many connections this process may take, what bounds that, and what to do
//! about it; the daemon never claims more. [`verify()`] compares the machine with what was derived.
mod ceiling;
mod derive;
mod rows;
mod verify;

pub use ceiling::{Bound, Ceiling, raise_descriptors};
pub use derive::{Budget, Derived, derive};
pub use rows::{Need, Place, Row, Value};
pub use verify::{Found, Sources, State, Verdict, kernel_line, verify};

use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// What limits are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Memory of the machine, in bytes.
    pub ram_bytes: u64,
    /// Cores.
    pub cores: u32,
}

impl Machine {
    /// This machine. Within a control group with a limit: the machine on which a service with that limit
    /// would be (what derives it leaves a part to the system, which is not taken a second time).
    pub fn here() -> Machine {
        let total = memory_bytes();
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let group = cgroup_memory_max("/proc/self/cgroup").map(derive::machine_of_service);
        Machine { ram_bytes: group.map_or(total, |ram| ram.min(total)), cores }
    }
}

/// From the kernel itself: the unit hides `/proc/meminfo` (`ProcSubset=pid`).
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit).max(1).saturating_mul(info.totalram)
}

/// The tightest memory.max from a process's control group up to the root.
pub(crate) fn cgroup_memory_max(cgroup_file: &str) -> Option<u64> {
    let own = fs::read_to_string(cgroup_file).ok()?;
    cgroups(&own, Path::new(CGROUPS)).iter().filter_map(|group| cgroup_number(group, "memory.max")).min()
}

/// Where control groups are.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// A process's control group (version 2), as its file `cgroup` names it, and those above it up to the root.
pub(crate) fn cgroups(own: &str, root: &Path) -> Vec<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| root.join(path));
    let up = path.iter().flat_map(|path| path.ancestors());
    up.take_while(|group| group.starts_with(root)).map(Path::to_owned).collect()
}

/// A file of a control group that holds one number; `None` without that, or without a limit.
pub(crate) fn cgroup_number(group: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under the unit, which hides `/proc/meminfo`, every machine was taken for one with 1 GiB.
    #[test]
    fn the_memory_is_the_machines_and_not_guessed_when_proc_is_hidden() {
        let meminfo = fs::read_to_string("/proc/meminfo").expect("of the test's own machine");
        let kib = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        assert_eq!(Some(memory_bytes() / 1024), kib);
        assert!(Machine::here().ram_bytes <= memory_bytes());
    }

    #[test]
    fn a_service_with_its_own_limit_derives_what_set_that_limit() {
        for gib in [1, 2, 24, 64, 500] {
            let ram_bytes = gib << 30;
            let derived = derive(Machine { ram_bytes, cores: 4 });
            let seen = derive::machine_of_service(derived.service_memory_max);
            assert!(seen.abs_diff(ram_bytes) <= 8, "{gib} GiB: {seen}");
        }
    }
}
