//! The table of all metrics, for `daemon/METRICS.md`.
use super::metric::{Kind, Metric};
use std::fmt::Write;

fn labels(metric: &Metric) -> String {
    metric.label.into_iter().chain(metric.and).collect::<Vec<_>>().join(", ")
}

/// In Markdown.
pub fn table() -> String {
    let mut text = String::from("| metric | kind | label | meaning |\n|---|---|---|---|\n");
    for metric in super::all() {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
            Kind::Histogram => "histogram",
        };
        let (name, labels) = (metric.full_name(), labels(metric));
        // A string takes whatever is written to it.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", metric.help);
    }
    text
}
