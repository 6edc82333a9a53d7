//! Transactions of one chain: none is written behind one that was not.

use godwit_store::{Fault, MemStore, Options, Outcome, Sink, Submit, Tx, TxError, Writer};
use std::sync::{Arc, Mutex};

use crate::common::{Fixture, clock, put, small};

const CHAIN: u64 = 7;

fn of(chain: u64, key: &str) -> Tx {
    Tx { chain, ..put(key, "1") }
}

#[test]
fn what_is_behind_a_break_is_not_written_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let writer = &fixture.opened.writer;
    assert!(fixture.commit(of(CHAIN, "a")).is_ok());
    assert!(fixture.commit(Tx { chain: CHAIN, breaks: true, ..Tx::default() }).is_ok());
    assert_eq!(fixture.commit(of(CHAIN, "b")), Err(TxError::Broken));
    assert_eq!(fixture.row("b"), None);
    assert!(fixture.commit(of(8, "c")).is_ok() && fixture.commit(of(0, "d")).is_ok(), "others go on");
    assert!(fixture.commit(Tx { chain: CHAIN, ..Tx::default() }).is_ok(), "it writes nothing");
    assert_eq!(writer.broken(), [CHAIN]);
    writer.mend(CHAIN);
    assert!(fixture.commit(of(CHAIN, "b")).is_ok() && writer.broken().is_empty());
}

struct Outcomes(Arc<Mutex<Vec<(u32, Outcome)>>>);

impl Sink<u32> for Outcomes {
    fn committed(&mut self, round: &mut Vec<(u32, Outcome)>) {
        self.0.lock().unwrap().append(round);
    }
}

#[test]
fn one_that_found_no_place_in_the_queue_breaks_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(godwit_store::Rocks::open(dir.path(), &small()).unwrap());
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let options = Options { queue_max: 1, ..small() };
    let writer = Writer::start(store, &options, clock(), Box::new(Outcomes(Arc::clone(&outcomes)))).unwrap();
    // One of so many comes while another is at work.
    let refused = (0..100_000).find(|n| writer.submit(of(CHAIN, "a"), *n).is_err()).expect("a full queue");
    while writer.queued() > 0 {
        std::thread::yield_now();
    }
    writer.submit(of(CHAIN, "b"), u32::MAX).unwrap();
    writer.close().unwrap();
    let outcomes = outcomes.lock().unwrap();
    assert_eq!(outcomes.last(), Some(&(u32::MAX, Err(TxError::Broken))), "{refused} was refused");
}

#[test]
fn a_round_that_fails_breaks_the_chains_in_it_for_later_rounds() {
    let store = MemStore::new();
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let mut sink = Outcomes(Arc::clone(&outcomes));
    for (n, tx) in [of(CHAIN, "a"), of(0, "b"), of(CHAIN, "c"), of(0, "d")].into_iter().enumerate() {
        store.submit(tx, u32::try_from(n).unwrap()).unwrap();
    }
    store.fail_next(Fault::Full);
    store.round_of(2, 1_000, &mut sink);
    store.round_of(2, 1_000, &mut sink);
    let outcomes = outcomes.lock().unwrap();
    let errors: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome.as_ref().err()).collect();
    assert!(matches!(
        errors[..],
        [Some(TxError::Full(_)), Some(TxError::Full(_)), Some(TxError::Broken), None]
    ));
}
