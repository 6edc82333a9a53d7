//! The outside of the hub, by hand: mailboxes, background jobs and randomness.
//!
//! A thread that has something for others posts it at the end of its turn, and may be overtaken by others
//! just before: what it posts then waits in its *lane* until it is let go, and the thread does nothing else
//! meanwhile. So notes reach a mailbox in any order that real threads could bring about, and in no other.
use godwit_modules::note::{Background, Note, Post};
use godwit_session::Event;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A shard at the end of its turn.
    Shard(usize),
    /// The store's writer at the end of its round.
    Writer,
    /// A worker at the end of its job.
    Worker(usize),
}

/// Threads for background jobs.
pub const WORKERS: usize = 2;

#[derive(Debug)]
struct Posts {
    boxes: Vec<VecDeque<Note>>,
    /// By actor: what it posted, shard by shard, in its order.
    lanes: Vec<VecDeque<(usize, Vec<Note>)>>,
    posting: Option<usize>,
}

/// Mailboxes of the shards.
#[derive(Debug)]
pub struct Mail(Mutex<Posts>);

impl Mail {
    /// For so many shards.
    pub fn new(shards: u16) -> Mail {
        let shards = usize::from(shards);
        let boxes = (0..shards).map(|_| VecDeque::new()).collect();
        let lanes = (0..shards + 1 + WORKERS).map(|_| VecDeque::new()).collect();
        Mail(Mutex::new(Posts { boxes, lanes, posting: None }))
    }

    fn inner(&self) -> MutexGuard<'_, Posts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next note of a shard.
    pub fn take(&self, shard: usize) -> Option<Note> {
        self.inner().boxes.get_mut(shard)?.pop_front()
    }

    /// The next note of a shard in words.
    pub fn shown(&self, shard: usize) -> String {
        let inner = self.inner();
        inner.boxes.get(shard).and_then(VecDeque::front).map_or_else(String::new, describe)
    }

    /// Notes that wait for a shard.
    pub fn waiting(&self, shard: usize) -> usize {
        self.inner().boxes.get(shard).map_or(0, VecDeque::len)
    }

    /// What is posted while `work` runs waits in the actor's lane.
    pub fn delayed<T>(&self, actor: Actor, work: impl FnOnce() -> T) -> T {
        self.inner().posting = Some(self.lane(actor));
        let result = work();
        self.inner().posting = None;
        result
    }

    /// True if the actor has posts that wait.
    pub fn is_delayed(&self, actor: Actor) -> bool {
        let lane = self.lane(actor);
        !self.inner().lanes[lane].is_empty()
    }

    /// Posts are under way to somebody.
    pub fn is_under_way(&self) -> bool {
        let inner = self.inner();
        inner.boxes.iter().any(|notes| !notes.is_empty()) || inner.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Lets the first of an actor's posts to a shard go.
    pub fn let_go(&self, actor: Actor) {
        let lane = self.lane(actor);
        let mut inner = self.inner();
        let Posts { boxes, lanes, .. } = &mut *inner;
        if let Some((shard, notes)) = lanes[lane].pop_front() {
            boxes[shard].extend(notes);
        }
    }

    fn lane(&self, actor: Actor) -> usize {
        let shards = self.inner().boxes.len();
        match actor {
            Actor::Shard(shard) => shard,
            Actor::Writer => shards,
            Actor::Worker(worker) => shards + 1 + worker,
        }
    }
}

fn describe(note: &Note) -> String {
    match note {
        Note::Event { session, at, event } => {
            let session = session.as_ref().map_or(0, |address| address.session.0 & 0xffff);
            let event = match event {
                Event::Deliver(outgoing) => {
                    let xml = String::from_utf8_lossy(&outgoing.bytes).chars().take(60).collect::<String>();
                    format!("Deliver {:?} {xml}", outgoing.stored)
                }
                Event::Feed(page) => {
                    let rows: Vec<u64> = page.rows.iter().map(|row| row.seq).collect();
                    format!("Feed after {} {rows:?} upto {}, end: {}", page.after, page.upto, page.end)
                }
                other => format!("{other:?}"),
            };
            format!("session {session} at {}.{}: {event}", at.slot, at.generation)
        }
        other => format!("{other:?}"),
    }
}

impl Post for Mail {
    fn shards(&self) -> u16 {
        u16::try_from(self.inner().boxes.len()).unwrap_or(u16::MAX)
    }

    fn post(&self, shard: u16, notes: &mut Vec<Note>) {
        let mut inner = self.inner();
        let Posts { boxes, lanes, posting } = &mut *inner;
        let shard = usize::from(shard);
        match posting {
            Some(lane) => lanes[*lane].push_back((shard, std::mem::take(notes))),
            None => boxes[shard].extend(notes.drain(..)),
        }
    }

    fn post_locked(&self, shard: u16, notes: &mut Vec<Note>) {
        self.inner().boxes[usize::from(shard)].extend(notes.drain(..));
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Background jobs, run when told.
#[derive(Default)]
pub struct Jobs(Mutex<VecDeque<Job>>);

impl Jobs {
    /// The next job.
    pub fn take(&self) -> Option<Job> {
        self.jobs().pop_front()
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.jobs().len()
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Background for Jobs {
    fn run(&self, job: Job) -> bool {
        self.jobs().push_back(job);
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

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// A number in `low..=high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low) + 1)
    }

    /// True in about `percent` of a hundred calls.
    pub fn chance(&self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}
