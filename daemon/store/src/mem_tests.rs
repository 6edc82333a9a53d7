//! Tests of the twin's own faults and crashes; that it decides as RocksDB does is tested in `tests/model.rs`.

use super::*;
use crate::{Expect, Guard, Op, Owner, schema};

#[derive(Default)]
struct Seen(Vec<(u32, Outcome)>);
impl Sink<u32> for Seen {
    fn committed(&mut self, round: &mut Vec<(u32, Outcome)>) {
        self.0.append(round);
    }
}

fn put(name: &str, value: &str) -> Tx {
    let op = Op::Put { cf: Cf::Accounts, key: schema::account(name), value: value.into() };
    Tx { ops: vec![op], ..Tx::default() }
}

fn append(owner: u64, value: &str) -> Tx {
    Tx { ops: vec![Op::Append { owner: Owner(owner), index: None, value: value.into() }], ..Tx::default() }
}

fn value(store: &MemStore<u32>, name: &str) -> Option<Vec<u8>> {
    store.get(Cf::Accounts, &schema::account(name)).unwrap()
}

#[test]
fn rows_are_invisible_until_their_round() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    store.submit(put("a", "1"), 1).unwrap();
    assert_eq!((value(&store, "a"), store.queued()), (None, 1));
    assert_eq!(store.round(5, &mut seen), 1);
    assert_eq!((value(&store, "a"), store.queued()), (Some(b"1".to_vec()), 0));
    assert_eq!(seen.0, [(1, Ok(vec![]))]);
}

#[test]
fn a_failed_round_leaves_nothing_and_burns_its_numbers() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    store.fail_next(Fault::Full);
    store.submit(append(1, "lost"), 1).unwrap();
    store.round(5, &mut seen);
    assert!(matches!(seen.0[0].1, Err(TxError::Full(_))));
    assert_eq!(store.head(), Seq(0));
    store.submit(append(1, "kept"), 2).unwrap();
    store.round(5, &mut seen);
    assert_eq!(seen.0[1], (2, Ok(vec![Seq((5 << 16) + 1)])));
    // The number after it marks where writing worked again.
    let gap = Seq((5 << 16) + 2);
    assert_eq!(store.head(), gap);
    let noted = store.get(Cf::Meta, &schema::meta_gap()).unwrap();
    assert_eq!(noted, Some(gap.0.to_be_bytes().to_vec()));
    store.submit(append(1, "more"), 3).unwrap();
    store.round(5, &mut seen);
    assert_eq!(store.get(Cf::Meta, &schema::meta_gap()).unwrap(), noted, "once");
}

#[test]
fn a_fault_waits_for_a_round_that_writes() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    store.fail_next(Fault::Failed);
    store.submit(Tx::default(), 1).unwrap();
    store.round(5, &mut seen);
    store.submit(put("a", "1"), 2).unwrap();
    store.round(5, &mut seen);
    assert_eq!(seen.0[0].1, Ok(vec![]));
    assert!(matches!(seen.0[1].1, Err(TxError::Failed(_))));
}

#[test]
fn what_had_nothing_to_write_does_not_fail_with_its_round() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    store.fail_next(Fault::Full);
    store.submit(put("a", "1"), 1).unwrap();
    store.submit(Tx::default(), 2).unwrap();
    store.round(5, &mut seen);
    assert!(matches!(seen.0[0].1, Err(TxError::Full(_))));
    assert_eq!(seen.0[1], (2, Ok(vec![])));
}

#[test]
fn guards_see_earlier_transactions_of_their_round() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    for completion in [1, 2] {
        let mut tx = put("a", "1");
        tx.guards.push(Guard { cf: Cf::Accounts, key: schema::account("a"), expect: Expect::Absent });
        store.submit(tx, completion).unwrap();
    }
    store.round(5, &mut seen);
    assert_eq!(seen.0, [(1, Ok(vec![])), (2, Err(TxError::Conflict))]);
}

