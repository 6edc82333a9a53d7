//! After a burst: what was written goes to table files once hardly anything more comes. So the memtables'
//! memory goes back to the system, and a start after a crash has little to replay. The cache of blocks goes
//! back when hardly anything is read any more: the files' pages, which the kernel gives to whoever needs
//! them, still hold what it held.

/// Between two looks this much may be written, and it is still quiet.
const QUIET_BYTES_MAX: u64 = 64 << 10;
/// Looks in a row that must be quiet.
const QUIET_LOOKS: u32 = 3;
/// For less than this a flush is not worth its files.
const FLUSH_BYTES_MIN: u64 = 4 << 20;

/// What it remembers between two looks.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    last_bytes: u64,
    flushed_bytes: u64,
    looks: u32,
}

impl Quiet {
    /// A look at the bytes written so far. `true`: now is a good time to flush.
    pub(super) fn look(&mut self, written_bytes: u64) -> bool {
        let quiet = written_bytes.saturating_sub(self.last_bytes) <= QUIET_BYTES_MAX;
        self.last_bytes = written_bytes;
        self.looks = if quiet { self.looks.saturating_add(1) } else { 0 };
        let due = self.looks >= QUIET_LOOKS
            && written_bytes - self.flushed_bytes.min(written_bytes) >= FLUSH_BYTES_MIN;
        if due {
            self.flushed_bytes = written_bytes;
        }
        due
    }
}

/// Between two looks so many blocks may be read, and the cache is still unused.
const UNUSED_READS_MAX: u64 = 100;
/// A smaller cache is not worth being read anew.
const CACHE_BYTES_MIN: u64 = 2 << 20;

/// Whether the cache of blocks is worth its memory.
#[derive(Debug, Default)]
pub(super) struct Unused {
    last_reads: u64,
    looks: u32,
}

impl Unused {
    /// A look at the blocks read so far, from the cache or not, and at its bytes. `true`: it can go.
    pub(super) fn look(&mut self, reads: u64, cache_bytes: u64) -> bool {
        let unused = reads.saturating_sub(self.last_reads) <= UNUSED_READS_MAX;
        self.last_reads = reads;
        self.looks = if unused { self.looks.saturating_add(1) } else { 0 };
        self.looks >= QUIET_LOOKS && cache_bytes >= CACHE_BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_flushed_once_when_it_is_over() {
        let mut quiet = Quiet::default();
        let burst = 100 << 20;
        let looks = [10 << 20, burst, burst, burst + 1_000, burst + 2_000, burst + 3_000, burst + 4_000];
        assert_eq!(looks.map(|bytes| quiet.look(bytes)), [false, false, false, false, true, false, false]);
    }

    #[test]
    fn a_cache_goes_when_nothing_has_been_read_for_three_looks_and_it_is_worth_it() {
        let (mut unused, large) = (Unused::default(), 20 << 20);
        let reads = [5_000, 90_000, 90_010, 90_020, 90_030];
        assert_eq!(reads.map(|reads| unused.look(reads, large)), [false, false, false, false, true]);
        assert!(!unused.look(90_030, 100 << 10), "small");
        assert!(!unused.look(95_000, large), "in use again");
    }

    #[test]
    fn load_that_goes_on_is_left_alone_and_a_trickle_collects() {
        let mut quiet = Quiet::default();
        assert!((1..100).all(|look| !quiet.look(look << 20)), "load goes on");
        let start = 99u64 << 20;
        assert!(quiet.look(start) || quiet.look(start) || quiet.look(start));
        let trickle = (1..=200).filter(|look| quiet.look(start + (look << 15))).count();
        assert_eq!(trickle, 1, "6.25 MiB came");
    }
}
