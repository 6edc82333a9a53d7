//! What a run says: a line for people and a JSON line for machines per phase.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::Outcome;

/// Where the phases go.
pub(crate) struct Report {
    json: Option<File>,
}

impl Report {
    pub(crate) fn new(json: Option<&Path>) -> Outcome<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|e| format!("{}: {e}", path.display()))
        };
        Ok(Self { json: json.map(open).transpose()? })
    }

    /// Reports one phase.
    pub(crate) fn phase(&mut self, name: &str, human: &str, mut value: Value) -> Outcome<()> {
        println!("{name}: {human}");
        if let Some(file) = &mut self.json {
            if let Some(object) = value.as_object_mut() {
                object.insert("phase".into(), name.into());
            }
            writeln!(file, "{value}").map_err(|e| format!("writing the JSON file: {e}"))?;
        }
        Ok(())
    }
}

/// Durations in microseconds, to a minute, three digits.
pub(crate) fn histogram() -> Outcome<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|e| e.to_string())
}

/// The usual percentiles for people, milliseconds.
pub(crate) fn human_latency(hist: &Histogram<u64>) -> String {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let ms = |q: f64| hist.value_at_quantile(q) as f64 / 1000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(0.5), ms(0.99), ms(1.0))
}

/// The usual percentiles for machines, microseconds.
pub(crate) fn json_latency(hist: &Histogram<u64>) -> Value {
    let us = |q: f64| hist.value_at_quantile(q);
    json!({"p50_us": us(0.5), "p90_us": us(0.9), "p99_us": us(0.99), "max_us": us(1.0), "count": hist.len()})
}
