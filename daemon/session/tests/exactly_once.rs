//! A session under stream management against a model of its client and its archive: whatever happens in
//! whatever order, each stanza reaches the client once, and each stanza of the client is handled once. Also
//! if the daemon dies in between: then from what was durable, and only presence may be lost.
#![allow(clippy::unwrap_used)]

mod support;

use godwit_session::{
    Account, Bound, ConnId, Connection, Cx, Event, FeedMode, FeedPage, FeedRow, Host, Ledger, Millis, Out,
    Outgoing, Positions, Record, Reply, Request, SessionId, Settings, Sm, Stored, Unacked, drive,
};
use godwit_wire::Jid;
use proptest::prelude::*;
use std::collections::VecDeque;

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Op {
    Post,
    PostUnheard,
    Inline,
    ClientSends,
    Handled { durably: bool },
    Written { fails: bool },
    Crash { written: bool },
    ClientAsks,
    ClientReads(u8),
    ClientAcks,
    Congested,
    Drained,
    Answer,
    Break,
    Resume,
    FeedStop,
    FeedStart,
    Wait(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Post), 1 => Just(Op::PostUnheard), 2 => Just(Op::Inline), 2 => Just(Op::ClientSends),
        2 => any::<bool>().prop_map(|durably| Op::Handled { durably }),
        4 => prop::bool::weighted(0.1).prop_map(|fails| Op::Written { fails }),
        1 => any::<bool>().prop_map(|written| Op::Crash { written }), 1 => Just(Op::ClientAsks),
        4 => (1u8..6).prop_map(Op::ClientReads),
        2 => Just(Op::ClientAcks), 1 => Just(Op::Congested), 2 => Just(Op::Drained), 4 => Just(Op::Answer),
        1 => Just(Op::Break), 2 => Just(Op::Resume), 1 => Just(Op::FeedStop), 1 => Just(Op::FeedStart),
        1 => (1u16..30_000).prop_map(Op::Wait),
    ]
}

/// Notes what is asked; answers nothing.
#[derive(Default)]
struct Notes {
    asked: VecDeque<Request>,
    /// Records and counts on their way to the store, in order.
    writes: VecDeque<Request>,
    with_host: u32,
    detached: Option<Box<Bound>>,
    acked: Vec<u64>,
    closed: bool,
    /// What is durable.
    stored: Durable,
    /// The daemon died: what the session is made of at its resumption.
    dead: Option<Durable>,
}

/// What the store has of the session.
#[derive(Debug, Clone, Default)]
struct Durable {
    record: Record,
    h: u32,
    /// Positions committed.
    posted: u64,
    /// The last record could not be written: the store says so, and nobody resumes from the one before.
    void: bool,
}

impl Durable {
    fn write(&mut self, write: Request, fails: bool) -> Event {
        match write {
            Request::Record(record) => {
                if !fails {
                    self.record = *record;
                }
                self.void = fails;
                Event::Recorded(!fails)
            }
            Request::Persist(h) => {
                if !fails {
                    self.h = self.h.max(h);
                }
                Event::Persisted { h, durable: !fails }
            }
            _ => unreachable!(),
        }
    }

    fn revive(self, secret: [u8; 16], h: u32, acked: &mut Vec<u64>) -> Box<Bound> {
        let record = &self.record;
        let regular = (record.last.max(record.new_after) + 1..=self.posted)
            .filter(|seq| record.reads && !record.ahead.contains(seq));
        let at = record.continue_at(h, regular.take(record.reaches(h) as usize));
        assert_eq!((at.acked, at.lost), (h, 0), "{record:?}");
        acked.extend(at.has);
        let mut bound = Bound::new(SessionId(1), 1, Jid::parse("alice@example.org/r").unwrap());
        (bound.received, bound.handled) = (self.h, self.h);
        bound.feed.last = at.last;
        bound.feed.new_after = record.new_after;
        if record.reads {
            bound.feed.mode = FeedMode::CatchUp { head: 0, fetching: false };
        }
        bound.ahead = (!record.ahead.is_empty())
            .then(|| Box::new(Positions { list: record.ahead.iter().copied().collect() }));
        bound.unacked = at.again.into_iter().map(Unacked::Stored).collect();
        let ledger = Some(Ledger::new(0, self.h));
        bound.sm = Some(Box::new(Sm::new(secret, true, 300, at.acked, ledger)));
        Box::new(bound)
    }
}

