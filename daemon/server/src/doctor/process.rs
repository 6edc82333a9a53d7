//! What the kernel says of the daemon's process: descriptors, memory, swap, core-dumps.
use super::finding::{Finding, Level, Notes, needs_daemon, unseen};
use super::site::Site;
use crate::limits::{Bound, Ceiling, cgroup_memory_max};
use std::fs;

const MIB: u64 = 1 << 20;
/// With room for fewer connections a box is of no use.
const CONNECTIONS_MIN: u64 = 1_000;
/// Swapped out: from here on it is felt.
const SWAPPED_FEW: u64 = MIB;
const SWAPPED_MANY: u64 = 64 * MIB;

/// Hundredths of something in use.
fn percent(used: u64, of: u64) -> u64 {
    used.saturating_mul(100) / of.max(1)
}

/// Descriptors.
#[derive(Debug, Clone)]
struct Descriptors {
    used: u64,
    allowed: u64,
    ceiling: Ceiling,
    /// `fs.file-nr`: in use on the whole machine, and how many there may be.
    machine: Option<(u64, u64)>,
    nr_open: Option<u64>,
}

pub(super) fn descriptors(site: &Site) -> Finding {
    let (Some(status), Some(health)) = (site.status(), site.health()) else { return needs_daemon() };
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    judge_descriptors(&Descriptors {
        used: health.descriptors,
        allowed: health.descriptors_max,
        ceiling: status.ceiling.clone(),
        machine: numbers.first().copied().zip(numbers.get(2).copied()),
        nr_open: fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok()),
    })
}

fn judge_descriptors(facts: &Descriptors) -> Finding {
    let mut notes = Notes::default();
    let Descriptors { used, allowed, ceiling, machine, nr_open } = facts;
    let nr_open = nr_open.map(|n| format!(", fs.nr_open is {n}")).unwrap_or_default();
    let line = format!("{used} of {allowed} in use{nr_open}");
    let remedy = || ceiling.remedy.clone();
    match percent(*used, *allowed) {
        95.. => notes.red("used up", line.clone(), remedy()),
        80.. => notes.yellow("scarce", line.clone(), remedy()),
        _ => {}
    }
    if ceiling.bound_by == Bound::Descriptors {
        let text = format!("{allowed} allowed: room for {} connections only", ceiling.connections_max);
        let level = if ceiling.connections_max < CONNECTIONS_MIN { Level::Red } else { Level::Yellow };
        notes.graded(level, "few", text, remedy());
    }
    if let Some((used, max)) = machine.filter(|(used, max)| percent(*used, *max) >= 90) {
        let remedy = "raise fs.file-max; lsof says who has them";
        notes.red("machine", format!("the machine has {used} of {max} open files"), remedy);
    }
    notes.finish(line)
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    resident: u64,
    /// Above it no connection is taken.
    resident_max: u64,
    /// None is taken now.
    shut: bool,
    /// Of the control group.
    group_max: Option<u64>,
}

pub(super) fn memory(site: &Site) -> Finding {
    let Some(status) = site.status() else { return needs_daemon() };
    judge_memory(Memory {
        resident: status.rss_bytes,
        resident_max: status.overload.memory_max_bytes,
        shut: status.overload.shut,
        group_max: cgroup_memory_max(&format!("/proc/{}/cgroup", status.pid)),
    })
}

fn judge_memory(facts: Memory) -> Finding {
    let Memory { resident, resident_max, shut, group_max } = facts;
    let mut notes = Notes::default();
    let line = format!("{} of {} MiB resident", resident / MIB, resident_max / MIB);
    let remedy = "godwitctl status says who holds it; give the machine more, or lower limits.connections_max";
    if shut || percent(resident, resident_max) >= 95 {
        notes.red("ceiling", format!("{line}: no further connection is taken at the ceiling"), remedy);
    } else if percent(resident, resident_max) >= 85 {
        notes.yellow("near", line.clone(), remedy);
    }
    if let Some(max) = group_max.filter(|max| *max < resident_max) {
        let text = format!(
            "the control group may have {} MiB, less than the daemon's ceiling: it would be killed first",
            max / MIB
        );
        notes.red(
            "group",
            text,
            "set MemoryMax as godwitctl limits --format systemd says, or limits.memory_mb",
        );
    }
    notes.finish(line)
}

/// Swap, in bytes.
#[derive(Debug, Clone, Copy)]
struct Swap {
    total: u64,
    swappiness: Option<u64>,
    /// The daemon's.
    swapped: Option<u64>,
}

/// The number of KiB behind a name, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
}

pub(super) fn swap(site: &Site) -> Finding {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(total) = kib(&machine, "SwapTotal:") else {
        return unseen("/proc/meminfo cannot be read", "run it outside of the unit's sandbox");
    };
    let of_daemon = site.of_process("status").and_then(Result::ok);
    let swappiness = fs::read_to_string("/proc/sys/vm/swappiness").ok();
    judge_swap(Swap {
        total,
        swappiness: swappiness.and_then(|text| text.trim().parse().ok()),
        swapped: of_daemon.and_then(|text| kib(&text, "VmSwap:")),
    })
}

