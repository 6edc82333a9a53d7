//! Archive rows that are too old are dropped when RocksDB compacts the files they are in: removing them costs
//! no write of its own.
//!
//! The time is in the keys, so that a row and its index row go by the same rule, each in its own time: one
//! may be gone while the other is still there. A reader that wants no expired rows leaves them out itself.

use crate::cf::{EXPIRY_PART, EXPIRY_S_MAX, EXPIRY_S_MIN};
use crate::{Cf, Owner, Rocks, Seq, StoreError, schema};
use rocksdb::{BottommostLevelCompaction, CompactOptions, CompactionDecision};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first position that has not expired; 0 until the time is known.
#[derive(Debug, Default)]
pub(crate) struct Expiry(AtomicU64);

impl Expiry {
    /// The time, and how long rows are kept.
    pub(crate) fn tell(&self, now_ms: u64, keep_ms: Option<u64>) {
        if let Some(keep_ms) = keep_ms {
            self.0.store(Seq::at(now_ms.saturating_sub(keep_ms)).0, Ordering::Relaxed);
        }
    }

    fn is_over(&self, seq: Option<Seq>) -> bool {
        // A key of another form is nothing that this knows about: it stays.
        seq.is_some_and(|seq| seq.0 < self.0.load(Ordering::Relaxed))
    }
}

/// Gives a family its filter, and the time after which its files are compacted without a cause.
pub(crate) fn apply(cf: Cf, keep_ms: u64, expiry: &Arc<Expiry>, family: &mut rocksdb::Options) {
    let seq: fn(&[u8]) -> Option<Seq> = match cf {
        Cf::Archive => schema::archive_seq,
        Cf::With => |key| schema::with_parts(key).map(|(_, seq)| seq),
        _ => return,
    };
    let expiry = Arc::clone(expiry);
    family.set_compaction_filter("godwit.expiry", move |_, key: &[u8], _: &[u8]| {
        if expiry.is_over(seq(key)) { CompactionDecision::Remove } else { CompactionDecision::Keep }
    });
    let part_s = keep_ms / 1_000 / EXPIRY_PART;
    family.set_periodic_compaction_seconds(part_s.clamp(EXPIRY_S_MIN, EXPIRY_S_MAX));
}

impl Rocks {
    /// About how many bytes an account's archive has in table files, compressed. What was written lately is
    /// not counted.
    pub fn archive_bytes(&self, owner: Owner) -> Result<u64, StoreError> {
        let engine = self.engine()?;
        let (start, end) = schema::everything(owner);
        let range = rocksdb::Range::new(start.as_bytes(), end.as_bytes());
        let sizes = engine.db.get_approximate_sizes_cf(engine.family(Cf::Archive), &[range]);
        Ok(sizes.first().copied().unwrap_or(0))
    }

    /// Compacts an account's archive, so that what was removed from it leaves the disk too. Takes as long as
    /// reading and writing the files that it shares with others.
    pub fn compact_archive(&self, owner: Owner) -> Result<(), StoreError> {
        let engine = self.engine()?;
        let (start, end) = schema::everything(owner);
        for cf in [Cf::Archive, Cf::With] {
            let mut options = CompactOptions::default();
            options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
            let (start, end) = (Some(start.as_bytes()), Some(end.as_bytes()));
            engine.db.compact_range_cf_opt(engine.family(cf), start, end, &options);
        }
        Ok(())
    }
}
