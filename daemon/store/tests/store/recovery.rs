//! A write failure that RocksDB does not get over by itself: the writer opens the database anew.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use godwit_store::{Clock, Rocks, Tx, TxError};

use crate::common::{Fixture, NOW_MS, append, archive, small};

/// Tells the re-executed test program where to write.
const STORE: &str = "GODWIT_TEST_LIMIT_STORE";
/// A file may not grow beyond this; writing more is an error other than a full device.
const FILE_BYTES_MAX: u64 = 300_000;
const TRIES: u32 = 300;

fn write(fixture: &Fixture) -> Result<(), TxError> {
    fixture.commit(Tx { ops: vec![append(1, &[1; 10_000])], ..Tx::default() }).map(drop)
}

#[test]
fn a_failed_log_is_left_behind_and_the_database_opened_anew() {
    if let Some(path) = std::env::var_os(STORE) {
        return fail_and_recover(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("env")
        .args(["--ignore-signal=XFSZ", "prlimit", &format!("--fsize={FILE_BYTES_MAX}:unlimited")])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "recovery::a_failed_log_is_left_behind_and_the_database_opened_anew",
            "--nocapture",
        ])
        .env(STORE, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let failed = lines.by_ref().find(|line| line.starts_with("failed after")).unwrap();
    let pid = child.id().to_string();
    let lifted =
        Command::new("prlimit").args(["--fsize=unlimited:unlimited", "--pid", &pid]).status().unwrap();
    assert!(lifted.success());
    let recovered = lines.by_ref().find(|line| line.starts_with("recovered")).expect("recovers");
    assert!(child.wait().unwrap().success(), "{recovered}");
    // What was acknowledged before and the one after, and nothing that failed.
    let acknowledged: usize = failed.rsplit(' ').next().unwrap().parse().unwrap();
    let store = Rocks::open(dir.path(), &small()).unwrap();
    assert_eq!(archive(&store, 1).len(), acknowledged + 1, "{failed}");
}

/// The child's part.
fn fail_and_recover(path: &Path) {
    // A second passes whenever somebody looks.
    let seconds = AtomicU64::new(NOW_MS / 1000);
    let clock: Clock = Arc::new(move || seconds.fetch_add(1, Ordering::SeqCst) * 1000);
    let fixture = Fixture::with_clock(path, clock);
    let acknowledged = (0..TRIES).take_while(|_| write(&fixture).is_ok()).count();
    let health = fixture.opened.writer.health();
    assert!(!health.ok, "{acknowledged} written");
    assert!(matches!(write(&fixture), Err(TxError::Failed(_))));
    assert_eq!(archive(&*fixture.opened.store, 1).len(), acknowledged, "readers go on");
    println!("\nfailed after {acknowledged}");
    for _ in 0..TRIES {
        std::thread::sleep(Duration::from_millis(100));
        if fixture.opened.writer.health().ok {
            write(&fixture).unwrap();
            println!("recovered");
            return;
        }
    }
    panic!("{:?}", fixture.opened.writer.health());
}
