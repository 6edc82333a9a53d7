//! The writer's promises about order, visibility, syncs and closing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use godwit_store::{
    Cf, Expect, Guard, Op, Options, Outcome, Owner, Read, Rocks, Seq, Sink, StoreError, Submit, Tx, TxError,
    Writer, schema,
};

use crate::common::{Fixture, Forward, NOW_MS, append, archive, clock, put, small};

const THREADS: u32 = 4;
const EACH: u32 = 2_000;

/// Looks, at each completion, whether its row can be read.
struct Check {
    store: Arc<Rocks>,
    seen: Arc<Mutex<Vec<(u32, u32, Seq)>>>,
}

impl Sink<(u32, u32)> for Check {
    fn committed(&mut self, round: &mut Vec<((u32, u32), Outcome)>) {
        for ((thread, n), outcome) in round.drain(..) {
            let seq = outcome.unwrap()[0];
            let row = self.store.get(Cf::Archive, &schema::archive(Owner(thread.into()), seq)).unwrap();
            assert_eq!(row, Some(n.to_be_bytes().to_vec()));
            assert!(self.store.head() >= seq);
            self.seen.lock().unwrap().push((thread, n, seq));
        }
    }
}

#[test]
fn completions_come_in_commit_order_after_their_rows_are_readable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Rocks::open(dir.path(), &small()).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Box::new(Check { store: Arc::clone(&store), seen: Arc::clone(&seen) });
    let options = Options { round_max: 100, ..small() };
    let writer = Writer::start(Arc::clone(&store), &options, clock(), sink).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let writer = &writer;
            scope.spawn(move || {
                for n in 0..EACH {
                    let tx = Tx { ops: vec![append(thread.into(), &n.to_be_bytes())], ..Tx::default() };
                    writer.submit(tx, (thread, n)).unwrap();
                }
            });
        }
    });
    writer.close().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), (THREADS * EACH) as usize);
    assert!(seen.is_sorted_by(|(_, _, a), (_, _, b)| a < b));
    for thread in 0..THREADS {
        let own: Vec<u32> = seen.iter().filter(|(by, ..)| *by == thread).map(|(_, n, _)| *n).collect();
        assert_eq!(own, (0..EACH).collect::<Vec<_>>());
    }
    let stats = writer.stats();
    assert_eq!((stats.transactions, stats.queued), (u64::from(THREADS * EACH), 0));
    assert!(stats.rounds >= u64::from(THREADS * EACH) / 100 && stats.syncs == stats.rounds);
    // Every one of them shared a synced write with some others, and has its latency.
    let (together, commit) = (stats.synced_together, stats.commit_us);
    assert_eq!((together.sum, together.count()), (stats.transactions, stats.syncs));
    assert_eq!(commit.count(), stats.transactions);
    assert!(commit.most >= stats.sync_us.mean() && stats.sync_us.count() == stats.syncs);
}

#[test]
fn empty_and_refused_rounds_write_nothing_and_lazy_ones_do_not_sync() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    assert_eq!(fixture.commit(Tx::default()), Ok(vec![]));
    let guard = Guard { cf: Cf::Accounts, key: schema::account("a"), expect: Expect::Value(vec![1]) };
    assert_eq!(fixture.commit(Tx { guards: vec![guard], ..put("a", "1") }), Err(TxError::Conflict));
    let stats = fixture.opened.writer.stats();
    assert_eq!((stats.rounds, stats.transactions, stats.conflicts), (0, 2, 1));
    assert_eq!(stats.commit_us.count(), 1, "what was refused was not committed");

    fixture.commit(Tx { lazy: true, ..put("a", "1") }).unwrap();
    assert_eq!(fixture.row("a"), Some(b"1".to_vec()));
    let stats = fixture.opened.writer.stats();
    assert_eq!((stats.rounds, stats.syncs), (1, 0));

    fixture.commit(put("a", "2")).unwrap();
    let stats = fixture.opened.writer.stats();
    assert_eq!((stats.rounds, stats.syncs), (2, 2), "the lazy one before it, and itself");
    assert!(stats.bytes > 0 && stats.sync_us.most >= stats.sync_us_last);
}

/// Otherwise a power loss after a quiet hour would take the acknowledgements of that hour, and everything
/// would be delivered a second time.
#[test]
fn what_is_lazy_is_synced_soon_though_nothing_follows() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(NOW_MS));
    let clock = Arc::clone(&now);
    let fixture = Fixture::with_clock(dir.path(), Arc::new(move || clock.load(Ordering::Relaxed)));
    fixture.commit(Tx { lazy: true, ..put("a", "1") }).unwrap();
    assert_eq!(fixture.opened.writer.stats().syncs, 0);
    now.fetch_add(1_000, Ordering::Relaxed);
    let synced = (0..6_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        fixture.opened.writer.stats().syncs == 1
    });
    assert!(synced);

    // Never more than one round is unsynced.
    fixture.commit(Tx { lazy: true, ..put("a", "2") }).unwrap();
    assert_eq!(fixture.opened.writer.stats().syncs, 1);
    fixture.commit(Tx { lazy: true, ..put("a", "3") }).unwrap();
    assert_eq!(fixture.opened.writer.stats().syncs, 2);
}

