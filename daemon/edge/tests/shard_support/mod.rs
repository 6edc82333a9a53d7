//! What the shards' tests share: a toy host behind real machines, its server, and a blocking client.
//!
//! The host lets everybody in, and answers each message with one of the same id, whose body is as long as an
//! id `big-N` asks for.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use godwit_edge::listen::{ListenOptions, bind};
use godwit_edge::tls::{CertificateFiles, Certificates, TicketKeys, TlsConfig};
use godwit_edge::{
    Ceiling, Clock, Control, EdgeLimits, Ended, Entry, Mailbox, Shard, ShardConfig, ShardHost, ShardStats,
};
use godwit_session::{
    Account, Bound, ConnId, Connection, Cx, Event, FeedPage, Host, Millis, Outgoing, Reply, Request,
    SessionId, Settings,
};
use godwit_wire::Limits;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A bound on everything that is waited for; nothing is expected to take so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the host has seen.
#[derive(Default)]
pub struct Seen {
    pub opened: Vec<ConnId>,
    pub bound: Vec<ConnId>,
    pub closed: Vec<(ConnId, Ended)>,
    pub ended: usize,
    pub missed: Vec<String>,
    pub acked: Vec<u64>,
    pub fetches: Vec<u64>,
    /// Bytes that the machine of the last message held.
    pub memory: usize,
    pub notes: Vec<u64>,
    pub flushes: u64,
    /// To be set by the test: the host has enough to do.
    pub crowded: bool,
}

pub enum Note {
    Event(ConnId, Event),
    /// Is written down.
    Mark(u64),
}

