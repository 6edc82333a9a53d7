//! The store on disk: reads, figures, and the batch that the writer fills.
//!
//! Readers hold the database for one call. It is closed, or opened anew after a failure that RocksDB does not
//! get over by itself, only between calls. A call made from inside a scan is fine.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rocksdb::statistics::Ticker;
use rocksdb::{Cache, ColumnFamily, DB, FlushOptions, ReadOptions, WriteBatch, WriteOptions, properties};

use crate::batch::Target;
use crate::cf::Options;
use crate::expiry::Expiry;
use crate::open::{self, blame};
use crate::schema::OWNER_BYTES;
use crate::slot::{Scan, Slot};
use crate::{Cf, Key, Range, Read, Seq, StoreError, points};

/// Bytes of memory in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Rows not yet in table files.
    pub memtables: u64,
    /// Blocks, indexes and filters of table files.
    pub block_cache: u64,
    /// What open table files hold outside of the cache.
    pub table_readers: u64,
}

/// What the database does besides answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Background {
    /// Memtables being written to table files.
    pub flushes: u64,
    /// Compactions running.
    pub compactions: u64,
    /// Bytes that compactions still have to rewrite, estimated.
    pub compaction_debt: u64,
    /// Errors of either, since the database was opened.
    pub errors: u64,
    /// Bytes a second to which writes are slowed down; 0 if they are not.
    pub slowed_to: u64,
    /// Writes wait for either.
    pub stopped: bool,
    /// Column families that wait for a compaction.
    pub compactions_pending: u64,
    /// Memtables that wait to be written to table files.
    pub flushes_pending: u64,
    /// Microseconds for which writes waited for either, since the database was opened.
    pub stalled_us: u64,
    /// Blocks found in the cache, since the database was opened.
    pub cache_hits: u64,
    /// Blocks read from table files; likewise.
    pub cache_misses: u64,
}

/// An open store.
pub struct Rocks {
    path: PathBuf,
    options: Options,
    /// Empty once closed.
    engine: Slot<Engine>,
    head: AtomicU64,
    has_writer: AtomicBool,
    expiry: Arc<Expiry>,
}

pub(crate) struct Engine {
    pub(crate) db: DB,
    cache: Cache,
    database: rocksdb::Options,
}

/// Why a write failed.
pub(crate) struct WriteError {
    pub(crate) text: String,
    pub(crate) full: bool,
    pub(crate) heals_itself: bool,
}

impl Rocks {
    /// Opens the store in a directory; creates it (readable by its owner only) if there is none. It can be
    /// read at once; writing needs a [`crate::Writer`].
    pub fn open(path: &Path, options: &Options) -> Result<Rocks, StoreError> {
        let expiry = Arc::<Expiry>::default();
        let opened = open::open(path, options, &expiry)?;
        Ok(Rocks { expiry, ..Rocks::opened(path, options, opened, false) })
    }

    /// Opens a store for [`Rocks::examine`]: changes no file and takes no lock. `lenient`: also with a
    /// damaged log, whose damaged records are left out.
    pub fn open_to_examine(path: &Path, options: &Options, lenient: bool) -> Result<Rocks, StoreError> {
        let opened = open::open_to_examine(path, options, lenient)?;
        // It has no writer, ever.
        Ok(Rocks::opened(path, options, opened, true))
    }

    fn opened(path: &Path, options: &Options, opened: open::Opened, has_writer: bool) -> Rocks {
        Rocks {
            path: path.to_owned(),
            options: options.clone(),
            head: AtomicU64::new(opened.head.0),
            engine: Slot::new(Engine::new(opened)),
            has_writer: AtomicBool::new(has_writer),
            expiry: Arc::default(),
        }
    }

    /// A number that RocksDB knows about a family, by RocksDB's name for it (`rocksdb.estimate-num-keys`).
    pub fn property_u64(&self, name: &str, cf: Cf) -> Result<Option<u64>, StoreError> {
        let engine = self.engine()?;
        engine.db.property_int_value_cf(engine.family(cf), name).map_err(|error| blame(&self.path, &error))
    }

    /// Memory in use.
    pub fn memory(&self) -> Result<Memory, StoreError> {
        let engine = self.engine()?;
        Ok(Memory {
            memtables: engine.sum(properties::CUR_SIZE_ALL_MEM_TABLES),
            block_cache: engine.cache.get_usage() as u64,
            table_readers: engine.sum(properties::ESTIMATE_TABLE_READERS_MEM),
        })
    }

