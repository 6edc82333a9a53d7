//! The last steps that messages took, in memory: what `godwitctl trace` shows together with the store
//! (`traced.rs`).
//!
//! Rings of plain records, one for each thread that writes many of them, so that a record costs some stores
//! and no lock or allocation: under 200 ns for all steps of one message. A record that is overwritten while
//! it is read is left out. Never holds a part of a message but hashes of its ids.
use godwit_session::{Millis, SessionId};
use godwit_wire::{Stanza, ns};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

/// Records of the writer's thread: five or more a message. 32 bytes each.
const WRITER_RECORDS: usize = 32_768;
/// Records of one shard: two a message that one of its clients gets.
const SHARD_RECORDS: usize = 16_384;
/// Sessions whose names are remembered after their end.
const ENDED_MAX: usize = 1_024;

/// What happened to a message. The numbers are those in the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Step {
    /// A session sent it.
    Received = 1,
    /// It is on the disk, in the archive of an account.
    Committed,
    /// It was posted to a session's shard.
    Posted,
    /// It is in the output of a session's connection, which goes to the socket at the end of the turn.
    Written,
    /// A session's client has acknowledged it (XEP-0198).
    Acknowledged,
    /// The kernel took it; a client without XEP-0198 does not say more.
    Taken,
    /// Not a step: a hash of an id that its sender gave it.
    Named,
    /// Not a step: the sender's archive has a copy at the position before.
    Copied,
}

const STEPS: [Step; 8] = [
    Step::Received,
    Step::Committed,
    Step::Posted,
    Step::Written,
    Step::Acknowledged,
    Step::Taken,
    Step::Named,
    Step::Copied,
];

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Position of the message in its recipient's archive.
    pub(crate) seq: u64,
    pub(crate) step: Step,
    /// A session's number; of `Committed` the account's, of `Named` the hash.
    pub(crate) what: u64,
    pub(crate) at: Millis,
}

/// One slot: its stamp is the number of its record plus one, or 0 while it is written.
#[derive(Debug, Default)]
struct Slot {
    stamp: AtomicU64,
    seq: AtomicU64,
    what: AtomicU64,
    /// Time, and the step in the low eight bits.
    at: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    next: AtomicU64,
    slots: Box<[Slot]>,
}

impl Ring {
    fn new(records: usize) -> Ring {
        Ring { next: AtomicU64::new(0), slots: (0..records).map(|_| Slot::default()).collect() }
    }

    fn note(&self, record: Record) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(number % self.slots.len().max(1) as u64).unwrap_or(0);
        let Some(slot) = self.slots.get(at) else { return };
        slot.stamp.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.seq.store(record.seq, Ordering::Relaxed);
        slot.what.store(record.what, Ordering::Relaxed);
        slot.at.store(record.at << 8 | record.step as u64, Ordering::Relaxed);
        slot.stamp.store(number + 1, Ordering::Release);
    }

    fn each(&self, visit: &mut dyn FnMut(Record)) {
        for slot in &self.slots {
            let stamp = slot.stamp.load(Ordering::Acquire);
            let (seq, what) = (slot.seq.load(Ordering::Relaxed), slot.what.load(Ordering::Relaxed));
            let at = slot.at.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            let whole = stamp != 0 && slot.stamp.load(Ordering::Relaxed) == stamp;
            if whole && let Some(step) = STEPS.into_iter().find(|step| *step as u64 == at & 0xff) {
                visit(Record { seq, step, what, at: at >> 8 });
            }
        }
    }
}

/// Hashes of the ids that a message got from its sender: its `id`, and its origin id (XEP-0359) if that is
/// another. 0 is none.
pub(crate) type Names = [u64; 2];

/// The hash of one id.
pub(crate) fn name(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() | 1
}

