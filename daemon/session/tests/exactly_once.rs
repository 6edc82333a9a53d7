//! A session under stream management against a model of its client and its archive: whatever happens in
//! whatever order, each stanza reaches the client once, and each stanza of the client is handled once.
#![allow(clippy::unwrap_used)]

mod support;

use godwit_session::{
    Account, Bound, ConnId, Connection, Cx, Event, FeedPage, FeedRow, Host, Millis, Out, Outgoing, Reply,
    Request, SessionId, Settings, Stored, drive,
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
    Handled,
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
        2 => Just(Op::Handled), 1 => Just(Op::ClientAsks), 4 => (1u8..6).prop_map(Op::ClientReads),
        2 => Just(Op::ClientAcks), 1 => Just(Op::Congested), 2 => Just(Op::Drained), 4 => Just(Op::Answer),
        1 => Just(Op::Break), 2 => Just(Op::Resume), 1 => Just(Op::FeedStop), 1 => Just(Op::FeedStart),
        1 => (1u16..30_000).prop_map(Op::Wait),
    ]
}

/// Notes what is asked; answers nothing.
#[derive(Default)]
struct Notes {
    asked: VecDeque<Request>,
    with_host: u32,
    detached: Option<Box<Bound>>,
    acked: Vec<u64>,
    closed: bool,
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
            Request::Resume { secret, .. } => {
                let bound = self.detached.take().unwrap();
                assert_eq!(bound.sm.as_ref().map(|sm| sm.secret), Some(secret));
                conn.event(Event::Reply(Box::new(Reply::Resumed(Ok(bound)))), cx).unwrap();
            }
            Request::Stanza(_) => self.with_host += 1,
            Request::Acked(seqs) => self.acked.extend(seqs),
            Request::Detach { bound, .. } => self.detached = Some(bound),
            Request::End { reason, .. } => panic!("the session ended: {reason}"),
            Request::Close => self.closed = true,
            request @ (Request::Fetch { .. } | Request::Replay(_)) => self.asked.push_back(request),
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
        };
        model.login();
        model.bytes("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        model.bytes(&format!("<enable xmlns='{SM}' resume='true'/>"));
        let text = String::from_utf8(std::mem::take(&mut model.wire)).unwrap();
        model.id = text.split_once("<enabled").unwrap().1.split('\'').nth(3).unwrap().to_owned();
        model.event(Event::FeedFrom(0));
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
            let stored = Some(Stored { seq: self.posted, prev: self.posted - 1, again: false });
            let bytes = message(self.posted).into();
            self.event(Event::Deliver(Outgoing { bytes, extra: Box::default(), stored }));
        }
    }

    fn answer(&mut self) {
        let row = |seq: u64| FeedRow { seq, bytes: message(seq).into() };
        let page = match self.host.asked.pop_front() {
            Some(Request::Fetch { after, rows_max }) => {
                let upto = self.posted.min(after + u64::from(rows_max.min(3)));
                let rows = (after + 1..=upto).map(row).collect();
                FeedPage { after, rows, upto, end: upto == self.posted, replay: false, failed: false }
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
                assert_eq!(h, self.sent_before, "the client would send again what was handled");
            } else {
                assert!(tag.starts_with("<r "), "{text}");
            }
        }
        self.wire = rest.as_bytes().to_vec();
    }

    fn client_acks(&mut self) {
        if self.host.detached.is_none() {
            self.bytes(&format!("<a xmlns='{SM}' h='{}'/>", self.read));
        }
    }

    fn resume(&mut self) {
        if self.host.detached.is_none() {
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
                self.event(Event::Deliver(Outgoing { bytes, extra: Box::default(), stored: None }));
            }
            Op::ClientSends if self.host.detached.is_none() => {
                self.sent += 1;
                self.bytes("<message to='bob@example.org'/>");
            }
            Op::Handled if self.host.with_host > 0 => {
                self.host.with_host -= 1;
                self.event(Event::Handled(1));
            }
            Op::ClientAsks if self.host.detached.is_none() => self.bytes(&format!("<r xmlns='{SM}'/>")),
            Op::ClientReads(most) => self.client_reads(most.into()),
            Op::ClientAcks => self.client_acks(),
            Op::Congested => self.event(Event::Congested),
            Op::Drained => self.event(Event::Drained),
            Op::Answer => self.answer(),
            Op::Break if self.host.detached.is_none() => {
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
                self.event(Event::FeedStop);
            }
            Op::FeedStart => self.event(Event::FeedFrom(0)),
            Op::Wait(ms) => self.now += u64::from(ms),
            _ => {}
        }
        self.check();
    }

    fn check(&self) {
        let Some(bound) = self.conn.bound().or(self.host.detached.as_deref()) else { panic!("no session") };
        assert!(bound.handled <= bound.received && bound.received - bound.handled == self.host.with_host);
        let inline: usize = bound
            .unacked
            .iter()
            .map(|u| if let godwit_session::Unacked::Inline(b) = u { b.len() } else { 0 })
            .sum();
        assert_eq!(bound.unacked_bytes as usize, inline);
        assert!(self.confirmed <= bound.handled, "confirmed before it was handled");
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
                self.apply(Op::Handled);
            }
            self.apply(Op::Answer);
            self.client_reads(usize::MAX);
            self.client_acks();
        }
        assert!(self.host.asked.is_empty(), "still asking: {:?}", self.host.asked);
        self.apply(Op::ClientAsks);
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
        prop_assert_eq!(&model.got_inline, &(1..=model.inline).collect::<Vec<_>>());
        prop_assert_eq!(model.confirmed, model.sent);
        let mut acked = model.host.acked.clone();
        acked.sort_unstable();
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
