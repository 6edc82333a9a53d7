//! Clients read their archives (XEP-0313), and what they get is held against the store's rows, and these
//! against what clients know: under which id a message came, and what they sent.
use super::client::Client;
use super::coverage::Point;
use super::ledger::Number;
use super::notes::Notes;
use super::plan::NAMES;
use super::run::Sim;
use godwit_modules::row::Row;
use godwit_store::{Cf, Range, Read, Seq, schema};
use godwit_wire::Node;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

const MAM: &str = "urn:xmpp:mam:2";
const RSM: &str = "http://jabber.org/protocol/rsm";

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The first after a position; 0: of all.
    After(u64),
    /// The last before a position; `None`: of all.
    Before(Option<u64>),
}

/// A page that was asked for, as far as it has come.
#[derive(Debug, Clone)]
pub struct Query {
    id: String,
    /// Whose archive.
    account: usize,
    wanted: Wanted,
    max: usize,
    /// The newest position when it was asked for.
    head: u64,
    rows: Vec<(u64, Option<Number>)>,
    complete: bool,
}

/// A row of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) message: Option<Number>,
    pub(crate) resource: String,
    pub(crate) incoming: bool,
    /// Clients cannot read it there.
    pub(crate) hidden: bool,
    /// It answers the message with an error.
    pub(crate) error: bool,
}

