//! What leaves an archive: what an operator purges, and the oldest messages of one that has grown too large.
//! (What is too old goes when its files are compacted: `store/src/expiry.rs`.)
//!
//! Always the oldest ones (XEP-0313 §3.2: no holes), in transactions of a bounded number of rows, each of
//! which removes rows together with their index. Of an archive that is too large, messages that no resource
//! has acknowledged yet stay, and everything behind them: how many may wait has a limit of its own.
use crate::delivery::Delivery;
use crate::row::Row;
use godwit_store::{Cf, Op, Owner, Range, Read, Seq, StoreError, Tx, schema};
use std::ops::ControlFlow;

/// Rows that one transaction removes.
const BATCH_ROWS_MAX: usize = 1_000;

/// The next transaction that removes an archive's oldest rows up to a position, and how many it removes;
/// `None` when none is left.
pub fn oldest(store: &dyn Read, owner: u64, upto: u64) -> Result<Option<(Tx, usize)>, StoreError> {
    let owner = Owner(owner);
    let (start, end) = schema::archives(owner, Seq(0), Seq(upto));
    let (mut tx, mut rows, mut last) = (Tx::default(), 0, None);
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: false }, &mut |key, value| {
        let Some(seq) = schema::archive_seq(key) else { return ControlFlow::Continue(()) };
        // A row that cannot be read is removed as well; its index row, if it has one, points to nothing.
        if let Some(hash) = Row::decode(value).and_then(|row| row.index()) {
            tx.ops.push(Op::Delete { cf: Cf::With, key: schema::with(owner, hash, seq) });
        }
        (rows, last) = (rows + 1, Some(seq));
        if rows < BATCH_ROWS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let Some(last) = last else { return Ok(None) };
    let (start, end) = schema::archives(owner, Seq(0), last);
    tx.ops.push(Op::DeleteRange { cf: Cf::Archive, start, end });
    Ok(Some((tx, rows)))
}