/// The hashes of a message's ids.
pub(crate) fn names(message: &Stanza) -> Names {
    let id = message.id();
    let origin = message.child("origin-id", ns::STANZA_IDS).and_then(|origin| origin.attr("id"));
    [id.map_or(0, name), origin.filter(|origin| Some(*origin) != id).map_or(0, name)]
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Trace {
    /// One for each shard, and the writer's.
    rings: Box<[Ring]>,
    /// Sessions that ended last, oldest first: number and full JID.
    ended: Mutex<VecDeque<(SessionId, Box<str>)>>,
}

impl Trace {
    /// For so many shards.
    pub(crate) fn new(shards: u16) -> Trace {
        let shards = (0..shards).map(|_| Ring::new(SHARD_RECORDS));
        let rings = shards.chain(std::iter::once(Ring::new(WRITER_RECORDS))).collect();
        Trace { rings, ended: Mutex::default() }
    }

    /// On the writer's thread: a message was received at a time, and is committed.
    pub(crate) fn committed(
        &self,
        seq: u64,
        (from, received): (SessionId, Millis),
        names: &Names,
        copied: bool,
        (owner, now): (u64, Millis),
    ) {
        let Some(ring) = self.rings.last() else { return };
        let note = |step, what, at| ring.note(Record { seq, step, what, at });
        note(Step::Received, from.0, received);
        for &name in names.iter().filter(|name| **name != 0) {
            note(Step::Named, name, received);
        }
        if copied {
            note(Step::Copied, 0, received);
        }
        note(Step::Committed, owner, now);
    }

    /// On the writer's thread: it was posted to a session.
    pub(crate) fn posted(&self, seq: u64, session: SessionId, now: Millis) {
        if let Some(ring) = self.rings.last() {
            ring.note(Record { seq, step: Step::Posted, what: session.0, at: now });
        }
    }

    /// On a shard's thread: the same happened to some messages of a session.
    pub(crate) fn at_shard(&self, shard: u16, step: Step, session: SessionId, seqs: &[u64], now: Millis) {
        if let Some(ring) = self.rings.get(usize::from(shard)) {
            seqs.iter().for_each(|&seq| ring.note(Record { seq, step, what: session.0, at: now }));
        }
    }

    /// A session has ended: its name stays for a while.
    pub(crate) fn ended(&self, session: SessionId, jid: &str) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= ENDED_MAX {
            ended.pop_front();
        }
        ended.push_back((session, jid.into()));
    }

    /// Full JID of a session that has ended.
    pub(crate) fn name_of(&self, session: SessionId) -> Option<Box<str>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().rev().find(|(id, _)| *id == session).map(|(_, jid)| jid.clone())
    }

    /// What is known of a position, in the order of time.
    pub(crate) fn of(&self, wanted: u64) -> Vec<Record> {
        let mut found = Vec::new();
        self.each(&mut |record| {
            if record.seq == wanted {
                found.push(record);
            }
        });
        found.sort_by_key(|record| (record.at, record.step));
        found
    }

    /// Positions of the messages that got this id from their sender, the newest first.
    pub(crate) fn named(&self, id: &str) -> Vec<u64> {
        let hash = name(id);
        let mut found = Vec::new();
        self.each(&mut |record| {
            if record.step == Step::Named && record.what == hash {
                found.push(record.seq);
            }
        });
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found
    }

    /// All records of all rings.
    pub(crate) fn each(&self, visit: &mut dyn FnMut(Record)) {
        self.rings.iter().for_each(|ring| ring.each(visit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_records() {
        let ring = Ring::new(8);
        for seq in 1..=20 {
            ring.note(Record { seq, step: Step::Posted, what: 7, at: seq * 10 });
        }
        let mut seen = Vec::new();
        ring.each(&mut |record| seen.push(record.seq));
        seen.sort_unstable();
        assert_eq!(seen, (13..=20).collect::<Vec<_>>());
    }

    #[test]
    fn records_are_read_whole_while_others_write() {
        let ring = Ring::new(4);
        std::thread::scope(|scope| {
            for half in 0..2u64 {
                let ring = &ring;
                scope.spawn(move || {
                    for n in 0..20_000 {
                        let seq = n * 2 + half;
                        ring.note(Record { seq, step: Step::Written, what: !seq, at: seq });
                    }
                });
            }
            for _ in 0..2_000 {
                ring.each(&mut |record| assert_eq!((record.what, record.at), (!record.seq, record.seq)));
            }
        });
    }

    #[test]
    fn steps_come_in_order_and_messages_are_found_by_their_ids() {
        let trace = Trace::new(2);
        for seq in [10, 20] {
            trace.committed(seq, (SessionId(1), 5), &[name("m1"), name("o1")], true, (3, 8));
            trace.posted(seq, SessionId(2), 8);
        }
        trace.at_shard(1, Step::Acknowledged, SessionId(2), &[10], 12);
        trace.at_shard(0, Step::Written, SessionId(2), &[10], 9);
        let steps: Vec<Step> = trace.of(10).into_iter().map(|record| record.step).collect();
        use Step::{Acknowledged, Committed, Copied, Named, Posted, Received, Written};
        assert_eq!(steps, [Received, Named, Named, Copied, Committed, Posted, Written, Acknowledged],);
        assert_eq!((trace.named("m1"), trace.named("o1")), (vec![20, 10], vec![20, 10]));
        assert_eq!(trace.named("m2"), [0; 0]);
        trace.ended(SessionId(2), "bob@example.org/phone");
        assert_eq!(trace.name_of(SessionId(2)).as_deref(), Some("bob@example.org/phone"));
    }
}