#[test]
fn a_crash_forgets_the_queue_and_lazy_rounds_that_no_sync_followed() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    store.submit(put("kept", "1"), 1).unwrap();
    store.submit(append(1, "kept"), 2).unwrap();
    store.round(5, &mut seen);
    let head = store.head();
    let lazy = |tx| Tx { lazy: true, ..tx };
    store.submit(lazy(put("kept", "2")), 3).unwrap();
    store.submit(lazy(append(1, "lazy")), 4).unwrap();
    store.round(5, &mut seen);
    store.submit(put("waiting", "1"), 5).unwrap();
    assert_eq!(value(&store, "kept"), Some(b"2".to_vec()));

    let after = store.crash();
    assert_eq!((value(&after, "kept"), value(&after, "waiting")), (Some(b"1".to_vec()), None));
    assert_eq!((after.head(), after.queued()), (head, 0));

    store.round(6, &mut seen);
    let after = store.crash();
    assert_eq!((value(&after, "kept"), value(&after, "waiting")), (Some(b"2".to_vec()), Some(b"1".to_vec())));
}

#[test]
fn a_crash_may_keep_a_prefix_of_the_rounds_that_no_sync_followed() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    for round in ["1", "2", "3"] {
        store.submit(Tx { lazy: round != "1", ..put("a", round) }, 1).unwrap();
        store.round(5, &mut seen);
    }
    assert_eq!(store.unsynced(), 2);
    for (kept, expected) in [(0, b"1"), (1, b"2"), (2, b"3"), (9, b"3")] {
        assert_eq!(value(&store.crash_keeping(kept), "a"), Some(expected.to_vec()));
    }
}

#[test]
fn a_committed_round_may_be_lost_before_anybody_is_told() {
    let store = MemStore::new();
    store.submit(put("a", "1"), 7).unwrap();
    assert_eq!(store.commit_of(9, 5), [(7, Ok(vec![]))]);
    assert_eq!(value(&store.crash(), "a"), Some(b"1".to_vec()));
}

#[test]
fn a_held_store_commits_nothing_and_a_full_queue_gives_back() {
    let (store, mut seen) = (MemStore::with_queue_max(1), Seen::default());
    store.hold(true);
    store.submit(put("a", "1"), 1).unwrap();
    assert_eq!(store.submit(put("b", "1"), 2).unwrap_err().1, 2);
    assert_eq!(store.round(5, &mut seen), 0);
    store.hold(false);
    assert_eq!(store.round(5, &mut seen), 1);
    store.close();
    assert!(store.submit(put("b", "1"), 3).is_err());
}

#[test]
fn rounds_may_be_cut() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    for n in 0..5 {
        store.submit(put("a", "1"), n).unwrap();
    }
    assert_eq!(store.round_of(2, 5, &mut seen), 2);
    assert_eq!(store.queued(), 3);
}

#[test]
fn scans_go_both_ways_and_stop_when_told() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    for n in 1..=4 {
        store.submit(append(7, &n.to_string()), n).unwrap();
    }
    store.round(5, &mut seen);
    let (start, end) = schema::archives(Owner(7), Seq(0), Seq::MAX);
    let mut range = Range { cf: Cf::Archive, start, end, reverse: false };
    let read = |range: &Range, limit: usize| {
        let mut found = String::new();
        let mut each = |_: &[u8], value: &[u8]| {
            found.push_str(std::str::from_utf8(value).unwrap());
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        store.scan(range, &mut each).unwrap();
        found
    };
    assert_eq!((read(&range, 9), read(&range, 2)), ("1234".into(), "12".into()));
    range.reverse = true;
    assert_eq!((read(&range, 9), read(&range, 2)), ("4321".into(), "43".into()));
}

#[test]
fn an_account_that_could_not_be_purged_is_written_for_again() {
    let (store, mut seen) = (MemStore::new(), Seen::default());
    let purge = || Tx { ops: vec![Op::Purge { owner: Owner(1) }], ..Tx::default() };
    store.fail_next(Fault::Full);
    store.submit(purge(), 1).unwrap();
    store.submit(append(1, "with it"), 2).unwrap();
    store.round(5, &mut seen);
    store.submit(append(1, "kept"), 3).unwrap();
    store.submit(purge(), 4).unwrap();
    store.submit(append(1, "late"), 5).unwrap();
    store.round(5, &mut seen);
    assert!(matches!(seen.0[1].1, Err(TxError::Full(_))), "{:?}", seen.0[1]);
    assert!(seen.0[2].1.is_ok() && seen.0[3].1.is_ok(), "{:?}", seen.0);
    assert_eq!(seen.0[4], (5, Err(TxError::Gone(Owner(1)))), "in the same round too");
    let (start, end) = schema::everything(Owner(1));
    let mut rows = 0;
    let mut count = |_: &[u8], _: &[u8]| {
        rows += 1;
        ControlFlow::Continue(())
    };
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: false }, &mut count).unwrap();
    assert_eq!(rows, 0);
}
