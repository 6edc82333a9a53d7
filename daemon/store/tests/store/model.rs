//! Random transactions against both stores and a plain map: same outcomes, same numbers, same contents, also
//! reopened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use godwit_store::schema::State;
use godwit_store::{
    Cf, Clock, Expect, Guard, Key, MemStore, Op, Outcome, Owner, Read, Rocks, Seq, Sink, Submit, Tx, TxError,
    Writer, schema,
};
use proptest::prelude::*;

use crate::common::{Forward, rows, small};

const OWNERS: [u64; 3] = [1, 2, u64::MAX];

#[derive(Debug, Clone)]
enum Step {
    /// The clock shows this time, then these transactions are committed.
    Commit(u64, Vec<Tx>),
    Flush,
}

fn key() -> impl Strategy<Value = (Cf, Key)> {
    let owner = || proptest::sample::select(&OWNERS[..]).prop_map(Owner);
    prop_oneof![
        "[a-c]".prop_map(|name| (Cf::Accounts, schema::account(&name))),
        (owner(), "[a-c]").prop_map(|(owner, contact)| (Cf::Roster, schema::roster(owner, &contact))),
        owner().prop_map(|owner| (Cf::State, schema::state(owner, State::Delivery))),
        (owner(), seq()).prop_map(|(owner, seq)| (Cf::Archive, schema::archive(owner, seq))),
    ]
}

/// A number that an append of the same test may get.
fn seq() -> impl Strategy<Value = Seq> {
    (0u64..4, 0u64..4).prop_map(|(millis, count)| Seq((millis << 16) + count))
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..3, 0..2)
}

/// Of few hashes, so that rows share them.
fn index() -> impl Strategy<Value = Option<u64>> {
    proptest::sample::select(&[None, Some(0), Some(u64::MAX)][..])
}

fn op() -> impl Strategy<Value = Op> {
    let owner = || proptest::sample::select(&OWNERS[..]).prop_map(Owner);
    prop_oneof![
        4 => (key(), value()).prop_map(|((cf, key), value)| Op::Put { cf, key, value }),
        2 => key().prop_map(|(cf, key)| Op::Delete { cf, key }),
        4 => (owner(), index(), value()).prop_map(|(owner, index, value)| Op::Append { owner, index, value }),
        1 => owner().prop_map(|owner| {
            let (start, end) = schema::rosters(owner);
            Op::DeleteRange { cf: Cf::Roster, start, end }
        }),
        // Also inverted ranges, which hold nothing.
        1 => (owner(), seq(), seq()).prop_map(|(owner, after, upto)| {
            let (start, end) = schema::archives(owner, after, upto);
            Op::DeleteRange { cf: Cf::Archive, start, end }
        }),
        // Of one owner only, as nothing more is ever written for it.
        1 => Just(Op::Purge { owner: Owner(2) }),
        1 => (owner(), any::<bool>(), seq()).prop_map(|(owner, all, upto)| {
            let some = || schema::withs(owner, u64::MAX, Seq(0), upto);
            let (start, end) = if all { schema::everything(owner) } else { some() };
            Op::DeleteRange { cf: Cf::With, start, end }
        }),
    ]
}

