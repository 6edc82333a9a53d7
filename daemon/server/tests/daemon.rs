//! The real daemon under a service manager that is played by the test: readiness, watchdog, reload,
//! sockets, stop.
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// For any step. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Manager {
    dir: PathBuf,
    notes: UnixDatagram,
    child: Option<Child>,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let dir = std::env::temp_dir().join(format!("godwit-daemon-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("directory");
        let notes = UnixDatagram::bind(dir.join("notify")).expect("notify socket");
        notes.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let manager = Manager { dir, notes, child: None };
        manager.certificate("first");
        manager.configure("");
        manager
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a certificate to the configured place.
    fn certificate(&self, serial_name: &str) {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "30", "-subj", "/CN=localhost", "-addext"])
            .arg(format!("subjectAltName=DNS:localhost,DNS:{serial_name}.example"))
            .arg("-keyout")
            .arg(self.path("key.pem"))
            .arg("-out")
            .arg(self.path("cert.pem"))
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn configure(&self, rest: &str) {
        let text = format!(
            "[listen]\nc2s = [\"127.0.0.1:0\"]\nc2s_tls = []\n[tls]\ncertificate = {:?}\nkey = {:?}\n\
             [server]\ndomains = [\"localhost\"]\ndata_dir = {:?}\n{rest}",
            self.path("cert.pem"),
            self.path("key.pem"),
            self.path("data"),
        );
        fs::write(self.path("godwit.toml"), text).expect("configuration");
    }

    fn start(&mut self, command: &mut Command) {
        let log = fs::File::create(self.path("log")).expect("log");
        self.child =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("starts"));
    }

    fn daemon(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_godwitd"));
        command.arg("--config").arg(self.path("godwit.toml")).env("NOTIFY_SOCKET", self.path("notify"));
        command
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let command = Command::new(env!("CARGO_BIN_EXE_godwitctl"))
            .arg("--config")
            .arg(self.path("godwit.toml"))
            .args(args)
            .output();
        command.expect("godwitctl runs")
    }

    fn status(&self) -> serde_json::Value {
        let output = self.ctl(&["status", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The next note that has a line starting with `field`.
    fn wait_for(&self, field: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let length =
                self.notes.recv(&mut bytes).unwrap_or_else(|e| panic!("no {field} ({e}); {}", self.log()));
            let note = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if note.lines().any(|line| line.starts_with(field)) {
                return note;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.take().expect("runs").wait().expect("ends").code()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn readiness_watchdog_and_stop_are_told() {
    let mut manager = Manager::new("notify");
    let mut command = manager.daemon();
    manager.start(command.env("WATCHDOG_USEC", "10000000"));
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    assert_eq!(manager.status()["stuck"], serde_json::json!([]));
    manager.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(manager.exit_code(), Some(0), "{}", manager.log());
    assert!(!manager.path("data/admin.sock").exists());
}

#[test]
fn a_reload_applies_all_or_nothing_and_says_which() {
    let mut manager = Manager::new("reload");
    let mut command = manager.daemon();
    manager.start(&mut command);
    manager.wait_for("READY=1");

    manager.configure("admins = [\"root@localhost\"]\nshards = 7\n");
    manager.certificate("second");
    manager.signal("HUP");
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("server.shards takes effect at the next restart"), "{ready}");
    assert!(!ready.contains("server.shards takes effect at the next restart, or"), "{ready}");
    let status = manager.status();
    assert_eq!(status["reload"]["ok"], true, "{status}");
    let names = status["certificates"][0]["names"].to_string();
    assert!(names.contains("second.example"), "{names}");

    manager.configure("admins = 5\n");
    manager.signal("HUP");
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("reload refused") && ready.contains("server.admins"), "{ready}");
    // godwitctl needs one that can be read, to find the socket; the daemon goes on with the old one.
    manager.configure("");
    let status = manager.status();
    assert_eq!(status["reload"]["ok"], false, "{status}");

    manager.signal("INT");
    assert_eq!(manager.exit_code(), Some(0), "{}", manager.log());
    // Lines may be late by some milliseconds while it runs.
    assert!(manager.log().contains("reload refused"), "{}", manager.log());
}

#[test]
fn a_start_that_fails_says_why_and_exits_1() {
    let mut manager = Manager::new("fails");
    fs::write(manager.path("key.pem"), "no key").expect("written");
    let mut command = manager.daemon();
    manager.start(&mut command);
    manager.wait_for("STOPPING=1");
    assert_eq!(manager.exit_code(), Some(1));
    assert!(manager.log().contains("key.pem"), "{}", manager.log());
}

/// A godwitctl that found no daemon works on the store; a daemon started at that moment must not give up.
#[test]
fn a_store_that_somebody_has_for_a_moment_is_waited_for() {
    let mut manager = Manager::new("waits");
    fs::create_dir_all(manager.path("data")).expect("directory");
    let store = godwit_store::Rocks::open(&manager.path("data/store"), &godwit_store::Options::default());
    let store = store.expect("opens");
    let mut command = manager.daemon();
    manager.start(&mut command);
    let waits = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        manager.log().contains("waiting for the store")
    });
    assert!(waits, "{}", manager.log());
    store.close().expect("closes");
    manager.wait_for("READY=1");
    manager.signal("TERM");
    assert_eq!(manager.exit_code(), Some(0), "{}", manager.log());
}

#[test]
fn sockets_of_the_service_manager_are_used_by_name() {
    let activate = Path::new("/usr/bin/systemd-socket-activate");
    if !activate.exists() {
        eprintln!("skipped: systemd-socket-activate is not installed");
        return;
    }
    let mut manager = Manager::new("activation");
    let free = TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let mut command = Command::new(activate);
    command
        .args(["--fdname=c2s", "--listen"])
        .arg(free.to_string())
        .arg(format!("--setenv=NOTIFY_SOCKET={}", manager.path("notify").display()))
        .arg(env!("CARGO_BIN_EXE_godwitd"))
        .arg("--config")
        .arg(manager.path("godwit.toml"));
    manager.start(&mut command);
    // The first connection starts the daemon, which then serves it.
    let mut first = connect(free);
    manager.wait_for("READY=1");
    std::io::Write::write_all(
        &mut first,
        b"<?xml version='1.0'?><stream:stream to='localhost' version='1.0' \
        xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    )
    .expect("sent");
    first.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    while !seen.contains("starttls") {
        let length = first.read(&mut bytes).expect("an answer");
        assert!(length > 0, "closed after {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    drop(first);
    manager.signal("TERM");
    assert_eq!(manager.exit_code(), Some(0), "{}", manager.log());
}

fn connect(at: SocketAddr) -> TcpStream {
    for _ in 0..600 {
        if let Ok(stream) = TcpStream::connect(at) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nobody listens at {at}");
}
