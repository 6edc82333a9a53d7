//! What the kernel says about the server's process.

use std::fs;
use std::time::{Duration, Instant};

use godwit_testclient::now;
use serde_json::{Value, json};

/// One reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    at: Instant,
    /// Resident memory, bytes.
    pub(crate) rss: u64,
    /// User and system time of all threads so far.
    cpu: Duration,
    /// Voluntary and involuntary context switches of the living threads.
    switches: u64,
}

impl Sample {
    /// Reads `/proc`; `None` without a process to look at.
    pub(crate) fn of(pid: Option<u32>) -> Option<Self> {
        let pid = pid?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Fields 14 and 15; the name in parentheses may hold spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let per_second = rustix::param::clock_ticks_per_second();
        Some(Self {
            at: now(),
            rss: field(&status, "VmRSS:")? * 1024,
            cpu: Duration::from_micros(ticks * 1_000_000 / per_second.max(1)),
            switches: switches(pid),
        })
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn switches(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            field(&status, "voluntary_ctxt_switches:").unwrap_or(0)
                + field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0)
        })
        .sum()
}

/// The difference of two readings, per unit of work.
pub(crate) struct Cost {
    pub(crate) human: String,
    pub(crate) json: Value,
}

/// What `count` units of work cost between two readings.
pub(crate) fn cost(before: Option<Sample>, after: Option<Sample>, count: u64, unit: &str) -> Cost {
    let (Some(before), Some(after)) = (before, after) else {
        return Cost { human: "server not measured (--server-pid)".into(), json: Value::Null };
    };
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let per = |n: u64| n as f64 / count.max(1) as f64;
    let cpu = after.cpu.saturating_sub(before.cpu);
    let micros = per(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX));
    let switches = per(after.switches.saturating_sub(before.switches));
    let busy = cpu.as_secs_f64() / after.at.duration_since(before.at).as_secs_f64().max(1e-9);
    Cost {
        human: format!(
            "server {micros:.1} µs CPU and {switches:.2} switches per {unit}, {:.0}% of a core, RSS {} KB",
            busy * 100.0,
            after.rss / 1024
        ),
        json: json!({
            "cpu_us_per_unit": micros, "switches_per_unit": switches, "unit": unit,
            "cores_busy": busy, "rss_bytes": after.rss,
        }),
    }
}
