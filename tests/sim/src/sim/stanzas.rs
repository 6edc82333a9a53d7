//! Stanzas of a client that is online: what it does with those that come, and those it can send.
use super::client::Client;
use super::coverage::Point;
use super::ledger::Number;
use super::login::SM;
use super::notes::Notes;
use crate::world::DOMAIN;
use godwit_wire::Node;
use std::collections::BTreeMap;

const ROSTER: &str = "jabber:iq:roster";
const CLIENT: &str = "jabber:client";
const CARBONS: &str = "urn:xmpp:carbons:2";
const FORWARD: &str = "urn:xmpp:forward:0";
const STANZA_IDS: &str = "urn:xmpp:sid:0";

/// Which message it is.
pub(crate) fn number(node: Node<'_>) -> Option<Number> {
    node.attr("id")?.strip_prefix('m')?.parse().ok()
}

impl Client {
    /// An element of a session.
    pub(crate) fn online(&mut self, node: Node<'_>, notes: &mut Notes) {
        match (node.ns(), node.name()) {
            (SM, "r") => self.counts.asked = true,
            (SM, "a") => {
                self.replaying = false;
                self.handled(node, notes);
            }
            (CLIENT, "message" | "presence" | "iq") => {
                self.counts.received += 1;
                self.stanza(node, notes);
            }
            (ns, name) => notes.fail(|| format!("{} got <{name} xmlns='{ns}'/>", self.jid())),
        }
    }

    /// The server's `h`: it never goes back, and never beyond what was sent.
    pub(crate) fn handled(&mut self, node: Node<'_>, notes: &mut Notes) {
        let Some(h) = node.attr("h").and_then(|h| h.parse::<u32>().ok()) else {
            return notes.fail(|| format!("{} got no h", self.jid()));
        };
        let (handled, sent) = (self.counts.handled, self.counts.sent);
        if h < handled || h > sent {
            notes.fail(|| format!("{} got h={h} after {handled}, with {sent} sent", self.jid()));
        }
        self.counts.handled = h;
        self.taken(h, notes);
    }

    /// The server has handled so many stanzas.
    fn taken(&mut self, h: u32, notes: &mut Notes) {
        while self.queue.front().is_some_and(|queued| queued.number <= h) {
            if let Some(message) = self.queue.pop_front().and_then(|queued| queued.message) {
                notes.ledger.acked(message);
            }
        }
    }

    /// An iq was answered, so that what was sent before it is handled. (With stream management the server has
    /// to say so too: it counts what is sent again.)
    fn answered(&mut self, before: u32, notes: &mut Notes) {
        if !self.counts.sm {
            return self.taken(before, notes);
        }
        for message in self.queue.iter().filter(|q| q.number <= before).filter_map(|q| q.message) {
            notes.ledger.acked(message);
        }
    }

    /// A message, presence or iq.
    pub(crate) fn stanza(&mut self, node: Node<'_>, notes: &mut Notes) {
        match node.name() {
            "message" => self.message(node, notes),
            "iq" => self.iq(node, notes),
            _ => self.presence_of(node),
        }
    }

    /// One's own presence comes back: now the server has taken note of it.
    fn presence_of(&mut self, node: Node<'_>) {
        if let (Some("subscribe"), Some(from)) = (node.attr("type"), node.attr("from")) {
            self.requests.push(from.to_owned());
        }
        match (node.attr("from").filter(|from| from.contains('/')), node.attr("type")) {
            (Some(from), None) => {
                self.seen.insert(from.to_owned(), node.attr("id").unwrap_or_default().to_owned());
            }
            (Some(from), Some("unavailable")) => drop(self.seen.remove(from)),
            _ => {}
        }
        let latest = node.attr("id").is_some_and(|id| id == self.presence_id);
        if latest && node.attr("type") == Some("error") {
            // It could not be written down: tried again when there is time.
            self.presence = None;
        }
        if latest && node.attr("from") == Some(&self.jid()) && self.presence.is_some_and(|p| p >= 0) {
            self.reading = true;
        }
    }

    /// A message, or the copy of one that another session sent or was sent.
    fn message(&mut self, node: Node<'_>, notes: &mut Notes) {
        if self.is_row(node, notes) || self.is_news(node, notes) {
            return;
        }
        let copy = |kind| node.child(kind, CARBONS)?.child("forwarded", FORWARD)?.child("message", CLIENT);
        match (copy("sent"), copy("received")) {
            (Some(message), _) => self.own_message(message, notes),
            (_, Some(message)) => {
                notes.hit(Point::Copied);
                // One from memory may come between those from the archive when the session becomes available.
                self.message_to_us(message, false, notes);
            }
            _ => self.message_to_us(node, self.reading && !self.presence_again, notes),
        }
    }

    /// The copy of a message that another session of the account sent.
    fn own_message(&mut self, node: Node<'_>, notes: &mut Notes) {
        if node.child("body", CLIENT).is_none() {
            return;
        }
        let (Some(message), Some(seq), Some(lineage)) = (number(node), self.stanza_id(node), self.lineage)
        else {
            let raw = String::from_utf8_lossy(node.raw()).into_owned();
            return notes.fail(|| format!("{} got a copy of {raw}", self.jid()));
        };
        notes.hit(Point::CopiedSent);
        let count = if self.counts.sm { self.counts.received } else { 0 };
        notes.ledger.copied(lineage, message, seq, count);
    }

    /// The position that this account's stanza id names.
    fn stanza_id(&self, node: Node<'_>) -> Option<u64> {
        let bare = self.bare();
        let own = |child: &Node<'_>| child.is("stanza-id", STANZA_IDS) && child.attr("by") == Some(&bare);
        node.children().find(own).and_then(|child| u64::from_str_radix(child.attr("id")?, 16).ok())
    }

