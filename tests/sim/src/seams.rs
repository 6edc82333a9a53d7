//! The outside of the hub, by hand: mailboxes, background jobs, clock and randomness.
use godwit_modules::note::{Background, Note, Post};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Mailboxes of the shards.
#[derive(Debug)]
pub struct Mail(Mutex<Vec<VecDeque<Note>>>);

impl Mail {
    /// For so many shards.
    pub fn new(shards: u16) -> Mail {
        Mail(Mutex::new((0..shards).map(|_| VecDeque::new()).collect()))
    }

    /// The next note of a shard.
    pub fn take(&self, shard: usize) -> Option<Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(shard)?.pop_front()
    }
}

impl Post for Mail {
    fn shards(&self) -> u16 {
        u16::try_from(self.0.lock().unwrap_or_else(PoisonError::into_inner).len()).unwrap_or(u16::MAX)
    }

    fn post(&self, shard: u16, notes: &mut Vec<Note>) {
        let mut mail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = mail.get_mut(usize::from(shard)) {
            shard.extend(notes.drain(..));
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Background jobs, run when told.
#[derive(Default)]
pub struct Jobs(Mutex<VecDeque<Job>>);

impl Jobs {
    /// The next job.
    pub fn take(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Background for Jobs {
    fn run(&self, job: Job) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        true
    }
}

/// A seeded source of bytes (SplitMix64): the same seed, the same world.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let mut z =
            self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills a slice.
    pub fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *to = from;
            }
        }
    }
}
