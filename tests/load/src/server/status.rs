//! Asks a Godwit server for its status: syncs, memory by owner, what bounds it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// How to ask.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) godwitctl: PathBuf,
    pub(crate) config: Option<PathBuf>,
}

impl Asked {
    /// `godwitctl status --json`; `None` if that fails.
    pub(crate) fn status(&self) -> Option<Value> {
        let mut command = Command::new(&self.godwitctl);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let output = command.args(["status", "--json"]).stdin(Stdio::null()).output().ok()?;
        serde_json::from_slice(&output.stdout).ok().filter(Value::is_object)
    }
}

/// What a report keeps of a status, and how the counters grew since `before`.
pub(crate) fn digest(before: Option<&Value>, after: Option<&Value>) -> Value {
    let Some(after) = after else { return Value::Null };
    let counter =
        |status: &Value, name: &str| status.pointer("/counters").and_then(|c| c.get(name)?.as_u64());
    let mut grown = serde_json::Map::new();
    for name in after.pointer("/counters").and_then(Value::as_object).into_iter().flat_map(|c| c.keys()) {
        let from = before.and_then(|b| counter(b, name)).unwrap_or(0);
        let by = counter(after, name).unwrap_or(0).saturating_sub(from);
        if by > 0 {
            grown.insert(name.clone(), by.into());
        }
    }
    let keep = |path: &str| after.pointer(path).cloned().unwrap_or(Value::Null);
    json!({
        "counters": grown, "sessions": keep("/sessions"), "connections": keep("/connections"),
        "ceiling": keep("/ceiling"), "memory": keep("/memory"), "store": keep("/store"),
        "rss_bytes": keep("/rss_bytes"), "overload": keep("/overload"),
        "delivery_us": times(before, after, "delivery"), "commit_us": times(before, after, "commit"),
    })
}

/// Percentiles of one of the server's histograms, over the values that came since `before`; `Null` if there
/// were none.
fn times(before: Option<&Value>, after: &Value, name: &str) -> Value {
    let list = |status: &Value, what: &str| -> Vec<u64> {
        let values = status.pointer(&format!("/load/{name}/{what}")).and_then(Value::as_array);
        values.into_iter().flatten().filter_map(Value::as_u64).collect()
    };
    let (bounds, mut counts) = (list(after, "bounds_us"), list(after, "counts"));
    let earlier = before.map(|before| list(before, "counts")).unwrap_or_default();
    for (count, earlier) in counts.iter_mut().zip(earlier) {
        *count = count.saturating_sub(earlier);
    }
    let of = |part| quantile(&bounds, &counts, part);
    match of(0.99) {
        Some(p99) => json!({"p50": of(0.5), "p99": p99, "count": counts.iter().sum::<u64>()}),
        None => Value::Null,
    }
}

/// What this part of all values does not exceed: evenly spread within a bucket, as Prometheus estimates it;
/// the last bound stands for all above it.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bounds")]
fn quantile(bounds: &[u64], counts: &[u64], part: f64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let rank = part * all as f64;
    let (mut below, mut floor) = (0, 0);
    for (&bound, &count) in bounds.iter().zip(counts) {
        if count > 0 && (below + count) as f64 >= rank {
            let within = (rank - below as f64).max(0.0) / count as f64;
            return Some(floor + ((bound - floor) as f64 * within).round() as u64);
        }
        (below, floor) = (below + count, bound);
    }
    (all > 0).then_some(floor)
}

#[cfg(test)]
mod tests {
    use super::digest;
    use serde_json::{Value, json};

    #[test]
    fn counters_are_given_as_growth() {
        let before = json!({"counters": {"a": 5, "b": 7}, "sessions": 1});
        let after = json!({"counters": {"a": 9, "b": 7, "c": 2}, "sessions": 3, "memory": {"x": 1}});
        let digest = digest(Some(&before), Some(&after));
        assert_eq!(digest["counters"], json!({"a": 4, "c": 2}));
        assert_eq!(digest["sessions"], json!(3));
        assert_eq!(super::digest(None, None), Value::Null);
    }

    #[test]
    fn percentiles_are_of_what_came_since() {
        let status =
            |counts: [u64; 3]| json!({"load": {"delivery": {"bounds_us": [1000, 2000], "counts": counts}}});
        let digest = digest(Some(&status([900, 5, 7])), Some(&status([950, 55, 7])));
        assert_eq!(digest["delivery_us"], json!({"p50": 1000, "p99": 1980, "count": 100}));
        assert_eq!(digest["commit_us"], Value::Null);
    }
}