impl Host for Notes {
    fn request(&mut self, _: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        match request {
            Request::VerifyPlain { user, .. } => {
                let account = Some(Account { jid: user, owner: 1 });
                conn.event(Event::Reply(Box::new(Reply::Plain(account))), cx).unwrap();
            }
            Request::Bind { account, .. } => {
                let jid = account.jid.with_resource("r").unwrap();
                let bound = Box::new(Bound::new(SessionId(1), 1, jid));
                conn.event(Event::Reply(Box::new(Reply::Bound(Ok(bound)))), cx).unwrap();
            }
            Request::Resume { secret, h, .. } => {
                let bound = match self.dead.take() {
                    Some(stored) => stored.revive(secret, h, &mut self.acked),
                    None => self.detached.take().unwrap(),
                };
                assert_eq!(bound.sm.as_ref().map(|sm| sm.secret), Some(secret));
                conn.event(Event::Reply(Box::new(Reply::Resumed(Ok(bound)))), cx).unwrap();
            }
            Request::Stanza(_) => self.with_host += 1,
            Request::Acked(seqs) => self.acked.extend(seqs),
            Request::Detach { bound, .. } => self.detached = Some(bound),
            Request::End { reason, .. } => panic!("the session ended: {reason}"),
            Request::Close => self.closed = true,
            request @ (Request::Fetch { .. } | Request::Replay(_)) => self.asked.push_back(request),
            request @ (Request::Record(_) | Request::Persist(_)) => self.writes.push_back(request),
            _ => {}
        }
    }
}

struct Model {
    settings: Settings,
    now: Millis,
    conn: Connection,
    host: Notes,
    /// Written by the server, not yet read by the client.
    wire: Vec<u8>,
    /// Posted so far; positions are 1, 2, 3, …
    posted: u64,
    inline: u64,
    /// Read by the client, in order: positions, and numbers of inline stanzas.
    got: Vec<u64>,
    got_inline: Vec<u64>,
    /// Stanzas read since `<enabled/>`, and sent: the client's two counters.
    read: u32,
    sent: u32,
    /// `sent` at the last resumption.
    sent_before: u32,
    /// The newest `h` of the server.
    confirmed: u32,
    id: String,
    stopped: bool,
    crashed: bool,
    write_failed: bool,
}

const SM: &str = "urn:xmpp:sm:3";

