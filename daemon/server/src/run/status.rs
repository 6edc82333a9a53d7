//! What `godwitctl status` is told.
use super::daemon::{Daemon, locked};
use super::pace::per_sync;
use crate::admin::protocol::{
    ArchiveStatus, CertificateRow, LoadStatus, OverloadStatus, Status, StoreStatus,
};
use crate::limits::Machine;
use crate::metrics::process::Reader;
use godwit_edge::ShardStats;
use godwit_edge::stats::Count;
use godwit_store::Cf;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

impl Daemon {
    /// What `godwitctl status` shows.
    pub(super) fn status(&self) -> Status {
        let counters = &self.hub.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // A reader of its own: it is asked for nothing that it would have to remember.
        let facts = self.facts(&mut Reader::default());
        Status {
            version: crate::version::version().into(),
            pid: std::process::id(),
            started_ms: self.started_ms,
            now_ms: (self.clock)(),
            domains: self.config().domains.iter().map(ToString::to_string).collect(),
            connections: self.connections.now() as u64,
            ceiling: self.ceiling.clone(),
            sessions: get(&counters.sessions),
            detached: get(&counters.detached),
            counters: self.counters(),
            store: self.store_status(),
            archive: self.archive_status(),
            overload: facts.overload,
            load: LoadStatus::of(&facts, Machine::here().cores),
            certificates: self.certificate_rows(),
            memory: facts.memory,
            rss_bytes: crate::metrics::process::resident().all,
            owners: facts.owners,
            log_level: self.logging.level(),
            log_lines_dropped: self.logging.dropped(),
            stuck: locked(&self.stuck).clone(),
            reload: locked(&self.reload).clone(),
            backup: locked(&self.backup).clone(),
            upgrade: locked(&self.up.last).clone(),
            upgrades: self.up.count.load(Ordering::Relaxed),
            notice: self.up.origin.again.clone(),
        }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let hub = &self.hub.counters;
        let of_hub = [
            ("messages_stored", &hub.messages_stored),
            ("messages_unstored", &hub.messages_unstored),
            ("delivered", &hub.delivered),
            ("slow_committed", &hub.slow_committed),
            ("slow_written", &hub.slow_written),
            ("errors_sent", &hub.errors_sent),
            ("conflicts", &hub.conflicts),
            ("writes_failed", &hub.writes_failed),
            ("logins", &hub.logins),
            ("resumed", &hub.resumed),
            ("revived", &hub.revived),
            ("shed", &hub.shed),
            ("panics", &hub.panics),
        ];
        let mut counters: BTreeMap<String, u64> =
            of_hub.iter().map(|(name, n)| ((*name).to_owned(), n.load(Ordering::Relaxed))).collect();
        counters.insert("stanzas".into(), hub.stanzas.total());
        counters.insert("logins_failed".into(), hub.logins_failed.total());
        for shard in &self.shard_stats {
            let of_shard = [
                ("accepted", &shard.accepted),
                ("refused_full", &shard.refused_full),
                ("refused_host", &shard.refused_host),
                ("accept_starved", &shard.accept_starved),
                ("handshakes_tls12", &shard.handshakes_tls12),
                ("handshakes_tls13", &shard.handshakes_tls13),
                ("handshakes_resumed", &shard.handshakes_resumed),
                ("tls_failures", &shard.tls_failures),
                ("closed_send_queue_full", &shard.closed.send_queue_full),
                ("bytes_in", &shard.bytes_in),
                ("bytes_out", &shard.bytes_out),
                ("queued_bytes", &shard.queued_bytes),
            ];
            for (name, n) in of_shard {
                *counters.entry(name.to_owned()).or_default() += n.get();
            }
        }
        counters
    }

    /// Limits that were reached.
    pub(super) fn overload(&self) -> OverloadStatus {
        let of_shards = |count: fn(&ShardStats) -> &Count| {
            self.shard_stats.iter().map(|shard| count(shard).get()).sum::<u64>()
        };
        let overflows = crate::metrics::process::backlog_overflows();
        OverloadStatus {
            refused_connections: of_shards(|shard| &shard.refused_full),
            refused_memory: of_shards(|shard| &shard.refused_memory),
            delayed: of_shards(|shard| &shard.accept_delayed),
            crowded: of_shards(|shard| &shard.crowded),
            starved: of_shards(|shard| &shard.accept_starved),
            backlog_overflows: overflows.saturating_sub(self.backlog_overflows),
            writes_refused: self.hub.counters.writes_failed.load(Ordering::Relaxed),
            memory_max_bytes: self.resident_max(),
            shut: self.connections.is_shut(),
        }
    }

    fn archive_status(&self) -> ArchiveStatus {
        let config = self.config();
        let limits = &config.raw.archive;
        let sizes = self.store.live_bytes_by_cf().unwrap_or_default();
        let archive = sizes.iter().filter(|(cf, _)| matches!(cf, Cf::Archive | Cf::With));
        let rows = self.store.property_u64("rocksdb.estimate-num-keys", Cf::Archive);
        ArchiveStatus {
            rows: rows.ok().flatten().unwrap_or(0),
            disk_bytes: archive.map(|(_, bytes)| bytes).sum(),
            keep_s: (limits.keep_days > 0).then(|| limits.keep_days * 86_400),
            account_bytes_max: (limits.bytes_per_account_max > 0).then_some(limits.bytes_per_account_max),
        }
    }

    fn store_status(&self) -> StoreStatus {
        let (stats, health) = (self.writer.stats(), self.writer.health());
        let memory = self.store.memory().unwrap_or_default();
        let messages = self.hub.counters.messages_stored.load(Ordering::Relaxed);
        StoreStatus {
            ok: health.ok,
            full: health.full,
            since_ms: health.since_ms,
            last_error: health.last_error,
            queued: stats.queued,
            queued_most: stats.queued_most,
            queue_max: stats.queue_max,
            transactions: stats.transactions,
            rounds: stats.rounds,
            syncs: stats.syncs,
            failures: stats.failures,
            written_bytes: stats.bytes,
            sync_us_mean: stats.sync_us.mean(),
            sync_us_most: stats.sync_us.most,
            commit_us_mean: stats.commit_us.mean(),
            commit_us_most: stats.commit_us.most,
            together_most: stats.synced_together.most,
            per_sync: per_sync(stats.synced_together.sum as f64, messages as f64, stats.syncs as f64),
            lately: locked(&self.pacer).pace(),
            memory_bytes: memory.memtables + memory.block_cache + memory.table_readers,
        }
    }

    fn certificate_rows(&self) -> Vec<CertificateRow> {
        let now = i64::try_from((self.clock)() / 1000).unwrap_or(i64::MAX);
        let row = |status: godwit_edge::tls::CertificateStatus| CertificateRow {
            file: status.chain.display().to_string(),
            expires_ms: u64::try_from(status.not_after).unwrap_or(0).saturating_mul(1000),
            warning: status.warning(now),
            names: status.names,
        };
        self.certificates.status().into_iter().map(row).collect()
    }
}
