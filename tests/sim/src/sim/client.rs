//! A virtual client: logs in, keeps count by stream management, resumes, and sends again what has to be.
use super::coverage::Point;
use super::incoming::{Incoming, Item};
use super::ledger::Number;
use super::login::{HEADER, Login};
use super::notes::Notes;
use crate::scram::Salted;
use crate::world::DOMAIN;
use godwit_wire::Node;
use std::collections::{BTreeMap, VecDeque};

const STREAMS: &str = "http://etherx.jabber.org/streams";

/// How far it has come.
#[derive(Debug)]
pub enum Stage {
    /// No connection.
    Off,
    /// Connected, the login under way.
    Login(Login),
    /// A session is bound.
    Online,
}

/// A stanza sent and not acknowledged.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number by stream management.
    pub number: u32,
    /// The stanza.
    pub xml: String,
    /// Which message it is.
    pub message: Option<Number>,
}

/// Counts of one session.
#[derive(Debug, Default)]
pub struct Counts {
    /// Stream management is on.
    pub sm: bool,
    /// Names the session for a resumption.
    pub previd: Option<String>,
    /// Stanzas received.
    pub received: u32,
    /// The last count that was told to the server.
    pub told: u32,
    /// Stanzas sent.
    pub sent: u32,
    /// Of those, handled by the server.
    pub handled: u32,
    /// The server asked, and was not answered yet.
    pub asked: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub me: usize,
    /// Its account's number.
    pub account: usize,
    /// Its account's name.
    pub name: String,
    /// Its resource.
    pub resource: String,
    /// It uses stream management.
    pub wants_sm: bool,
    /// It uses carbons (XEP-0280).
    pub wants_copies: bool,
    /// It wants to hear what its account and its contacts publish (XEP-0163).
    pub wants_news: bool,
    /// By account, the last that it heard of.
    pub news: BTreeMap<String, u64>,
    /// How far it has come.
    pub stage: Stage,
    /// Counts of its session.
    pub counts: Counts,
    /// Sent and not acknowledged, oldest first. (Without stream management: by the answer to a ping.)
    pub queue: VecDeque<Queued>,
    /// Messages that an earlier session left unacknowledged: the next one begins with them.
    pub left: Vec<Queued>,
    /// What it has to say.
    pub out: Vec<u8>,
    /// Its session.
    pub lineage: Option<usize>,
    /// Priority of its presence, while it is available.
    pub presence: Option<i8>,
    /// Stanza id of that presence.
    pub presence_id: String,
    /// The server has taken note of it: from now on all messages come in the archive's order. (Before, those
    /// to the full JID come at once, and those that waited come when the client is available.)
    pub reading: bool,
    /// Presence was sent again after a resumption: the server may have it twice, and which of the two comes
    /// back cannot be told, so that `reading` says nothing.
    pub presence_again: bool,
    /// When it connects again.
    pub retry_at: u64,
    /// Resumed, and the replay may not be through.
    pub replaying: bool,
    /// It will not resume.
    pub(crate) gives_up: bool,
    /// The server has been restarted since the session began.
    pub over_restart: bool,
    /// Iqs that await an answer: id, and stanzas sent before.
    pub asked: BTreeMap<String, u32>,
    /// Contacts and their subscriptions, as the roster's result and pushes say.
    pub roster: Option<BTreeMap<String, String>>,
    /// The page of its archive that it waits for.
    pub query: Option<super::archive::Query>,
    /// Sessions that it knows to be available, and the id of the presence that said so last.
    pub seen: BTreeMap<String, String>,
    /// Who asks to see its presence, and was not answered yet.
    pub requests: Vec<String>,
    /// Stanza ids that it has given out.
    pub(crate) ids: u32,
    pub(crate) began: u64,
    pub(crate) incoming: Incoming,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(me: usize, account: usize, name: &str, resource: &str, wants_sm: bool) -> Client {
        Client {
            me,
            account,
            name: name.into(),
            resource: resource.into(),
            wants_sm,
            wants_copies: me.is_multiple_of(2),
            wants_news: !me.is_multiple_of(3),
            news: BTreeMap::new(),
            stage: Stage::Off,
            counts: Counts::default(),
            queue: VecDeque::new(),
            left: Vec::new(),
            out: Vec::new(),
            lineage: None,
            presence: None,
            presence_id: String::new(),
            reading: false,
            presence_again: false,
            retry_at: 0,
            replaying: false,
            gives_up: false,
            over_restart: false,
            asked: BTreeMap::new(),
            roster: None,
            query: None,
            seen: BTreeMap::new(),
            requests: Vec::new(),
            ids: 0,
            began: 0,
            incoming: Incoming::default(),
        }
    }

