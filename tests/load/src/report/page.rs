//! The page's text: a table of phases, then the plots of each.

use std::fmt::Write as _;

use serde_json::Value;

use super::plots::{Axes, Line, histogram, lines, number};
use crate::Outcome;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;color:#22262b;background:#fff;margin:0 auto;\
max-width:1180px;padding:20px 24px 60px}h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 6px;\
border-bottom:1px solid #d5d9de;padding-bottom:4px}p{margin:4px 0}.dim{color:#5b636d}code{font-size:13px;\
overflow-wrap:anywhere}table{border-collapse:collapse;margin:14px 0;\
font-size:14px}th,td{padding:4px 12px 4px 0;\
text-align:right;border-bottom:1px solid #e6e9ec;font-variant-numeric:tabular-nums}th{font-weight:600;\
vertical-align:bottom}th:first-child,td:first-child{text-align:left}.bad{color:#b3261e;font-weight:600}\
.wide{overflow-x:auto}.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));\
gap:18px 26px;\
margin-top:14px}figure{margin:0}figcaption{font-size:13.5px;font-weight:600;\
margin:0 0 2px}figure svg{width:100%;\
height:auto;display:block}.note{font-size:13px;color:#5b636d;align-self:center}";

/// The whole page.
pub(super) fn html(phases: &[Value]) -> Outcome<String> {
    let first = phases.first();
    let scenario = first.map_or("godwit-load", |p| text(p, "/scenario"));
    let label = first.map_or("", |p| text(p, "/label"));
    let title = if label.is_empty() { scenario.to_owned() } else { format!("{scenario}: {label}") };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\
         <style>{STYLE}</style></head>\
         <body><h1>{0}</h1>\n",
        escape(&title)
    );
    if let Some(command) = first.and_then(|p| p.get("command")?.as_array()) {
        let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        let _ = writeln!(out, "<p><code>godwit-load {}</code></p>", escape(&words.join(" ")));
    }
    if phases.is_empty() {
        out += "<p>No phase was finished.</p>";
    } else {
        out += &table(phases);
        out += &ramp(phases)?;
        for phase in phases {
            out += &section(phase)?;
        }
    }
    out += "</body></html>\n";
    Ok(out)
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn figure(value: &Value, path: &str) -> Option<f64> {
    value.pointer(path).and_then(Value::as_f64)
}

fn escape(text: &str) -> String {
    godwit_testclient::xml::escape(text)
}

/// The latency that a phase is about.
fn main_latency(phase: &Value) -> Option<(&'static str, &Value)> {
    let all = ["delivery", "back", "page", "join", "fetched", "acknowledged", "account", "login"];
    all.into_iter().find_map(|name| Some((name, phase.pointer(&format!("/latency_us/{name}"))?)))
}

fn table(phases: &[Value]) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table><tr><th>phase</th><th>units</th><th>per second</th><th>offered</th>\
         <th>p50 ms</th>\
         <th>p99 ms</th><th>max ms</th><th>server CPU<br>µs per unit</th><th>switches<br>per unit</th>\
         <th>system calls<br>per unit</th><th>RSS at the<br>end, MiB</th><th>bytes per<br>session</th>\
         <th>wrong</th></tr>\n",
    );
    for phase in phases {
        let main = main_latency(phase).map(|(_, latency)| latency);
        let ms = |name: &str| main.and_then(|l| l.get(name)?.as_f64()).map(|us| us / 1000.0);
        let unit = text(phase, "/unit");
        let cells = [
            figure(phase, "/per_second"),
            figure(phase, "/offered_per_second"),
            ms("p50"),
            ms("p99"),
            ms("max"),
            figure(phase, "/server/cpu_us_per_unit"),
            figure(phase, "/server/switches_per_unit"),
            figure(phase, "/server/syscalls_per_unit"),
            figure(phase, "/server/rss_end").map(|bytes| bytes / 1_048_576.0),
            figure(phase, "/server/rss_per_session"),
        ];
        let units = figure(phase, "/units").unwrap_or(0.0);
        let _ = write!(out, "<tr><td>{}</td><td>{units} {unit}</td>", escape(text(phase, "/phase")));
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", cell.map_or_else(|| "–".into(), number));
        }
        let wrong = wrong(phase);
        let class = if wrong.is_empty() { "" } else { " class=\"bad\"" };
        let _ = writeln!(out, "<td{class}>{}</td></tr>", if wrong.is_empty() { "0" } else { &wrong });
    }
    out + "</table></div>\n"
}