#[test]
fn closing_commits_what_waits_and_turns_the_rest_away() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    for n in 0..500 {
        fixture.opened.writer.submit(put(&format!("n{n}"), "1"), n).unwrap();
    }
    fixture.opened.writer.close().unwrap();
    assert_eq!((0..500).map(|_| fixture.next().0).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    let (tx, completion) = fixture.opened.writer.submit(put("late", "1"), 500).unwrap_err();
    assert!(matches!(&tx.ops[..], [Op::Put { .. }]) && completion == 500);
    fixture.opened.writer.close().unwrap();
    assert_eq!(fixture.row("n499"), Some(b"1".to_vec()));
    fixture.opened.store.close().unwrap();
    assert!(matches!(fixture.opened.store.get(Cf::Accounts, &schema::account("n1")), Err(StoreError::Io(_))));
}

#[test]
fn a_full_queue_gives_transactions_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Rocks::open(dir.path(), &small()).unwrap());
    let (entered, wait_entered) = channel();
    let (release, wait_release) = channel::<()>();
    struct Stuck(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);
    impl Sink<u32> for Stuck {
        fn committed(&mut self, _: &mut Vec<(u32, Outcome)>) {
            let _ended = (self.0.send(()), self.1.recv());
        }
    }
    let options = Options { queue_max: 3, ..small() };
    let sink = Box::new(Stuck(entered, wait_release));
    let writer = Writer::start(Arc::clone(&store), &options, clock(), sink).unwrap();
    writer.submit(put("a", "1"), 0).unwrap();
    wait_entered.recv().unwrap();
    for n in 0..3 {
        writer.submit(put("a", "1"), n).unwrap();
    }
    assert_eq!(writer.submit(put("a", "1"), 9).unwrap_err().1, 9);
    assert_eq!(writer.queued(), 3);
    drop(release);
    writer.close().unwrap();
    assert_eq!(writer.stats().queued_most, 3);
}

#[test]
fn numbers_grow_over_restarts_though_the_clock_stands() {
    let dir = tempfile::tempdir().unwrap();
    let one = || Tx { ops: vec![append(1, b"x"), append(2, b"y")], ..Tx::default() };
    let mut last = Seq(0);
    for flush in [true, false, true] {
        let fixture = Fixture::open(dir.path());
        assert_eq!(fixture.opened.store.head(), last);
        let seqs = fixture.commit(one()).unwrap();
        assert!(last < seqs[0] && seqs[0] < seqs[1]);
        last = seqs[1];
        if flush {
            fixture.opened.writer.close().unwrap();
        }
    }
    let store = Rocks::open(dir.path(), &small()).unwrap();
    assert_eq!(archive(&store, 1).len(), 3);
    assert_eq!(store.head(), last);
}

#[test]
fn a_store_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let sink = Box::new(Forward(channel::<(u32, Outcome)>().0));
    let second = Writer::start(Arc::clone(&fixture.opened.store), &small(), clock(), sink);
    assert!(matches!(second.err(), Some(StoreError::InUse(_))));
}

#[test]
fn the_heart_beats_while_idle() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let before = fixture.opened.writer.heartbeat();
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert!(fixture.opened.writer.heartbeat() >= before + 2);
}

#[test]
fn figures_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let store = &fixture.opened.store;
    for _ in 0..10 {
        fixture.commit(Tx { ops: vec![append(1, &[7; 1000])], ..Tx::default() }).unwrap();
    }
    assert!(store.memory().unwrap().memtables > 10_000);
    assert_eq!(store.property_u64("rocksdb.num-entries-active-mem-table", Cf::Archive).unwrap(), Some(10));
    store.flush().unwrap();
    let bytes = store.live_bytes_by_cf().unwrap();
    assert!(bytes.iter().any(|(cf, bytes)| *cf == Cf::Archive && *bytes > 0));
    assert!(bytes.iter().any(|(cf, bytes)| *cf == Cf::Roster && *bytes == 0));
    assert!(store.rows_by_cf().unwrap().contains(&(Cf::Archive, 10)));
    let background = store.background().unwrap();
    assert_eq!((background.errors, background.slowed_to, background.stopped), (0, 0, false));
    let mut rows = 0;
    let damage = store.examine(&mut |_, _, _| {
        rows += 1;
        std::ops::ControlFlow::Continue(())
    });
    // Ten messages, the schema version, the head.
    assert_eq!((rows, damage), (12, vec![]));
}