fn position(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

impl Client {
    /// Asks for a page.
    fn fetch(&mut self, wanted: Wanted, max: usize, head: u64, notes: &mut Notes) {
        let id = self.id();
        let place = match wanted {
            Wanted::After(0) => String::new(),
            Wanted::After(seq) => format!("<after>{seq:016x}</after>"),
            Wanted::Before(None) => "<before/>".to_owned(),
            Wanted::Before(Some(seq)) => format!("<before>{seq:016x}</before>"),
        };
        let xml = format!(
            "<iq type='set' id='{id}'><query xmlns='{MAM}' queryid='{id}'><set xmlns='{RSM}'>\
             <max>{max}</max>{place}</set></query></iq>"
        );
        self.asked.insert(id.clone(), self.counts.sent);
        let account = self.account;
        self.query = Some(Query { id, account, wanted, max, head, rows: Vec::new(), complete: false });
        self.send(xml, None, notes);
    }

    /// The request is sent again: it may be answered a second time.
    pub(crate) fn query_again(&mut self) {
        let queue = &self.queue;
        self.query.take_if(|query| queue.iter().any(|queued| queued.xml.contains(&query.id)));
    }

    /// One row of a page. False if the message is none.
    pub(crate) fn is_row(&mut self, message: Node<'_>, notes: &mut Notes) -> bool {
        let Some(result) = message.child("result", MAM) else { return false };
        // Of a page that an earlier session asked for nothing is known.
        if let Some(query) = self.query.as_mut().filter(|query| result.attr("queryid") == Some(&query.id)) {
            let inside = result.child("forwarded", "urn:xmpp:forward:0");
            let inside = inside.and_then(|forwarded| forwarded.child("message", "jabber:client"));
            match result.attr("id").and_then(position) {
                Some(seq) => query.rows.push((seq, inside.and_then(super::stanzas::number))),
                None => notes.fail(|| "a row of an archive without an id".into()),
            }
        }
        true
    }

    /// The end of a page, or an error instead.
    pub(crate) fn page_ends(&mut self, iq: Node<'_>, notes: &mut Notes) {
        let Some(mut query) = self.query.take_if(|query| iq.attr("id") == Some(&query.id)) else { return };
        if iq.attr("type") == Some("error") {
            let busy =
                iq.child("error", "jabber:client").is_some_and(|error| error.attr("type") == Some("wait"));
            if !busy && !notes.ledger.write_failed {
                let raw = String::from_utf8_lossy(iq.raw()).into_owned();
                notes.fail(|| format!("{} got {raw} for {query:?}", self.jid()));
            }
            return;
        }
        notes.hit(Point::ArchiveRead);
        let Some(fin) = iq.child("fin", MAM) else {
            return notes.fail(|| format!("{} got a page without an end", self.jid()));
        };
        query.complete = fin.attr("complete") == Some("true");
        notes.ledger.pages.push(query);
    }
}

impl Sim {
    /// A client reads its archive, from somewhere that it knows.
    pub(crate) fn read_archive(&mut self, me: usize) {
        let Some(lineage) = self.clients[me].lineage.filter(|_| self.clients[me].query.is_none()) else {
            return;
        };
        let got: Vec<u64> = self.notes.ledger.lineages[lineage].got.iter().copied().collect();
        let known = got.get(self.dice.below(got.len() + 1)).copied();
        let max = 1 + self.dice.below(8);
        let wanted = match (self.dice.chance(50), known) {
            (true, known) => Wanted::After(known.unwrap_or(0)),
            (false, known) => Wanted::Before(known),
        };
        let head = self.server.store.head().0;
        self.clients[me].fetch(wanted, max, head, &mut self.notes);
    }

    /// All that is in an account's archive, in its order.
    pub(crate) fn rows(&self, account: usize) -> Vec<Stored> {
        let mut found = Vec::new();
        let Some(owner) = self.owner(account) else { return found };
        let (start, end) = schema::archives(owner, Seq(0), Seq::MAX);
        let range = Range { cf: Cf::Archive, start, end, reverse: false };
        let _ = self.server.store.scan(&range, &mut |key, value| {
            if let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value)) {
                let text = String::from_utf8_lossy(row.stanza).into_owned();
                let id = text.split(" id='m").nth(1).and_then(|rest| rest.split('\'').next());
                found.push(Stored {
                    seq: seq.0,
                    message: id.and_then(|id| id.parse().ok()),
                    resource: row.resource.into(),
                    incoming: row.incoming,
                    hidden: row.hidden,
                    error: godwit_wire::rendered::has_attr(row.stanza, "type", "error"),
                });
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Pages that have come hold what the archive does: rows never change, and none comes before another.
    pub(crate) fn check_pages(&mut self) {
        for page in std::mem::take(&mut self.notes.ledger.pages) {
            let shown = self.rows(page.account).into_iter().filter(|row| !row.hidden);
            let rows: Vec<_> = shown.map(|row| (row.seq, row.message)).collect();
            let (first, last) = (page.rows.first().map(|row| row.0), page.rows.last().map(|row| row.0));
            // Of the last page of all, what came in meanwhile is not in it.
            let (from, upto) = match page.wanted {
                Wanted::After(after) => (after + 1, last.unwrap_or(after)),
                Wanted::Before(Some(before)) => (first.unwrap_or(0), before - 1),
                Wanted::Before(None) => (first.unwrap_or(1), last.unwrap_or(0)),
            };
            let there: Vec<_> = rows.iter().copied().filter(|(seq, _)| (from..=upto).contains(seq)).collect();
            if there != page.rows || page.rows.len() > page.max {
                self.notes.fail(|| format!("{page:?}, there is {there:?}"));
            }
            let beyond = |seq: u64| match page.wanted {
                Wanted::After(_) => seq > upto && seq <= page.head,
                Wanted::Before(_) => seq < from && seq <= page.head,
            };
            let missed = rows.iter().find(|(seq, _)| beyond(*seq) && page.complete);
            if let Some((seq, _)) = missed {
                self.notes.fail(|| format!("{page:?} is said to be complete, there is {seq:016x}"));
            }
            let newest = rows.iter().rev().find(|(seq, _)| *seq <= page.head);
            if page.wanted == Wanted::Before(None)
                && newest.is_some_and(|newest| page.rows.last().is_none_or(|last| last.0 < newest.0))
            {
                self.notes.fail(|| format!("{page:?} is the last page, and misses {newest:?}"));
            }
        }
    }

    /// At the end: what a client was sent is in its account's archive under the same id, and what it sent and
    /// saw acknowledged is in it too.
    pub(crate) fn check_archives(&mut self) {
        let mut sent = vec![BTreeSet::new(); NAMES.len()];
        for (account, sent) in sent.iter_mut().enumerate() {
            let rows = self.rows(account);
            sent.extend(rows.iter().filter(|row| !row.incoming && !row.hidden).filter_map(|row| row.message));
            let there: BTreeSet<_> = rows.iter().map(|row| (row.seq, row.message)).collect();
            let came = |key: &(usize, u64), receivers: &[usize]| key.0 == account && !receivers.is_empty();
            let copies = self.notes.ledger.copies.iter();
            let stray = copies
                .filter(|(key, copy)| came(key, &copy.receivers))
                .find(|(key, copy)| !there.contains(&(key.1, copy.message)))
                .map(|(key, copy)| (key.1, copy.message));
            if let Some((seq, message)) = stray {
                self.notes.fail(|| format!("{message:?} came as {seq:016x}, which is not archived"));
            }
        }
        let clients = &self.clients;
        let from = |message: &super::ledger::Message| clients.get(message.from).map(|client| client.account);
        let lost = self.notes.ledger.messages.iter().enumerate().find(|(number, message)| {
            let other = from(message).filter(|from| *from != message.account);
            message.acked && !message.bounced && other.is_some_and(|from| !sent[from].contains(number))
        });
        if let Some((number, message)) = lost.map(|(number, message)| (number, message.clone())) {
            self.notes.fail(|| format!("message {number} is not in its sender's archive: {message:?}"));
        }
    }
}