    /// Its full JID.
    pub fn jid(&self) -> String {
        format!("{}@{DOMAIN}/{}", self.name, self.resource)
    }

    /// Its bare JID.
    pub fn bare(&self) -> String {
        format!("{}@{DOMAIN}", self.name)
    }

    /// It may send stanzas.
    pub fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online)
    }

    /// Its connection is up: it says hello.
    pub fn connected(&mut self, notes: &Notes) {
        self.stage = Stage::Login(Login::Features);
        self.incoming = Incoming::default();
        self.began = notes.step;
        self.out = HEADER.as_bytes().to_vec();
    }

    /// The connection is over; what the client remembers of its session stays.
    pub fn disconnected(&mut self, retry_at: u64) {
        self.stage = Stage::Off;
        self.out.clear();
        self.retry_at = retry_at;
        self.replaying = false;
        if std::mem::take(&mut self.gives_up) || self.counts.previd.is_none() {
            self.forget();
        }
    }

    /// The session will not be resumed, once its connection has gone.
    pub fn give_up(&mut self) {
        if matches!(self.stage, Stage::Off) {
            self.forget();
        } else {
            self.gives_up = true;
        }
    }

    /// The session is given up: there is nothing to resume. Unacknowledged messages are sent in the next one,
    /// if the client knows which they are.
    pub fn forget(&mut self) {
        self.counts.previd = None;
        self.lineage = None;
        (self.presence, self.roster, self.reading) = (None, None, false);
        self.presence_again = false;
        self.asked.clear();
        self.query = None;
        self.seen.clear();
        self.news.clear();
        let left = self.queue.drain(..).filter(|queued| queued.message.is_some() && self.wants_sm);
        self.left.extend(left);
    }

    /// Reads what has come.
    pub fn read(&mut self, bytes: &[u8], notes: &mut Notes, salted: &mut Salted) {
        let mut input = bytes;
        while !input.is_empty() && !matches!(self.stage, Stage::Off) {
            match self.incoming.next(input) {
                Err(error) => return notes.fail(|| format!("{} cannot read: {error}", self.jid())),
                Ok((used, item)) => {
                    input = input.get(used..).unwrap_or_default();
                    match item {
                        Some(Item::Element(element)) => self.element(element.root(), notes, salted),
                        Some(Item::Open) | None => {}
                        Some(Item::Close) => return,
                    }
                }
            }
        }
    }

    fn element(&mut self, node: Node<'_>, notes: &mut Notes, salted: &mut Salted) {
        notes.say(|| format!("{} < {}", self.jid(), String::from_utf8_lossy(node.raw())));
        if node.is("error", STREAMS) {
            return self.stream_error(node, notes);
        }
        match self.stage {
            Stage::Off => {}
            Stage::Online => self.online(node, notes),
            Stage::Login(_) => self.login(node, notes, salted),
        }
    }

    fn stream_error(&mut self, node: Node<'_>, notes: &mut Notes) {
        let condition = node.children().next().map(|child| child.name().to_owned()).unwrap_or_default();
        match condition.as_str() {
            "conflict" | "system-shutdown" => {}
            "connection-timeout" if self.is_online() => notes.hit(Point::PingTimeout),
            "connection-timeout" => notes.hit(Point::LoginTimeout),
            "resource-constraint" => notes.hit(Point::Overflowed),
            _ => notes.fail(|| format!("{} got {}", self.jid(), String::from_utf8_lossy(node.raw()))),
        }
        if matches!(condition.as_str(), "conflict" | "resource-constraint") {
            self.forget();
        }
    }

    /// Something that is no stanza.
    pub(crate) fn say(&mut self, xml: &str) {
        self.out.extend_from_slice(xml.as_bytes());
    }

    /// A stanza, counted and kept until it is acknowledged.
    pub(crate) fn send(&mut self, xml: String, message: Option<Number>, notes: &mut Notes) {
        notes.say(|| format!("{} > #{} {xml}", self.jid(), self.counts.sent + 1));
        self.say(&xml);
        self.counts.sent += 1;
        if let (Some(message), Some(lineage)) = (message, self.lineage) {
            notes.ledger.messages[message].sent_in.insert(lineage);
        }
        self.queue.push_back(Queued { number: self.counts.sent, xml, message });
    }

    /// A new stanza id.
    pub(crate) fn id(&mut self) -> String {
        self.ids += 1;
        format!("i{}-{}", self.me, self.ids)
    }
}
