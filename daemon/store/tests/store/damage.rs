//! What opening does with torn and damaged files, with a newer store, and with a store in use.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use godwit_store::{Cf, Read, Rocks, StoreError, Tx, schema};

use crate::common::{Fixture, append, archive, put, small};

const ROUNDS: usize = 40;

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

fn truncate(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// A store whose rows are all in one log, as a crash leaves it; returns the log and the length before the
/// last round.
fn crashed(dir: &Path) -> (PathBuf, u64) {
    let fixture = Fixture::open(dir);
    let log = files(dir, "log").pop().unwrap();
    let mut before_last = 0;
    for n in 0..ROUNDS {
        before_last = fs::metadata(&log).unwrap().len();
        let ops = vec![append(1, &[b'm'; 300]), append(2, &[b'm'; 300])];
        fixture.commit(Tx { ops, ..put(&format!("n{n}"), "1") }).unwrap();
    }
    (log, before_last)
}

fn refused(dir: &Path) -> String {
    match Rocks::open(dir, &small()).err() {
        Some(StoreError::Corrupt(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_last_record_opens_without_it_and_with_all_before() {
    for torn in [1, 5, 20, 300, 600] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = crashed(dir.path());
        truncate(&log, fs::metadata(&log).unwrap().len() - torn);
        let store = Rocks::open(dir.path(), &small()).unwrap();
        // Atomic: of the torn round nothing is left, in no family.
        assert_eq!(archive(&store, 1).len(), ROUNDS - 1, "torn by {torn}");
        assert_eq!(archive(&store, 2).len(), ROUNDS - 1);
    }
}

#[test]
fn zeros_that_a_power_loss_left_behind_the_last_record_open() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = crashed(dir.path());
    truncate(&log, fs::metadata(&log).unwrap().len() + 5_000);
    assert_eq!(archive(&Rocks::open(dir.path(), &small()).unwrap(), 1).len(), ROUNDS);
}

#[test]
fn a_damaged_middle_refuses_and_names_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, before_last) = crashed(dir.path());
    let good = fs::read(&log).unwrap();
    for at in [before_last / 2, before_last / 3, before_last - 50] {
        flip(&log, at);
        let text = refused(dir.path());
        assert!(text.contains(&name(&log)) && text.contains("restore a backup"), "{text}");
        fs::write(&log, &good).unwrap();
    }
    // Refusing changed nothing.
    assert_eq!(archive(&Rocks::open(dir.path(), &small()).unwrap(), 1).len(), ROUNDS);
}

#[test]
fn a_short_or_missing_table_file_refuses_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.commit(Tx { ops: vec![append(1, &[1; 5_000])], ..Tx::default() }).unwrap();
    fixture.opened.writer.close().unwrap();
    drop(fixture);
    let table = files(dir.path(), "sst").pop().unwrap();
    let good = fs::read(&table).unwrap();
    truncate(&table, good.len() as u64 / 2);
    assert!(refused(dir.path()).contains(&name(&table)));
    fs::remove_file(&table).unwrap();
    assert!(refused(dir.path()).contains(&name(&table)));
    fs::write(&table, &good).unwrap();
    assert_eq!(archive(&Rocks::open(dir.path(), &small()).unwrap(), 1), [vec![1; 5_000]]);
}

#[test]
fn a_flipped_bit_in_a_table_file_is_found_by_reading_and_by_verifying() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.commit(put("a", &"x".repeat(3_000))).unwrap();
    fixture.opened.store.flush().unwrap();
    let table = files(dir.path(), "sst").pop().unwrap();
    drop(fixture);
    flip(&table, 20);
    let store = Rocks::open(dir.path(), &small()).unwrap();
    let mut examined = store.examine(&mut |_, _, _| ControlFlow::Continue(()));
    assert_eq!(examined.len(), 1);
    for error in [store.get(Cf::Accounts, &schema::account("a")).err(), examined.pop()] {
        let Some(StoreError::Corrupt(text)) = error else { panic!("{error:?}") };
        assert!(text.contains(&name(&table)), "{text}");
    }
}

#[test]
fn examining_goes_on_behind_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    // Numbers that do not compress well, so that the files are told apart by their size.
    let value: String = (1u64..500).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string()).collect();
    for n in ["a", "b", "c"] {
        fixture.commit(put(n, &value)).unwrap();
        fixture.opened.store.flush().unwrap();
    }
    fixture.opened.writer.close().unwrap();
    drop(fixture);
    let large = |path: &PathBuf| fs::metadata(path).unwrap().len() > 4_000;
    let tables: Vec<PathBuf> = files(dir.path(), "sst").into_iter().filter(large).collect();
    assert_eq!(tables.len(), 3);
    flip(&tables[1], 20);
    let before = contents(dir.path());
    let store = Rocks::open_to_examine(dir.path(), &small(), false).unwrap();
    let mut seen = Vec::new();
    let damage = store.examine(&mut |cf, key, _| {
        if cf == Cf::Accounts {
            seen.push(key.to_vec());
        }
        ControlFlow::Continue(())
    });
    assert_eq!(seen.last(), Some(&b"c".to_vec()), "what lies behind the damage is read");
    assert!(matches!(&damage[..], [StoreError::Corrupt(text)] if text.contains(&name(&tables[1]))));
    drop(store);
    assert_eq!(contents(dir.path()), before, "looking changes nothing");
}

