//! What a phase came to: a line for people, a JSON line for machines. The fields are documented in README.md.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::data::{Tally, WRONG};
use crate::server::{Sample, cpu, descriptors_max};

/// The number of the JSON format; it grows when a field changes its meaning.
const FORMAT: u32 = 1;

/// System calls are not counted over less time than this, µs.
const COUNTED_MIN: u64 = 1_000_000;

/// Latencies that are in the JSON line alone.
const MINOR: [&str; 2] = ["behind", "service"];

/// The second-by-second readings of the server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    pub(crate) sample: Sample,
    pub(crate) syscalls: Option<u64>,
}

/// Everything that is known of a finished phase.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    pub(crate) scenario: String,
    pub(crate) name: String,
    pub(crate) label: Option<String>,
    pub(crate) processes: usize,
    pub(crate) tally: Tally,
    /// Messages per second that were offered, in open-loop phases.
    pub(crate) offered: Option<f64>,
    /// The server before the scenario began.
    pub(crate) start: Option<Sample>,
    /// The server when the phase began, in its course, and when its measured part ended.
    pub(crate) readings: Vec<Reading>,
    pub(crate) unmeasured: Option<String>,
    pub(crate) pids: Vec<u32>,
    /// The workers, in the same way.
    pub(crate) ours: Vec<Sample>,
    /// The workers before they opened a connection, bytes.
    pub(crate) ours_start: u64,
    /// Share of the machine's cores that was busy, 0 to 1.
    pub(crate) machine_busy: f64,
    pub(crate) overflows: u64,
    pub(crate) status: Value,
    /// What a scenario wants to add.
    pub(crate) extra: Map<String, Value>,
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(n: u64, of: u64) -> f64 {
    n as f64 / of.max(1) as f64
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// Cores that two readings show busy.
pub(crate) fn busy(from: &Sample, to: &Sample) -> f64 {
    ratio(cpu(from, to), to.at.saturating_sub(from.at))
}

/// Growth of a counter that may also have been started anew with its process.
fn grown(from: u64, to: u64) -> u64 {
    to.saturating_sub(from)
}

impl Phase {
    fn ends(&self) -> Option<(Reading, Reading)> {
        Some((*self.readings.first()?, *self.readings.last()?))
    }

    /// Cores that the server kept busy.
    pub(crate) fn server_busy(&self) -> Option<f64> {
        self.ends().map(|(from, to)| busy(&from.sample, &to.sample))
    }

    /// Context switches of the server per second.
    pub(crate) fn switches_per_second(&self) -> Option<f64> {
        let (from, to) = self.ends()?;
        let switches = grown(from.sample.switches, to.sample.switches);
        Some(ratio(switches, to.sample.at.saturating_sub(from.sample.at)) * 1e6)
    }

    /// Cores that the workers kept busy.
    pub(crate) fn our_busy(&self) -> f64 {
        match (self.ours.first(), self.ours.last()) {
            (Some(from), Some(to)) => busy(from, to),
            _ => 0.0,
        }
    }

    /// System calls of the server while measuring; none for a time too short for the intervals of perf.
    fn syscalls(&self) -> Option<u64> {
        let (from, to) = self.ends().filter(|_| !self.is_short())?;
        Some(to.syscalls?.saturating_sub(from.syscalls?))
    }

    fn is_short(&self) -> bool {
        self.ends().is_some_and(|(from, to)| to.sample.at.saturating_sub(from.sample.at) < COUNTED_MIN)
    }

    /// Why there are no system calls.
    fn unmeasured(&self) -> Option<String> {
        let short = self.is_short().then(|| "the phase was shorter than a second".to_owned());
        self.unmeasured.clone().or(short)
    }

    /// For each unit of work; `None` if none was done.
    fn per_unit(&self, n: u64, digits: i32) -> Option<f64> {
        (self.tally.units > 0).then(|| round(ratio(n, self.tally.units), digits))
    }

    /// For each session that is up, by how much the server has grown since the scenario began.
    pub(crate) fn rss_per_session(&self) -> Option<u64> {
        let (_, to) = self.ends()?;
        let grown = to.sample.rss.saturating_sub(self.start?.rss);
        self.is_about_sessions().then(|| grown / self.tally.sessions)
    }

    /// The same for the load generator itself.
    pub(crate) fn our_bytes(&self) -> Option<u64> {
        let grown = self.tally.rss.saturating_sub(self.ours_start);
        self.is_about_sessions().then(|| grown / self.tally.sessions)
    }

    /// In other phases memory is also taken by what the sessions do.
    fn is_about_sessions(&self) -> bool {
        self.tally.sessions > 0 && matches!(self.tally.unit.as_str(), "login" | "session")
    }

    fn server(&self) -> Value {
        let Some((from, to)) = self.ends() else { return Value::Null };
        let cpu = cpu(&from.sample, &to.sample);
        let switches = grown(from.sample.switches, to.sample.switches);
        json!({
            "pids": self.pids,
            "cpu_us_per_unit": self.per_unit(cpu, 2),
            "cpu_us": cpu,
            "cores_busy": self.server_busy().map(|n| round(n, 3)),
            "switches_per_unit": self.per_unit(switches, 4),
            "switches": switches,
            "syscalls": self.syscalls(),
            "syscalls_per_unit": self.syscalls().and_then(|n| self.per_unit(n, 3)),
            "syscalls_unmeasured": self.unmeasured(),
            "rss_start": self.start.map(|s| s.rss),
            "rss_begin": from.sample.rss,
            "rss_end": to.sample.rss,
            "rss_max": self.readings.iter().map(|r| r.sample.rss).max(),
            "rss_per_session": self.rss_per_session(),
            "descriptors": to.sample.descriptors,
            "descriptors_max": self.pids.iter().filter_map(|pid| descriptors_max(*pid)).max(),
        })
    }

    fn client(&self) -> Value {
        let last = self.ours.last();
        let cpu = self.ours.first().zip(last).map_or(0, |(from, to)| cpu(from, to));
        json!({
            "cpu_us_per_unit": self.per_unit(cpu, 2),
            "cores_busy": round(self.our_busy(), 3),
            "rss_bytes": self.tally.rss,
            "rss_per_session": self.our_bytes(),
        })
    }

    fn series(&self) -> Value {
        let seconds = &self.tally.series;
        let quantile = |q: f64| -> Vec<u64> {
            let all = seconds.iter().map(|s| crate::data::Latency::from(s.latency.clone()));
            all.map(|latency| latency.quantile(q)).collect()
        };
        let begin = self.readings.first().map_or(0, |r| r.sample.at);
        let at: Vec<f64> = self
            .readings
            .iter()
            .map(|r| round(ratio(r.sample.at.saturating_sub(begin), 1_000_000), 2))
            .collect();
        // The first reading has no rate.
        let rate = |between: fn(&Reading, &Reading) -> Option<u64>| -> Vec<Option<f64>> {
            let pairs = self.readings.windows(2).map(|pair| match pair {
                [a, b] => Some(ratio(between(a, b)?, b.sample.at.saturating_sub(a.sample.at)) * 1e6),
                _ => None,
            });
            let all = std::iter::once(None).chain(pairs.map(|rate| rate.map(|rate| round(rate, 1))));
            all.take(self.readings.len()).collect()
        };
        let cores = rate(|a, b| Some(cpu(&a.sample, &b.sample)));
        let cores: Vec<Option<f64>> = cores.into_iter().map(|v| v.map(|v| round(v / 1e6, 3))).collect();
        json!({
            "done": seconds.iter().map(|s| s.done).collect::<Vec<_>>(),
            "wrong": seconds.iter().map(|s| s.wrong).collect::<Vec<_>>(),
            "p50_us": quantile(0.5), "p99_us": quantile(0.99), "p999_us": quantile(0.999),
            "server": {
                "at": at, "cores_busy": cores,
                "rss": self.readings.iter().map(|r| r.sample.rss).collect::<Vec<_>>(),
                "switches_per_second": rate(|a, b| Some(grown(a.sample.switches, b.sample.switches))),
                "syscalls_per_second": rate(|a, b| Some(grown(a.syscalls?, b.syscalls?))),
            },
        })
    }

    /// True if nothing happened that must not happen.
    pub(crate) fn ok(&self) -> bool {
        self.tally.wrong() == 0
    }

    /// The JSON line.
    pub(crate) fn json(&self, command: &[String]) -> Value {
        let tally = &self.tally;
        let latency: Map<String, Value> = tally.latency.iter().map(|(k, v)| (k.clone(), v.json())).collect();
        let mut value = json!({
            "format": FORMAT, "scenario": self.scenario, "phase": self.name, "label": self.label,
            "processes": self.processes, "sessions": tally.sessions,
            "unit": tally.unit, "units": tally.units, "seconds": round(tally.seconds, 4),
            "per_second": round(tally.per_second(), 2), "offered_per_second": self.offered,
            "counts": tally.counts, "latency_us": latency,
            "ok": self.ok(), "error": tally.error,
            "server": self.server(), "client": self.client(),
            "machine": {"cores": crate::server::cores(), "busy": round(self.machine_busy, 3),
                "listen_overflows": self.overflows},
            "status": self.status, "series": self.series(), "command": command,
        });
        if let Some(object) = value.as_object_mut() {
            object.extend(self.extra.clone());
        }
        value
    }

    /// The line for people.
    pub(crate) fn human(&self) -> String {
        let tally = &self.tally;
        let units = match tally.unit.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{}s", tally.unit),
        };
        let mut out = format!("{}: {} {units} in {:.1} s", self.name, tally.units, tally.seconds);
        // Writing to a string cannot fail.
        let _ = write!(out, ", {:.0}/s", tally.per_second());
        if let Some(offered) = self.offered {
            let _ = write!(out, " of {offered:.0}/s offered");
        }
        for (name, latency) in tally.latency.iter().filter(|(name, _)| !MINOR.contains(&name.as_str())) {
            let _ = write!(out, "; {name} {}", latency.human());
        }
        match self.ends() {
            Some((from, to)) => {
                let cpu = self.per_unit(cpu(&from.sample, &to.sample), 1);
                let switches = self.per_unit(grown(from.sample.switches, to.sample.switches), 2);
                out += "; server";
                if let (Some(cpu), Some(switches)) = (cpu, switches) {
                    let _ = write!(out, " {cpu:.1} µs CPU and {switches:.2} switches per {},", tally.unit);
                }
                let _ = write!(
                    out,
                    " {:.0}% of a core, RSS {} KB",
                    busy(&from.sample, &to.sample) * 100.0,
                    to.sample.rss / 1024
                );
                if let Some(n) = self.syscalls().and_then(|n| self.per_unit(n, 2)) {
                    let _ = write!(out, ", {n:.2} system calls per {}", tally.unit);
                }
                if let Some(bytes) = self.rss_per_session() {
                    let _ = write!(out, ", {bytes} bytes per session over {} sessions", tally.sessions);
                }
            }
            None => out += "; server not measured (--server-pid)",
        }
        if let Some(bytes) = self.our_bytes() {
            let _ = write!(out, "; here {bytes} bytes per client");
        }
        for (name, n) in tally.counts.iter().filter(|(name, n)| **n > 0 || WRONG.contains(&name.as_str())) {
            let _ = write!(out, ", {n} {}", name.replace('_', " "));
        }
        if let Some(error) = &tally.error {
            let _ = write!(out, " (last error: {error})");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Reading};
    use crate::data::Tally;
    use crate::server::Sample;

    fn phase(micros: u64, units: u64) -> Phase {
        let reading = |at, syscalls| Reading {
            sample: Sample { at, cpu_fine: at / 2, switches: at / 1_000, ..Sample::default() },
            syscalls: Some(syscalls),
        };
        let tally = Tally { unit: "message".into(), units, ..Tally::default() };
        Phase { tally, readings: vec![reading(0, 0), reading(micros, 500)], ..Phase::default() }
    }

    #[test]
    fn what_was_not_measured_is_no_zero() {
        let server = |micros, units| phase(micros, units).json(&[])["server"].clone();
        let measured = server(2_000_000, 100);
        assert_eq!(measured["cpu_us_per_unit"], 10_000.0);
        assert_eq!(
            (&measured["syscalls_per_unit"], &measured["syscalls_unmeasured"]),
            (&5.0.into(), &().into())
        );
        let short = server(900_000, 100);
        assert!(short["syscalls"].is_null() && short["syscalls_per_unit"].is_null());
        assert!(short["syscalls_unmeasured"].as_str().is_some_and(|why| why.contains("shorter")));
        let nothing = server(2_000_000, 0);
        assert!(nothing["cpu_us_per_unit"].is_null() && nothing["switches_per_unit"].is_null());
        assert_eq!(nothing["cpu_us"], 1_000_000);
        assert!(!phase(2_000_000, 0).human().contains("CPU"));
    }
}