fn tx() -> impl Strategy<Value = Tx> {
    let expect = prop_oneof![2 => Just(Expect::Absent), 1 => value().prop_map(Expect::Value)];
    let guard = (key(), expect).prop_map(|((cf, key), expect)| Guard { cf, key, expect });
    let guards = proptest::collection::vec(guard, 0..3);
    (proptest::collection::vec(op(), 0..4), guards, any::<bool>()).prop_map(|(ops, guards, lazy)| Tx {
        ops,
        guards,
        lazy,
        ..Tx::default()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit =
        (0u64..4, proptest::collection::vec(tx(), 1..8)).prop_map(|(now, txs)| Step::Commit(now, txs));
    proptest::collection::vec(prop_oneof![5 => commit, 1 => Just(Step::Flush)], 1..8)
}

/// The store as one would explain it.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(Cf, Vec<u8>), Vec<u8>>,
    last: u64,
    gone: Vec<u64>,
}

impl Model {
    fn commit(&mut self, tx: &Tx, now_ms: u64) -> Outcome {
        for op in &tx.ops {
            let writes_for = match op {
                Op::Append { owner, .. } => Some(owner.0.to_be_bytes().to_vec()),
                Op::Put { cf, key, .. } if *cf != Cf::Accounts => Some(key.as_bytes()[..8].to_vec()),
                _ => None,
            };
            let gone = |owner: &&u64| writes_for.as_deref() == Some(&owner.to_be_bytes()[..]);
            if let Some(owner) = self.gone.iter().find(gone) {
                return Err(TxError::Gone(Owner(*owner)));
            }
        }
        for guard in &tx.guards {
            let found = self.rows.get(&(guard.cf, guard.key.as_bytes().to_vec()));
            let holds = match &guard.expect {
                Expect::Absent => found.is_none(),
                Expect::Value(value) => found == Some(value),
            };
            if !holds {
                return Err(TxError::Conflict);
            }
        }
        let mut seqs = Vec::new();
        for op in &tx.ops {
            match op {
                Op::Put { cf, key, value } => {
                    self.rows.insert((*cf, key.as_bytes().to_vec()), value.clone());
                }
                Op::Delete { cf, key } => {
                    self.rows.remove(&(*cf, key.as_bytes().to_vec()));
                }
                Op::DeleteRange { cf, start, end } => {
                    self.rows.retain(|(of, key), _| {
                        of != cf || &key[..] < start.as_bytes() || &key[..] >= end.as_bytes()
                    });
                }
                Op::Append { owner, index, value } => {
                    self.last = (now_ms << 16).max(self.last + 1);
                    let key = [owner.0.to_be_bytes(), self.last.to_be_bytes()].concat();
                    self.rows.insert((Cf::Archive, key), value.clone());
                    if let Some(hash) = index {
                        let seq = self.last.to_be_bytes();
                        let key = [owner.0.to_be_bytes(), hash.to_be_bytes(), seq].concat();
                        self.rows.insert((Cf::With, key), Vec::new());
                    }
                    seqs.push(Seq(self.last));
                }
                Op::Purge { owner } => {
                    self.rows.retain(|(cf, key), _| {
                        *cf == Cf::Accounts || key.get(..8) != Some(&owner.0.to_be_bytes()[..])
                    });
                    self.gone.push(owner.0);
                }
            }
        }
        Ok(seqs)
    }

    fn same_as(&self, store: &dyn Read) {
        assert_eq!(store.head(), Seq(self.last));
        let (all, _) = schema::rosters(Owner(0));
        let (_, end) = schema::archives(Owner(u64::MAX), Seq(0), Seq::MAX);
        let everything = (all, end);
        for (cf, range) in [
            (Cf::Accounts, schema::accounts()),
            (Cf::Roster, schema::rosters(Owner(1))),
            (Cf::Roster, (everything.0.clone(), schema::rosters(Owner(u64::MAX)).1)),
            (Cf::State, (everything.0.clone(), schema::states(Owner(u64::MAX)).1)),
            (Cf::Archive, schema::archives(Owner(2), Seq(1 << 16), Seq(2 << 16))),
            (Cf::Archive, schema::archives(Owner(u64::MAX), Seq(0), Seq::MAX)),
            (Cf::Archive, everything.clone()),
            (Cf::With, schema::everything(Owner(u64::MAX))),
            (Cf::With, schema::withs(Owner(1), u64::MAX, Seq(1 << 16), Seq(2 << 16))),
            (Cf::With, (everything.0.clone(), schema::everything(Owner(u64::MAX)).1)),
        ] {
            let inside = |key: &[u8]| range.0.as_bytes() <= key && key < range.1.as_bytes();
            let mine = self.rows.iter().filter(|((of, key), _)| *of == cf && inside(key));
            let mut mine: Vec<_> = mine.map(|((_, key), value)| (key.clone(), value.clone())).collect();
            assert_eq!(rows(store, cf, range.clone(), false), mine);
            mine.reverse();
            assert_eq!(rows(store, cf, range, true), mine);
        }
    }
}

#[derive(Default)]
struct Outcomes(Vec<Outcome>);
impl Sink<u32> for Outcomes {
    fn committed(&mut self, round: &mut Vec<(u32, Outcome)>) {
        self.0.extend(round.drain(..).map(|(_, outcome)| outcome));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn both_stores_do_as_the_model(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(0));
        let clock: Clock = { let now = Arc::clone(&now); Arc::new(move || now.load(Ordering::SeqCst)) };
        let rocks = Arc::new(Rocks::open(dir.path(), &small()).unwrap());
        let (sender, completions) = channel();
        let sink = Box::new(Forward(sender));
        let writer = Writer::<u32>::start(Arc::clone(&rocks), &small(), clock, sink).unwrap();
        let (memory, mut model) = (MemStore::new(), Model::default());

        for step in steps {
            let Step::Commit(now_ms, txs) = step else {
                rocks.flush().unwrap();
                continue;
            };
            now.store(now_ms, Ordering::SeqCst);
            let wanted: Vec<Outcome> = txs.iter().map(|tx| model.commit(tx, now_ms)).collect();
            for tx in &txs {
                writer.submit(tx.clone(), 0).unwrap();
                memory.submit(tx.clone(), 0).unwrap();
            }
            let mut outcomes = Outcomes::default();
            memory.round_of(2, now_ms, &mut outcomes);
            memory.round(now_ms, &mut outcomes);
            prop_assert_eq!(&outcomes.0, &wanted);
            let found: Vec<Outcome> = txs.iter().map(|_| completions.recv().unwrap().1).collect();
            prop_assert_eq!(&found, &wanted);
        }
        model.same_as(&memory);
        model.same_as(&*rocks);
        // Without a flush: the log is replayed.
        drop(writer);
        rocks.close().unwrap();
        model.same_as(&Rocks::open(dir.path(), &small()).unwrap());
    }
}
