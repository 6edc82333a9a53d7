//! What of an account's archive was handed over to its resources: a cursor with exceptions, not copies of
//! messages.
//!
//! A stored message is *pending* until one resource has acknowledged it. All pending positions up to
//! `frontier` are listed in `owed`; beyond it everything is pending except what is listed in `done`. While
//! the account is online and level with its archive the frontier is the newest message and both lists are
//! nearly empty; an account that is offline has just the frontier.
use crate::backlog::{Counted, Tally, Waiting};
use crate::handover::DeliveryImage;
use serde::{Deserialize, Serialize};

/// Most positions listed in `owed` or in `done`. Beyond it new messages wait unlisted behind the frontier
/// (`owed`), or the oldest acknowledgement is forgotten and that message may be sent to a later resource
/// again (`done`).
pub const LISTED_MAX: usize = 4_096;

/// The record, as it is kept in memory and in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Up to here every pending position is listed in `owed`.
    frontier: u64,
    /// Pending positions up to the frontier, ascending.
    owed: Vec<u64>,
    /// Acknowledged positions beyond the frontier, ascending.
    done: Vec<u64>,
    /// Newest position known to exist; never less than the frontier. Not stored.
    #[serde(skip)]
    head: u64,
    /// The messages beyond the frontier; of no meaning while there are none ([`Delivery::is_level`]). Not
    /// stored.
    #[serde(skip)]
    beyond: Tally,
    /// Positions beyond the frontier that are no messages to the account. At most `LISTED_MAX`, and usually
    /// empty. Not stored.
    #[serde(skip)]
    own: Vec<u64>,
}

impl Delivery {
    /// From its stored form; `head` is the store's.
    pub fn load(bytes: Option<&[u8]>, head: u64) -> Option<Delivery> {
        let mut record: Delivery = match bytes {
            Some(bytes) => postcard::from_bytes(bytes).ok()?,
            None => Delivery::default(),
        };
        record.head = head.max(record.frontier);
        record.beyond = Tally::after(record.frontier, record.head);
        Some(record)
    }