    /// What it is doing in the background.
    pub fn background(&self) -> Result<Background, StoreError> {
        let engine = self.engine()?;
        // All but the debt are of the whole database, whichever family is asked.
        let whole = |name| engine.property(name, Cf::Meta);
        let count = |ticker| engine.database.get_ticker_count(ticker);
        Ok(Background {
            flushes: whole(properties::NUM_RUNNING_FLUSHES),
            compactions: whole(properties::NUM_RUNNING_COMPACTIONS),
            compaction_debt: engine.sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            errors: whole(properties::BACKGROUND_ERRORS),
            slowed_to: whole(properties::ACTUAL_DELAYED_WRITE_RATE),
            stopped: whole(properties::IS_WRITE_STOPPED) != 0,
            compactions_pending: engine.sum(properties::COMPACTION_PENDING),
            flushes_pending: engine.sum(properties::MEM_TABLE_FLUSH_PENDING),
            stalled_us: count(Ticker::StallMicros),
            cache_hits: count(Ticker::BlockCacheHit),
            cache_misses: count(Ticker::BlockCacheMiss),
        })
    }

    /// Rows, per family, estimated.
    pub fn rows_by_cf(&self) -> Result<Vec<(Cf, u64)>, StoreError> {
        let engine = self.engine()?;
        Ok(Cf::ALL.map(|cf| (cf, engine.property(properties::ESTIMATE_NUM_KEYS, cf))).to_vec())
    }

    /// Bytes of the table files that are in use, per family. What is only in the log is not counted.
    pub fn live_bytes_by_cf(&self) -> Result<Vec<(Cf, u64)>, StoreError> {
        let engine = self.engine()?;
        Ok(Cf::ALL.map(|cf| (cf, engine.property(properties::LIVE_SST_FILES_SIZE, cf))).to_vec())
    }

    /// Writes the memtables to table files, so that the next opening replays no log.
    pub fn flush(&self) -> Result<(), StoreError> {
        let engine = self.engine()?;
        let families = Cf::ALL.map(|cf| engine.family(cf));
        engine
            .db
            .flush_cfs_opt(&families, &FlushOptions::default())
            .map_err(|error| blame(&self.path, &error))
    }

    /// Gives back the memory of the cache of blocks, but for those in use; it fills again with what is read.
    pub fn empty_cache(&self) -> Result<(), StoreError> {
        let mut cache = self.engine()?.cache.clone();
        cache.set_capacity(0);
        cache.set_capacity(self.options.block_cache_bytes);
        Ok(())
    }

    /// Closes the database, once calls under way have ended; later calls fail. The writer must be closed
    /// before.
    pub fn close(&self) -> Result<(), StoreError> {
        self.exchange(|_| None)
    }

    /// Closes the database although there is a writer, which must have nothing to do until
    /// [`Rocks::resume`]; for the in-place upgrade. What the writer has not synced is made durable by the
    /// next opening.
    pub fn suspend(&self) -> Result<(), StoreError> {
        self.exchange(|_| None)
    }

    /// Opens the database again that [`Rocks::suspend`] closed.
    pub fn resume(&self) -> Result<(), StoreError> {
        self.reopen()
    }

    /// It is neither closed nor suspended.
    pub(crate) fn is_open(&self) -> bool {
        self.engine.get().is_some()
    }

