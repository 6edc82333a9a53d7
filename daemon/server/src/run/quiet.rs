//! After a burst: what was written goes to table files once hardly anything more comes. So the memtables'
//! memory goes back to the system, and a start after a crash has little to replay.

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
    fn load_that_goes_on_is_left_alone_and_a_trickle_collects() {
        let mut quiet = Quiet::default();
        assert!((1..100).all(|look| !quiet.look(look << 20)), "load goes on");
        let start = 99u64 << 20;
        assert!(quiet.look(start) || quiet.look(start) || quiet.look(start));
        let trickle = (1..=200).filter(|look| quiet.look(start + (look << 15))).count();
        assert_eq!(trickle, 1, "6.25 MiB came");
    }
}
