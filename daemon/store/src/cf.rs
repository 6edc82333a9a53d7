//! The column families and their workloads; the only place with tuning numbers.
//!
//! Tuning is by workload, not by family: a new family says how it is used and inherits the numbers. Sizes
//! that grow with the box (caches, memtables, open files) are parameters, see [`Options`].

/// A column family, named for what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cf {
    /// Facts about the store itself: schema version, last sequence number.
    Meta,
    /// Bare JID → account record (owner id, SCRAM keys).
    Accounts,
    /// Owner | contact's bare JID → roster item.
    Roster,
    /// Owner | sequence number → archived message. The largest; append only, read in ranges.
    Archive,
    /// Owner | hash of the other side | sequence number → nothing: the archive's rows by whom they were
    /// exchanged with.
    With,
    /// Owner | kind byte → small per-account state that changes often (delivery cursor, roster version,
    /// last activity).
    State,
    /// Owner | kind byte | node … → personal eventing: totals, nodes, items, their order of publication.
    Pep,
    /// Owner | session number | part byte → what a session needs to be resumed after a restart.
    Sessions,
}

impl Cf {
    /// All of them, in declaration order: `Cf::ALL[cf as usize] == cf`.
    pub const ALL: [Cf; 8] =
        [Cf::Meta, Cf::Accounts, Cf::Roster, Cf::Archive, Cf::With, Cf::State, Cf::Pep, Cf::Sessions];

    /// Its name in RocksDB, in statistics and in messages to the operator; never changes.
    pub fn name(self) -> &'static str {
        match self {
            // RocksDB always has a family of this name; the few facts about the store live there.
            Cf::Meta => "default",
            Cf::Accounts => "accounts",
            Cf::Roster => "roster",
            Cf::Archive => "archive",
            Cf::With => "with",
            Cf::State => "state",
            Cf::Pep => "pep",
            Cf::Sessions => "sessions",
        }
    }

    /// Its keys start with the number of the account that they belong to.
    pub fn is_owned(self) -> bool {
        self.workload().profile().owned
    }

    pub(crate) fn workload(self) -> Workload {
        match self {
            Cf::Meta => Workload::Facts,
            Cf::Accounts => Workload::Point,
            Cf::Roster => Workload::OwnedRange,
            Cf::Archive => Workload::OwnedAppend,
            Cf::With => Workload::OwnedIndex,
            Cf::Pep => Workload::OwnedRange,
            Cf::State | Cf::Sessions => Workload::OwnedHot,
        }
    }
}

/// How a family is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// A handful of rows, rewritten by every round.
    Facts,
    /// Many rows, found by their whole key; often the key is not there.
    Point,
    /// An owner's rows, changed seldom, read all together.
    OwnedRange,
    /// An owner's rows, appended at the end, read in ranges, removed by age.
    OwnedAppend,
    /// Keys of an owner without values, each written once, read in ranges, removed by age.
    OwnedIndex,
    /// Small rows of an owner, rewritten often: most die in the memtable.
    OwnedHot,
}

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Small and hot: not worth the cycles.
    None,
    /// Cheap to write and to read.
    Lz4,
    /// As `Lz4`, and ZSTD in the last level, where nine tenths of the bytes lie and are seldom read.
    Lz4ThenZstd,
}

/// The numbers of a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    /// Bytes of a block: what a read fetches and a cache slot holds.
    pub(crate) block_bytes: usize,
    /// Bloom filter bits per key: 10 let one read in a hundred through.
    pub(crate) bloom_bits: f64,
    /// Keys start with an owner, and filters are made of that prefix too.
    pub(crate) owned: bool,
    /// Filters also hold whole keys: pays where single keys are looked for.
    pub(crate) whole_keys: bool,
    /// Compression.
    pub(crate) compression: Compression,
    /// Its memtable may use this many eighths of all memtables' bytes.
    pub(crate) memtable_eighths: usize,
}

impl Workload {
    pub(crate) fn profile(self) -> Profile {
        let profile = Profile {
            block_bytes: 4 << 10,
            bloom_bits: 10.0,
            owned: false,
            whole_keys: true,
            compression: Compression::Lz4,
            memtable_eighths: 1,
        };
        match self {
            Workload::Facts => Profile { compression: Compression::None, ..profile },
            Workload::Point => profile,
            Workload::OwnedRange => Profile { owned: true, block_bytes: 8 << 10, ..profile },
            Workload::OwnedAppend => Profile {
                owned: true,
                whole_keys: false,
                // A page of an archive is about 50 messages: one or two blocks.
                block_bytes: 16 << 10,
                compression: Compression::Lz4ThenZstd,
                // Nearly all bytes come here; large memtables mean fewer, larger files.
                memtable_eighths: 4,
                ..profile
            },
            Workload::OwnedIndex => Profile { owned: true, whole_keys: false, ..profile },
            Workload::OwnedHot => Profile { owned: true, compression: Compression::None, ..profile },
        }
    }
}

/// Part of a memtable given to its Bloom filter of prefixes.
pub(crate) const MEMTABLE_BLOOM_RATIO: f64 = 0.05;
/// RocksDB's information log: warnings only, this many bytes a file, this many files.
pub(crate) const INFO_LOG_BYTES_MAX: usize = 1 << 20;
pub(crate) const INFO_LOG_FILES: usize = 2;
/// Table files go to the disk in steps of this size while they are written, not in one burst that delays an
/// fsync.
pub(crate) const TABLE_SYNC_BYTES: u64 = 1 << 20;
/// Rows that [`crate::Rocks::examine`] reads while it holds the database.
pub(crate) const EXAMINE_STEP_ROWS: u32 = 10_000;
/// Damaged places after which it looks for no further ones in a family.
pub(crate) const EXAMINE_DAMAGE_MAX: usize = 100;

/// A file that no write touches is compacted all the same after this part of the time for which rows are
/// kept, within these bounds, so that what has expired leaves the disk. Each time costs reading and writing
/// the file.
pub(crate) const EXPIRY_PART: u64 = 4;
pub(crate) const EXPIRY_S_MIN: u64 = 86_400;
pub(crate) const EXPIRY_S_MAX: u64 = 30 * 86_400;

/// What depends on the box or the operator. The defaults fit a small one (2 GB).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the block cache, shared by all families.
    pub block_cache_bytes: usize,
    /// Bytes of all memtables together.
    pub memtable_bytes: usize,
    /// Bytes of all write-ahead logs together; bounds the time that opening takes after a crash.
    pub wal_bytes_max: u64,
    /// Table files held open; RocksDB needs at least about 50. Each costs a descriptor.
    pub open_files_max: u32,
    /// Threads for flushes and compactions.
    pub background_jobs: u16,
    /// Transactions that may wait for the writer or be in its hands; more are turned away.
    pub queue_max: usize,
    /// Transactions that one round commits at most.
    pub round_max: usize,
    /// Bytes of keys and values after which a round takes no further transaction.
    pub round_bytes_max: usize,
    /// Archive rows older than this many milliseconds are dropped when their files are compacted; `None`:
    /// none are. Readers must not rely on it: a row may be long expired and still be there.
    pub keep_ms: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            block_cache_bytes: 64 << 20,
            memtable_bytes: 64 << 20,
            wal_bytes_max: 128 << 20,
            open_files_max: 512,
            background_jobs: 2,
            queue_max: 65_536,
            round_max: 4_096,
            round_bytes_max: 8 << 20,
            keep_ms: None,
        }
    }
}
