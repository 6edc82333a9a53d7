//! The world: see the crate's documentation.
use crate::client::Client;
use crate::seams::Dice;
use crate::server::{Config, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use godwit_modules::archive::ArchiveSettings;
use godwit_modules::{Completion, Settings, accounts};
use godwit_store::{MemStore, Submit};
use godwit_wire::{Jid, Limits};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most moves of one [`World::settle`]: a world that does not come to rest is an error.
const MOVES_MAX: usize = 1_000_000;
/// The domain served.
pub const DOMAIN: &str = "example.org";
/// The password of every account.
pub const PASSWORD: &str = "secret";
/// When worlds begin.
pub const START_MS: u64 = 1_700_000_000_000;

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub usize);

/// See the crate's documentation. What is said of the server may be said of the world.
pub struct World {
    server: Server,
    clock: Arc<AtomicU64>,
    dice: Arc<Dice>,
    clients: Vec<Client>,
}

impl Deref for World {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Settings that tests start from.
pub fn settings() -> Settings {
    Settings {
        version: env!("CARGO_PKG_VERSION"),
        domains: vec![DOMAIN.into()],
        admins: Vec::new(),
        in_band: true,
        sessions_max: 10,
        roster_max: 100,
        offline_messages_max: 10_000,
        offline_bytes_max: 1 << 30,
        directed_max: 100,
        tries_max: 8,
        secret: [7; 32],
        registrations_per_hour_max: 0,
        failures_per_minute_max: 0,
        loopback_exempt: true,
        archive: ArchiveSettings { page_rows_max: 100, page_bytes_max: 64 << 10, ..Default::default() },
        pep: godwit_modules::pep::Limits::default(),
    }
}

/// Connections' settings that tests start from.
pub fn stream_settings() -> godwit_session::Settings {
    godwit_session::Settings {
        domains: vec![DOMAIN.into()],
        limits: Limits::default(),
        register: true,
        features: Vec::new(),
        login_ms_max: 30_000,
        handshake_ms_max: 10_000,
        auth_attempts_max: 5,
        ping_after_ms: 300_000,
        ping_timeout_ms: 60_000,
        resume_s_max: 600,
        inflight_max: 64,
        unacked_max: 500,
        unacked_bytes_max: 256 * 1024,
        held_bytes_max: 65_536,
        request_ack_every: 5,
    }
}

impl World {
    /// An empty server with so many shards.
    pub fn new(seed: u64, shards: u16) -> World {
        World::over(MemStore::new(), seed, shards, START_MS)
    }

    /// A server over a store that exists.
    pub fn over(store: MemStore<Completion>, seed: u64, shards: u16, now: u64) -> World {
        let (clock, dice) = (Arc::new(AtomicU64::new(now)), Arc::new(Dice::new(seed)));
        let config = Config {
            shards,
            hub: settings(),
            stream: stream_settings(),
            queue_high: 256 << 10,
            queue_bytes_max: 2 << 20,
            prompt: true,
        };
        let server = Server::start(store, config, Arc::clone(&clock), Arc::clone(&dice));
        World { server, clock, dice, clients: Vec::new() }
    }

    /// Kills the server: what was not committed is gone. A new one starts over the same store.
    pub fn crash(self) -> World {
        self.clock.fetch_add(1, Ordering::Relaxed); // a start takes its time
        World { server: self.server.crash(0), clients: Vec::new(), ..self }
    }

    /// Makes an account.
    pub fn account(&mut self, name: &str) {
        let jid = Jid::new(Some(name), DOMAIN, None).expect("a name");
        let dice = Arc::clone(&self.dice);
        let tx = accounts::add(&*self.store, &jid, PASSWORD, self.now(), &|out| dice.fill(out))
            .expect("a new account");
        let told = Completion::Told(Box::new(|outcome| assert!(outcome.is_ok())));
        assert!(self.store.submit(tx, told).is_ok(), "the store takes it");
        self.settle();
    }

    /// Lets time pass, with the ticks that fall due.
    pub fn pass(&mut self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
        for n in 0..self.clients.len() {
            self.server.tick(self.clients[n].at);
        }
        for shard in 0..self.server.shards() {
            self.server.tick_shard(shard);
        }
        self.settle();
    }

    /// A connection with TLS up, on shard `n` modulo their number.
    pub fn connect(&mut self) -> ClientId {
        let n = self.clients.len();
        let at = self.server.accept(n % self.server.shards());
        self.clients.push(Client { at, ..Client::default() });
        self.send(ClientId(n), &format!("<stream:stream to='{DOMAIN}' version='1.0' {HEADER}>"));
        ClientId(n)
    }

    /// A connection that has authenticated as `name`, with the stream restarted.
    pub fn authenticate(&mut self, name: &str) -> ClientId {
        let id = self.connect();
        let plain = STANDARD.encode(format!("\0{name}\0{PASSWORD}"));
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
        self.server.input(self.clients[id.0].at, bytes);
        self.collect();
    }

    /// What the client was sent since the last call.
    pub fn take(&mut self, id: ClientId) -> String {
        self.clients[id.0].take()
    }

    /// A client.
    pub fn client(&mut self, id: ClientId) -> &mut Client {
        &mut self.clients[id.0]
    }

    /// A client's connection at the server.
    pub fn at(&self, id: ClientId) -> godwit_session::ConnId {
        self.clients[id.0].at
    }

    /// The connection breaks.
    pub fn cut(&mut self, id: ClientId) {
        self.server.gone(self.clients[id.0].at);
        self.settle();
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
        let moved = self.server.step();
        self.collect();
        moved
    }

    /// What was said reaches the clients, except those that read nothing.
    fn collect(&mut self) {
        for client in self.clients.iter_mut().filter(|client| !client.stalled) {
            loop {
                let bytes = self.server.take(client.at, usize::MAX);
                if bytes.is_empty() {
                    break;
                }
                client.inbox.push_str(&String::from_utf8_lossy(&bytes));
            }
            client.closed |= self.server.socket(client.at).is_none();
        }
    }
}

const HEADER: &str = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