impl Model {
    fn new() -> Model {
        let settings =
            Settings { unacked_max: 7, request_ack_every: 3, inflight_max: 4, ..support::settings() };
        let mut model = Model {
            settings,
            now: 1_000,
            conn: Connection::client(true, 1_000),
            host: Notes::default(),
            wire: Vec::new(),
            posted: 0,
            inline: 0,
            got: Vec::new(),
            got_inline: Vec::new(),
            read: 0,
            sent: 0,
            sent_before: 0,
            confirmed: 0,
            id: String::new(),
            stopped: false,
            crashed: false,
            write_failed: false,
        };
        model.login();
        model.bytes("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        model.bytes(&format!("<enable xmlns='{SM}' resume='true'/>"));
        let text = String::from_utf8(std::mem::take(&mut model.wire)).unwrap();
        model.id = text.split_once("<enabled").unwrap().1.split('\'').nth(3).unwrap().to_owned();
        model.apply(Op::Written { fails: false });
        model.event(Event::FeedFrom { after: 0, new_after: 0, number: None });
        model.apply(Op::Written { fails: false });
        model
    }

    fn login(&mut self) {
        let open = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                    to='example.org' version='1.0'>";
        self.event(Event::TlsDone(Box::new(support::tls_facts())));
        self.bytes(open);
        self.bytes(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>",
        );
        self.bytes(open);
    }

    fn with<R>(&mut self, work: impl FnOnce(&mut Connection, &mut Notes, &mut Cx<'_>) -> R) -> R {
        let mut out = Out::default();
        let mut random = |bytes: &mut [u8]| bytes.fill(7);
        let mut cx = Cx { settings: &self.settings, now: self.now, random: &mut random, out: &mut out };
        let result = work(&mut self.conn, &mut self.host, &mut cx);
        self.wire.extend_from_slice(&out.bytes);
        result
    }

    fn bytes(&mut self, text: &str) {
        self.with(|conn, host, cx| drive::bytes(ConnId::default(), conn, host, text.as_bytes(), cx));
    }

    /// An event for the session, wherever it is.
    fn event(&mut self, event: Event) {
        let back = self.with(|conn, host, cx| drive::event(ConnId::default(), conn, host, event, cx));
        if let (Err(event), Some(bound)) = (back, &mut self.host.detached) {
            assert_eq!(bound.deliver_detached(event, &self.settings), godwit_session::Detached::Kept);
        }
    }

    fn post(&mut self, heard: bool) {
        self.posted += 1;
        if heard {
            let stored = Some(Stored {
                seq: self.posted,
                prev: self.posted - 1,
                again: false,
                regular: true,
                received: None,
            });
            let bytes = message(self.posted).into();
            self.event(Event::Deliver(Outgoing { bytes, extra: Box::default(), stored, number: None }));
        }
    }

    fn answer(&mut self) {
        let row = |seq: u64| FeedRow { seq, bytes: message(seq).into(), regular: true };
        let page = match self.host.asked.pop_front() {
            Some(Request::Fetch { after, rows_max, fetch }) => {
                let upto = self.posted.min(after + u64::from(rows_max.min(3)));
                let rows = (after + 1..=upto).map(row).collect();
                let end = upto == self.posted;
                FeedPage { after, fetch, rows, upto, end, replay: false, failed: false }
            }
            Some(Request::Replay(seqs)) => {
                FeedPage { rows: seqs.into_iter().map(row).collect(), replay: true, ..FeedPage::default() }
            }
            _ => return,
        };
        self.event(Event::Feed(Box::new(page)));
    }

    /// The client reads elements, at most so many.
    fn client_reads(&mut self, most: usize) {
        let text = String::from_utf8(std::mem::take(&mut self.wire)).unwrap();
        let mut rest = text.as_str();
        for _ in 0..most {
            let Some(end) = rest.find('>') else { break };
            let (tag, after) = rest.split_at(end + 1);
            let number = tag.split('\'').nth(1).and_then(|n| n.parse().ok());
            rest = after;
            if tag.starts_with("<message") {
                self.got.push(number.unwrap());
                rest = rest.strip_prefix("</message>").unwrap();
                self.read += 1;
            } else if tag.starts_with("<presence") {
                self.got_inline.push(number.unwrap());
                rest = rest.strip_prefix("</presence>").unwrap();
                self.read += 1;
            } else if tag.starts_with("<a ") {
                self.confirmed = tag.split('\'').nth(3).unwrap().parse().unwrap();
            } else if tag.starts_with("<resumed") {
                let h: u32 = tag.split('\'').nth(5).unwrap().parse().unwrap();
                if self.write_failed {
                    // What changed nothing in the store may be sent again.
                    assert!(self.confirmed <= h && h <= self.sent_before);
                    self.sent -= self.sent_before - h;
                } else {
                    assert_eq!(h, self.sent_before, "the client would send again what was handled");
                }
            } else {
                assert!(tag.starts_with("<r "), "{text}");
            }
        }
        self.wire = rest.as_bytes().to_vec();
    }

    fn client_acks(&mut self) {
        if self.connected() {
            self.bytes(&format!("<a xmlns='{SM}' h='{}'/>", self.read));
        }
    }

    fn resume(&mut self) {
        if self.connected() {
            return;
        }
        self.conn = Connection::client(true, self.now);
        self.host.closed = false;
        self.login();
        self.wire.clear();
        self.sent_before = self.sent;
        self.bytes(&format!("<resume xmlns='{SM}' previd='{}' h='{}'/>", self.id, self.read));
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Post => self.post(true),
            Op::PostUnheard => self.post(false),
            Op::Inline => {
                self.inline += 1;
                let bytes = format!("<presence id='{}'></presence>", self.inline).into_bytes().into();
                self.event(Event::Deliver(Outgoing {
                    bytes,
                    extra: Box::default(),
                    stored: None,
                    number: None,
                }));
            }
            Op::ClientSends if self.connected() => {
                self.sent += 1;
                self.bytes("<message to='bob@example.org'/>");
            }
            Op::Handled { durably } if self.host.with_host > 0 => {
                self.host.with_host -= 1;
                let handled = self.bound().map(|bound| bound.handled + 1);
                match handled.filter(|_| durably) {
                    Some(h) => {
                        self.host.stored.h = self.host.stored.h.max(h);
                        self.event(Event::HandledDurably(h));
                    }
                    None => self.event(Event::Handled(1)),
                }
            }
            Op::Written { fails } => {
                self.write_failed |= fails;
                if let Some(write) = self.host.writes.pop_front() {
                    let event = self.host.stored.write(write, fails);
                    self.event(event);
                }
            }
            Op::Crash { written } => self.crash(written),
            Op::ClientAsks if self.connected() => self.bytes(&format!("<r xmlns='{SM}'/>")),
            Op::ClientReads(most) => self.client_reads(most.into()),
            Op::ClientAcks => self.client_acks(),
            Op::Congested => self.event(Event::Congested),
            Op::Drained => self.event(Event::Drained),
            Op::Answer => self.answer(),
            Op::Break if self.connected() => {
                self.event(Event::Eof);
                self.wire.clear();
                self.host.asked.clear();
                // What the server had not read of the client is lost: the client will send it again. Here it
                // has read all of it but for what waits unread in the paused connection.
                self.sent = self.host.detached.as_ref().unwrap().received;
            }
            Op::Resume => self.resume(),
            Op::FeedStop => {
                self.stopped = true;
                self.event(Event::FeedStop { number: None });
            }
            Op::FeedStart => self.event(Event::FeedFrom { after: 0, new_after: 0, number: None }),
            Op::Wait(ms) => self.now += u64::from(ms),
            _ => {}
        }
        self.check();
    }

    fn connected(&self) -> bool {
        self.host.detached.is_none() && self.host.dead.is_none()
    }

    fn bound(&self) -> Option<&Bound> {
        self.conn.bound().or(self.host.detached.as_deref())
    }

    /// The daemon dies; with `written` after what it had asked the store to write was written.
    fn crash(&mut self, written: bool) {
        let records = self.host.writes.iter().any(|write| matches!(write, Request::Record(_)));
        if self.host.dead.is_some() || (self.host.stored.void && !(records && written)) {
            return;
        }
        while let Some(write) = self.host.writes.pop_front() {
            if written {
                self.host.stored.write(write, false);
            }
        }
        self.host.stored.posted = self.posted;
        self.host.dead = Some(self.host.stored.clone());
        self.host.detached = None;
        self.conn = Connection::client(true, self.now);
        self.wire.clear();
        self.host.asked.clear();
        self.host.with_host = 0;
        self.crashed = true;
        self.sent = self.host.stored.h;
        assert!(self.confirmed <= self.host.stored.h, "confirmed before it was durable");
    }

    fn check(&self) {
        let Some(bound) = self.bound() else {
            assert!(self.host.dead.is_some(), "no session");
            return;
        };
        assert!(bound.handled <= bound.received && bound.received - bound.handled == self.host.with_host);
        let inline: usize = bound
            .unacked
            .iter()
            .map(|u| if let godwit_session::Unacked::Inline(b) = u { b.len() } else { 0 })
            .sum();
        assert_eq!(bound.unacked_bytes as usize, inline);
        assert!(self.confirmed <= bound.handled, "confirmed before it was handled");
        assert!(self.confirmed <= self.host.stored.h, "confirmed before it was durable");
        assert!(bound.feed.last <= self.posted);
        for seq in &self.host.acked {
            assert!(self.got.contains(seq), "{seq} is reported as acknowledged, but the client never had it");
        }
    }

    /// Lets everything under way come to its end.
    fn settle(&mut self) {
        self.apply(Op::Resume);
        self.apply(Op::FeedStart);
        self.post(true);
        for _ in 0..2_000 {
            self.apply(Op::Drained);
            while self.host.with_host > 0 {
                self.apply(Op::Handled { durably: true });
            }
            self.apply(Op::Written { fails: false });
            self.apply(Op::Answer);
            self.client_reads(usize::MAX);
            self.client_acks();
        }
        assert!(self.host.asked.is_empty(), "still asking: {:?}", self.host.asked);
        self.apply(Op::ClientAsks);
        self.apply(Op::Written { fails: false });
        self.client_reads(usize::MAX);
        self.check();
    }
}

fn message(seq: u64) -> Vec<u8> {
    format!("<message id='{seq}'></message>").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_stanza_reaches_the_client_once(ops in prop::collection::vec(op(), 1..150)) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
        }
        model.settle();
        let mut got = model.got.clone();
        if !model.stopped {
            prop_assert!(got.is_sorted(), "out of order: {:?}", got);
        }
        got.sort_unstable();
        prop_assert_eq!(got, (1..=model.posted).collect::<Vec<_>>());
        prop_assert!(model.got_inline.is_sorted());
        model.got_inline.dedup();
        if !model.crashed {
            prop_assert_eq!(&model.got_inline, &(1..=model.inline).collect::<Vec<_>>());
        }
        prop_assert_eq!(model.confirmed, model.sent);
        let mut acked = model.host.acked.clone();
        acked.sort_unstable();
        if model.crashed {
            acked.dedup(); // told again after the resumption
        }
        prop_assert_eq!(acked, (1..=model.posted).collect::<Vec<_>>());
        let bound = model.conn.bound().unwrap();
        prop_assert!(bound.unacked.is_empty() && bound.ahead.is_none());
    }
}

#[test]
fn an_idle_session_is_small() {
    let mut model = Model::new();
    model.post(true);
    for _ in 0..3 {
        model.answer();
        model.client_reads(usize::MAX);
        model.client_acks();
    }
    let jid = Jid::parse("alice@example.org/r").unwrap();
    assert_eq!(model.conn.bound().map(|b| &b.jid), Some(&jid));
    let bytes = model.conn.memory();
    println!(
        "idle bound connection with stream management: {bytes} bytes, of them Connection {}, Bound {}",
        size_of::<Connection>(),
        size_of::<Bound>(),
    );
    assert!(bytes <= 400, "{bytes} bytes");
}