/// RocksDB takes a directory without CURRENT for a new store, and removes what is left of the old one.
#[test]
fn a_store_without_its_current_file_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path());
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let before = contents(dir.path());
    assert!(refused(dir.path()).contains("CURRENT is missing"));
    assert_eq!(contents(dir.path()), before);
}

/// RocksDB opens a store whose only log is gone without a word.
#[test]
fn a_store_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = crashed(dir.path());
    fs::remove_file(&log).unwrap();
    assert!(refused(dir.path()).contains(".log"));
}

#[test]
fn a_store_without_its_manifest_is_refused_and_the_manifest_named() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path());
    let current = fs::read_to_string(dir.path().join("CURRENT")).unwrap();
    fs::remove_file(dir.path().join(current.trim())).unwrap();
    assert!(refused(dir.path()).contains(current.trim()));
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_newer_store_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(Fixture::open(dir.path()));
    {
        let options = rocksdb::Options::default();
        let names = rocksdb::DB::list_cf(&options, dir.path()).unwrap();
        let mut db = rocksdb::DB::open_cf(&options, dir.path(), names).unwrap();
        db.put("schema", 7u32.to_be_bytes()).unwrap();
        db.create_cf("of-the-future", &options).unwrap();
    }
    let before = contents(dir.path());
    let newer = Rocks::open(dir.path(), &small()).err();
    assert_eq!(newer, Some(StoreError::Newer { found: 7, known: schema::SCHEMA_VERSION }));
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_store_in_use_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let _fixture = Fixture::open(dir.path());
    let Some(StoreError::InUse(text)) = Rocks::open(dir.path(), &small()).err() else { panic!() };
    assert!(text.contains(dir.path().to_str().unwrap()) && text.contains("stop"), "{text}");
}

#[test]
fn a_new_store_belongs_to_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/where");
    drop(Fixture::open(&path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let path = dir.path().join("file/store");
    let Some(StoreError::Io(text)) = Rocks::open(&path, &small()).err() else { panic!() };
    assert!(text.contains(path.to_str().unwrap()), "{text}");
}

/// A power loss may leave holes in a large last round, whose pages were not written in their order.
#[test]
fn a_last_round_with_holes_opens_without_it_and_with_all_before() {
    for hole in [0, 1, 7, 8, 9, 30] {
        let dir = tempfile::tempdir().unwrap();
        crashed(dir.path());
        let fixture = Fixture::open(dir.path());
        let log = files(dir.path(), "log").pop().unwrap();
        fixture.commit(put("n", "1")).unwrap();
        let synced = fs::metadata(&log).unwrap().len();
        fixture.commit(Tx { ops: vec![append(1, &noise(150_000))], ..Tx::default() }).unwrap();
        drop(fixture);
        let mut bytes = fs::read(&log).unwrap();
        let from = (usize::try_from(synced).unwrap() / 4_096 + 1 + hole) * 4_096;
        bytes[from..from + 4_096].fill(0);
        fs::write(&log, bytes).unwrap();
        let store = Rocks::open(dir.path(), &small()).unwrap();
        assert_eq!(archive(&store, 1).len(), ROUNDS, "page {hole}");
        assert!(store.get(Cf::Accounts, &schema::account("n")).unwrap().is_some());
        assert_eq!(files(dir.path(), "torn").len(), 1, "what was cut is kept");
    }
}

/// In contrast to a hole: the round was acknowledged, and the disk has spoiled it.
#[test]
fn a_flipped_bit_in_a_large_last_round_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.commit(Tx { ops: vec![append(1, &noise(150_000))], ..Tx::default() }).unwrap();
    drop(fixture);
    let log = files(dir.path(), "log").pop().unwrap();
    for at in [1_000, 40_000, 100_000] {
        flip(&log, at);
        let before = fs::read(&log).unwrap();
        assert!(refused(dir.path()).contains(&name(&log)));
        assert_eq!(fs::read(&log).unwrap(), before);
        flip(&log, at);
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let byte = |_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state.to_be_bytes()[0]
    };
    (0..len).map(byte).collect()
}

/// RocksDB takes zeros where a record should begin for the unused end of a log, and goes on in the next
/// block.
#[test]
fn zeros_in_the_middle_of_a_log_are_refused() {
    for (from, to) in [(32 << 10, 64 << 10), (36 << 10, 40 << 10), (20_000, 32 << 10)] {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(dir.path());
        for _ in 0..ROUNDS {
            fixture.commit(Tx { ops: vec![append(1, &noise(3_000))], ..Tx::default() }).unwrap();
        }
        drop(fixture);
        let log = files(dir.path(), "log").pop().unwrap();
        let mut bytes = fs::read(&log).unwrap();
        bytes[from..to].fill(0);
        fs::write(&log, bytes).unwrap();
        assert!(refused(dir.path()).contains(&name(&log)), "{from} to {to}");
    }
}
