//! Opens RocksDB: its options, and what each refusal means for the operator.
//!
//! Power loss. A round is acknowledged after `fdatasync` of the write-ahead log, so whatever a crash tears
//! lies behind the last acknowledged round. Recovery runs in the mode *tolerate corrupted tail records*: a
//! log that ends in the middle of a record opens, without that record; a damaged record with more behind it,
//! or a missing log, refuses to open. The alternatives are worse: *point in time*, RocksDB's default, opens
//! after damage in the middle and silently drops the acknowledged rows behind it; *absolute consistency*
//! refuses the torn tail that every power loss may leave. One thing more is cut off by `tail.rs`: a last
//! round of full length with holes, which RocksDB refuses. Nothing else is ever repaired or dropped.
//!
//! What this cannot tell apart: a damaged *length* of a record in the last 32 KiB of the last log looks like
//! a torn tail. And RocksDB misses the newest of several logs only if the manifest knows of it; we see to it
//! that there is a log at all, and that a store without `CURRENT` is not taken for a new one.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, ErrorKind,
    LogLevel, SliceTransform, WriteBatch, WriteOptions, statistics::StatsLevel,
};

use crate::cf::{self, Compression, Options, Profile};
use crate::expiry::{self, Expiry};
use crate::schema::{self, OWNER_BYTES, SCHEMA_VERSION};
use crate::{Cf, Seq, StoreError, tail};

/// What to do about damage.
const RESTORE: &str = "restore a backup, or see with `godwitctl store verify` what can still be read";
/// What a store is made with.
const FIRST_MANIFEST: &str = "MANIFEST-000001";

/// An open database and what was found in it.
pub(crate) struct Opened {
    pub(crate) db: DB,
    pub(crate) cache: Cache,
    pub(crate) head: Seq,
    /// What it was opened with: has its counts.
    pub(crate) database: rocksdb::Options,
}

/// Opens the store in a directory, which is created (for its owner only) if there is none.
pub(crate) fn open(path: &Path, options: &Options, expiry: &Arc<Expiry>) -> Result<Opened, StoreError> {
    let fresh = !path.join("CURRENT").exists();
    refuse_incomplete(path, fresh)?;
    if fresh {
        create_dir(path).map_err(|error| StoreError::Io(format!("{}: {error}", path.display())))?;
    } else {
        refuse_newer(path)?;
    }
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let database = database(options);
    let open = || {
        let families = Cf::ALL.map(|cf| {
            let mut family = family(cf, options, &cache);
            if let Some(keep_ms) = options.keep_ms {
                expiry::apply(cf, keep_ms, expiry, &mut family);
            }
            ColumnFamilyDescriptor::new(cf.name(), family)
        });
        DB::open_cf_descriptors(&database, path, families)
    };
    let db = match open() {
        Err(error)
            if error.kind() == ErrorKind::Corruption && tail::cut_torn_round(path).unwrap_or(false) =>
        {
            open()
        }
        opened => opened,
    };
    let db = db.map_err(|error| blame(path, &error))?;
    if fresh {
        write_schema(&db).map_err(|error| blame(path, &error))?;
    }
    let head = check(path, &db)?;
    Ok(Opened { db, cache, head, database })
}

/// Opens without the right to write, after [`open`] failed: nothing is created, locked or recovered on disk.
pub(crate) fn open_read_only(path: &Path, options: &Options) -> Result<Opened, StoreError> {
    read_only(path, database(options), options)
}

/// Opens for looking only: not even RocksDB's information log is written.
pub(crate) fn open_to_examine(path: &Path, options: &Options, lenient: bool) -> Result<Opened, StoreError> {
    if !path.is_dir() {
        return Err(StoreError::Io(format!("there is no store at {}", path.display())));
    }
    refuse_incomplete(path, !path.join("CURRENT").exists())?;
    let mut database = database(options);
    silence(&mut database);
    if lenient {
        database.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
    }
    read_only(path, database, options)
}

fn read_only(path: &Path, database: rocksdb::Options, options: &Options) -> Result<Opened, StoreError> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let families = Cf::ALL.map(|cf| ColumnFamilyDescriptor::new(cf.name(), family(cf, options, &cache)));
    let db = DB::open_cf_descriptors_read_only(&database, path, families, false)
        .map_err(|error| blame(path, &error))?;
    let head = check(path, &db)?;
    Ok(Opened { db, cache, head, database })
}

