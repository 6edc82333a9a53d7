//! What the kernel and `godwitctl` say about the server, and what of it a phase cost.

mod status;
mod syscalls;

use std::collections::BTreeSet;
use std::fs;

use godwit_testclient::micros;

pub(crate) use status::{Asked, digest};
pub(crate) use syscalls::Syscalls;

/// Processes that are looked at, descendants included.
const PROCESSES_MAX: usize = 4_096;

/// One reading of one or more processes with all their descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When, µs.
    pub(crate) at: u64,
    /// Resident memory, bytes.
    pub(crate) rss: u64,
    /// User and system time so far, children that ended included, µs.
    pub(crate) cpu: u64,
    /// The same by the scheduler's count: to the nanosecond, but of the living threads alone, µs.
    pub(crate) cpu_fine: u64,
    /// Voluntary and involuntary context switches of the living threads.
    pub(crate) switches: u64,
    /// Open descriptors of the named processes.
    pub(crate) descriptors: u64,
}

impl Sample {
    /// Reads `/proc`; `None` without a process to look at.
    pub(crate) fn of(pids: &[u32]) -> Option<Self> {
        let mut sum = Self { at: micros(), ..Self::default() };
        let mut alive = false;
        for pid in family(pids) {
            let Some(one) = one(pid) else { continue };
            alive = true;
            sum.rss += one.rss;
            sum.cpu += one.cpu;
            sum.cpu_fine += one.cpu_fine;
            sum.switches += one.switches;
            sum.descriptors += one.descriptors;
        }
        alive.then_some(sum)
    }
}

/// What the clock's ticks may be wrong by, µs.
const TICKS_WRONG_BY: u64 = 20_000;

/// CPU time between two readings, µs.
pub(crate) fn cpu(from: &Sample, to: &Sample) -> u64 {
    let ticks = to.cpu.saturating_sub(from.cpu);
    let fine = to.cpu_fine.saturating_sub(from.cpu_fine);
    // More by the ticks than they can be wrong: threads or children have ended and took their count along.
    if ticks > fine + fine / 50 + TICKS_WRONG_BY { ticks } else { fine }
}

/// These processes and their descendants.
fn family(pids: &[u32]) -> BTreeSet<u32> {
    let (mut all, mut next) = (BTreeSet::new(), pids.to_vec());
    while let Some(pid) = next.pop() {
        if all.len() < PROCESSES_MAX && all.insert(pid) {
            for task in tasks(pid) {
                let children = fs::read_to_string(task.join("children")).unwrap_or_default();
                next.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
    }
    all
}

fn tasks(pid: u32) -> impl Iterator<Item = std::path::PathBuf> {
    let all = fs::read_dir(format!("/proc/{pid}/task"));
    all.into_iter().flatten().flatten().map(|entry| entry.path())
}

fn one(pid: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 to 17; the name in parentheses may hold spaces.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Sample {
        at: 0,
        rss: field(&status, "VmRSS:").unwrap_or(0) * 1024,
        cpu: ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1),
        cpu_fine: tasks(pid).filter_map(|task| running(&task)).sum::<u64>() / 1_000,
        switches: tasks(pid).map(|task| switches(&task)).sum(),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |all| all.count() as u64),
    })
}

/// Nanoseconds that a thread has run.
fn running(task: &std::path::Path) -> Option<u64> {
    fs::read_to_string(task.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
}

fn switches(task: &std::path::Path) -> u64 {
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let both = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
    both.iter().filter_map(|name| field(&status, name)).sum()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The whole machine's busy time so far, all cores together, µs, and how often its accept queues overflowed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Machine {
    pub(crate) busy: u64,
    pub(crate) overflows: u64,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        // user nice system, then idle and iowait, then irq softirq steal.
        let busy: u64 =
            ticks.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4 | 8..)).map(|(_, t)| t).sum();
        let busy = busy * 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
        Self { busy, overflows: overflows().unwrap_or(0) }
    }
}

/// Two lines of /proc/net/netstat belong together: names and values.
fn overflows() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let pair = names.split_whitespace().zip(values.split_whitespace());
    pair.filter(|(name, _)| *name == "ListenOverflows").find_map(|(_, value)| value.parse().ok())
}

/// Resident bytes of this process.
pub(crate) fn own_rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmRSS:").unwrap_or(0) * 1024
}

/// The limit of open descriptors of a process.
pub(crate) fn descriptors_max(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Cores of this machine.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::{Machine, Sample, cpu, descriptors_max};

    #[test]
    fn the_finer_count_is_taken_unless_threads_ended() {
        let at = |cpu, cpu_fine| Sample { cpu, cpu_fine, ..Sample::default() };
        assert_eq!(cpu(&at(0, 0), &at(10_000, 1_234)), 1_234);
        assert_eq!(cpu(&at(0, 500_000), &at(900_000, 400_000)), 900_000);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        let sample = Sample::of(&[pid]).expect("it runs");
        assert!(sample.rss > 100_000 && sample.descriptors > 2);
        assert!(descriptors_max(pid).expect("a limit") >= sample.descriptors);
        assert_eq!(Sample::of(&[]), None);
        assert!(Machine::now().busy > 0);
    }
}