fn judge_swap(facts: Swap) -> Finding {
    let Swap { total, swappiness, swapped } = facts;
    let mut notes = Notes::default();
    let out = swapped.unwrap_or(0);
    let text = || format!("{} MiB of the daemon are swapped out", out / MIB);
    let remedy = "free memory, then: swapoff -a && swapon -a; or set MemorySwapMax=0 in the unit";
    match out {
        SWAPPED_MANY.. => notes.red("out", text(), remedy),
        SWAPPED_FEW.. => notes.yellow("out", text(), remedy),
        _ => {}
    }
    if let Some(swappiness) = swappiness.filter(|n| total > 0 && *n > 1) {
        let text = format!("there is swap, and vm.swappiness is {swappiness}: idle sessions go first");
        notes.yellow("swappiness", text, "set vm.swappiness to 1, see godwitctl limits --format sysctl");
    }
    notes.finish(if total == 0 { "there is no swap" } else { "nothing of the daemon is swapped out" })
}

/// Who writes dumps.
#[derive(Debug, Clone)]
struct CoreDumps {
    /// `Max core file size`, soft: `0`, a number, `unlimited`.
    limit: String,
    /// `kernel.core_pattern`.
    pattern: String,
}

pub(super) fn core_dumps(site: &Site) -> Finding {
    let limits = match site.of_process("limits") {
        None => return needs_daemon(),
        Some(Err(why)) => return unseen(why, super::daemon::AS_ROOT),
        Some(Ok(limits)) => limits,
    };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let limit = line.and_then(|line| line.split_whitespace().next()).unwrap_or("?").to_owned();
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    judge_core_dumps(&CoreDumps { limit, pattern: pattern.trim().to_owned() })
}

fn judge_core_dumps(facts: &CoreDumps) -> Finding {
    let CoreDumps { limit, pattern } = facts;
    let mut notes = Notes::default();
    let remedy = "set LimitCORE=0 in the unit, then restart";
    let what = "a dump holds keys and messages";
    match (limit.as_str(), pattern.strip_prefix('|')) {
        ("0", _) => {}
        (_, Some(handler)) => {
            let handler = handler.split_whitespace().next().unwrap_or_default();
            notes.yellow(
                "handler",
                format!("the limit is {limit}: {handler} would keep one; {what}"),
                remedy,
            );
        }
        (_, None) => {
            notes.red(
                "file",
                format!("the limit is {limit}: one would be a file ({pattern}); {what}"),
                remedy,
            );
        }
    }
    notes.finish("none are written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Machine, derive};

    #[test]
    fn descriptors_that_are_few_or_used_up_are_red() {
        let derived = derive(Machine { ram_bytes: 4 << 30, cores: 2 });
        let facts = |used, allowed, configured| Descriptors {
            used,
            allowed,
            ceiling: Ceiling::new(&derived, configured, allowed),
            machine: Some((1_000, 1_000_000)),
            nr_open: Some(1_048_576),
        };
        let judge = |facts: &Descriptors| {
            let found = judge_descriptors(facts);
            (found.level, found.causes.join(" "))
        };
        assert_eq!(judge(&facts(50, 20_000, 500)), (Level::Green, String::new()));
        assert_eq!(judge(&facts(17_000, 20_000, 500)), (Level::Yellow, "scarce".into()));
        assert_eq!(judge(&facts(19_900, 20_000, 500)), (Level::Red, "used up".into()));
        assert_eq!(judge(&facts(50, 20_000, 0)), (Level::Yellow, "few".into()));
        assert_eq!(judge(&facts(50, 1_024, 0)), (Level::Red, "few".into()));
        let remedy = judge_descriptors(&facts(50, 1_024, 0)).remedy;
        assert!(remedy.is_some_and(|remedy| remedy.contains("LimitNOFILE=")));
        let crowded = Descriptors { machine: Some((950, 1_000)), ..facts(50, 20_000, 500) };
        assert_eq!(judge(&crowded), (Level::Red, "machine".into()));
    }

    #[test]
    fn memory_at_its_ceiling_or_without_room_in_the_group_is_red() {
        let facts = |resident, group_max| Memory { resident, resident_max: 1_000, shut: false, group_max };
        assert_eq!(judge_memory(facts(100, None)).level, Level::Green);
        assert_eq!(judge_memory(facts(100, Some(2_000))).level, Level::Green);
        assert_eq!(judge_memory(facts(900, None)).level, Level::Yellow);
        assert_eq!(judge_memory(facts(960, None)).level, Level::Red);
        assert_eq!(judge_memory(Memory { shut: true, ..facts(100, None) }).level, Level::Red);
        assert_eq!(judge_memory(facts(100, Some(999))).causes, ["group"]);
    }

    #[test]
    fn a_daemon_that_is_swapped_out_is_red() {
        let facts = |total, swappiness, swapped| Swap { total, swappiness, swapped };
        assert_eq!(judge_swap(facts(0, Some(60), Some(0))).level, Level::Green);
        assert_eq!(judge_swap(facts(MIB, Some(1), Some(4096))).level, Level::Green);
        assert_eq!(judge_swap(facts(MIB, Some(60), None)).causes, ["swappiness"]);
        assert_eq!(judge_swap(facts(MIB, Some(1), Some(2 * MIB))).level, Level::Yellow);
        assert_eq!(judge_swap(facts(MIB, Some(1), Some(200 * MIB))).level, Level::Red);
        assert_eq!(kib("VmRSS:\t 12 kB\nVmSwap:\t 3 kB\n", "VmSwap:"), Some(3 * 1024));
    }

    #[test]
    fn a_dump_into_a_file_is_red() {
        let judge = |limit: &str, pattern: &str| {
            judge_core_dumps(&CoreDumps { limit: limit.into(), pattern: pattern.into() }).level
        };
        assert_eq!(judge("0", "core"), Level::Green);
        assert_eq!(judge("unlimited", "|/usr/lib/systemd/systemd-coredump %P"), Level::Yellow);
        assert_eq!(judge("unlimited", "core"), Level::Red);
    }
}
