//! Clients of other makes, over loopback: OpenSSL, Python, GnuTLS.
//!
//! One that is not installed is skipped, and the test says so.
#![allow(clippy::unwrap_used, missing_docs)]

mod tls_support;

use godwit_edge::Entry;
use godwit_edge::tls::{Event, Record, Tls};
use godwit_session::TlsFacts;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tls_support::{Kind, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// How the echo server treats its connections.
#[derive(Clone, Copy, Default)]
struct Habits {
    /// Changes its keys before so many answers, and asks the client to do so too.
    key_updates: usize,
}

/// Serves `connections` clients, one after the other, and reports their handshakes.
fn serve(server: Server, connections: usize, habits: Habits) -> (u16, Receiver<TlsFacts>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (report, facts) = channel();
    let serving = Arc::new(server);
    std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let tls = Tls::accept(&serving.config, Entry::StartTls).unwrap();
            echo(tls, &mut socket, habits, |facts| report.send(facts).unwrap());
        }
    });
    (port, facts)
}

fn echo(mut tls: Tls, socket: &mut TcpStream, mut habits: Habits, mut done: impl FnMut(TlsFacts)) {
    let (mut cipher, mut scratch) = (Vec::new(), vec![0; 16_384]);
    loop {
        let (mut plain, mut out, mut over) = (Vec::new(), Vec::new(), false);
        loop {
            if let Tls::Open(record) = &tls {
                tls = Tls::Open(Box::new(Record::from_bytes(&record.to_bytes()).unwrap()));
            }
            match tls.receive(&mut cipher, &mut plain, &mut out) {
                Ok(received) => {
                    cipher.drain(..received.consumed);
                    match received.event {
                        Some(Event::HandshakeDone(facts)) => done(*facts),
                        Some(Event::PeerClosed) => over = true,
                        None => break,
                    }
                }
                Err(error) => {
                    eprintln!("echo server: {error}");
                    over = true;
                    break;
                }
            }
        }
        if let (Tls::Open(record), true, false) = (&mut tls, habits.key_updates > 0, plain.is_empty()) {
            record.update_keys(true, &mut out).unwrap();
            habits.key_updates -= 1;
        }
        if !plain.is_empty() {
            tls.seal(&plain, &mut out).unwrap();
        }
        if over {
            tls.close_notify(&mut out).unwrap();
        }
        if socket.write_all(&out).is_err() || over {
            return;
        }
        match socket.read(&mut scratch) {
            Ok(0) | Err(_) => return,
            Ok(len) => cipher.extend_from_slice(&scratch[..len]),
        }
    }
}