pub struct Toy {
    pub seen: Arc<Mutex<Seen>>,
    sessions: u64,
    admit: bool,
}
impl Toy {
    fn message(stanza: &godwit_wire::Stanza) -> Vec<u8> {
        let id = stanza.id().unwrap_or_default();
        let length = id.strip_prefix("big-").map_or(0, |length| length.parse().unwrap());
        format!("<message id='{id}'><body>{}</body></message>", "x".repeat(length)).into_bytes()
    }
}
impl Host for Toy {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        let mut seen = self.seen.lock().unwrap();
        match request {
            Request::VerifyPlain { user, .. } => {
                let account = Account { jid: user, owner: 1 };
                conn.event(Event::Reply(Box::new(Reply::Plain(Some(account)))), cx).unwrap();
            }
            Request::Bind { account, .. } => {
                self.sessions += 1;
                seen.bound.push(at);
                let jid = account.jid.with_resource(&format!("r{}", self.sessions)).unwrap();
                let bound = Bound::new(SessionId(self.sessions), account.owner, jid);
                conn.event(Event::Reply(Box::new(Reply::Bound(Ok(Box::new(bound))))), cx).unwrap();
            }
            Request::Stanza(stanza) => {
                seen.memory = conn.memory();
                let bytes = Toy::message(&stanza).into();
                conn.event(Event::Handled(1), cx).unwrap();
                conn.event(
                    Event::Deliver(Outgoing { bytes, extra: Box::default(), stored: None, number: None }),
                    cx,
                )
                .unwrap();
            }
            Request::Acked(seqs) => seen.acked.extend(seqs),
            Request::Fetch { after, fetch, .. } => {
                seen.fetches.push(after);
                let page = FeedPage { upto: after, after, fetch, end: true, ..FeedPage::default() };
                conn.event(Event::Feed(Box::new(page)), cx).unwrap();
            }
            Request::End { .. } | Request::Detach { .. } => seen.ended += 1,
            Request::AuthResult { .. } => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}
impl ShardHost for Toy {
    type Note = Note;
    fn admit(&mut self, _: IpAddr, _: Entry) -> bool {
        self.admit
    }
    fn is_crowded(&self) -> bool {
        self.seen.lock().unwrap().crowded
    }
    fn opened(&mut self, at: ConnId, peer: IpAddr, _: Entry) {
        assert!(peer.is_loopback());
        self.seen.lock().unwrap().opened.push(at);
    }
    fn closed(&mut self, at: ConnId, why: Ended) {
        self.seen.lock().unwrap().closed.push((at, why));
    }
    fn note(&mut self, note: Note) -> Option<(ConnId, Event)> {
        match note {
            Note::Event(at, event) => Some((at, event)),
            Note::Mark(number) => {
                self.seen.lock().unwrap().notes.push(number);
                None
            }
        }
    }
    fn missed(&mut self, _: ConnId, event: Event) {
        self.seen.lock().unwrap().missed.push(format!("{event:?}"));
    }
    fn take_over(&mut self, _: ConnId, conn: &mut Connection, cx: &mut Cx<'_>) {
        if conn.take_bound(cx).is_some() {
            self.seen.lock().unwrap().ended += 1;
        }
    }
    fn deadline(&self) -> Option<Millis> {
        None
    }
    fn tick(&mut self, _: Millis) {}
    fn flush(&mut self) {
        self.seen.lock().unwrap().flushes += 1;
    }
}

pub fn settings() -> Settings {
    Settings {
        domains: vec!["localhost".into()],
        limits: Limits::default(),
        register: false,
        features: Vec::new(),
        login_ms_max: 120_000,
        handshake_ms_max: 120_000,
        auth_attempts_max: 3,
        ping_after_ms: 600_000,
        ping_timeout_ms: 60_000,
        resume_s_max: 300,
        inflight_max: 100,
        unacked_max: 1000,
        unacked_bytes_max: u32::MAX,
        held_bytes_max: 65_536,
        request_ack_every: 5,
    }
}

/// What may differ from test to test.
pub struct Setup {
    pub settings: Settings,
    pub limits: EdgeLimits,
    pub connections_max: usize,
    pub admit: bool,
}
impl Default for Setup {
    fn default() -> Setup {
        // Tests that stop with clients connected need not wait for them.
        let limits = EdgeLimits { linger_ms_max: 500, ..EdgeLimits::default() };
        Setup { settings: settings(), limits, connections_max: usize::MAX, admit: true }
    }
}

/// A shard on its thread.
pub struct Server {
    pub starttls: SocketAddr,
    pub direct: SocketAddr,
    pub mailbox: Mailbox<Note>,
    pub stats: Arc<ShardStats>,
    pub seen: Arc<Mutex<Seen>>,
    pub client: Arc<ClientConfig>,
    pub ceiling: Arc<Ceiling>,
    /// The shard's clock is ahead of time by so many ms.
    pub ahead: Arc<AtomicU64>,
    pub clock: Clock,
    thread: JoinHandle<io::Result<Toy>>,
}

impl Setup {
    pub fn start(self) -> Server {
        let (tls, client) = tls();
        let options = ListenOptions::default();
        let loopback = "127.0.0.1:0".parse().unwrap();
        let mut listeners = bind(Entry::StartTls, loopback, 1, &options).unwrap();
        listeners.extend(bind(Entry::DirectTls, loopback, 1, &options).unwrap());
        let (starttls, direct) = (listeners[0].address().unwrap(), listeners[1].address().unwrap());
        let ahead = Arc::new(AtomicU64::new(0));
        let (time, offset) = (godwit_edge::clock::system(), Arc::clone(&ahead));
        let clock: Clock = Arc::new(move || time() + offset.load(Ordering::Relaxed));
        let ceiling = Ceiling::new(self.connections_max);
        let config = ShardConfig {
            number: 0,
            settings: Arc::new(self.settings),
            clock: Arc::clone(&clock),
            random: Box::new(|bytes| aws_lc_rs::rand::fill(bytes).unwrap()),
            limits: self.limits,
            ceiling: Arc::clone(&ceiling),
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let host = Toy { seen: Arc::clone(&seen), sessions: 0, admit: self.admit };
        let stats = Arc::new(ShardStats::default());
        let (shard, mailbox) = Shard::new(config, listeners, host, tls, Arc::clone(&stats)).unwrap();
        let thread = shard.spawn().unwrap();
        Server { starttls, direct, mailbox, stats, seen, client, ceiling, ahead, clock, thread }
    }
}

/// A server's TLS with a throw-away certificate, and clients that trust it.
fn tls() -> (Arc<TlsConfig>, Arc<ClientConfig>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("godwit-shard-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    let made =
        rcgen::CertificateParams::new(vec!["localhost".to_string()]).unwrap().self_signed(&pair).unwrap();
    let files = CertificateFiles { chain: dir.join("chain"), key: dir.join("key") };
    std::fs::write(&files.chain, made.pem()).unwrap();
    std::fs::write(&files.key, pair.serialize_pem()).unwrap();
    let certificates = Arc::new(Certificates::load(&[files]).unwrap());
    std::fs::remove_dir_all(&dir).unwrap();
    let config = TlsConfig::new(&certificates, &Arc::new(TicketKeys::new(0).unwrap())).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (Arc::new(config), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

impl Server {
    pub fn stop(self) {
        self.mailbox.control(Control::Stop { deadline: (self.clock)() + 10_000 });
        self.thread.join().unwrap().unwrap();
    }

    /// Waits until what was seen satisfies the condition.
    pub fn until(&self, what: &str, mut condition: impl FnMut(&Seen, &ShardStats) -> bool) {
        let start = now();
        while !condition(&self.seen.lock().unwrap(), &self.stats) {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Moves the shard's clock and lets it look.
    pub fn advance(&self, ms: Millis) {
        self.ahead.fetch_add(ms, Ordering::Relaxed);
        self.mailbox.send(Note::Mark(ms));
    }

    pub fn tcp(&self, at: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A client that has done the direct TLS handshake.
    pub fn tls(&self) -> Client {
        self.over(self.tcp(self.direct))
    }

    pub fn over(&self, stream: TcpStream) -> Client {
        let tls = ClientConnection::new(Arc::clone(&self.client), "localhost".try_into().unwrap()).unwrap();
        Client { stream: StreamOwned::new(tls, stream), got: String::new() }
    }

    /// A client with a bound session.
    pub fn login(&self) -> Client {
        let mut client = self.tls();
        client.login();
        client
    }

    /// The same, and the connection's id.
    pub fn login_at(&self) -> (Client, ConnId) {
        let client = self.login();
        let at = *self.seen.lock().unwrap().bound.last().unwrap();
        (client, at)
    }
}

pub const HEADER: &str = "<stream:stream xmlns='jabber:client' to='localhost' version='1.0' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

/// A blocking client over TLS.
pub struct Client {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    got: String,
}
impl Client {
    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Reads on up to the needle and returns what came, the needle included.
    pub fn until(&mut self, needle: &str) -> String {
        let mut looked = 0;
        loop {
            if let Some(found) = self.got[looked..].find(needle) {
                let rest = self.got.split_off(looked + found + needle.len());
                return std::mem::replace(&mut self.got, rest);
            }
            looked = self.got.len().saturating_sub(needle.len());
            let mut buffer = [0; 65536];
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the end instead of {needle}, after {}", self.got);
            self.got.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }

    /// Reads to the end, which must be one of TLS (close_notify); the rest of what was sent.
    pub fn end(&mut self) -> String {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        std::mem::take(&mut self.got) + std::str::from_utf8(&bytes).unwrap()
    }

    pub fn login(&mut self) {
        self.send(HEADER);
        self.until("</stream:features>");
        self.send(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>",
        );
        self.until("<success");
        self.send(HEADER);
        self.until("</stream:features>");
        self.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        self.until("</iq>");
    }

    pub fn message(&mut self, id: &str) {
        self.send(&message(id));
    }

    pub fn echo(&mut self, id: &str) {
        self.message(id);
        let got = self.until("</message>");
        assert!(got.contains(&format!("id='{id}'")), "{got}");
    }
}

pub fn message(id: &str) -> String {
    format!("<message to='bob@localhost' id='{id}'><body>hello</body></message>")
}

#[allow(clippy::disallowed_methods)] // Tests bound what they wait for.
pub fn now() -> Instant {
    Instant::now()
}

/// Runs this test again in a process with another limit of descriptors; `true` in that process.
pub fn with_descriptors(test: &str, limit: u32) -> bool {
    const MARK: &str = "GODWIT_TEST_DESCRIPTORS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -n \"$1\" && exec \"$2\" --exact \"$3\" --nocapture", "sh"])
        .arg(limit.to_string())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(MARK, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed with {limit} descriptors: {status}");
    false
}
