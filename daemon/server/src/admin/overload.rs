//! What `godwitctl status` tells of limits that were reached.
use serde::{Deserialize, Serialize};

/// Limits that were reached since the start, and whether one is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OverloadStatus {
    /// Connections refused at the ceiling on their number.
    pub refused_connections: u64,
    /// Connections refused at the ceiling of memory.
    pub refused_memory: u64,
    /// Times that a shard let nobody in for a moment, because enough were on their way to a session.
    pub delayed: u64,
    /// Turns of shards that left clients unread, because enough of what was read was under way.
    #[serde(default)]
    pub crowded: u64,
    /// Times that accepting failed for want of descriptors or of the kernel's memory.
    pub starved: u64,
    /// Connections for which the kernel's queue of a listener on this machine had no place, since the daemon
    /// started.
    pub backlog_overflows: u64,
    /// Stanzas that were answered with an error because the store's writer could take no more, or failed.
    pub writes_refused: u64,
    /// Ceiling of resident memory, in bytes.
    pub memory_max_bytes: u64,
    /// No connection is taken now, for want of memory.
    pub shut: bool,
}

impl OverloadStatus {
    /// For people: a line for each limit.
    pub fn lines(&self, bytes: impl Fn(u64) -> String) -> Vec<(&'static str, String)> {
        let memory = if self.shut { "REACHED: no connection is taken" } else { "not reached" };
        vec![
            (
                "memory ceiling",
                format!("{}, {memory}; {} refused", bytes(self.memory_max_bytes), self.refused_memory),
            ),
            ("ceiling reached", format!("{} connections refused", self.refused_connections)),
            ("descriptors", format!("ran out {} times", self.starved)),
            (
                "accept",
                format!(
                    "delayed {} times while others logged in; the kernel's queue was full {} times",
                    self.delayed, self.backlog_overflows
                ),
            ),
            ("reading", format!("paused {} times while enough was under way", self.crowded)),
            ("writer full", format!("{} stanzas answered with an error", self.writes_refused)),
        ]
    }
}
