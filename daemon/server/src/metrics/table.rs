//! The table of all metrics, for `daemon/METRICS.md`.
use super::metric::Kind;
use std::fmt::Write;

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
        let (name, label) = (metric.full_name(), metric.label.unwrap_or(""));
        // A string takes whatever is written to it.
        let _ = writeln!(text, "| `{name}` | {kind} | {label} | {} |", metric.help);
    }
    text
}