fn forward(output: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

/// A client program, whose output comes line by line.
struct Program {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    fn start(program: &str, arguments: &[&str]) -> Option<Program> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        let input = child.stdin.take().unwrap();
        let (send, lines) = channel();
        forward(child.stdout.take().unwrap(), send.clone());
        forward(child.stderr.take().unwrap(), send);
        Some(Program { child, input, lines, seen: Vec::new() })
    }

    fn say(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).unwrap();
        self.input.write_all(b"\n").unwrap();
        self.input.flush().unwrap();
    }

    fn expect(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no {part:?} ({error}) in {:#?}", self.seen),
            }
        }
    }

    fn echo(&mut self, line: &str) {
        self.say(line);
        self.expect(line);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Version, suite as OpenSSL names it, suite as IANA does.
const SUITES: [(&str, &str, &str); 9] = [
    ("-tls1_3", "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("-tls1_3", "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("-tls1_3", "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("-tls1_2", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("-tls1_2", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("-tls1_2", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("-tls1_2", "ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

fn openssl(port: u16, more: &[&str]) -> Option<Program> {
    let to = format!("127.0.0.1:{port}");
    Program::start("openssl", &[&["s_client", "-connect", &to, "-servername", "localhost"], more].concat())
}

#[test]
fn openssl_with_each_suite() {
    let (port, facts) = serve(Server::new(&[Kind::Ecdsa, Kind::Rsa]), SUITES.len(), Habits::default());
    for (version, suite, name) in SUITES {
        let choose = if version == "-tls1_3" { "-ciphersuites" } else { "-cipher" };
        let Some(mut client) = openssl(port, &[version, choose, suite, "-quiet"]) else { return };
        for number in 0..14 {
            client.echo(&format!("line {number} of {suite}"));
        }
        client.echo(&"long line ".repeat(20_000));
        let facts = facts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(facts.suite, name);
        assert_eq!(facts.sni.as_deref(), Some("localhost"));
        assert!(facts.exporter.is_some());
    }
}

#[test]
fn openssl_changes_keys() {
    for habits in [Habits::default(), Habits { key_updates: 100 }] {
        let (port, _facts) = serve(Server::new(&[Kind::Ecdsa]), 1, habits);
        let Some(mut client) = openssl(port, &["-tls1_3"]) else { return };
        client.echo("before");
        for round in 0..5 {
            // A command is one only if it is read by itself, so its word is awaited.
            client.say("K");
            client.expect("KEYUPDATE");
            client.echo(&format!("asked for keys {round}"));
            client.say("k");
            client.expect("KEYUPDATE");
            for line in 0..4 {
                client.echo(&format!("changed keys {round}, line {line}"));
            }
        }
    }
}

#[test]
fn openssl_is_refused_a_renegotiation() {
    let (port, _facts) = serve(Server::new(&[Kind::Ecdsa]), 1, Habits::default());
    let Some(mut client) = openssl(port, &["-tls1_2"]) else { return };
    client.echo("before");
    client.say("R");
    // OpenSSL ends the connection itself when it is refused; what counts is that it is not renegotiated.
    client.expect("RENEGOTIATING");
    let status = client.child.wait().unwrap();
    assert!(!status.success());
}

#[test]
fn openssl_exports_the_same() {
    let (port, facts) = serve(Server::new(&[Kind::Ecdsa]), 1, Habits::default());
    let export = ["-tls1_3", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"];
    let Some(mut client) = openssl(port, &export) else { return };
    let line = client.expect("Keying material: ");
    let ours = facts.recv_timeout(PATIENCE).unwrap().exporter.unwrap();
    let ours: String = ours.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(line.trim(), format!("Keying material: {ours}"));
}

#[test]
fn openssl_resumes() {
    for version in ["-tls1_3", "-tls1_2"] {
        let server = Server::new(&[Kind::Ecdsa]);
        let file = server.dir.0.join("session");
        let session = file.to_str().unwrap().to_string();
        let (port, facts) = serve(server, 2, Habits::default());
        let Some(mut client) = openssl(port, &[version, "-sess_out", &session]) else { return };
        client.echo("first");
        client.say("Q");
        client.child.wait().unwrap();
        let mut client = openssl(port, &[version, "-sess_in", &session]).unwrap();
        client.expect("Reused, TLSv1.");
        client.echo("second");
        let resumed = [(); 2].map(|()| facts.recv_timeout(PATIENCE).unwrap().resumed);
        assert_eq!(resumed, [false, true], "{version}");
    }
}

const PYTHON: &str = r#"
import socket, ssl, sys
port, version = int(sys.argv[1]), sys.argv[2]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost") as tls:
    for size in [1, 2, 300, 16383, 16384, 16385, 100000, 3000000] + [7] * 12:
        data = bytes(n % 251 for n in range(size))
        back = b""
        for start in range(0, size, 30000):
            part = data[start:start + 30000]
            tls.sendall(part)
            while len(back) < start + len(part):
                piece = tls.recv(65536)
                assert piece, "closed early"
                back += piece
        assert back == data, size
    tls.unwrap()
print("all came back")
"#;

#[test]
fn python_echoes_many_sizes_and_closes() {
    let habits = [("TLSv1_3", 0), ("TLSv1_2", 0), ("TLSv1_3", 100)];
    for (version, key_updates) in habits {
        let (port, _facts) = serve(Server::new(&[Kind::Ecdsa]), 1, Habits { key_updates });
        let port = port.to_string();
        let Some(mut client) = Program::start("python3", &["-c", PYTHON, &port, version]) else { return };
        client.expect("all came back");
    }
}

#[test]
fn gnutls_with_each_cipher() {
    let (versions, ciphers) = (["TLS1.3", "TLS1.2"], ["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"]);
    // GnuTLS takes no more than eight KeyUpdates in a second.
    let (port, facts) = serve(Server::new(&[Kind::Ecdsa]), 7, Habits { key_updates: 4 });
    let port = port.to_string();
    let run = |priority: &str| {
        let mut client = Program::start(
            "gnutls-cli",
            &["--insecure", "--priority", priority, "-p", &port, "127.0.0.1", "--sni-hostname", "localhost"],
        )?;
        for number in 0..14 {
            client.echo(&format!("line {number} of {priority}"));
        }
        Some(facts.recv_timeout(PATIENCE).unwrap())
    };
    for version in versions {
        for cipher in ciphers {
            let priority = format!("NORMAL:-VERS-ALL:+VERS-{version}:-CIPHER-ALL:+{cipher}");
            let Some(facts) = run(&priority) else { return };
            assert!(facts.exporter.is_some());
            assert!(facts.suite.contains(&cipher.replace('-', "_")), "{}", facts.suite);
        }
    }
    // Without an extended master secret there is nothing to bind to.
    let facts = run("NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_SESSION_HASH").unwrap();
    assert_eq!(facts.exporter, None);
}
