//! A world for transcripts: connections, a clock, and a small host behind them. No socket.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

pub mod client;
pub mod host;
pub mod script;

use godwit_session::{ConnId, Connection, Cx, Event, Out, Settings, TlsFacts, TlsVersion, drive};
use godwit_wire::Limits;
use host::{Due, TestHost};

/// The domain of all transcripts.
pub const DOMAIN: &str = "example.org";

pub fn settings() -> Settings {
    Settings {
        domains: vec![DOMAIN.into()],
        limits: Limits {
            stanza_bytes_max: 262_144,
            depth_max: 64,
            attributes_max: 32,
            name_bytes_max: 256,
            value_bytes_max: 8_192,
            namespaces_max: 64,
            unauthenticated_bytes_max: 16_384,
        },
        register: false,
        features: b"<ver xmlns='urn:xmpp:features:rosterver'/>".to_vec(),
        login_ms_max: 60_000,
        handshake_ms_max: 10_000,
        auth_attempts_max: 3,
        ping_after_ms: 60_000,
        ping_timeout_ms: 20_000,
        resume_s_max: 300,
        inflight_max: 16,
        unacked_max: 50,
        unacked_bytes_max: 100_000,
        held_bytes_max: 10_000,
        request_ack_every: 10,
    }
}

pub fn tls_facts() -> TlsFacts {
    TlsFacts {
        version: TlsVersion::Tls13,
        suite: "TLS13_AES_128_GCM_SHA256",
        sni: Some(DOMAIN.into()),
        alpn: Some("xmpp-client".into()),
        resumed: false,
        exporter: Some([0x42; 32]),
        server_end_point: vec![0x24; 32],
    }
}

/// One connection and what it wrote.
pub struct Client {
    pub conn: Connection,
    pub wrote: Vec<u8>,
    /// Read by the script up to here.
    pub read: usize,
    pub closed: bool,
    pub wants_tls: bool,
}

/// Everything.
pub struct World {
    pub settings: Settings,
    pub now: u64,
    pub clients: Vec<Client>,
    pub host: TestHost,
    random: u64,
}

impl World {
    pub fn new() -> World {
        World {
            settings: settings(),
            now: 1_000_000,
            clients: Vec::new(),
            host: TestHost::default(),
            random: 1,
        }
    }

    pub fn connect(&mut self, direct_tls: bool) -> usize {
        self.clients.push(Client {
            conn: Connection::client(direct_tls, self.now),
            wrote: Vec::new(),
            read: 0,
            closed: false,
            wants_tls: direct_tls,
        });
        let at = self.clients.len() - 1;
        self.tick(at);
        at
    }

    /// Runs `work` on one connection and collects what comes out.
    fn with<R>(
        &mut self,
        at: usize,
        work: impl FnOnce(ConnId, &mut Connection, &mut TestHost, &mut Cx<'_>) -> R,
    ) -> R {
        let mut out = Out::default();
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| {
            for byte in bytes {
                *random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = random.to_be_bytes()[0];
            }
        };
        let mut cx = Cx { settings: &self.settings, now: self.now, random: &mut fill, out: &mut out };
        let client = &mut self.clients[at];
        let id = ConnId { slot: u32::try_from(at).unwrap(), generation: 1 };
        let result = work(id, &mut client.conn, &mut self.host, &mut cx);
        client.wrote.extend_from_slice(&out.bytes);
        assert!(out.requests.is_empty(), "requests left over: {:?}", out.requests);
        result
    }

    /// Bytes from the client.
    pub fn bytes(&mut self, at: usize, input: &[u8]) {
        if !self.clients[at].closed {
            self.with(at, |id, conn, host, cx| drive::bytes(id, conn, host, input, cx));
        }
        self.settle();
    }

    /// An event; one that does not fit goes to the detached session, as in the daemon.
    pub fn event(&mut self, at: usize, event: Event) {
        let back = self.with(at, |id, conn, host, cx| drive::event(id, conn, host, event, cx));
        if let Err(event) = back {
            self.host.missed(u32::try_from(at).unwrap(), event, &self.settings);
        }
    }

    pub fn tls(&mut self, at: usize) {
        assert!(self.clients[at].wants_tls, "the server did not ask for TLS");
        self.clients[at].wants_tls = false;
        self.event(at, Event::TlsDone(Box::new(tls_facts())));
        self.settle();
    }

    pub fn eof(&mut self, at: usize) {
        self.event(at, Event::Eof);
        self.clients[at].closed = true;
        self.settle();
    }

    pub fn wait(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let next = self.clients.iter().filter_map(|c| c.conn.deadline()).min().filter(|due| *due <= end);
            let Some(due) = next else { break };
            self.now = self.now.max(due);
            for at in 0..self.clients.len() {
                self.tick(at);
            }
        }
        self.now = end;
    }

    fn tick(&mut self, at: usize) {
        if self.clients[at].conn.deadline().is_some_and(|due| due <= self.now) {
            self.event(at, Event::Tick);
            let again = self.clients[at].conn.deadline();
            assert!(again.is_none_or(|due| due > self.now), "a deadline in the past would spin");
        }
        self.settle();
    }

    /// Carries out what the host put off, until nothing is left.
    pub fn settle(&mut self) {
        loop {
            for (at, client) in self.clients.iter_mut().enumerate() {
                let slot = u32::try_from(at).unwrap();
                client.closed |= self.host.closed.contains(&slot);
                client.wants_tls |= self.host.tls.remove(&slot);
            }
            let Some((slot, due)) = self.host.due.pop_front() else { return };
            let at = slot as usize;
            match due {
                Due::Event(event) => self.event(at, event),
                Due::Resume { account, session, secret } => {
                    if let Some(old) = self.host.attached(session) {
                        let bound = self.with(old as usize, |id, conn, host, cx| {
                            let bound = conn.take_bound(cx);
                            for request in std::mem::take(&mut cx.out.requests) {
                                godwit_session::Host::request(host, id, request, conn, cx);
                            }
                            bound
                        });
                        self.host.detached.extend(bound.map(|b| (b.id, b)));
                    }
                    let reply = self.host.resume(slot, &account, session, &secret);
                    self.event(at, reply);
                }
            }
        }
    }
}