    fn message_to_us(&mut self, node: Node<'_>, ordered: bool, notes: &mut Notes) {
        let message = number(node);
        let signal = node.attr("id").and_then(|id| id.strip_prefix('t')?.parse().ok());
        if let (Some(signal), Some(lineage)) = (signal, self.lineage)
            && node.attr("type") != Some("error")
        {
            notes.ledger.signalled(lineage, signal);
        }
        if node.attr("type") == Some("error") {
            if let (Some(message), Some(lineage)) = (message, self.lineage) {
                notes.hit(Point::Bounced);
                let count = if self.counts.sm { self.counts.received } else { 0 };
                let stored = self.stanza_id(node).map(|seq| (seq, count));
                notes.hit(if stored.is_some() { Point::BouncedStored } else { Point::BouncedAtOnce });
                notes.ledger.bounced(lineage, message, stored);
            }
            return;
        }
        if node.child("body", CLIENT).is_none() {
            return;
        }
        let bare = self.bare();
        let id = self.stanza_id(node);
        let (Some(message), Some(seq), Some(lineage)) = (message, id, self.lineage) else {
            let raw = String::from_utf8_lossy(node.raw()).into_owned();
            return notes.fail(|| format!("{} got {raw}", self.jid()));
        };
        if node.child("delay", "urn:xmpp:delay").is_some() {
            notes.hit(Point::Offline);
        }
        if node.attr("to").is_some_and(|to| to.contains('/')) {
            notes.hit(Point::FullJid);
        }
        let count = if self.counts.sm { self.counts.received } else { 0 };
        // One to another resource comes to this one because that is gone, and whenever that was seen.
        let own = node.attr("to").is_some_and(|to| to == bare || to == self.jid());
        if notes.ledger.delivered(lineage, message, seq, count, ordered && own) {
            notes.hit(Point::Again);
        }
    }

    fn iq(&mut self, node: Node<'_>, notes: &mut Notes) {
        let id = node.attr("id").unwrap_or_default().to_owned();
        match node.attr("type") {
            Some("get") => {
                let answer = self.capabilities(node);
                let to = node.attr("from").unwrap_or(DOMAIN);
                let answer = format!("<iq type='result' id='{id}' to='{to}'>{answer}</iq>");
                self.send(answer, None, notes);
            }
            Some("set") => {
                if let Some(query) = node.child("query", ROSTER) {
                    notes.hit(Point::RosterPushed);
                    self.roster_items(query);
                }
                self.send(format!("<iq type='result' id='{id}'/>"), None, notes);
            }
            _ => {
                let asked = self.asked.remove(&id);
                if let Some(before) = asked {
                    notes.hit(Point::IqAnswered);
                    self.answered(before, notes);
                }
                self.page_ends(node, notes);
                if let Some(query) = node.child("query", ROSTER) {
                    self.roster = Some(BTreeMap::new());
                    self.roster_items(query);
                }
            }
        }
    }

    fn roster_items(&mut self, query: Node<'_>) {
        let Some(roster) = &mut self.roster else { return };
        for item in query.children() {
            let (Some(jid), Some(subscription)) = (item.attr("jid"), item.attr("subscription")) else {
                continue;
            };
            if subscription == "remove" {
                roster.remove(jid);
            } else {
                roster.insert(jid.to_owned(), subscription.to_owned());
            }
        }
    }

    /// `<a/>`.
    pub(crate) fn acknowledge(&mut self, notes: &mut Notes) {
        let h = self.counts.received;
        (self.counts.asked, self.counts.told) = (false, h);
        if let Some(lineage) = self.lineage {
            notes.ledger.client_acks(lineage, h);
        }
        notes.say(|| format!("{} > a h={h}", self.jid()));
        self.say(&format!("<a xmlns='{SM}' h='{h}'/>"));
    }

    /// `<r/>`.
    pub(crate) fn request(&mut self) {
        self.say(&format!("<r xmlns='{SM}'/>"));
    }

    /// An iq, with the payload given; its answer acknowledges what was sent before.
    pub(crate) fn ask(&mut self, type_: &str, payload: &str, notes: &mut Notes) {
        let id = self.id();
        self.asked.insert(id.clone(), self.counts.sent);
        self.send(format!("<iq type='{type_}' id='{id}'>{payload}</iq>"), None, notes);
    }

    pub(crate) fn get_roster(&mut self, notes: &mut Notes) {
        self.ask("get", "<query xmlns='jabber:iq:roster'/>", notes);
    }

    /// Available, with a priority.
    pub(crate) fn available(&mut self, priority: i8, notes: &mut Notes) {
        self.presence = Some(priority);
        self.reading &= priority >= 0;
        self.presence_id = self.id();
        let id = &self.presence_id;
        let caps = if self.wants_news { super::news::CAPS } else { "" };
        let xml = format!("<presence id='{id}'><priority>{priority}</priority>{caps}</presence>");
        self.send(xml, None, notes);
    }

    /// Unavailable.
    pub(crate) fn unavailable(&mut self, notes: &mut Notes) {
        (self.presence, self.reading) = (None, false);
        self.presence_id = self.id();
        self.seen.clear();
        let xml = format!("<presence id='{}' type='unavailable'/>", self.presence_id);
        self.send(xml, None, notes);
    }

    /// A message with so many bytes of padding.
    pub(crate) fn write_to(&mut self, account: usize, to: &str, padding: usize, notes: &mut Notes) {
        let message = notes.ledger.message(self.me, account, to.to_owned());
        let padding = "x".repeat(padding);
        let xml = format!(
            "<message to='{to}' type='chat' id='m{message}'><body>{message} {padding}</body></message>"
        );
        self.send(xml, Some(message), notes);
    }
}
