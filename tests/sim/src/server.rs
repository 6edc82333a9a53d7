//! One life of the daemon: hub, shards, writer, workers, and its ends of the sockets. What threads and kernel
//! do by themselves happens here when it is told to, one piece at a time; everything else is the real code.
use crate::seams::{Actor, Dice, Jobs, Mail};
use crate::socket::{Adapter, Socket};
use godwit_modules::{Completion, Hub, HubSink, Outside, Settings, ShardState};
use godwit_session::{ConnId, Connection, Cx, Event, Out, TlsFacts, TlsVersion, drive};
use godwit_store::{MemStore, Outcome, Sink, Submit};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Shards.
    pub shards: u16,
    /// The hub's settings.
    pub hub: Settings,
    /// The connections' settings; the features are the modules'.
    pub stream: godwit_session::Settings,
    /// Bytes waiting for one peer above which its machine is told that it is congested.
    pub queue_high: usize,
    /// Bytes waiting for one peer at which its connection is closed.
    pub queue_bytes_max: usize,
    /// What shards say to others goes out with each action; otherwise when [`Server::flush`] says so.
    pub prompt: bool,
}

/// A stored message of which a session said that its client has it.
#[derive(Debug, Clone)]
pub struct AckSeen {
    /// Full JID of the session.
    pub jid: Box<str>,
    /// Position.
    pub seq: u64,
    /// The client said so itself (XEP-0198); otherwise the kernel took it.
    pub sm: bool,
}

/// See the module's documentation.
pub struct Server {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The store.
    pub store: Arc<MemStore<Completion>>,
    /// Connections' settings.
    pub settings: Arc<godwit_session::Settings>,
    /// What it was started with.
    pub config: Config,
    clock: Arc<AtomicU64>,
    dice: Arc<Dice>,
    pub(crate) mail: Arc<Mail>,
    pub(crate) jobs: Arc<Jobs>,
    sink: HubSink,
    /// Committed, and not yet told to the sink.
    committed: VecDeque<(Completion, Outcome)>,
    /// Some of the round that these are of have been told.
    begun: bool,
    shards: Vec<ShardState>,
    /// Shards that have something to flush.
    dirty: Vec<bool>,
    sockets: Vec<Socket>,
    /// Pages of stored messages that sessions were given: after which position, up to which.
    pub pages: Vec<(u64, u64)>,
    /// Sessions that were resumed while they were connected, until somebody takes the count.
    pub taken_over: u64,
    /// Acknowledgements that sessions passed on to the hub, until somebody takes them.
    pub acks: Vec<AckSeen>,
}

impl Server {
    /// Starts over a store.
    pub fn start(
        store: MemStore<Completion>,
        config: Config,
        clock: Arc<AtomicU64>,
        dice: Arc<Dice>,
    ) -> Server {
        let (mail, jobs, store) =
            (Arc::new(Mail::new(config.shards)), Arc::new(Jobs::default()), Arc::new(store));
        let (time, random) = (Arc::clone(&clock), Arc::clone(&dice));
        let outside = Outside {
            store: Arc::clone(&store) as _,
            post: Arc::clone(&mail) as _,
            background: Arc::clone(&jobs) as _,
            clock: Arc::new(move || time.load(Ordering::Relaxed)),
            random: Arc::new(move |out| random.fill(out)),
        };
        let hub = Hub::new(outside, config.hub.clone());
        hub.attach(Arc::clone(&store) as Arc<dyn Submit<Completion>>);
        hub.begin(clock.load(Ordering::Relaxed));
        let features = hub.modules.stream_features().into_bytes();
        let settings = Arc::new(godwit_session::Settings { features, ..config.stream.clone() });
        let sink = HubSink::new(Arc::clone(&hub));
        let shards: Vec<ShardState> =
            (0..config.shards).map(|n| ShardState::new(Arc::clone(&hub), n, Arc::clone(&settings))).collect();
        Server {
            hub,
            store,
            settings,
            clock,
            dice,
            mail,
            jobs,
            sink,
            committed: VecDeque::new(),
            begun: false,
            dirty: vec![false; shards.len()],
            shards,
            config,
            sockets: Vec::new(),
            pages: Vec::new(),
            taken_over: 0,
            acks: Vec::new(),
        }
    }

    /// Kills it: what was not durable is gone, but for the first `rounds` that no sync has covered. A new one
    /// starts over the same store.
    pub fn crash(&self, rounds: usize) -> Server {
        let store = self.store.crash_keeping(rounds);
        Server::start(store, self.config.clone(), Arc::clone(&self.clock), Arc::clone(&self.dice))
    }

