//! The world: see the crate's documentation.
use crate::client::Client;
use crate::seams::{Dice, Jobs, Mail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use godwit_modules::note::Note;
use godwit_modules::{Completion, Hub, HubSink, Outside, Settings, ShardState, accounts};
use godwit_session::{ConnId, Connection, Cx, Event, Host, Out, Request, TlsFacts, TlsVersion, drive};
use godwit_store::MemStore;
use godwit_store::{Sink, Submit};
use godwit_wire::{Jid, Limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most moves of one [`World::settle`]: a world that does not come to rest is an error.
const MOVES_MAX: usize = 1_000_000;
const DOMAIN: &str = "example.org";

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub usize);

/// See the crate's documentation.
pub struct World {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The store.
    pub store: Arc<MemStore<Completion>>,
    /// Connections' settings.
    pub settings: Arc<godwit_session::Settings>,
    clock: Arc<AtomicU64>,
    dice: Arc<Dice>,
    mail: Arc<Mail>,
    jobs: Arc<Jobs>,
    sink: HubSink,
    shards: Vec<ShardState>,
    clients: Vec<Client>,
    /// Pages of stored messages that sessions were given: after which position, up to which.
    pub pages: Vec<(u64, u64)>,
}

/// Settings that tests start from.
pub fn settings() -> Settings {
    Settings {
        domains: vec![DOMAIN.into()],
        admins: Vec::new(),
        in_band: true,
        sessions_max: 10,
        roster_max: 100,
        directed_max: 100,
        tries_max: 8,
        secret: [7; 32],
        registrations_per_hour_max: 0,
        failures_per_minute_max: 0,
        loopback_exempt: true,
    }
}

fn stream_settings(features: Vec<u8>) -> godwit_session::Settings {
    godwit_session::Settings {
        domains: vec![DOMAIN.into()],
        limits: Limits::default(),
        register: true,
        features,
        login_ms_max: 30_000,
        handshake_ms_max: 10_000,
        auth_attempts_max: 5,
        ping_after_ms: 300_000,
        ping_timeout_ms: 60_000,
        resume_s_max: 600,
        inflight_max: 64,
        unacked_max: 500,
        unacked_bytes_max: 256 * 1024,
        request_ack_every: 5,
    }
}

/// The machine's `StartTls` and `Close` are the sockets' business: noted here.
struct Adapter<'a> {
    shard: &'a mut ShardState,
    close: bool,
}

impl Host for Adapter<'_> {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        self.close |= matches!(request, Request::Close);
        self.shard.request(at, request, conn, cx);
    }
}

impl World {
    /// An empty server with so many shards.
    pub fn new(seed: u64, shards: u16) -> World {
        World::over(MemStore::new(), seed, shards, 1_700_000_000_000)
    }

