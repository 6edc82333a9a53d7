//! Rows that are too old leave the disk when their files are compacted, and so do those of a purged account.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use godwit_store::{Cf, Clock, Op, Options, Owner, Seq, Tx, schema};

use crate::common::{Fixture, NOW_MS, rows, small};

const KEEP_MS: u64 = 1_000_000;
const HASH: u64 = 5;

/// Opens a store, appends a row now and one much later, and compacts; gives what is left of each family.
fn after_a_while(keep_ms: Option<u64>, owner: Owner) -> [Vec<Vec<u8>>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(NOW_MS));
    let clock: Clock = {
        let now = Arc::clone(&now);
        Arc::new(move || now.load(Ordering::SeqCst))
    };
    let fixture = Fixture::with_options(dir.path(), &Options { keep_ms, ..small() }, clock);
    let append = |value: &[u8]| Op::Append { owner, index: Some(HASH), value: value.to_vec() };
    let commit = |value: &[u8]| fixture.commit(Tx { ops: vec![append(value)], ..Tx::default() }).unwrap();
    commit(b"old");
    now.fetch_add(KEEP_MS + 1, Ordering::SeqCst);
    commit(b"new");
    let store = &fixture.opened.store;
    store.flush().unwrap();
    let all = || rows(&**store, Cf::Archive, schema::everything(owner), false);
    assert_eq!(all().len(), 2, "nothing goes before its file is compacted");
    store.compact_archive(owner).unwrap();
    let keys = rows(&**store, Cf::With, schema::withs(owner, HASH, Seq(0), Seq::MAX), false);
    [all().into_iter().map(|(_, value)| value).collect(), keys.into_iter().map(|(key, _)| key).collect()]
}

#[test]
fn what_is_too_old_is_gone_after_a_compaction_row_and_index() {
    let [values, keys] = after_a_while(Some(KEEP_MS), Owner(7));
    assert_eq!(values, [b"new".to_vec()]);
    assert_eq!(keys.len(), 1);
    assert_eq!(schema::with_parts(&keys[0]).unwrap().1.millis(), NOW_MS + KEEP_MS + 1);
}

#[test]
fn without_a_limit_nothing_is_ever_too_old() {
    let [values, keys] = after_a_while(None, Owner(7));
    assert_eq!((values.len(), keys.len()), (2, 2));
}

fn is_on_disk(dir: &Path, text: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn what_was_purged_leaves_the_files() {
    const SECRET: &[u8] = b"Zq8#vT1~xW7@kL4$";
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let owner = Owner(7);
    let append = Op::Append { owner, index: Some(HASH), value: SECRET.to_vec() };
    fixture.commit(Tx { ops: vec![append], ..Tx::default() }).unwrap();
    fixture.opened.store.flush().unwrap();
    assert!(is_on_disk(dir.path(), SECRET), "the test can see it");
    let (start, end) = schema::everything(owner);
    let gone =
        [Cf::Archive, Cf::With].map(|cf| Op::DeleteRange { cf, start: start.clone(), end: end.clone() });
    fixture.commit(Tx { ops: gone.to_vec(), ..Tx::default() }).unwrap();
    fixture.opened.store.flush().unwrap();
    fixture.opened.store.compact_archive(owner).unwrap();
    assert!(!is_on_disk(dir.path(), SECRET));
    assert_eq!(rows(&*fixture.opened.store, Cf::With, schema::everything(owner), false), []);
}
