//! Is there memory for a hand-over? Asked before anything is touched: a process that is killed for want of
//! memory in the middle of one has cut everybody.
//!
//! At its height there are, besides everything that is there before, the pieces that each shard wrote and
//! the sealed memory that they are put together in. Neither is larger than what it describes. `execve` then
//! frees the old process, so that the next one has room to build the same again.

use crate::limits::{CGROUPS, cgroup_number, cgroups};
use std::fs;
use std::path::Path;

/// For what does not depend on the number of connections.
const ALWAYS: u64 = 16 << 20;

/// Bytes that may be used besides those in use, and where the least of them is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    free: u64,
    of: String,
}

/// Bytes that a hand-over needs at most, if connections and sessions hold `held` now.
pub(crate) fn needed(held: u64) -> u64 {
    ALWAYS + 2 * held
}

impl Room {
    /// Of this process: the machine's, or its control group's. `None` if neither can be seen.
    pub(crate) fn here() -> Option<Room> {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
        let machine = machine.map(|free| Room { free, of: "this machine".into() });
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        machine.into_iter().chain(groups(&own, Path::new(CGROUPS))).min_by_key(|room| room.free)
    }

    /// Says what is missing.
    pub(crate) fn has(&self, needed: u64) -> Result<(), String> {
        if needed <= self.free {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Err(format!(
            "no memory for the hand-over: it may need {} MiB for a moment, and {} has {} left; make room, or \
             raise its limit (MemoryMax of the unit)",
            mib(needed),
            self.of,
            self.free >> 20
        ))
    }
}

/// `MemAvailable`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Of each control group with a limit, from the process's own up: what is left, page cache that can go
/// included.
fn groups(own: &str, root: &Path) -> impl Iterator<Item = Room> + use<> {
    cgroups(own, root).into_iter().filter_map(|group| {
        let (max, current) = (cgroup_number(&group, "memory.max")?, cgroup_number(&group, "memory.current")?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok());
        let used = current.saturating_sub(cache.unwrap_or(0));
        Some(Room { free: max.saturating_sub(used), of: format!("the control group {}", group.display()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn too_little_is_refused_with_figures_and_remedy() {
        let room = Room { free: 40 * MIB, of: "this machine".into() };
        assert_eq!(room.has(needed(12 * MIB)), Ok(()));
        let why = room.has(needed(100 * MIB)).unwrap_err();
        assert!(why.contains("216 MiB") && why.contains("this machine has 40 left"), "{why}");
        assert!(why.contains("MemoryMax"), "{why}");
    }

    #[test]
    fn the_tightest_group_counts_and_page_cache_is_room() {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("system.slice/godwit.service");
        fs::create_dir_all(&unit).unwrap();
        let write = |dir: &Path, name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write(&unit, "memory.max", "1000\n");
        write(&unit, "memory.current", "900\n");
        write(&unit, "memory.stat", "anon 500\ninactive_file 300\nactive_file 7\n");
        let slice = unit.parent().unwrap();
        write(slice, "memory.max", "2000\n");
        write(slice, "memory.current", "1900\n");
        // The root has no limit.
        write(root.path(), "memory.max", "max\n");
        let own = "1:name=systemd:/x\n0::/system.slice/godwit.service\n";
        let found: Vec<_> = groups(own, root.path()).map(|room| room.free).collect();
        assert_eq!(found, [400, 100]);
        assert_eq!(groups("4:memory:/old\n", root.path()).count(), 0);
    }

    #[test]
    fn the_machines_memory_is_found() {
        let text = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:     1234 kB\n";
        assert_eq!(available(text), Some(1234 * 1024));
        assert_eq!(available("MemTotal: 5 kB\n"), None);
        assert!(Room::here().is_some(), "the test's own machine");
    }
}