fn wrong(phase: &Value) -> String {
    let names = crate::data::WRONG.iter().chain(&["late", "disconnected"]);
    let counts = names.filter_map(|name| Some((name, figure(phase, &format!("/counts/{name}"))?)));
    let all: Vec<String> =
        counts.filter(|(_, n)| *n > 0.0).map(|(name, n)| format!("{n} {}", name.replace('_', " "))).collect();
    all.join(", ")
}

/// Offered load against what came of it, over the steps of a ramp.
fn ramp(phases: &[Value]) -> Outcome<String> {
    let mut steps: Vec<(f64, &Value)> =
        phases.iter().filter_map(|p| Some((figure(p, "/offered_per_second")?, p))).collect();
    if steps.len() < 2 {
        return Ok(String::new());
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let over = |path: &str, factor: f64| -> Vec<(f64, f64)> {
        steps.iter().filter_map(|(x, p)| Some((*x, figure(p, path)? * factor))).collect()
    };
    let axes = Axes { x: "messages offered per second", ..Axes::default() };
    let mut out = String::from("<h2>Steps</h2>\n");
    if let Some(end) = phases.iter().find_map(|p| p.get("ramp")) {
        let full: Vec<&str> = end
            .get("saturated")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let say = |name: &str| figure(end, name).map_or_else(|| "none".into(), number);
        let _ = writeln!(
            out,
            "<p>Knee: <strong>{}</strong> messages per second; {} break it. What was full: {}.</p>",
            say("/knee_per_second"),
            say("/breaks_at_per_second"),
            escape(&full.join("; "))
        );
    }
    out += "<div class=\"plots\">";
    let delivered = [
        Line { name: "delivered", points: over("/per_second", 1.0) },
        Line { name: "offered", points: over("/offered_per_second", 1.0) },
    ];
    out += &plot("delivered messages per second", lines(axes, &delivered)?);
    let latency = |q: &str| over(&format!("/latency_us/delivery/{q}"), 0.001);
    let latencies =
        [Line { name: "p50", points: latency("p50") }, Line { name: "p99", points: latency("p99") }];
    out +=
        &plot("delivery latency, from when it was due, ms", lines(Axes { log_y: true, ..axes }, &latencies)?);
    let cpu = [Line { name: "server", points: over("/server/cpu_us_per_unit", 1.0) }];
    out += &plot("server CPU per message, µs", lines(axes, &cpu)?);
    let switches = [Line { name: "server", points: over("/server/switches_per_unit", 1.0) }];
    out += &plot("context switches per message", lines(axes, &switches)?);
    Ok(out + "</div>\n")
}

fn plot(title: &str, svg: Option<String>) -> String {
    let Some(svg) = svg else { return String::new() };
    // The page gives the size; the view box keeps the shape.
    let svg = match (svg.find(" width=\""), svg.find(" viewBox=")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{}", svg.get(..from).unwrap_or_default(), svg.get(to..).unwrap_or_default())
        }
        _ => svg,
    };
    format!("<figure><figcaption>{}</figcaption>{svg}</figure>\n", escape(title))
}

/// A list of numbers in the series.
fn series(phase: &Value, path: &str) -> Vec<Option<f64>> {
    let list = phase.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten().map(Value::as_f64).collect()
}

