//! What was full in a phase: the machine's cores, the load generator, the disk, memory, descriptors, accept
//! queues. From figures of the kernel and, where a Godwit server is asked, from its status.

use std::fs;

use serde_json::Value;

use crate::output::Phase;
use crate::server::{cores, descriptors_max};

/// A resource used to this share counts as full.
const FULL: f64 = 0.92;
/// Context switches of the server per second and core that are worth a mention.
const SWITCHES: f64 = 50_000.0;

/// What was full, most telling first; never empty.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn of(phase: &Phase) -> Vec<String> {
    let mut full = Vec::new();
    let cores = cores() as f64;
    let (server, ours) = (phase.server_busy(), phase.our_busy());
    if ours / phase.processes.max(1) as f64 > FULL {
        full.push(format!(
            "the load generator itself: {ours:.1} cores in {} processes (more with --processes)",
            phase.processes
        ));
    }
    let behind = phase.tally.latency.get("behind").map_or(0, |l| l.quantile(0.99));
    if behind > 20_000 {
        full.push(format!("the load generator was {} ms behind its own pace (p99)", behind / 1000));
    }
    if phase.machine_busy > FULL {
        let server = server.map_or_else(|| "not measured".into(), |busy| format!("{busy:.2} cores"));
        full.push(format!(
            "CPU: {:.0}% of {cores} cores (server {server}, load generator {ours:.2}, everything {:.2})",
            phase.machine_busy * 100.0,
            phase.machine_busy * cores
        ));
    } else if server.is_some_and(|busy| busy / cores > FULL) {
        full.push(format!("CPU: the server had {:.2} of {cores} cores", server.unwrap_or(0.0)));
    }
    full.extend(fsync(&phase.status));
    full.extend(memory(phase));
    if let Some(switches) = phase.switches_per_second().filter(|n| *n > SWITCHES * cores) {
        full.push(format!("context switches: {switches:.0} per second"));
    }
    if phase.overflows > 0 {
        full.push(format!("accept queue: {} connections found it full", phase.overflows));
    }
    if full.is_empty() {
        full.push("nothing that was looked at (one thread of the server may be: see its own figures)".into());
    }
    full
}

/// The share of the time in which a sync was under way, from the status of a Godwit server.
fn fsync(status: &Value) -> Option<String> {
    let pace = status.pointer("/store/pace")?;
    let per_second = pace.get("syncs_per_s")?.as_f64()?;
    let mean = pace.get("sync_us_mean")?.as_f64()?;
    let share = per_second * mean / 1e6;
    (share > FULL - 0.1).then(|| {
        format!("fsync: {per_second:.0} per second of {mean:.0} µs, {:.0}% of the time", share * 100.0)
    })
}

fn memory(phase: &Phase) -> Option<String> {
    let rss = phase.readings.last()?.sample.rss;
    let descriptors = phase.readings.last()?.sample.descriptors;
    let max = phase.pids.iter().filter_map(|pid| descriptors_max(*pid)).max();
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let share = |n: u64, of: u64| n as f64 / of.max(1) as f64;
    if let Some(max) = max.filter(|max| share(descriptors, *max) > FULL) {
        return Some(format!("descriptors: {descriptors} of {max}"));
    }
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |name: &str| -> Option<u64> {
        info.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let (total, left) = (kilobytes("MemTotal:")?, kilobytes("MemAvailable:")?);
    (share(total - left.min(total), total) > FULL)
        .then(|| format!("memory: {left} KB are left of {total} (server {} KB)", rss / 1024))
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::output::{Phase, Reading};
    use crate::server::Sample;
    use serde_json::json;

    fn phase() -> Phase {
        let at = |at, cpu_fine| Sample { at, cpu_fine, rss: 1, ..Sample::default() };
        let reading =
            |at, cpu| Reading { sample: Sample { at, cpu_fine: cpu, ..Sample::default() }, syscalls: None };
        Phase {
            processes: 1,
            readings: vec![reading(0, 0), reading(1_000_000, 100_000)],
            ours: vec![at(0, 0), at(1_000_000, 300_000)],
            ..Phase::default()
        }
    }

    #[test]
    fn what_is_full_is_named() {
        let one = |phase: &Phase| of(phase).remove(0);
        assert!(one(&phase()).starts_with("nothing"));
        let busy = Phase { machine_busy: 0.97, ..phase() };
        assert!(one(&busy).starts_with("CPU: 97%"), "{}", one(&busy));
        let status = json!({"store": {"pace": {"syncs_per_s": 240.0, "sync_us_mean": 4000.0}}});
        let syncing = Phase { status, ..phase() };
        assert!(one(&syncing).contains("96% of the time"), "{}", one(&syncing));
        assert!(one(&Phase { overflows: 3, ..phase() }).starts_with("accept queue"));
        let mut ours = phase();
        if let Some(last) = ours.ours.last_mut() {
            last.cpu_fine = 990_000;
        }
        assert!(one(&ours).starts_with("the load generator itself"));
    }
}
