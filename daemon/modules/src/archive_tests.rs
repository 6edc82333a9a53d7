//! Tests of reading an archive: pages in both directions join on to each other without gap or repetition,
//! whatever is between the messages.

use super::*;
use godwit_store::{MemStore, Op, Outcome, Sink, Submit, Tx};
use proptest::prelude::*;

struct Nobody;
impl Sink<()> for Nobody {
    fn committed(&mut self, round: &mut Vec<((), Outcome)>) {
        assert!(round.drain(..).all(|(_, outcome)| outcome.is_ok()));
    }
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    with: &'static str,
    resource: &'static str,
    incoming: bool,
    hidden: bool,
}

const NEVER_EXPIRES: u64 = 0;
const ROOM: usize = 1 << 20;

fn store(rows: &[Kind]) -> MemStore<()> {
    let store = MemStore::new();
    for (n, kind) in rows.iter().enumerate() {
        let from = if kind.incoming { format!("{}/{}", kind.with, kind.resource) } else { "me@x/r".into() };
        let stanza = format!("<message from='{from}'><body>{n}</body></message>");
        let resource = if kind.incoming { "" } else { kind.resource };
        let (Kind { with, incoming, hidden, .. }, stanza) = (*kind, stanza.as_bytes());
        let row = Row { incoming, hidden, copied: false, with, resource, stanza };
        let op = Op::Append { owner: Owner(7), index: row.index(), value: row.encode() };
        // Of another account: must never be seen.
        let other = Op::Append { owner: Owner(8), index: row.index(), value: row.encode() };
        assert!(store.submit(Tx { ops: vec![op, other], ..Tx::default() }, ()).is_ok());
        store.round(u64::try_from(n / 2).expect("few") + 1, &mut Nobody);
    }
    store
}

