//! Metrics of the store.
use super::metric::{Metric, counter, gauge, histogram};

/// To a second.
const MICROS: f64 = 1e6;

/// In the order in which they are told.
pub(super) const STORE: &[Metric] = &[
    gauge("godwit_store_state", "1 for how the last write went, 0 for the others.", |f, s| {
        let health = &f.health;
        s.each([
            ("ok", health.ok),
            ("full", !health.ok && health.full),
            ("failed", !health.ok && !health.full),
        ])
    })
    .by("state"),
    gauge(
        "godwit_store_state_timestamp_seconds",
        "Since when writes succeed or fail, since 1970.",
        |f, s| s.one(f.health.since_ms as f64 / 1000.0),
    )
    .seconds(),
    counter("godwit_store_transactions", "Transactions completed, whatever their outcome.", |f, s| {
        s.one(f.store.transactions)
    }),
    counter("godwit_store_conflicts", "Transactions refused by a guard.", |f, s| s.one(f.store.conflicts)),
    counter("godwit_store_rounds", "Rounds written, synced or not.", |f, s| s.one(f.store.rounds)),
    counter("godwit_store_fsyncs", "Rounds synced to disk.", |f, s| s.one(f.store.syncs)),
    counter("godwit_store_write_failures", "Rounds whose write failed.", |f, s| s.one(f.store.failures)),
    counter("godwit_store_written_bytes", "Bytes written to the log.", |f, s| s.one(f.store.bytes)).bytes(),
    histogram("godwit_store_fsync_seconds", "Time of a synced write.", |f, s| {
        s.buckets(&f.store.sync_us, MICROS)
    })
    .seconds(),
    histogram(
        "godwit_store_commit_seconds",
        "Time from a transaction's submission to its commit.",
        |f, s| s.buckets(&f.store.commit_us, MICROS),
    )
    .seconds(),
    histogram("godwit_store_fsync_transactions", "Transactions that shared one fsync.", |f, s| {
        s.buckets(&f.store.synced_together, 1.0)
    }),
    gauge("godwit_store_fsync_transactions_most", "Most transactions that ever shared one fsync.", |f, s| {
        s.one(f.store.synced_together.most)
    }),
    gauge("godwit_store_queue", "Transactions submitted and not yet completed.", |f, s| {
        s.one(f.store.queued)
    }),
    gauge("godwit_store_queue_most", "The most there ever were.", |f, s| s.one(f.store.queued_most)),
    gauge(
        "godwit_store_queue_max",
        "The most there may be; further stanzas are answered with an error.",
        |f, s| s.one(f.store.queue_max),
    ),
    gauge("godwit_store_memory_bytes", "Memory of the store.", |f, s| {
        let memory = f.store_memory.unwrap_or_default();
        s.each([
            ("memtables", memory.memtables),
            ("block_cache", memory.block_cache),
            ("table_readers", memory.table_readers),
        ])
    })
    .bytes()
    .by("part"),
    gauge("godwit_store_table_bytes", "Table files in use, by column family.", |f, s| {
        s.each(f.store_bytes.iter().map(|(cf, bytes)| (cf.name(), *bytes)))
    })
    .bytes()
    .by("family"),
    gauge("godwit_store_rows", "Rows, estimated, by column family.", |f, s| {
        s.each(f.store_rows.iter().map(|(cf, rows)| (cf.name(), *rows)))
    })
    .by("family"),
    gauge("godwit_store_background_jobs", "Flushes and compactions that run.", |f, s| {
        let background = f.store_background.unwrap_or_default();
        s.each([("flush", background.flushes), ("compaction", background.compactions)])
    })
    .by("kind"),
    gauge("godwit_store_background_errors", "Errors of these since the database was opened.", |f, s| {
        s.one(f.store_background.unwrap_or_default().errors)
    }),
    gauge(
        "godwit_store_compaction_debt_bytes",
        "Bytes that compactions have to rewrite, estimated.",
        |f, s| s.one(f.store_background.unwrap_or_default().compaction_debt),
    )
    .bytes(),
    gauge("godwit_store_background_pending", "Column families that wait for one of these.", |f, s| {
        let background = f.store_background.unwrap_or_default();
        s.each([("flush", background.flushes_pending), ("compaction", background.compactions_pending)])
    })
    .by("kind"),
    counter("godwit_store_stalled_seconds", "Time for which writes waited for the background.", |f, s| {
        s.one(f.store_background.unwrap_or_default().stalled_us as f64 / MICROS)
    })
    .seconds(),
    counter(
        "godwit_store_block_reads",
        "Blocks looked for in the cache, by whether they were there.",
        |f, s| {
            let background = f.store_background.unwrap_or_default();
            s.each([("hit", background.cache_hits), ("miss", background.cache_misses)])
        },
    )
    .by("cache"),
    gauge("godwit_store_stalled", "1 while writes wait for the background or are slowed down.", |f, s| {
        s.one(f.store_background.is_some_and(|background| background.stopped || background.slowed_to > 0))
    }),
    gauge(
        "godwit_backup_last_success_timestamp_seconds",
        "When the last backup's checkpoint was made, since 1970; 0 if there was none.",
        |f, s| s.one(f.backup.as_ref().map_or(0.0, |backup| backup.at_ms as f64 / 1000.0)),
    )
    .seconds(),
    gauge("godwit_backup_last_size_bytes", "Bytes of the last backup's files.", |f, s| {
        s.one(f.backup.as_ref().map_or(0, |backup| backup.bytes))
    })
    .bytes(),
    gauge("godwit_disk_free_bytes", "Space that is left on the device of the data directory.", |f, s| {
        s.one(f.disk_bytes.map_or(f64::NAN, |(free, _)| free as f64))
    })
    .bytes(),
    gauge("godwit_disk_size_bytes", "Size of that device.", |f, s| {
        s.one(f.disk_bytes.map_or(f64::NAN, |(_, size)| size as f64))
    })
    .bytes(),
];
