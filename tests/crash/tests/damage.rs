//! Damaged stores and the real daemon: it refuses with the file's name and what to do, restarts change
//! nothing, and with the file back in its place nothing is missing. What only shows when it is read is found
//! by `godwitctl store verify`, and never passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use godwit_crash::find_godwitd;

/// Accounts in the store: half in table files, half only in the log.
const ACCOUNTS: usize = 8;
/// Starts of the daemon, as a service manager would repeat them.
const STARTS: usize = 3;
/// Polls of a daemon, one each `POLL`: a minute.
const POLLS_MAX: usize = 1_200;
const POLL: Duration = Duration::from_millis(50);

struct Damaged {
    dir: tempfile::TempDir,
    godwitd: PathBuf,
}

/// A daemon that is killed also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // If it has ended already there is nothing to do.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Damaged {
    /// A store as `kill -9` leaves it, with rows in table files and in the log.
    fn new() -> Self {
        let godwitd = find_godwitd().unwrap_or_else(|error| panic!("{error}"));
        let dir = tempfile::tempdir().expect("a directory");
        let own = Self { dir, godwitd };
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let path = own.dir.path().display();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        for (name, text) in [
            ("cert.pem", certified.cert.pem()),
            ("key.pem", certified.signing_key.serialize_pem()),
            (
                "godwit.toml",
                format!(
                    "[server]\ndomains = [\"localhost\"]\ndata_dir = \"{path}/data\"\n\
                     [listen]\nc2s = [\"127.0.0.1:{port}\"]\nc2s_tls = []\n\
                     [tls]\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n"
                ),
            ),
        ] {
            fs::write(own.dir.path().join(name), text).expect(name);
        }
        drop(listener);
        fs::create_dir(own.dir.path().join("data")).expect("data");
        (0..ACCOUNTS / 2).for_each(|n| own.add(n));
        let mut daemon = Killed(own.start());
        own.await_ready(&mut daemon.0);
        (ACCOUNTS / 2..ACCOUNTS).for_each(|n| own.add(n));
        drop(daemon);
        own
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("data/store")
    }

    fn ctl(&self, args: &[&str], input: &str) -> Output {
        let mut command = Command::new(self.godwitd.with_file_name("godwitctl"));
        command.arg("--config").arg(self.dir.path().join("godwit.toml")).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("godwitctl");
        // A command that reads nothing may have ended before.
        let _ = writeln!(child.stdin.take().expect("piped"), "{input}");
        child.wait_with_output().expect("output")
    }

    fn add(&self, n: usize) {
        let output = self.ctl(&["account", "add", &format!("a{n}@localhost")], "correct horse");
        assert!(output.status.success(), "{}", said(&output));
    }

    fn accounts(&self) -> usize {
        let output = self.ctl(&["account", "list"], "");
        if output.status.success() { said(&output).matches("@localhost").count() } else { 0 }
    }

    fn start(&self) -> Child {
        let mut command = Command::new(&self.godwitd);
        command.arg("--config").arg(self.dir.path().join("godwit.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("godwitd")
    }

    fn await_ready(&self, daemon: &mut Child) {
        for _ in 0..POLLS_MAX {
            assert!(daemon.try_wait().expect("a child").is_none(), "the daemon ended at its start");
            if self.ctl(&["status"], "").status.success() {
                return;
            }
            sleep(POLL);
        }
        panic!("the daemon does not answer");
    }

    /// Starts the daemon, which must not run; returns what it said.
    fn refused(&self) -> String {
        let mut daemon = self.start();
        for _ in 0..POLLS_MAX {
            if daemon.try_wait().expect("a child").is_some() {
                let output = daemon.wait_with_output().expect("output");
                assert_eq!(output.status.code(), Some(1), "{}", said(&output));
                return said(&output);
            }
            sleep(POLL);
        }
        daemon.kill().expect("killed");
        panic!("the daemon runs on a damaged store");
    }

    /// All files but RocksDB's information log.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.store()).expect("a store").map(|entry| entry.expect("entry").path());
        let files = entries.filter(|path| !name(path).starts_with("LOG"));
        files.map(|path| (name(&path), fs::read(&path).expect("a file"))).collect()
    }

    /// The file of this kind with the most bytes.
    fn largest(&self, kind: &str) -> PathBuf {
        let all = self.contents();
        let of_kind = all.iter().filter(|(name, _)| name.contains(kind));
        let (name, _) = of_kind.max_by_key(|(_, bytes)| bytes.len()).expect(kind);
        self.store().join(name)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 0x40;
    fs::write(path, bytes).expect("written");
}

fn cut(path: &Path, len: usize) {
    let bytes = fs::read(path).expect("a file");
    fs::write(path, &bytes[..len]).expect("written");
}

/// Damages one file, sees it refused again and again with nothing changed, and puts it back.
fn is_refused(kind: &str, damage: impl Fn(&Path)) {
    let own = Damaged::new();
    let path = own.largest(kind);
    let good = fs::read(&path).expect("a file");
    damage(&path);
    let before = own.contents();
    for _ in 0..STARTS {
        let text = own.refused();
        let named = if kind == ".log" { ".log".into() } else { name(&path) };
        assert!(text.contains(&named) && text.contains("restore a backup"), "{named}: {text}");
        assert!(own.contents() == before, "{kind}: a refused start changed the store");
    }
    let verified = own.ctl(&["store", "verify"], "");
    assert_eq!(verified.status.code(), Some(1), "{}", said(&verified));
    assert!(said(&verified).contains("DAMAGED"), "{}", said(&verified));
    assert!(own.contents() == before, "{kind}: verifying changed the store");
    fs::write(&path, good).expect("put back");
    assert_eq!(own.accounts(), ACCOUNTS, "{kind}: put back, nothing is missing");
    let verified = own.ctl(&["store", "verify"], "");
    assert!(verified.status.success(), "{}", said(&verified));
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("removed");
}

#[test]
fn a_missing_file_is_refused() {
    for kind in [".sst", ".log", "MANIFEST", "CURRENT"] {
        is_refused(kind, remove);
    }
}

#[test]
fn a_short_file_is_refused() {
    is_refused(".sst", |path| cut(path, fs::read(path).expect("a file").len() / 2));
    is_refused("CURRENT", |path| cut(path, 0));
    is_refused("MANIFEST", |path| cut(path, 20));
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_refused() {
    is_refused(".log", |path| flip(path, fs::read(path).expect("a file").len() / 2));
    is_refused(".log", |path| flip(path, 10));
}

/// Power loss leaves that behind the last acknowledged write; here it takes the last account with it.
#[test]
fn a_log_with_a_torn_tail_opens_with_all_before_it() {
    let own = Damaged::new();
    let log = own.largest(".log");
    cut(&log, fs::read(&log).expect("a file").len() - 10);
    assert_eq!(own.accounts(), ACCOUNTS - 1);
}

/// Blocks of a table are read when they are needed: a daemon may start, but whoever asks is told.
#[test]
fn a_table_that_is_damaged_anywhere_is_found_and_nothing_is_passed_over() {
    let own = Damaged::new();
    let tables: Vec<String> = own.contents().into_keys().filter(|name| name.ends_with(".sst")).collect();
    let mut found = 0;
    for table in tables {
        let path = own.store().join(&table);
        let good = fs::read(&path).expect("a file");
        let len = good.len();
        // Data, what lies behind it (filter, index, properties), and the footer.
        for at in [5, len / 8, len / 4, len / 2, len - 300, len - 120, len - 30, len - 4] {
            flip(&path, at);
            let verified = own.ctl(&["store", "verify"], "");
            if verified.status.success() {
                let rows = said(&verified);
                let accounts = rows.lines().find_map(|line| line.strip_prefix("accounts")).map(str::trim);
                assert_eq!(accounts, Some(&*ACCOUNTS.to_string()), "{table} at {at}: {rows}");
            } else {
                let text = said(&verified);
                // RocksDB does not name a table whose properties it cannot read.
                let named = text.contains(&table) || text.contains("a table file that it lists");
                assert!(named, "{table} at {at}: {text}");
                found += 1;
            }
            fs::write(&path, &good).expect("put back");
        }
    }
    assert!(found > 0);
    assert_eq!(own.accounts(), ACCOUNTS);
}
