//! Gathers from the running daemon what metrics and health are made of.
use super::daemon::{Daemon, locked};
use crate::metrics::Facts;
use crate::metrics::process::Reader;
use crate::metrics::serve::Gather;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// For the HTTP side.
pub(super) fn gather(daemon: Arc<Daemon>) -> Gather {
    let reader = Mutex::new(Reader::default());
    Arc::new(move || daemon.facts(&mut locked(&reader)))
}

impl Daemon {
    fn last_pause_s(&self) -> f64 {
        locked(&self.up.last).as_ref().filter(|last| last.ok).map_or(0.0, |last| last.pause_ms / 1_000.0)
    }

    pub(super) fn facts(&self, reader: &mut Reader) -> Facts {
        Facts {
            now_ms: (self.clock)(),
            started_ms: self.started_ms,
            process: reader.read(),
            memory: crate::alloc::memory(),
            owners: self.owners(),
            hub: Arc::clone(&self.hub.counters),
            shards: self.shard_stats.clone(),
            deliveries: self.deliveries.clone(),
            backlog: self.hub.registry.backlog(),
            connections: self.connections.now() as u64,
            ceiling: self.ceiling.clone(),
            overload: self.overload(),
            store: self.writer.stats(),
            health: self.writer.health(),
            store_memory: self.store.memory().ok(),
            store_background: self.store.background().ok(),
            store_rows: self.store.rows_by_cf().unwrap_or_default(),
            store_bytes: self.store.live_bytes_by_cf().unwrap_or_default(),
            disk_bytes: disk(&self.config().data_dir),
            certificates: self.certificates.status(),
            log_lines_dropped: self.logging.dropped(),
            stuck: locked(&self.stuck).clone(),
            reload: locked(&self.reload).clone(),
            backup: locked(&self.backup).clone(),
            upgrades: self.up.count.load(Ordering::Relaxed),
            upgrade_pause_s: self.last_pause_s(),
        }
    }
}

/// Bytes that this user may still write to the device of a directory, and all of its bytes.
fn disk(directory: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}
