//! The running daemon's memory account, and whether its memory is at the ceiling.
use super::daemon::Daemon;
use crate::memory::Owners;
use crate::metrics::process;
use godwit_edge::Control;
use std::time::Duration;

/// How often, and after which pause, it is looked whether the shards have measured: 100 ms, a long turn.
const LOOKS_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

impl Daemon {
    /// Has everything measured. Not to be called on a thread of the runtime: it waits for the shards.
    pub(super) fn owners(&self) -> Owners {
        let measured = || self.shard_stats.iter().map(|shard| shard.memory.measured.get()).sum::<u64>();
        let all = measured() + self.shard_stats.len() as u64;
        self.mailboxes.each().for_each(|shard| shard.control(Control::Measure));
        // A shard that is stuck, or has ended, is shown as it was before.
        for _ in 0..LOOKS_MAX {
            if measured() >= all {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let store = self.store.memory().unwrap_or_default();
        let registry = self.hub.registry.memory() as u64;
        Owners::new(crate::alloc::memory(), &self.shard_stats, registry, store, process::resident())
    }
}