    /// Closes the database and opens it again, after an error that RocksDB does not get over. If that fails
    /// too, it is opened for reading alone, so that readers are not worse off than before.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let mut result = Ok(());
        self.exchange(|engine| {
            drop(engine);
            let opened = open::open(&self.path, &self.options, &self.expiry).or_else(|error| {
                result = Err(error);
                open::open_read_only(&self.path, &self.options)
            });
            opened.ok().map(Engine::new)
        })?;
        result
    }

    /// Writes a batch; with `sync` it returns after the batch is on the disk.
    pub(crate) fn write(&self, batch: RocksBatch, sync: bool) -> Result<(), WriteError> {
        let failed = |text: String| WriteError { text, full: false, heals_itself: false };
        let engine = self.engine().map_err(|error| failed(error.to_string()))?;
        let mut options = WriteOptions::default();
        options.set_sync(sync && points::syncs());
        engine.db.write_opt(batch.batch, &options).map_err(write_error)
    }

    /// Syncs what was written without.
    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        let failed = |text: String| WriteError { text, full: false, heals_itself: false };
        let engine = self.engine().map_err(|error| failed(error.to_string()))?;
        if !points::syncs() {
            return Ok(());
        }
        engine.db.flush_wal(true).map_err(write_error)
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> Result<RocksBatch, StoreError> {
        let engine = self.engine()?;
        Ok(RocksBatch { engine, path: self.path.clone(), batch: WriteBatch::default() })
    }

    /// The time, for the expiry of archive rows.
    pub(crate) fn tell(&self, now_ms: u64) {
        self.expiry.tell(now_ms, self.options.keep_ms);
    }

    /// Readers learn of a committed sequence number.
    pub(crate) fn publish(&self, head: Seq) {
        self.head.store(head.0, Ordering::Release);
    }

    /// True for the first that asks: a store has one writer in its life.
    pub(crate) fn claim_writer(&self) -> bool {
        !self.has_writer.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.engine.get().ok_or_else(|| StoreError::Io("the store is closed".into()))
    }

    fn exchange(&self, with: impl FnOnce(Option<Engine>) -> Option<Engine>) -> Result<(), StoreError> {
        let in_use = || StoreError::InUse(format!("{}: a reader does not end", self.path.display()));
        self.engine.exchange(with).then_some(()).ok_or_else(in_use)
    }
}

fn write_error(error: rocksdb::Error) -> WriteError {
    WriteError {
        full: open::is_full(&error),
        heals_itself: open::heals_itself(&error),
        text: error.into_string(),
    }
}

impl Read for Rocks {
    fn get(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine()?.get(cf, key).map_err(|error| blame(&self.path, &error))
    }

    fn scan(
        &self,
        range: &Range,
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (start, end) = (range.start.as_bytes(), range.end.as_bytes());
        if start >= end {
            return Ok(());
        }
        let engine = self.engine()?;
        let _scan = Scan::begin();
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(start);
        options.set_iterate_upper_bound(end);
        // Prefix filters answer for one owner only; any other range must not ask them.
        let one_owner = start.len() >= OWNER_BYTES && start.get(..OWNER_BYTES) == end.get(..OWNER_BYTES);
        options.set_total_order_seek(!one_owner);
        options.set_prefix_same_as_start(one_owner);
        let mut found = engine.db.raw_iterator_cf_opt(engine.family(range.cf), options);
        if range.reverse {
            found.seek_for_prev(end)
        } else {
            found.seek(start)
        }
        while let Some((key, value)) = found.item() {
            // Only a backward seek can stand on the excluded end.
            if key < end && each(key, value).is_break() {
                return Ok(());
            }
            if range.reverse { found.prev() } else { found.next() }
        }
        found.status().map_err(|error| blame(&self.path, &error))
    }

    fn head(&self) -> Seq {
        Seq(self.head.load(Ordering::Acquire))
    }
}

impl Engine {
    fn new(opened: open::Opened) -> Engine {
        Engine { db: opened.db, cache: opened.cache, database: opened.database }
    }

    pub(crate) fn family(&self, cf: Cf) -> &ColumnFamily {
        self.db.cf_handle(cf.name()).expect("opening opens every family")
    }

    fn get(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.db.get_cf(self.family(cf), key.as_bytes())
    }

    fn property(&self, name: &properties::PropName, cf: Cf) -> u64 {
        self.db.property_int_value_cf(self.family(cf), name).ok().flatten().unwrap_or(0)
    }

    fn sum(&self, name: &properties::PropName) -> u64 {
        Cf::ALL.iter().map(|cf| self.property(name, *cf)).sum()
    }
}

/// What a round writes.
pub(crate) struct RocksBatch {
    engine: Arc<Engine>,
    path: PathBuf,
    batch: WriteBatch,
}

impl RocksBatch {
    /// Bytes that go to the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.batch.size_in_bytes() as u64
    }
}

impl Target for RocksBatch {
    fn read(&self, cf: Cf, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.get(cf, key).map_err(|error| blame(&self.path, &error))
    }

    fn put(&mut self, cf: Cf, key: &Key, value: &[u8]) {
        self.batch.put_cf(self.engine.family(cf), key.as_bytes(), value);
    }

    fn delete(&mut self, cf: Cf, key: &Key) {
        self.batch.delete_cf(self.engine.family(cf), key.as_bytes());
    }

    fn delete_range(&mut self, cf: Cf, start: &Key, end: &Key) {
        self.batch.delete_range_cf(self.engine.family(cf), start.as_bytes(), end.as_bytes());
    }
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;
