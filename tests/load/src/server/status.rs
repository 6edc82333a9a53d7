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
        "rss_bytes": keep("/rss_bytes"),
    })
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
}
