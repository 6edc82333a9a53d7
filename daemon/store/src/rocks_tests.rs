//! Tests of opening the database anew under readers.

use std::fs;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::schema;

fn store() -> (tempfile::TempDir, Rocks) {
    let dir = tempfile::tempdir().unwrap();
    let store = Rocks::open(dir.path(), &Options::default()).unwrap();
    assert!(write(&store, "a").is_ok());
    (dir, store)
}

fn write(store: &Rocks, name: &str) -> Result<(), WriteError> {
    let mut batch = store.batch().unwrap();
    batch.put(Cf::Accounts, &schema::account(name), b"1");
    store.write(batch, true)
}

/// Rows found by a scan that reads each of them once more.
fn read(store: &Rocks) -> usize {
    let (start, end) = schema::accounts();
    let mut found = 0;
    let mut each = |key: &[u8], value: &[u8]| {
        let key = schema::account(std::str::from_utf8(key).unwrap());
        assert_eq!(store.get(Cf::Accounts, &key).unwrap().as_deref(), Some(value));
        found += 1;
        ControlFlow::Continue(())
    };
    store.scan(&Range { cf: Cf::Accounts, start, end, reverse: false }, &mut each).unwrap();
    found
}

#[test]
fn readers_notice_nothing_of_a_reopening() {
    let (_dir, store) = store();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(read(&store), 1);
                }
            });
        }
        let reopened: Vec<_> = (0..5).map(|_| store.reopen()).collect();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reopened, vec![Ok(()); 5]);
    });
    assert!(write(&store, "b").is_ok());
    assert_eq!(read(&store), 2);
}

#[test]
fn a_store_that_cannot_be_opened_for_writing_is_read_on() {
    let (dir, store) = store();
    // RocksDB cannot lock a directory. Only reading is left, as on a file system that became read-only.
    let lock = dir.path().join("LOCK");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(matches!(store.reopen(), Err(StoreError::Io(_))));
    assert!(write(&store, "b").is_err());
    assert_eq!(read(&store), 1);

    fs::remove_dir(&lock).unwrap();
    store.reopen().unwrap();
    assert!(write(&store, "b").is_ok());
    assert_eq!(read(&store), 2);
}

/// The numbers by which RocksDB's counts are asked for are a list of the crate, which may lag behind.
#[test]
fn blocks_found_in_the_cache_and_not_are_counted() {
    let (_dir, store) = store();
    store.flush().unwrap();
    let key = schema::account("a");
    let reads = |store: &Rocks| {
        let background = store.background().unwrap();
        (background.cache_hits, background.cache_misses)
    };
    let before = reads(&store);
    assert!(store.get(Cf::Accounts, &key).unwrap().is_some());
    let first = reads(&store);
    assert!(first.1 > before.1, "the block is read from the file: {before:?} {first:?}");
    assert!(store.get(Cf::Accounts, &key).unwrap().is_some());
    let second = reads(&store);
    assert!(second.0 > first.0 && second.1 == first.1, "and then found: {first:?} {second:?}");
}

#[test]
fn a_cache_given_back_is_empty_and_fills_again() {
    let (_dir, store) = store();
    store.flush().unwrap();
    let held = |store: &Rocks| store.memory().unwrap().block_cache;
    let read = |store: &Rocks| assert!(store.get(Cf::Accounts, &schema::account("a")).unwrap().is_some());
    read(&store);
    let full = held(&store);
    store.empty_cache().unwrap();
    let empty = held(&store);
    assert!(empty < full, "{empty} of {full} bytes are left");
    read(&store);
    assert_eq!(held(&store), full, "it has its room again");
}

/// RocksDB renames and removes its information logs before it takes the lock.
#[test]
fn who_opens_at_once_with_others_has_it_or_finds_it_in_use() {
    let (dir, store) = store();
    store.close().unwrap();
    let open = || {
        for _ in 0..60 {
            match Rocks::open(dir.path(), &Options::default()) {
                Ok(store) => store.close().unwrap(),
                Err(StoreError::InUse(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|threads| (0..3).for_each(|_| drop(threads.spawn(open))));
}