    /// Now.
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A connection is accepted, with TLS up.
    pub fn accept(&mut self, shard: usize) -> ConnId {
        let free = self.sockets.iter().position(Socket::is_free).unwrap_or(self.sockets.len());
        if free == self.sockets.len() {
            self.sockets.push(Socket::default());
        }
        let now = self.now();
        let slot = u32::try_from(free).unwrap_or(u32::MAX);
        let at = self.sockets[free].open(slot, shard, Connection::client(true, now), now);
        self.shards[shard].opened(at, std::net::Ipv4Addr::LOCALHOST.into());
        let facts = TlsFacts {
            version: TlsVersion::Tls13,
            suite: "TLS13_AES_256_GCM_SHA384",
            sni: None,
            alpn: None,
            resumed: false,
            exporter: Some([1; 32]),
            server_end_point: vec![2; 32],
        };
        self.event(at, Event::TlsDone(Box::new(facts)));
        at
    }

    /// The socket of a connection, while there is one.
    pub fn socket(&self, at: ConnId) -> Option<&Socket> {
        self.sockets.get(usize::try_from(at.slot).unwrap_or(usize::MAX)).filter(|socket| socket.is(at))
    }

    fn socket_mut(&mut self, at: ConnId) -> Option<&mut Socket> {
        self.sockets.get_mut(usize::try_from(at.slot).unwrap_or(usize::MAX)).filter(|socket| socket.is(at))
    }