/// What RocksDB would take for a new store, and overwrite: one without `CURRENT`. And what it would open
/// without a word: one without any log, though it keeps at least one from the start.
fn refuse_incomplete(path: &Path, fresh: bool) -> Result<(), StoreError> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // While a store is made, by another process or until a crash, there is the first manifest at most.
    let tables =
        |name: &String| name.ends_with(".sst") || (name.starts_with("MANIFEST-") && name != FIRST_MANIFEST);
    let (has_log, has_tables) = (names.iter().any(|name| name.ends_with(".log")), names.iter().any(tables));
    let missing = match (fresh, has_log) {
        // Looked for once more: it may have been written between the two looks.
        (true, _) if path.join("CURRENT").exists() => None,
        (true, _) => (has_log || has_tables).then_some("CURRENT"),
        (false, true) => None,
        (false, false) => has_tables.then_some("the write-ahead log (NUMBER.log)"),
    };
    missing.map_or(Ok(()), |file| {
        Err(StoreError::Corrupt(format!("{file} is missing in {}: {RESTORE}", path.display())))
    })
}

/// What an error means, in words for the operator.
pub(crate) fn blame(path: &Path, error: &rocksdb::Error) -> StoreError {
    let text: &str = error.as_ref();
    let lost_file = names_file(text) && text.contains("No such file");
    let locked =
        text.contains("lock hold by current process") || text.contains("Resource temporarily unavailable");
    // Before it takes the lock RocksDB tidies its information logs, and so does whoever opens it in the same
    // moment.
    let tidied_too = text.contains(&*path.join("LOG").to_string_lossy()) && text.contains("No such file");
    if (locked && text.contains("/LOCK")) || tidied_too {
        let remedy =
            "another process has it open: stop that process, or let godwitctl talk to the running godwitd";
        return StoreError::InUse(format!("{}: {remedy}", path.display()));
    }
    if error.kind() == ErrorKind::Corruption || lost_file {
        let what = match text {
            // So it says, too, when the head of a table cannot be read.
            _ if text.contains("MANIFEST") && text.ends_with("may be corrupted.") => {
                format!("{text} Or a table file that it lists")
            }
            _ if names_file(text) => text.to_owned(),
            _ => format!("{text}, in {}", logs(path)),
        };
        return StoreError::Corrupt(format!("{what} ({}): {RESTORE}", path.display()));
    }
    StoreError::Io(format!("{}: {text}", path.display()))
}

/// True if the device has no room for the write.
pub(crate) fn is_full(error: &rocksdb::Error) -> bool {
    let text: &str = error.as_ref();
    heals_itself(error) || text.contains("Disk quota exceeded")
}

/// True if RocksDB looks for free space by itself after this error, every five seconds, and then goes on.
pub(crate) fn heals_itself(error: &rocksdb::Error) -> bool {
    let text: &str = error.as_ref();
    text.contains("No space left on device")
}

fn names_file(text: &str) -> bool {
    [".sst", ".log", "MANIFEST", "CURRENT"].iter().any(|part| text.contains(part))
}

/// The write-ahead logs of a directory. RocksDB does not name the one that it refuses.
fn logs(path: &Path) -> String {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut logs: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
    logs.sort();
    format!("the write-ahead log ({})", logs.join(", "))
}

/// Creates the directory and makes its name durable: RocksDB syncs what is inside only.
fn create_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Looks at the schema version without touching a file. A newer program may have added families, which
/// RocksDB refuses to leave closed except when it only reads. Errors are left to the real opening, which
/// reports them.
fn refuse_newer(path: &Path) -> Result<(), StoreError> {
    let mut quiet = rocksdb::Options::default();
    recovery(&mut quiet);
    silence(&mut quiet);
    let Ok(db) = DB::open_cf_for_read_only(&quiet, path, [Cf::Meta.name()], false) else { return Ok(()) };
    match db.get(schema::meta_schema().as_bytes()).ok().flatten().and_then(|row| number(&row)) {
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::Newer { found, known: SCHEMA_VERSION }),
        _ => Ok(()),
    }
}

/// No information log.
fn silence(database: &mut rocksdb::Options) {
    database.set_info_logger(rocksdb::InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
}

fn write_schema(db: &DB) -> Result<(), rocksdb::Error> {
    let mut batch = WriteBatch::default();
    batch.put(schema::meta_schema().as_bytes(), SCHEMA_VERSION.to_be_bytes());
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options)
}

