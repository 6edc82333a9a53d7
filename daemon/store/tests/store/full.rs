//! A full device: nothing is acknowledged, reading goes on, and writing too when there is space again.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use godwit_store::{Outcome, Rocks, Tx, TxError};

use crate::common::{Fixture, append, archive, small};

const DEVICE_BYTES: usize = 48 << 20;
const BALLAST_BYTES: usize = 12 << 20;
/// RocksDB looks for space every five seconds, the writer probes every second.
const RECOVERY_SECONDS: u64 = 30;

/// A small file system; gone with its owner.
struct Mounted<'p>(&'p Path);

impl Mounted<'_> {
    fn new(path: &Path) -> Option<Mounted<'_>> {
        let size = format!("size={DEVICE_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then_some(Mounted(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn message(n: u32) -> Tx {
    let mut value = vec![0; 50_000];
    value[..4].copy_from_slice(&n.to_be_bytes());
    Tx { ops: vec![append(1, &value)], ..Tx::default() }
}

fn archived(store: &Rocks) -> Vec<u32> {
    archive(store, 1).iter().map(|row| u32::from_be_bytes(row[..4].try_into().unwrap())).collect()
}

fn until_full(fixture: &Fixture, acknowledged: &mut Vec<u32>) -> Outcome {
    for n in 0.. {
        match fixture.commit(message(n)) {
            Ok(_) => acknowledged.push(n),
            failed => return failed,
        }
    }
    unreachable!("a device has an end")
}

#[test]
fn a_full_device_refuses_acknowledges_nothing_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(device) = Mounted::new(dir.path()) else {
        println!("skipped: only root may mount the small file system that this test fills");
        return;
    };
    let (path, ballast) = (dir.path().join("store"), dir.path().join("ballast"));
    fs::write(&ballast, vec![0; BALLAST_BYTES]).unwrap();
    let fixture = Fixture::open(&path);
    let mut acknowledged = Vec::new();

    let failed = until_full(&fixture, &mut acknowledged);
    assert!(matches!(failed, Err(TxError::Full(_))), "{failed:?}");
    let health = fixture.opened.writer.health();
    assert!(!health.ok && health.full && health.last_error.is_some_and(|error| error.contains("No space")));
    assert_eq!(
        archived(&fixture.opened.store),
        acknowledged,
        "readers see the acknowledged rows and no others"
    );
    let again = fixture.commit(message(u32::MAX));
    assert!(matches!(again, Err(TxError::Full(_))), "{again:?}");

    fs::remove_file(&ballast).unwrap();
    let recovered = (0..RECOVERY_SECONDS * 10).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        fixture.opened.writer.health().ok
    });
    assert!(recovered, "{:?}", fixture.opened.writer.health());
    let n = acknowledged.last().map_or(0, |last| last + 1);
    fixture.commit(message(n)).unwrap();
    acknowledged.push(n);
    assert_eq!(archived(&fixture.opened.store), acknowledged);
    drop(fixture);
    assert_eq!(archived(&Rocks::open(&path, &small()).unwrap()), acknowledged);
    drop(device);
}