    /// All open sockets.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|socket| !socket.is_free())
    }

    /// Bytes from the peer.
    pub fn input(&mut self, at: ConnId, bytes: &[u8]) {
        if self.socket(at).is_none_or(|socket| socket.closing) {
            return;
        }
        self.drive(at, |at, conn, host, cx| drive::bytes(at, conn, host, bytes, cx));
    }

    /// The peer is gone, or the connection has broken.
    pub fn gone(&mut self, at: ConnId) {
        self.event(at, Event::Eof);
        if let Some(socket) = self.socket_mut(at) {
            let shard = socket.shard;
            socket.close();
            self.shards[shard].closed(at);
        }
    }

    /// The kernel takes at most `max` bytes of what waits for the peer.
    pub fn take(&mut self, at: ConnId, max: usize) -> Vec<u8> {
        let Some(socket) = self.socket_mut(at) else { return Vec::new() };
        let count = socket.out.len().min(max);
        let taken: Vec<u8> = socket.out.drain(..count).collect();
        if !socket.out.is_empty() {
            return taken;
        }
        if std::mem::take(&mut socket.wrote) {
            socket.congested = false;
            self.event(at, Event::Drained);
        }
        if self.socket(at).is_some_and(|socket| socket.closing && socket.out.is_empty()) {
            self.gone(at);
        }
        taken
    }

    fn event(&mut self, at: ConnId, event: Event) -> Option<Event> {
        if self.socket(at).is_none() {
            return Some(event);
        }
        self.drive(at, |at, conn, host, cx| drive::event(at, conn, host, event, cx).err()).flatten()
    }

    /// Lets a machine act, and does what it asked of its socket.
    fn drive<R>(
        &mut self,
        at: ConnId,
        work: impl FnOnce(ConnId, &mut Connection, &mut Adapter<'_>, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let now = self.now();
        let slot = usize::try_from(at.slot).ok()?;
        let socket = self.sockets.get_mut(slot).filter(|socket| socket.is(at))?;
        let mut conn = socket.conn.take()?;
        let shard = socket.shard;
        let mut out = Out { bytes: std::mem::take(&mut socket.out), ..Out::default() };
        let before = out.bytes.len();
        let dice = Arc::clone(&self.dice);
        let mut random = |bytes: &mut [u8]| dice.fill(bytes);
        let mut cx = Cx { settings: &self.settings, now, random: &mut random, out: &mut out };
        let mut host = Adapter { shard: &mut self.shards[shard], close: false, acks: &mut self.acks };
        let result = work(at, &mut conn, &mut host, &mut cx);
        let close = host.close;
        let socket = &mut self.sockets[slot];
        socket.wrote |= out.bytes.len() > before;
        socket.out = out.bytes;
        socket.conn = Some(conn);
        socket.closing |= close;
        let waiting = socket.out.len();
        let congested = waiting > self.config.queue_high && !socket.congested;
        socket.congested |= congested;
        self.touched(shard);
        if waiting > self.config.queue_bytes_max {
            self.gone(at);
        } else if congested {
            self.event(at, Event::Congested);
        } else if close && waiting == 0 {
            self.gone(at);
        }
        Some(result)
    }

    fn touched(&mut self, shard: usize) {
        self.dirty[shard] = true;
        if self.config.prompt {
            self.shards[shard].flush();
            self.dirty[shard] = false;
        }
    }

    /// True if a shard has something to flush.
    pub fn is_dirty(&self, shard: usize) -> bool {
        self.dirty[shard]
    }

    /// The end of a shard's turn: what it has for others is on its way.
    pub fn flush(&mut self, shard: usize) {
        let state = &mut self.shards[shard];
        self.mail.delayed(Actor::Shard(shard), || state.flush());
        self.dirty[shard] = false;
    }

    /// A shard takes its next note. False if there is none.
    pub fn note(&mut self, shard: usize) -> bool {
        let Some(note) = self.mail.take(shard) else { return false };
        let now = self.now();
        if let Some((at, event)) = self.shards[shard].note(note, now) {
            self.noted(shard, at, event, now);
        }
        self.touched(shard);
        true
    }

    fn noted(&mut self, shard: usize, at: ConnId, event: Event, now: u64) {
        if self.socket(at).is_none_or(|socket| socket.shard != shard) {
            return self.shards[shard].missed(at, event, now);
        }
        if let Event::Feed(page) = &event
            && !page.replay
        {
            self.pages.push((page.after, page.upto));
        }
        if matches!(event, Event::TakeOver) {
            let was = self.socket(at).and_then(|socket| socket.conn.as_ref()?.bound()).is_some();
            self.taken_over += u64::from(was);
            self.drive(at, |at, conn, host, cx| {
                host.shard.take_over(at, conn, cx);
                for request in std::mem::take(&mut cx.out.requests) {
                    godwit_session::Host::request(host, at, request, conn, cx);
                }
            });
        } else if let Some(event) = self.event(at, event) {
            self.shards[shard].missed(at, event, now);
        }
    }

    /// A worker runs the next job; what it posts goes out at once, or waits in its lane. False if there is
    /// none.
    pub fn job(&mut self, worker: usize) -> bool {
        let Some(job) = self.jobs.take() else { return false };
        if self.config.prompt {
            job()
        } else {
            self.mail.delayed(Actor::Worker(worker), job)
        }
        true
    }

    /// The writer commits at most `max` transactions as one round; nobody is told yet. Returns how many.
    pub fn commit(&mut self, max: usize) -> usize {
        let round = self.store.commit_of(max, self.now());
        let count = round.len();
        self.committed.extend(round);
        self.begun = false;
        count
    }

    /// Some transactions of the round have been completed, others have not.
    pub fn is_round_begun(&self) -> bool {
        self.begun
    }

    /// Transactions committed and not yet told to anybody.
    pub fn uncompleted(&self) -> usize {
        self.committed.len()
    }

    /// The writer completes the next `count` transactions of its round.
    pub fn complete(&mut self, count: usize) {
        let mut round: Vec<_> = self.committed.drain(..count.min(self.committed.len())).collect();
        self.begun = true;
        let sink = &mut self.sink;
        if self.config.prompt {
            sink.committed(&mut round);
        } else {
            self.mail.delayed(Actor::Writer, || sink.committed(&mut round));
        }
    }

    /// One move, whichever there is: a note, or else a job, or else a commit round. False if there is none.
    pub fn step(&mut self) -> bool {
        (0..self.shards.len()).any(|shard| self.note(shard)) || self.job(0) || {
            let count = self.commit(usize::MAX);
            self.complete(count);
            count > 0
        }
    }

    /// Ticks a machine whose deadline has come. False if it has not.
    pub fn tick(&mut self, at: ConnId) -> bool {
        let now = self.now();
        let due = |socket: &Socket| socket.deadline().is_some_and(|due| due <= now);
        let is_due = self.socket(at).is_some_and(due);
        if is_due {
            self.event(at, Event::Tick);
        }
        is_due
    }

    /// Ticks a shard whose deadline has come. False if it has not.
    pub fn tick_shard(&mut self, shard: usize) -> bool {
        let now = self.now();
        let is_due = self.shards[shard].deadline().is_some_and(|due| due <= now);
        if is_due {
            self.shards[shard].tick(now);
            self.touched(shard);
        }
        is_due
    }

    /// When a shard wants its next tick.
    pub fn shard_deadline(&self, shard: usize) -> Option<u64> {
        self.shards[shard].deadline()
    }
}