/// Checks the schema version and reads the head.
fn check(path: &Path, db: &DB) -> Result<Seq, StoreError> {
    let read = |key: schema::Key| db.get(key.as_bytes()).map_err(|error| blame(path, &error));
    let damaged = |what: &str| StoreError::Corrupt(format!("{}: {what}: restore a backup", path.display()));
    match read(schema::meta_schema())?.and_then(|row| number(&row)) {
        Some(SCHEMA_VERSION) => {}
        Some(found) if found > SCHEMA_VERSION => {
            return Err(StoreError::Newer { found, known: SCHEMA_VERSION });
        }
        // A crash while the store was made left it without a single row.
        None if db.latest_sequence_number() == 0 => write_schema(db).map_err(|error| blame(path, &error))?,
        _ => return Err(damaged("it says no schema version")),
    }
    match read(schema::meta_head())? {
        None => Ok(Seq(0)),
        Some(row) => match row.try_into() {
            Ok(bytes) => Ok(Seq(u64::from_be_bytes(bytes))),
            Err(_) => Err(damaged("its last sequence number has the wrong length")),
        },
    }
}

fn number(row: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(row.try_into().ok()?))
}

fn database(options: &Options) -> rocksdb::Options {
    let mut db = rocksdb::Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    recovery(&mut db);
    db.set_max_total_wal_size(options.wal_bytes_max);
    db.set_db_write_buffer_size(options.memtable_bytes);
    db.set_max_open_files(i32::try_from(options.open_files_max).unwrap_or(i32::MAX));
    db.set_max_background_jobs(i32::from(options.background_jobs).max(2));
    // With mmap a damaged page is a SIGBUS and memory is not accounted for.
    db.set_allow_mmap_reads(false);
    db.set_allow_mmap_writes(false);
    // A reader that drops the last reference to an old file leaves its removal to a background thread.
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_bytes_per_sync(cf::TABLE_SYNC_BYTES);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(cf::INFO_LOG_FILES);
    db.set_max_log_file_size(cf::INFO_LOG_BYTES_MAX);
    db.set_stats_dump_period_sec(0);
    // Plain counts, for each core its own; no clock is read for them.
    db.enable_statistics();
    db.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    db
}

/// How logs are replayed: the same for every way of opening. RocksDB 11.8 crashes if it opens a store
/// read-only with tracking off that was written with tracking on.
fn recovery(db: &mut rocksdb::Options) {
    db.set_paranoid_checks(true);
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A log that was complete and is now short or missing is found out.
    db.set_track_and_verify_wals_in_manifest(true);
}

fn family(cf: Cf, options: &Options, cache: &Cache) -> rocksdb::Options {
    let profile = cf.workload().profile();
    let mut family = rocksdb::Options::default();
    family.set_block_based_table_factory(&table(&profile, cache));
    family.set_write_buffer_size(options.memtable_bytes / 8 * profile.memtable_eighths);
    family.set_level_compaction_dynamic_level_bytes(true);
    if profile.owned {
        family.set_prefix_extractor(SliceTransform::create_fixed_prefix(OWNER_BYTES));
        family.set_memtable_prefix_bloom_ratio(cf::MEMTABLE_BLOOM_RATIO);
    }
    family.set_compression_type(match profile.compression {
        Compression::None => DBCompressionType::None,
        Compression::Lz4 | Compression::Lz4ThenZstd => DBCompressionType::Lz4,
    });
    if profile.compression == Compression::Lz4ThenZstd {
        family.set_bottommost_compression_type(DBCompressionType::Zstd);
    }
    family
}

fn table(profile: &Profile, cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(profile.block_bytes);
    table.set_bloom_filter(profile.bloom_bits, false);
    table.set_whole_key_filtering(profile.whole_keys);
    // Indexes and filters are counted in the cache: the parameter bounds the memory, not a part of it.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_optimize_filters_for_memory(true);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `godwitctl` beside a daemon that makes its store: it was told that the log is missing, instead of that
    /// the store is in use.
    #[test]
    fn a_store_that_is_just_being_made_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str| fs::write(dir.path().join(name), "").unwrap();
        add(FIRST_MANIFEST);
        assert_eq!(refuse_incomplete(dir.path(), true), Ok(()));
        add("CURRENT");
        assert_eq!(refuse_incomplete(dir.path(), false), Ok(()));
        add("MANIFEST-000005");
        assert!(refuse_incomplete(dir.path(), false).is_err(), "it was open once, so it had a log");
        add("000004.log");
        assert_eq!(refuse_incomplete(dir.path(), false), Ok(()));
        assert_eq!(refuse_incomplete(dir.path(), true), Ok(()), "it has appeared meanwhile");
        fs::remove_file(dir.path().join("CURRENT")).unwrap();
        assert!(refuse_incomplete(dir.path(), true).is_err());
    }
}