    /// A server over a store that exists.
    pub fn over(store: MemStore<Completion>, seed: u64, shards: u16, now: u64) -> World {
        let (clock, dice) = (Arc::new(AtomicU64::new(now)), Arc::new(Dice::new(seed)));
        let (mail, jobs, store) = (Arc::new(Mail::new(shards)), Arc::new(Jobs::default()), Arc::new(store));
        let (time, random) = (Arc::clone(&clock), Arc::clone(&dice));
        let outside = Outside {
            store: Arc::clone(&store) as _,
            post: Arc::clone(&mail) as _,
            background: Arc::clone(&jobs) as _,
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            random: Arc::new(move |out| random.fill(out)),
        };
        let hub = Hub::new(outside, settings());
        hub.attach(Arc::clone(&store) as Arc<dyn Submit<Completion>>);
        let settings = Arc::new(stream_settings(hub.modules.stream_features().into_bytes()));
        let sink = HubSink::new(Arc::clone(&hub));
        let shards =
            (0..shards).map(|n| ShardState::new(Arc::clone(&hub), n, Arc::clone(&settings))).collect();
        World {
            hub,
            store,
            settings,
            clock,
            dice,
            mail,
            jobs,
            sink,
            shards,
            clients: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// Kills the server: what was not committed is gone. A new one starts over the same store.
    pub fn crash(self) -> World {
        let (seed, shards, now) =
            (self.dice.next(), u16::try_from(self.shards.len()).unwrap_or(1), self.now());
        World::over(self.store.crash(), seed, shards, now)
    }

    /// Now.
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Makes an account.
    pub fn account(&mut self, name: &str) {
        let jid = Jid::new(Some(name), DOMAIN, None).expect("a name");
        let dice = Arc::clone(&self.dice);
        let tx = accounts::add(&*self.store, &jid, "secret", self.now(), &|out| dice.fill(out))
            .expect("a new account");
        let told = Completion::Told(Box::new(|outcome| assert!(outcome.is_ok())));
        assert!(self.store.submit(tx, told).is_ok(), "the store takes it");
        self.settle();
    }

    /// Lets time pass, with the ticks that fall due.
    pub fn pass(&mut self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
        let now = self.now();
        for n in 0..self.clients.len() {
            if self.clients[n].conn.as_ref().and_then(Connection::deadline).is_some_and(|at| at <= now) {
                self.event(ClientId(n), Event::Tick);
            }
        }
        for shard in &mut self.shards {
            if shard.deadline().is_some_and(|at| at <= now) {
                shard.tick(now);
            }
            shard.flush();
        }
        self.settle();
    }

    /// A connection with TLS up, on shard `n` modulo their number.
    pub fn connect(&mut self) -> ClientId {
        let n = self.clients.len();
        let (shard, now) = (n % self.shards.len(), self.now());
        let at = ConnId { slot: u32::try_from(n).unwrap_or(u32::MAX), generation: 1 };
        self.shards[shard].opened(at, std::net::Ipv4Addr::LOCALHOST.into());
        let conn = Some(Connection::client(true, now));
        self.clients.push(Client { shard, at, conn, inbox: String::new(), closed: false, stalled: false });
        let facts = TlsFacts {
            version: TlsVersion::Tls13,
            suite: "TLS13_AES_256_GCM_SHA384",
            sni: None,
            alpn: None,
            resumed: false,
            exporter: Some([1; 32]),
            server_end_point: vec![2; 32],
        };
        self.event(ClientId(n), Event::TlsDone(Box::new(facts)));
        self.send(ClientId(n), &format!("<stream:stream to='{DOMAIN}' version='1.0' {HEADER}>"));
        ClientId(n)
    }

    /// A connection that has authenticated as `name`, with the stream restarted.
    pub fn authenticate(&mut self, name: &str) -> ClientId {
        let id = self.connect();
        let plain = STANDARD.encode(format!("\0{name}\0secret"));
        self.send(
            id,
            &format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"),
        );
        self.send(id, &format!("<stream:stream to='{DOMAIN}' version='1.0' {HEADER}>"));
        let inbox = self.take(id);
        assert!(inbox.contains("<success"), "{inbox}");
        id
    }

    /// A bound session; it has not sent presence.
    pub fn login(&mut self, name: &str, resource: &str) -> ClientId {
        let id = self.authenticate(name);
        self.send(
            id,
            &format!(
                "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
            ),
        );
        let inbox = self.take(id);
        assert!(inbox.contains(&format!("{name}@{DOMAIN}/{resource}")), "{inbox}");
        id
    }

    /// A bound session that is available.
    pub fn online(&mut self, name: &str, resource: &str) -> ClientId {
        let id = self.login(name, resource);
        self.send(id, "<presence/>");
        id
    }

    /// The client sends something; the world settles.
    pub fn send(&mut self, id: ClientId, xml: &str) {
        self.push(id, xml.as_bytes());
        self.settle();
    }

    /// The client sends bytes; nothing further happens yet.
    pub fn push(&mut self, id: ClientId, bytes: &[u8]) {
        self.with(id, |at, conn, host, cx| drive::bytes(at, conn, host, bytes, cx));
    }

    /// What the client was sent since the last call.
    pub fn take(&mut self, id: ClientId) -> String {
        self.clients[id.0].take()
    }

    /// A client.
    pub fn client(&mut self, id: ClientId) -> &mut Client {
        &mut self.clients[id.0]
    }

    /// The connection breaks.
    pub fn cut(&mut self, id: ClientId) {
        self.event(id, Event::Eof);
        self.clients[id.0].conn = None;
        self.settle();
    }

    fn event(&mut self, id: ClientId, event: Event) {
        self.with(id, |at, conn, host, cx| {
            let _ = drive::event(at, conn, host, event, cx);
        });
    }

    fn with(&mut self, id: ClientId, work: impl FnOnce(ConnId, &mut Connection, &mut dyn Host, &mut Cx<'_>)) {
        let now = self.now();
        let client = &mut self.clients[id.0];
        let Some(mut conn) = client.conn.take() else { return };
        let dice = Arc::clone(&self.dice);
        let mut out = Out::default();
        let shard = &mut self.shards[client.shard];
        let mut host = Adapter { shard, close: false };
        let mut random = |bytes: &mut [u8]| dice.fill(bytes);
        let mut cx = Cx { settings: &self.settings, now, random: &mut random, out: &mut out };
        work(client.at, &mut conn, &mut host, &mut cx);
        if !out.bytes.is_empty() && !client.stalled {
            let mut cx = Cx { settings: &self.settings, now, random: &mut random, out: &mut out };
            let _ = drive::event(client.at, &mut conn, &mut host, Event::Drained, &mut cx);
        }
        let close = host.close;
        self.shards[client.shard].flush();
        if !client.stalled {
            client.inbox.push_str(&String::from_utf8_lossy(&out.bytes));
        }
        client.conn = Some(conn);
        if close {
            client.closed = true;
            self.event(id, Event::Eof);
            self.clients[id.0].conn = None;
        }
    }

    /// Moves notes, jobs and commits until nothing is left to move.
    pub fn settle(&mut self) {
        for _ in 0..MOVES_MAX {
            if !self.step() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// One move: a note, or else a job, or else a commit round. False if there is none.
    pub fn step(&mut self) -> bool {
        for shard in 0..self.shards.len() {
            if let Some(note) = self.mail.take(shard) {
                self.deliver(shard, note);
                return true;
            }
        }
        if let Some(job) = self.jobs.take() {
            job();
            return true;
        }
        let now = self.now();
        self.store.round(now, &mut self.sink as &mut dyn Sink<Completion>) > 0
    }

    fn deliver(&mut self, shard: usize, note: Note) {
        let now = self.now();
        let Some((at, event)) = self.shards[shard].note(note, now) else {
            return self.shards[shard].flush();
        };
        let found = self
            .clients
            .iter()
            .position(|client| client.shard == shard && client.at == at && client.conn.is_some());
        let Some(n) = found else {
            self.shards[shard].missed(at, event, now);
            return self.shards[shard].flush();
        };
        if let Event::Feed(page) = &event
            && !page.replay
        {
            self.pages.push((page.after, page.upto));
        }
        let mut missed = None;
        let mut claimed = false;
        if matches!(event, Event::TakeOver) {
            claimed = true;
            self.take_over(n);
        }
        if !claimed {
            self.with(ClientId(n), |at, conn, host, cx| {
                missed = drive::event(at, conn, host, event, cx).err()
            });
        }
        if let Some(event) = missed {
            self.shards[shard].missed(at, event, now);
        }
        self.shards[shard].flush();
    }

    fn take_over(&mut self, n: usize) {
        let (now, at, shard) = (self.now(), self.clients[n].at, self.clients[n].shard);
        let Some(mut conn) = self.clients[n].conn.take() else { return };
        let dice = Arc::clone(&self.dice);
        let mut out = Out::default();
        let mut random = |bytes: &mut [u8]| dice.fill(bytes);
        let mut cx = Cx { settings: &self.settings, now, random: &mut random, out: &mut out };
        self.shards[shard].take_over(at, &mut conn, &mut cx);
        let close = out.requests.iter().any(|request| matches!(request, Request::Close));
        self.clients[n].inbox.push_str(&String::from_utf8_lossy(&out.bytes));
        self.clients[n].conn = (!close).then_some(conn);
        self.clients[n].closed |= close;
    }
}

const HEADER: &str = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
