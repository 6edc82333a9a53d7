//! A client's way from an open connection to a session, new or resumed.
use super::client::{Client, Counts, Queued, Stage};
use super::coverage::Point;
use super::notes::Notes;
use crate::scram::{Salted, Scram};
use crate::world::PASSWORD;
use godwit_wire::Node;

pub(crate) const HEADER: &str = "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
                                 xmlns:stream='http://etherx.jabber.org/streams'>";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(crate) const SM: &str = "urn:xmpp:sm:3";

/// What is expected next of a login.
#[derive(Debug)]
pub enum Login {
    /// The first features.
    Features,
    /// The server's first message.
    Challenge(Scram),
    /// Its verdict.
    Success,
    /// The features after that.
    Again,
    /// The answer to `<resume/>`.
    Resumed,
    /// The answer to the bind request.
    Bound,
    /// The answer to `<enable/>`.
    Enabled,
}

impl Client {
    /// An element while the login is under way.
    pub(crate) fn login(&mut self, node: Node<'_>, notes: &mut Notes, salted: &mut Salted) {
        let Stage::Login(login) = &self.stage else { return };
        match (login, node.name()) {
            (Login::Features, "features") => self.authenticate(notes),
            (Login::Challenge(scram), "challenge") => match scram.answer(&node.text(), PASSWORD, salted) {
                Some(answer) => {
                    self.say(&format!("<response xmlns='{SASL}'>{answer}</response>"));
                    self.stage = Stage::Login(Login::Success);
                }
                None => notes.fail(|| "a challenge that is none".into()),
            },
            (Login::Success, "success") => {
                self.incoming.restart();
                self.say(HEADER);
                self.stage = Stage::Login(Login::Again);
            }
            (Login::Again, "features") => self.resume_or_bind(notes),
            (Login::Resumed, "resumed") => self.resumed(node, notes),
            (Login::Resumed, "failed") => self.not_resumed(node, notes),
            (Login::Bound, "iq") => self.bound(node, notes),
            (Login::Enabled, "enabled") => {
                // Counted is what comes after this, and what was sent after the request.
                (self.counts.sm, self.counts.received) = (true, 0);
                self.counts.previd = node.attr("id").map(str::to_owned);
                self.begin(notes);
            }
            (Login::Enabled, "message" | "presence" | "iq") => self.stanza(node, notes),
            (_, name) => notes.fail(|| format!("{} got <{name}/> in its login", self.jid())),
        }
    }

    fn authenticate(&mut self, notes: &Notes) {
        let scram = Scram::new(&self.name, notes.step);
        let first = scram.first();
        self.say(&format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>"));
        self.stage = Stage::Login(Login::Challenge(scram));
    }

    fn resume_or_bind(&mut self, notes: &mut Notes) {
        let Some(previd) = self.counts.previd.clone() else { return self.bind() };
        let h = self.counts.received;
        // With this the client has said what it has, whatever comes of it.
        self.counts.told = h;
        if let Some(lineage) = self.lineage {
            notes.ledger.client_acks(lineage, h);
        }
        self.say(&format!("<resume xmlns='{SM}' previd='{previd}' h='{h}'/>"));
        self.stage = Stage::Login(Login::Resumed);
    }

    fn bind(&mut self) {
        let resource = self.resource.clone();
        self.say(&format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ));
        self.stage = Stage::Login(Login::Bound);
    }

    /// What the server says it has handled is done; the rest is sent again, in the same session.
    fn resumed(&mut self, node: Node<'_>, notes: &mut Notes) {
        notes.hit(Point::Resumed);
        if self.over_restart {
            notes.hit(Point::ResumedAfterCrash);
            self.over_restart = false;
        }
        self.handled(node, notes);
        self.stage = Stage::Online;
        self.replaying = true;
        if !self.queue.is_empty() {
            notes.hit(Point::ResentAfterResume);
            notes.ledger.signals_late(self.me);
            self.query_again();
            self.presence_again |= self.queue.iter().any(|queued| queued.xml.starts_with("<presence id="));
        }
        let again: Vec<u8> = self.queue.iter().flat_map(|queued| queued.xml.bytes()).collect();
        notes.say(|| format!("{} > again: {}", self.jid(), String::from_utf8_lossy(&again)));
        self.out.extend_from_slice(&again);
        self.say(&format!("<r xmlns='{SM}'/>"));
    }

    fn not_resumed(&mut self, node: Node<'_>, notes: &mut Notes) {
        notes.hit(Point::ResumeFailed);
        if node.attr("h").is_some() {
            self.handled(node, notes);
        }
        self.forget();
        self.bind();
    }

    fn bound(&mut self, node: Node<'_>, notes: &mut Notes) {
        if node.attr("type") != Some("result") {
            return notes.fail(|| format!("{} could not bind", self.jid()));
        }
        self.counts = Counts::default();
        self.over_restart = false;
        self.lineage = Some(notes.ledger.lineage(self.me, self.account, self.began));
        if self.wants_sm {
            self.say(&format!("<enable xmlns='{SM}' resume='true'/>"));
            self.stage = Stage::Login(Login::Enabled);
        } else {
            self.begin(notes);
        }
    }

    /// The first words of a new session: presence, roster, and what the old one left unacknowledged.
    fn begin(&mut self, notes: &mut Notes) {
        self.stage = Stage::Online;
        let left = std::mem::take(&mut self.left);
        self.get_roster(notes);
        if self.wants_copies {
            self.ask("set", "<enable xmlns='urn:xmpp:carbons:2'/>", notes);
        }
        self.available(0, notes);
        if !left.is_empty() {
            notes.hit(Point::ResentAfterBind);
        }
        for Queued { xml, message, .. } in left {
            self.send(xml, message, notes);
        }
    }
}