    /// Its stored form.
    pub fn save(&self) -> Vec<u8> {
        // postcard fails only on types it has no form for; this record has none of them.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Bytes held besides itself.
    pub(crate) fn memory(&self) -> usize {
        (self.owed.capacity() + self.done.capacity() + self.own.capacity()) * size_of::<u64>()
    }

    /// All of it.
    pub(crate) fn image(&self) -> DeliveryImage {
        let Delivery { frontier, owed, done, head, beyond, own } = self.clone();
        DeliveryImage { frontier, owed, done, head, beyond, own }
    }

    /// From that.
    pub(crate) fn taken_over(image: DeliveryImage) -> Delivery {
        let DeliveryImage { frontier, owed, done, head, beyond, own } = image;
        Delivery { frontier, owed, done, head, beyond, own }
    }

    /// All pending messages are after this position, or listed in [`Delivery::owed`].
    pub fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Pending positions up to the frontier.
    pub fn owed(&self) -> &[u64] {
        &self.owed
    }

    /// Nothing is beyond the frontier.
    fn is_level(&self) -> bool {
        self.frontier == self.head
    }

    /// What waits for the account; `None` if what is beyond the frontier is not counted.
    pub fn waiting(&self) -> Option<Waiting> {
        let (rows, bytes) = if self.is_level() { (0, 0) } else { self.beyond.total()? };
        let listed = (self.owed.len() as u64).saturating_add(rows);
        Some(Waiting { messages: listed.saturating_sub(self.done.len() as u64), bytes })
    }

    /// Some rows beyond the frontier were counted.
    pub(crate) fn count(&mut self, counted: &Counted) {
        self.beyond.add(counted);
    }

    /// What is beyond the frontier is to be counted from there again.
    pub(crate) fn recount(&mut self) {
        self.beyond = Tally::after(self.frontier, self.head);
    }

    /// Listed positions, pending less acknowledged ones, and the count of the others.
    pub(crate) fn counted(&self) -> (i64, Tally) {
        let beyond = if self.is_level() { Tally::after(self.head, self.head) } else { self.beyond };
        (self.owed.len() as i64 - self.done.len() as i64, beyond)
    }

    /// A count of the same messages that was made with another frontier.
    pub(crate) fn count_from(&mut self, listed: i64, tally: Tally) {
        if let Some((rows, _)) = tally.total()
            && !self.is_level()
        {
            let (mine, _) = self.counted();
            self.beyond = tally.of_rows(rows.saturating_add_signed(listed - mine));
        }
    }

    /// No resource has acknowledged this position yet.
    pub fn is_pending(&self, seq: u64) -> bool {
        if seq <= self.frontier {
            self.owed.binary_search(&seq).is_ok()
        } else {
            self.done.binary_search(&seq).is_err()
        }
    }

    /// A message of so many bytes was committed. `taken`: a resource reads along. Then it is listed if
    /// nothing unlisted lies before it.
    pub fn committed(&mut self, seq: u64, taken: bool, bytes: usize) {
        if seq <= self.frontier {
            return; // a reader of the archive was faster than the news of the commit
        }
        if taken && self.is_level() && self.owed.len() < LISTED_MAX {
            self.owed.push(seq);
            self.frontier = seq;
        } else {
            (_, self.beyond) = self.counted();
            self.beyond.committed(seq, bytes as u64);
        }
        self.head = self.head.max(seq);
    }

    /// A position that is not a message to the account (its own message, copied to other resources): an
    /// acknowledgement of it says nothing.
    pub fn passed(&mut self, seq: u64) {
        if self.is_level() {
            self.frontier = self.frontier.max(seq);
        } else if self.own.len() < LISTED_MAX {
            self.own.push(seq);
        }
        self.head = self.head.max(seq);
    }

    /// The archive was read from `after` up to `upto`; `rows` are the positions of all messages to the
    /// account there.
    pub fn read(&mut self, after: u64, rows: impl IntoIterator<Item = u64>, upto: u64) {
        if after > self.frontier || upto <= self.frontier {
            return;
        }
        let mut passed = 0;
        for seq in rows {
            if seq > self.frontier && seq <= upto {
                passed += u64::from(seq <= self.beyond.upto());
                if self.done.binary_search(&seq).is_err() {
                    self.owed.push(seq);
                }
            }
        }
        self.beyond.passed(passed, upto);
        self.frontier = upto;
        self.head = self.head.max(upto);
        self.done.retain(|&seq| seq > upto);
        self.own.retain(|&seq| seq > upto);
    }

    /// A resource acknowledged a message; false if that changes nothing.
    pub fn acked(&mut self, seq: u64) -> bool {
        if seq <= self.frontier {
            return match self.owed.binary_search(&seq) {
                Ok(at) => {
                    self.owed.remove(at);
                    true
                }
                Err(_) => false,
            };
        }
        if self.own.binary_search(&seq).is_ok() {
            return false;
        }
        match self.done.binary_search(&seq) {
            Ok(_) => false,
            Err(at) => {
                self.done.insert(at, seq);
                if self.done.len() > LISTED_MAX {
                    self.done.remove(0);
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone)]
    enum Step {
        Commit {
            taken: bool,
        },
        /// The account's own message, and perhaps its acknowledgement by a session that got a copy.
        Own {
            acked: bool,
        },
        Read {
            from_last: bool,
            rows: usize,
        },
        Ack(usize),
        Restart,
        /// Some rows beyond the frontier are counted, as if these were all.
        Count(usize),
        /// Offline and online again, with the record as it was saved last.
        Leave,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<bool>().prop_map(|taken| Step::Commit { taken }),
            any::<bool>().prop_map(|acked| Step::Own { acked }),
            (any::<bool>(), 0usize..5).prop_map(|(from_last, rows)| Step::Read { from_last, rows }),
            (0usize..20).prop_map(Step::Ack),
            Just(Step::Restart),
            (0usize..9).prop_map(Step::Count),
            Just(Step::Leave),
        ]
    }

    proptest! {
        /// Against a plain set of unacknowledged positions: what is pending is the same after any history.
        #[test]
        fn pending_is_what_nobody_acknowledged(steps in prop::collection::vec(step(), 1..80)) {
            let mut real = Delivery::load(None, 0).unwrap();
            let mut all: Vec<u64> = Vec::new();
            let mut pending: BTreeSet<u64> = BTreeSet::new();
            let mut next = 10;
            // What an account leaves in the store: the record after the last acknowledgement.
            let mut saved = real.save();
            for step in steps {
                match step {
                    Step::Commit { taken } => {
                        real.committed(next, taken, 1);
                        all.push(next);
                        pending.insert(next);
                        next += 3;
                    }
                    Step::Own { acked } => {
                        real.passed(next);
                        if acked {
                            real.acked(next);
                        }
                        next += 3;
                    }
                    Step::Read { from_last, rows } => {
                        let after = if from_last { real.frontier() } else { 0 };
                        let page: Vec<u64> = all.iter().copied().filter(|&s| s > after).take(rows).collect();
                        let upto = page.last().copied().unwrap_or(after);
                        real.read(after, page, upto);
                    }
                    Step::Ack(n) => if let Some(&seq) = all.get(n) {
                        prop_assert_eq!(real.acked(seq), pending.remove(&seq));
                        saved = real.save();
                    },
                    Step::Restart => {
                        let head = all.last().copied().unwrap_or(0);
                        real = Delivery::load(Some(&real.save()), head).unwrap();
                    }
                    Step::Count(rows) => {
                        let after = real.counted().1.upto();
                        let page: Vec<u64> = all.iter().copied().filter(|&s| s > after).take(rows).collect();
                        let upto = page.last().copied().unwrap_or(after);
                        let end = all.last().is_none_or(|&last| last <= upto);
                        real.count(&Counted::of(after, upto, page.len(), end));
                    }
                    Step::Leave => {
                        let (listed, tally) = real.counted();
                        let head = all.last().copied().unwrap_or(0);
                        real = Delivery::load(Some(&saved), head).unwrap();
                        real.count_from(listed, tally);
                    }
                }
                for &seq in &all {
                    prop_assert_eq!(real.is_pending(seq), pending.contains(&seq), "position {}", seq);
                }
                if let Some(waiting) = real.waiting() {
                    prop_assert_eq!(waiting.messages, pending.len() as u64);
                }
            }
        }
    }

    #[test]
    fn lists_are_bounded() {
        let mut record = Delivery::load(None, 0).unwrap();
        for seq in 1..=10_000 {
            record.committed(seq, true, 1);
        }
        assert_eq!(record.owed().len(), LISTED_MAX);
        assert!(record.is_pending(10_000), "unlisted messages stay pending");
        for seq in 5_000..=10_000 {
            record.acked(seq);
        }
        assert!(record.done.len() <= LISTED_MAX);
    }
}