/// Seconds of the phase against a list of one value for each.
fn by_second(phase: &Value, path: &str, factor: f64) -> Vec<(f64, f64)> {
    let all = series(phase, path).into_iter().zip(1_u32..);
    all.filter_map(|(value, second)| Some((f64::from(second), value? * factor))).collect()
}

/// The same for the readings of the server, which have their own times.
fn by_reading(phase: &Value, name: &str, change: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let times = series(phase, "/series/server/at");
    let values = series(phase, &format!("/series/server/{name}"));
    times.into_iter().zip(values).filter_map(|(at, value)| Some((at?, change(value?)))).collect()
}

fn section(phase: &Value) -> Outcome<String> {
    let unit = text(phase, "/unit");
    let time = Axes { x: "seconds", ..Axes::default() };
    let mut plots = String::new();
    let done = Line { name: "done", points: by_second(phase, "/series/done", 1.0) };
    let wrong = Line { name: "wrong", points: by_second(phase, "/series/wrong", 1.0) };
    let both = if wrong.points.iter().any(|p| p.1 > 0.0) { vec![done, wrong] } else { vec![done] };
    if both.iter().flat_map(|line| &line.points).any(|point| point.1 > 0.0) {
        plots += &plot(&format!("throughput, {unit} per second"), lines(time, &both)?);
    }
    let over_time: Vec<Line> = [("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us")]
        .into_iter()
        .map(|(name, field)| {
            let mut points = by_second(phase, &format!("/series/{field}"), 0.001);
            points.retain(|point| point.1 > 0.0);
            Line { name, points }
        })
        .collect();
    let main = main_latency(phase);
    let name = main.map_or("", |(name, _)| name);
    plots +=
        &plot(&format!("latency over time ({name}), ms"), lines(Axes { log_y: true, ..time }, &over_time)?);
    let bars: Vec<(f64, f64, f64)> = main
        .and_then(|(_, latency)| latency.get("buckets")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(|b| Some((b.get(0)?.as_f64()? / 1e3, b.get(1)?.as_f64()? / 1e3, b.get(2)?.as_f64()?)))
        .collect();
    plots += &plot(&format!("histogram of latency ({name}), ms"), histogram("ms", &bars)?);
    plots += &server(phase, time)?;
    if plots.is_empty() {
        return Ok(String::new());
    }
    let mut out = format!("<h2>{}</h2>\n", escape(text(phase, "/phase")));
    if let Some(error) = phase.get("error").and_then(Value::as_str) {
        let _ = writeln!(out, "<p class=\"dim\">last error: <code>{}</code></p>", escape(error));
    }
    Ok(format!("{out}<div class=\"plots\">\n{plots}</div>\n"))
}

fn server(phase: &Value, time: Axes) -> Outcome<String> {
    let one = |points| lines(time, &[Line { name: "server", points }]);
    let mut plots = String::new();
    plots += &plot("server CPU, cores", one(by_reading(phase, "cores_busy", |v| v))?);
    plots += &plot("server resident memory, MiB", one(by_reading(phase, "rss", |v| v / 1_048_576.0))?);
    if let (Some(sessions), Some(start), Some(_)) = (
        figure(phase, "/sessions").filter(|n| *n > 0.0),
        figure(phase, "/server/rss_start"),
        figure(phase, "/server/rss_per_session"),
    ) {
        let points = by_reading(phase, "rss", |rss| (rss - start).max(0.0) / sessions);
        plots += &plot("growth of resident memory, bytes per session", one(points)?);
    }
    plots += &plot("context switches per second", one(by_reading(phase, "switches_per_second", |v| v))?);
    plots += &plot("system calls per second", one(by_reading(phase, "syscalls_per_second", |v| v))?);
    if let Some(why) = phase.pointer("/server/syscalls_unmeasured").and_then(Value::as_str) {
        let _ = write!(plots, "<p class=\"note\">system calls: not measured ({})</p>", escape(why));
    }
    Ok(plots)
}
