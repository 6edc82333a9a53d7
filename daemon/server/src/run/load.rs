//! What `godwitctl top` is told of load, latency and room.
use crate::admin::protocol::{Buckets, LoadStatus};
use crate::metrics::{Facts, Readiness};

impl LoadStatus {
    /// From what the metrics are made of.
    pub(super) fn of(facts: &Facts, cores: u32) -> LoadStatus {
        let background = facts.store_background;
        LoadStatus {
            delivery: Buckets::of(&facts.deliveries(), 1_000),
            commit: Buckets::of(&facts.store.commit_us, 1),
            sync: Buckets::of(&facts.store.sync_us, 1),
            cpu_s: facts.process.cpu_s,
            cores: cores.into(),
            descriptors: facts.process.descriptors,
            descriptors_max: facts.process.descriptors_max,
            handshaking: facts.shards(|shard| &shard.handshaking),
            tls12: facts.shards(|shard| &shard.open_tls12),
            tls13: facts.shards(|shard| &shard.open_tls13),
            slow_readers: facts.shards(|shard| &shard.congested),
            waiting_messages: facts.backlog.messages,
            stalled_us: background.map_or(0, |background| background.stalled_us),
            stalling: background.is_some_and(|background| background.stopped || background.slowed_to > 0),
            store_bytes: facts.store_bytes.iter().map(|(_, bytes)| bytes).sum(),
            disk_free_bytes: facts.disk_bytes.map_or(0, |(free, _)| free),
            disk_bytes: facts.disk_bytes.map_or(0, |(_, all)| all),
            not_ready: Readiness::of(facts).reasons.into_iter().map(|reason| reason.why).collect(),
        }
    }
}
