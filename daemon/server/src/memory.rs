//! Who holds the process's memory: what each part counts for itself, laid over what allocator and kernel
//! count.
//!
//! The sum is made of counts alone, so that comparing it with the resident set means something: they agree
//! within a tenth (a test with the real program). What of the allocated bytes nobody counts is shown as
//! `other`. The allocator counts pages that were never touched, which the kernel does not have: those come
//! off.
use crate::alloc;
use crate::metrics::process::Resident;
use godwit_edge::ShardStats;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes by owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owners {
    /// TLS of connections: open ones and handshakes.
    pub tls: u64,
    /// Sessions: their connections' places and machines, the registry, those that wait for resumption.
    pub sessions: u64,
    /// Bytes that wait to be sent, and input that is not whole.
    pub queues: u64,
    /// The store's block cache.
    pub block_cache: u64,
    /// The store's memtables.
    pub memtables: u64,
    /// Open table files besides that.
    pub table_readers: u64,
    /// Allocated, and counted by nobody: buffers of threads, the store's own state, module tables.
    pub other: u64,
    /// The allocator's own: its data, what its sizes round up, pages that it is about to give back.
    pub allocator: u64,
    /// Code and constants, as far as they are resident.
    pub program: u64,
}

impl Owners {
    /// From what everybody counts.
    pub fn new(
        allocator: alloc::Memory,
        shards: &[Arc<ShardStats>],
        registry: u64,
        store: godwit_store::Memory,
        kernel: Resident,
    ) -> Owners {
        let of_shards = |count: fn(&ShardStats) -> u64| shards.iter().map(|shard| count(shard)).sum::<u64>();
        let mut owners = Owners {
            tls: of_shards(|shard| shard.memory.tls.get()),
            sessions: registry + of_shards(|shard| shard.memory.sessions.get()),
            queues: of_shards(|shard| shard.memory.queues.get()),
            block_cache: store.block_cache,
            memtables: store.memtables,
            table_readers: store.table_readers,
            other: 0,
            allocator: allocator.resident_bytes.saturating_sub(allocator.allocated_bytes),
            program: kernel.files,
        };
        let counted = owners.sum() - owners.allocator - owners.program;
        let untouched = allocator.resident_bytes.saturating_sub(kernel.anonymous);
        owners.other = allocator.allocated_bytes.saturating_sub(counted + untouched);
        owners
    }

    /// Each with its name.
    pub fn each(&self) -> [(&'static str, u64); 9] {
        [
            ("tls", self.tls),
            ("sessions", self.sessions),
            ("queues", self.queues),
            ("block_cache", self.block_cache),
            ("memtables", self.memtables),
            ("table_readers", self.table_readers),
            ("other", self.other),
            ("allocator", self.allocator),
            ("program", self.program),
        ]
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.each().iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_counts_is_shown_and_nothing_twice() {
        let allocator = alloc::Memory { allocated_bytes: 1_000, active_bytes: 1_100, resident_bytes: 1_500 };
        let store = godwit_store::Memory { memtables: 100, block_cache: 200, table_readers: 10 };
        let kernel = Resident { all: 1_600, files: 70, anonymous: 1_530 };
        let owners = Owners::new(allocator, &[], 300, store, kernel);
        assert_eq!((owners.other, owners.allocator, owners.program), (390, 500, 70));
        assert_eq!(owners.sum(), 1_570);
        // 200 of the allocator's 1,500 bytes were never touched.
        let kernel = Resident { all: 1_370, files: 70, anonymous: 1_300 };
        let owners = Owners::new(allocator, &[], 300, store, kernel);
        assert_eq!((owners.other, owners.sum()), (190, 1_370));
    }
}
