//! `kill -9` at random moments: what was acknowledged is there, and every transaction is there whole or not
//! at all.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use godwit_store::{Cf, Outcome, Read, Rocks, Sink, StoreError, Submit, schema};

use crate::common::{append, archive, clock, put, rows, small};

/// Tells the re-executed test program where to write.
const STORE: &str = "GODWIT_TEST_KILL_STORE";
const KILLS: u64 = 12;

#[test]
fn acknowledged_transactions_survive_kill_9_whole() {
    if let Some(path) = std::env::var_os(STORE) {
        write_until_killed(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u32> = Vec::new();
    for kill in 0..KILLS {
        let moment = Duration::from_millis(RandomState::new().hash_one(kill) % 250);
        acknowledged.extend(killed_after(dir.path(), moment));
        let store = Rocks::open(dir.path(), &small()).unwrap();
        check(&store, &acknowledged, moment);
    }
    assert!(acknowledged.len() > 1_000, "only {} acknowledged", acknowledged.len());
}

/// Runs this test again as a child that writes, kills it, and returns what it had acknowledged.
fn killed_after(path: &Path, moment: Duration) -> Vec<u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::acknowledged_transactions_survive_kill_9_whole", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.by_ref().find_map(|line| number(&line.unwrap())).unwrap();
    assert!(matches!(Rocks::open(path, &small()).err(), Some(StoreError::InUse(_))));
    std::thread::spawn(move || {
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    std::iter::once(first).chain(lines.filter_map(|line| number(&line.unwrap()))).collect()
}

/// An acknowledgement; the test harness prints other lines, and the last line may be cut.
fn number(line: &str) -> Option<u32> {
    line.strip_prefix("ack ")?.strip_suffix('.')?.parse().ok()
}

struct Print;
impl Sink<u32> for Print {
    fn committed(&mut self, round: &mut Vec<(u32, Outcome)>) {
        let lines: String =
            round.drain(..).map(|(n, outcome)| outcome.map(|_| format!("ack {n}.\n")).unwrap()).collect();
        let mut out = std::io::stdout().lock();
        out.write_all(lines.as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

fn write_until_killed(path: &Path) -> ! {
    let opened = godwit_store::open(path, &small(), clock(), Box::new(Print)).unwrap();
    let store: &Arc<Rocks> = &opened.store;
    println!();
    let mut n = u32::try_from(rows(&**store, Cf::Accounts, schema::accounts(), false).len()).unwrap();
    loop {
        let ops = vec![append(1, &n.to_be_bytes()), append(2, &n.to_be_bytes())];
        let mut tx = put(&format!("{n:010}"), "1");
        tx.ops.extend(ops);
        match opened.writer.submit(tx, n) {
            Ok(()) => n += 1,
            Err(_) => std::thread::yield_now(),
        }
        if opened.writer.queued() > 200 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn check(store: &Rocks, acknowledged: &[u32], moment: Duration) {
    let accounts = rows(store, Cf::Accounts, schema::accounts(), false);
    let accounts: Vec<u32> =
        accounts.iter().map(|(key, _)| std::str::from_utf8(key).unwrap().parse().unwrap()).collect();
    let archived = |owner| -> Vec<u32> {
        archive(store, owner).iter().map(|row| u32::from_be_bytes(row[..].try_into().unwrap())).collect()
    };
    // Whole, in order, without gaps: what is there is a prefix of what was submitted.
    assert_eq!(accounts, (0..).take(accounts.len()).collect::<Vec<u32>>(), "killed after {moment:?}");
    assert_eq!(archived(1), accounts);
    assert_eq!(archived(2), accounts);
    let last = acknowledged.iter().max().unwrap();
    assert!(accounts.last() >= Some(last), "acknowledged {last}, found {:?}, {moment:?}", accounts.last());
    assert!(store.get(Cf::Accounts, &schema::account(&format!("{last:010}"))).unwrap().is_some());
}