/// Up to which position an archive has to go so that what is left has at most so many bytes; `None` if it
/// need not shrink, or cannot because of what has not been delivered.
pub fn surplus(store: &dyn Read, owner: u64, bytes_max: u64) -> Result<Option<u64>, StoreError> {
    let key = schema::state(Owner(owner), schema::State::Delivery);
    let saved = store.get(Cf::State, &key)?;
    let damaged = || StoreError::Corrupt(format!("the delivery record of account number {owner}"));
    // As it is saved, which may be less than has been delivered meanwhile, never more.
    let delivery = Delivery::load(saved.as_deref(), 0).ok_or_else(damaged)?;
    let (start, end) = schema::archives(Owner(owner), Seq(0), Seq::MAX);
    let (mut bytes, mut over) = (0, None);
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: true }, &mut |key, value| {
        bytes += (key.len() + value.len()) as u64;
        if bytes <= bytes_max {
            return ControlFlow::Continue(());
        }
        over = schema::archive_seq(key);
        ControlFlow::Break(())
    })?;
    let Some(over) = over else { return Ok(None) };
    let (start, end) = schema::archives(Owner(owner), Seq(0), over);
    let mut upto = None;
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: false }, &mut |key, value| {
        let Some(seq) = schema::archive_seq(key) else { return ControlFlow::Continue(()) };
        let waits = Row::decode(value).is_some_and(|row| row.incoming) && delivery.is_pending(seq.0);
        if waits {
            return ControlFlow::Break(());
        }
        upto = Some(seq.0);
        ControlFlow::Continue(())
    })?;
    Ok(upto)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_store::{MemStore, Outcome, Sink, Submit};

    struct Nobody;
    impl Sink<()> for Nobody {
        fn committed(&mut self, round: &mut Vec<((), Outcome)>) {
            assert!(round.drain(..).all(|(_, outcome)| outcome.is_ok()));
        }
    }

    const OWNER: u64 = 7;
    const OTHER: u64 = 8;

    fn commit(store: &MemStore<()>, tx: Tx, now_ms: u64) {
        assert!(store.submit(tx, ()).is_ok());
        store.round(now_ms, &mut Nobody);
    }

    /// One row a millisecond for each of two accounts; every tenth is not history and has no index row.
    fn filled(count: u64) -> MemStore<()> {
        let store = MemStore::new();
        for n in 1..=count {
            let with = if n % 2 == 0 { "a@b" } else { "c@d" };
            let row = Row {
                incoming: true,
                hidden: n % 10 == 0,
                copied: false,
                with,
                resource: "",
                stanza: b"<message></message>",
            };
            let append = |owner| Op::Append { owner: Owner(owner), index: row.index(), value: row.encode() };
            commit(&store, Tx { ops: vec![append(OWNER), append(OTHER)], ..Tx::default() }, n);
        }
        store
    }

    fn count(store: &MemStore<()>, owner: u64) -> (usize, usize) {
        let rows = |cf| {
            let (start, end) = schema::everything(Owner(owner));
            let mut rows = 0;
            let mut each = |_: &[u8], _: &[u8]| {
                rows += 1;
                ControlFlow::Continue(())
            };
            store.scan(&Range { cf, start, end, reverse: false }, &mut each).expect("readable");
            rows
        };
        (rows(Cf::Archive), rows(Cf::With))
    }

    #[test]
    fn a_whole_purge_leaves_nothing_of_one_and_all_of_the_other() {
        let store = filled(50);
        assert_eq!(count(&store, OWNER), (50, 45));
        while let Some((tx, _)) = oldest(&store, OWNER, store.head().0).expect("readable") {
            commit(&store, tx, 99);
        }
        assert_eq!((count(&store, OWNER), count(&store, OTHER)), ((0, 0), (50, 45)));
    }

    #[test]
    fn the_oldest_go_in_batches_with_their_index() {
        let store = filled(2_500);
        let upto = Seq::at(2_401).0 - 1;
        let mut batches = Vec::new();
        while let Some((tx, rows)) = oldest(&store, OWNER, upto).expect("readable") {
            assert!(tx.ops.len() <= BATCH_ROWS_MAX + 1);
            batches.push(rows);
            commit(&store, tx, 9_999);
        }
        assert_eq!(batches, [1_000, 1_000, 400]);
        assert_eq!((count(&store, OWNER), count(&store, OTHER)), ((100, 90), (2_500, 2_250)));
    }

    #[test]
    fn what_is_too_large_shrinks_to_its_limit_and_what_was_not_delivered_stays() {
        let store = filled(100);
        let row = (16
            + Row::encode(&Row {
                incoming: true,
                hidden: false,
                copied: false,
                with: "a@b",
                resource: "",
                stanza: b"<message></message>",
            })
            .len()) as u64;
        assert_eq!(surplus(&store, OWNER, 100 * row), Ok(None), "it fits");
        assert_eq!(surplus(&store, OWNER, 30 * row), Ok(None), "nothing was delivered yet");
        let delivered_upto = |seq: Seq| {
            let mut delivery = Delivery::load(None, 0).expect("empty");
            delivery.read(0, [], seq.0);
            Op::Put {
                cf: Cf::State,
                key: schema::state(Owner(OWNER), schema::State::Delivery),
                value: delivery.save(),
            }
        };
        commit(&store, Tx { ops: vec![delivered_upto(Seq::at(50))], ..Tx::default() }, 200);
        assert_eq!(
            surplus(&store, OWNER, 30 * row),
            Ok(Some(Seq::at(50).0)),
            "no further than what was delivered"
        );
        commit(&store, Tx { ops: vec![delivered_upto(Seq::at(200))], ..Tx::default() }, 201);
        assert_eq!(surplus(&store, OWNER, 30 * row), Ok(Some(Seq::at(70).0)));
        while let Some((tx, _)) = oldest(&store, OWNER, Seq::at(70).0).expect("readable") {
            commit(&store, tx, 202);
        }
        assert_eq!(count(&store, OWNER).0, 30);
        assert_eq!(surplus(&store, OWNER, 30 * row), Ok(None));
    }

    #[test]
    fn what_was_handed_over_and_not_acknowledged_stays_too() {
        let store = filled(100);
        let mut delivery = Delivery::load(None, 0).expect("empty");
        delivery.read(0, [Seq::at(20).0], Seq::at(90).0);
        let key = schema::state(Owner(OWNER), schema::State::Delivery);
        let put = Op::Put { cf: Cf::State, key, value: delivery.save() };
        commit(&store, Tx { ops: vec![put], ..Tx::default() }, 200);
        assert_eq!(surplus(&store, OWNER, 1), Ok(Some(Seq::at(19).0)));
    }

    /// An account that only sends never saves a delivery record: its archive must not grow for ever for that.
    #[test]
    fn what_an_account_sent_waits_for_nobody() {
        let store = MemStore::new();
        let sent = Row {
            incoming: false,
            hidden: false,
            copied: false,
            with: "a@b",
            resource: "",
            stanza: b"<message></message>",
        };
        for n in 1..=10 {
            let op = Op::Append { owner: Owner(OWNER), index: sent.index(), value: sent.encode() };
            commit(&store, Tx { ops: vec![op], ..Tx::default() }, n);
        }
        assert_eq!(surplus(&store, OWNER, 1), Ok(Some(Seq::at(10).0)));
    }
}