fn render(seq: u64, row: &Row<'_>) -> Vec<u8> {
    let text = String::from_utf8_lossy(row.stanza);
    let body = text.split("<body>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
    format!("{body} {}", id(seq)).into_bytes()
}

fn number(row: &[u8]) -> usize {
    String::from_utf8_lossy(row).split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

fn all() -> Filter {
    Filter { upto: u64::MAX, ..Filter::default() }
}

fn first(rows_max: usize) -> Wanted {
    Wanted { after: None, before: None, from_end: false, rows_max, bytes_max: ROOM, first_bytes_max: ROOM }
}

/// All pages, as a client reads them, in the archive's order.
fn read_all(archive: &Archive<'_>, filter: &Filter, rows_max: usize, from_end: bool) -> Vec<usize> {
    let (mut wanted, mut pages) = (Wanted { from_end, ..first(rows_max) }, Vec::new());
    for _ in 0..10_000 {
        let page = archive.page(filter, &wanted, &render).expect("a page");
        assert!(page.rows.len() <= rows_max);
        assert!(page.complete || page.ends.is_some(), "a client can go on: {page:?}");
        let ends = page.ends;
        pages.push(page.rows.iter().map(|row| number(row)).collect::<Vec<_>>());
        if page.complete {
            if from_end {
                pages.reverse();
            }
            return pages.concat();
        }
        match ends {
            Some((first, _)) if from_end => wanted.before = Some(first),
            ends => wanted.after = ends.map(|(_, last)| last),
        }
    }
    panic!("no end");
}

fn kind() -> impl Strategy<Value = Kind> {
    let with = prop::sample::select(&["bob@x", "carol@x"][..]);
    let resource = prop::sample::select(&["a", "b"][..]);
    (with, resource, any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(with, resource, incoming, hidden)| Kind { with, resource, incoming, hidden })
}

proptest! {
    #[test]
    fn pages_join_on_to_each_other(
        rows in prop::collection::vec(kind(), 0..60),
        with in prop::sample::select(&["", "bob@x", "carol@x/a", "nobody@x"][..]),
        rows_max in 1usize..9,
        span in (0u64..40, 0u64..40),
    ) {
        let store = store(&rows);
        let archive = Archive::new(&store, 7, NEVER_EXPIRES);
        let jid = Jid::parse(with).ok();
        let (after, upto) = (Seq::at(span.0).0, Seq::at(span.1).0);
        let filter = Filter { with: jid.clone(), after, upto, ids: None };
        let expected = |filter: &Filter| -> Vec<usize> {
            let mut expected = Vec::new();
            for (n, row) in rows.iter().enumerate() {
                let ours = |jid: &Jid| {
                    let resource = jid.resource().unwrap_or(row.resource);
                    row.with == jid.bare_str() && row.resource == resource
                };
                let ours = jid.as_ref().is_none_or(ours);
                // Two rows an append, two appends a millisecond, counted from zero in each.
                let seq = Seq::at(n as u64 / 2 + 1).0 + (n as u64 % 2) * 2;
                if ours && !row.hidden && filter.after < seq && seq <= filter.upto {
                    expected.push(n);
                }
            }
            expected
        };
        for filter in [filter, Filter { with: jid.clone(), ..all() }] {
            let expected = expected(&filter);
            prop_assert_eq!(&read_all(&archive, &filter, rows_max, false), &expected);
            prop_assert_eq!(&read_all(&archive, &filter, rows_max, true), &expected);
            let page = archive.page(&filter, &first(0), &render).expect("a count");
            prop_assert_eq!((page.count, page.rows.len(), page.ends), (Some(expected.len()), 0, None));
        }
    }
}

const BOB: Kind = Kind { with: "bob@x", resource: "a", incoming: true, hidden: false };

#[test]
fn among_many_rows_that_do_not_match_a_client_still_gets_on() {
    let rows: Vec<Kind> = (0..EXAMINED_MAX * 2 + 10)
        .map(|n| Kind { resource: if n % 1_500 == 1_250 { "rare" } else { "a" }, ..BOB })
        .collect();
    let store = store(&rows);
    let archive = Archive::new(&store, 7, NEVER_EXPIRES);
    let filter = Filter { with: Jid::parse("bob@x/rare").ok(), ..all() };
    let page = archive.page(&filter, &first(50), &render).expect("a page");
    let (place, last) = page.ends.expect("a place to go on from");
    assert_eq!((page.rows.len(), page.complete, place), (0, false, last));
    assert!(archive.is_place(last).expect("readable"), "the client may name it");
    assert_eq!(read_all(&archive, &filter, 50, false), [1_250]);
    assert_eq!(read_all(&archive, &filter, 50, true), [1_250]);
}

#[test]
fn a_page_ends_before_its_bytes_exceed_the_bound_and_one_message_always_comes() {
    let store = store(&[BOB; 10]);
    let archive = Archive::new(&store, 7, NEVER_EXPIRES);
    let bytes = "0 0123456789abcdef".len();
    let page = |wanted: Wanted| archive.page(&all(), &wanted, &render);
    let three = page(Wanted { bytes_max: 3 * bytes + 1, ..first(50) }).expect("a page");
    assert_eq!((three.rows.len(), three.complete, three.count), (3, false, None));
    let one = page(Wanted { bytes_max: 1, ..first(50) }).expect("a page");
    assert_eq!((one.rows.len(), one.complete), (1, false));
    assert_eq!(page(Wanted { first_bytes_max: bytes - 1, ..first(50) }), Err(Refused::TooLarge));
}

#[test]
fn another_address_with_the_same_hash_is_not_confused() {
    let store = store(&[BOB]);
    let stranger = Row { incoming: true, with: "eve@x", stanza: b"<message></message>", ..Row::default() };
    let op = Op::Append { owner: Owner(7), index: Some(with_hash("bob@x")), value: stranger.encode() };
    assert!(store.submit(Tx { ops: vec![op], ..Tx::default() }, ()).is_ok());
    store.round(9, &mut Nobody);
    let archive = Archive::new(&store, 7, NEVER_EXPIRES);
    let filter = Filter { with: Jid::parse("bob@x").ok(), ..all() };
    assert_eq!(read_all(&archive, &filter, 9, false), [0]);
    assert_eq!(archive.page(&filter, &first(0), &render).expect("a count").count, Some(1));
}

#[test]
fn what_has_expired_is_hidden_before_it_is_gone() {
    let store = store(&[BOB; 6]);
    let archive = Archive::new(&store, 7, Seq::at(2).0);
    let filter = Filter { with: Jid::parse("bob@x").ok(), ..all() };
    for filter in [&all(), &filter] {
        assert_eq!(read_all(&archive, filter, 9, false), [2, 3, 4, 5]);
    }
    assert!(!archive.is_place(Seq::at(1).0).expect("readable"), "an expired id is unknown");
    let ends = archive.ends().expect("readable");
    assert_eq!(ends, Some((Seq::at(2).0, Seq::at(3).0 + 2)));
    let empty = Archive::new(&store, 7, Seq::at(4).0);
    assert_eq!(empty.ends(), Ok(None));
}

#[test]
fn what_is_no_history_is_a_place_and_no_message() {
    let store = store(&[Kind { hidden: true, ..BOB }, BOB, Kind { hidden: true, ..BOB }]);
    let archive = Archive::new(&store, 7, NEVER_EXPIRES);
    let hidden = Seq::at(1).0;
    assert_eq!((archive.is_place(hidden), archive.is_message(hidden)), (Ok(true), Ok(false)));
    assert_eq!(archive.ends(), Ok(Some((hidden + 2, hidden + 2))));
    assert_eq!(read_all(&archive, &Filter { ids: Some(vec![hidden + 2]), ..all() }, 9, false), [1]);
}

#[test]
fn ids_are_sixteen_digits_and_nothing_else() {
    assert_eq!(position(&id(0xfeed)), Some(0xfeed));
    for text in
        ["", "feed", "000000000000FEED", "+00000000000feed", "0000000000000feed", "00000000000000\u{e9}"]
    {
        assert_eq!(position(text), None, "{text}");
    }
}

#[test]
fn the_sender_is_read_from_the_start_tag_alone() {
    let from = |stanza: &str, jid: &str| is_from(stanza.as_bytes(), &Jid::parse(jid).expect("a JID"));
    let stanza =
        "<message id='a from=&apos;x@y/1&apos;' from='x@y/it&apos;s' to='m@y'><body from='x@y/2'/></message>";
    assert!(from(stanza, "x@y/it's"));
    for other in ["x@y/1", "x@y/2", "x@y/it", "m@y", "y/it's"] {
        assert!(!from(stanza, other), "{other}");
    }
}
