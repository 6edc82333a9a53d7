//! What the tests share: a clock, a sink, small transactions.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use godwit_store::{
    Cf, Clock, Key, Op, Opened, Options, Outcome, Owner, Range, Read, Seq, Sink, Submit, Tx, schema,
};

/// The time that the tests' clock shows.
pub(crate) const NOW_MS: u64 = 1_790_000_000_000;
/// A completion that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands completions to the test's thread.
pub(crate) struct Forward<C>(pub(crate) Sender<(C, Outcome)>);
impl<C: Send> Sink<C> for Forward<C> {
    fn committed(&mut self, round: &mut Vec<(C, Outcome)>) {
        for completion in round.drain(..) {
            // A test may have seen enough.
            let _gone = self.0.send(completion);
        }
    }
}

/// An open store and its completions.
pub(crate) struct Fixture {
    pub(crate) opened: Opened<u32>,
    pub(crate) completions: Receiver<(u32, Outcome)>,
}

impl Fixture {
    pub(crate) fn open(path: &Path) -> Fixture {
        Fixture::with_clock(path, clock())
    }

    pub(crate) fn with_clock(path: &Path, clock: Clock) -> Fixture {
        Fixture::with_options(path, &small(), clock)
    }

    pub(crate) fn with_options(path: &Path, options: &Options, clock: Clock) -> Fixture {
        let (sender, completions) = channel();
        let opened = godwit_store::open(path, options, clock, Box::new(Forward(sender))).unwrap();
        Fixture { opened, completions }
    }

    pub(crate) fn next(&self) -> (u32, Outcome) {
        self.completions.recv_timeout(PATIENCE).unwrap()
    }

    /// Commits one transaction in a round of its own.
    pub(crate) fn commit(&self, tx: Tx) -> Outcome {
        self.opened.writer.submit(tx, 0).unwrap();
        self.next().1
    }

    pub(crate) fn row(&self, name: &str) -> Option<Vec<u8>> {
        self.opened.store.get(Cf::Accounts, &schema::account(name)).unwrap()
    }
}

pub(crate) fn small() -> Options {
    Options { block_cache_bytes: 1 << 20, memtable_bytes: 4 << 20, open_files_max: 64, ..Options::default() }
}

pub(crate) fn clock() -> Clock {
    Arc::new(|| NOW_MS)
}

pub(crate) fn put(name: &str, value: &str) -> Tx {
    let op = Op::Put { cf: Cf::Accounts, key: schema::account(name), value: value.into() };
    Tx { ops: vec![op], ..Tx::default() }
}

pub(crate) fn append(owner: u64, value: &[u8]) -> Op {
    Op::Append { owner: Owner(owner), index: None, value: value.to_vec() }
}

pub(crate) fn rows(
    store: &dyn Read,
    cf: Cf,
    (start, end): (Key, Key),
    reverse: bool,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut each = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(&Range { cf, start, end, reverse }, &mut each).unwrap();
    rows
}

pub(crate) fn archive(store: &dyn Read, owner: u64) -> Vec<Vec<u8>> {
    let all = schema::archives(Owner(owner), Seq(0), Seq::MAX);
    rows(store, Cf::Archive, all, false).into_iter().map(|(_, value)| value).collect()
}
