//! A session from before the start, put together from what is written of it (`revive.rs`).
use crate::durable::Rows;
use crate::pep::last::Interest;
use crate::registry::Entry;
use crate::revive::Wish;
use crate::row::Row;
use godwit_session::{Bound, Continued, FeedMode, Ledger, Millis, Positions, Record, Sm, Unacked};
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError, schema};
use godwit_wire::Jid;
use std::ops::ControlFlow;

/// The first `most` regular messages of a session after its record, among those that the daemon before this
/// one can have sent.
pub(crate) fn regular(
    store: &dyn Read,
    owner: u64,
    record: &Record,
    resource: &str,
    began: u64,
    most: u32,
) -> Result<Vec<u64>, StoreError> {
    let range = (record.last.max(record.new_after), began);
    incoming(store, owner, range, most as usize, &|seq, row| {
        (row.resource.is_empty() || row.resource == resource) && !record.ahead.contains(&seq)
    })
}

/// The first `most` messages to an account after one position and up to another that are wanted.
pub(crate) fn incoming(
    store: &dyn Read,
    owner: u64,
    (after, upto): (u64, u64),
    most: usize,
    wanted: &dyn Fn(u64, &Row<'_>) -> bool,
) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    if most == 0 {
        return Ok(found);
    }
    let (start, end) = schema::archives(Owner(owner), Seq(after), Seq(upto));
    store.scan(&Range { cf: Cf::Archive, start, end, reverse: false }, &mut |key, value| {
        if let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value))
            && row.incoming
            && wanted(seq.0, &row)
        {
            found.push(seq.0);
        }
        if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

pub(crate) fn rebuilt(
    wish: &Wish,
    rows: &Rows,
    record: &Record,
    at: Continued,
    now: Millis,
) -> Option<(Box<Bound>, Entry)> {
    let who = &rows.who;
    let jid = wish.account.jid.with_resource(&who.resource).ok()?;
    let reads = record.reads && who.presence.is_some() && who.priority >= 0;
    let mut bound = Box::new(Bound::new(wish.session, wish.account.owner, jid));
    (bound.received, bound.handled) = (rows.h, rows.h);
    bound.feed.last = at.last;
    bound.feed.new_after = record.new_after;
    if reads {
        bound.feed.mode = FeedMode::CatchUp { head: 0, fetching: false };
    }
    bound.ahead = (!record.ahead.is_empty())
        .then(|| Box::new(Positions { list: record.ahead.iter().copied().collect() }));
    bound.unacked = at.again.into_iter().map(Unacked::Stored).collect();
    let (secret, max_s) = (who.secret, who.max_s);
    let ledger = Some(Ledger::new(0, rows.h).with_push(record.pushed));
    bound.sm = Some(Box::new(Sm::new(secret, true, max_s, at.acked, ledger)));
    let entry = Entry {
        id: wish.session,
        resource: who.resource.as_str().into(),
        place: wish.to,
        peer: wish.peer,
        since_ms: now,
        // Otherwise it becomes available once it is here.
        presence: who.presence.as_deref().filter(|_| reads).map(Into::into),
        priority: who.priority,
        inactive: false,
        interested: who.interested,
        reads_from: reads.then_some(record.new_after),
        carbons_from: who.carbons_from,
        copied: who.copied.clone(),
        posted: 0,
        posts: 0,
        directed: who.directed.iter().filter_map(|jid| Jid::parse(jid).ok()).collect(),
        secret: Some(secret),
        max_s,
        unwritten: false,
        interest: Interest::default(),
    };
    Some((bound, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Delivery;
    use godwit_store::{MemStore, Op, Outcome, Sink, Submit, Tx};

    struct Nobody;
    impl Sink<()> for Nobody {
        fn committed(&mut self, round: &mut Vec<((), Outcome)>) {
            round.clear();
        }
    }

    /// The crash test met it after thousands of messages: the frontier stood still from the first restart on.
    #[test]
    fn a_revived_session_does_not_leave_the_frontier_behind() {
        let store: MemStore<()> = MemStore::with_queue_max(10);
        let mut seqs = Vec::new();
        for _ in 0..4 {
            let row =
                Row { incoming: true, hidden: false, copied: false, with: "b@b", resource: "", stanza: b"" };
            let op = Op::Append { owner: Owner(7), index: None, value: row.encode() };
            assert!(store.submit(Tx { ops: vec![op], ..Tx::default() }, ()).is_ok());
            store.round(1_000, &mut Nobody);
            seqs.push(store.head().0);
        }
        // Saved before the last three; of those, the second was acknowledged.
        let mut delivery = Delivery::load(None, seqs[3]).expect("a record");
        delivery.read(0, [seqs[0]], seqs[0]);
        assert!(delivery.acked(seqs[0]) && delivery.acked(seqs[2]));

        let before = incoming(&store, 7, (seqs[0], seqs[2]), usize::MAX, &|_, _| true).expect("in memory");
        delivery.read(seqs[0], before, seqs[2]);
        assert_eq!((delivery.frontier(), delivery.owed()), (seqs[2], &[seqs[1]][..]));
        // The session reads on from its place: level again.
        delivery.read(seqs[2], [seqs[3]], seqs[3]);
        assert_eq!((delivery.frontier(), delivery.owed()), (seqs[3], &[seqs[1], seqs[3]][..]));
    }
}
