//! What must hold at rest, and the bounds that must hold always.
use super::archive::Stored;
use super::coverage::Point;
use super::ledger::NOBODY;
use super::plan::NAMES;
use super::run::Sim;
use crate::world::DOMAIN;
use godwit_modules::accounts;
use godwit_modules::delivery::Delivery;
use godwit_modules::roster::{self, Item};
use godwit_modules::row::Row;
use godwit_store::{Cf, Owner, Range, Read, Seq, schema};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Bytes of one connection with its session at most: what is unacknowledged, a stanza under way, and what
/// cannot be read yet.
const CONNECTION_BYTES_MAX: usize = 3 << 20;
/// Notes for one shard at most, transactions for the writer, jobs.
const QUEUE_MAX: usize = 20_000;

impl Sim {
    /// After each move.
    pub(crate) fn check_bounds(&mut self) {
        for socket in self.server.sockets() {
            let bytes = socket.conn.as_ref().map_or(0, |conn| conn.memory());
            if bytes > CONNECTION_BYTES_MAX {
                self.notes.fail(|| format!("a connection holds {bytes} bytes"));
                return;
            }
        }
        let notes = (0..self.server.shards()).map(|shard| self.server.mail.waiting(shard)).max().unwrap_or(0);
        let (jobs, queued) = (self.server.jobs.waiting(), godwit_store::Submit::queued(&*self.server.store));
        if notes.max(jobs).max(queued) > QUEUE_MAX {
            self.notes.fail(|| format!("{notes} notes, {jobs} jobs, {queued} transactions wait"));
        }
    }

    pub(crate) fn owner(&self, account: usize) -> Option<Owner> {
        let bare = format!("{}@{DOMAIN}", NAMES[account]);
        accounts::read(&*self.server.store, &bare).ok()?.map(|record| Owner(record.owner))
    }

    /// Messages to an account, errors among them, in the archive's order.
    fn archive(&self, account: usize) -> Vec<Stored> {
        let is_message = |stored: &Stored| stored.incoming && stored.message.is_some();
        self.rows(account).into_iter().filter(is_message).collect()
    }

    /// Positions after one of what is copied to a session: all that it did not send itself.
    fn copied(&self, account: usize, jid: &str, after: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let Some(owner) = self.owner(account) else { return found };
        let (start, end) = schema::archives(owner, Seq(after), Seq::MAX);
        let range = Range { cf: Cf::Archive, start, end, reverse: false };
        let _ = self.server.store.scan(&range, &mut |key, value| {
            if let (Some(seq), Some(row)) = (schema::archive_seq(key), Row::decode(value))
                && row.copied
                && !godwit_wire::rendered::has_attr(row.stanza, "from", jid)
            {
                found.push(seq.0);
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// An account's delivery record as it is in the store.
    fn record(&self, account: usize) -> Option<Delivery> {
        let owner = self.owner(account)?;
        let saved = self.server.store.get(Cf::State, &schema::state(owner, schema::State::Delivery)).ok()?;
        Delivery::load(saved.as_deref(), self.server.store.head().0)
    }

    /// After a crash: what the lost record of deliveries knew of is open again; what it says is handed over
    /// has to be.
    pub(crate) fn records_lost(&mut self) {
        let mut lost = false;
        for account in 0..NAMES.len() {
            let Some(record) = self.record(account) else { continue };
            for stored in self.archive(account) {
                let copy = self.notes.ledger.copies.entry((account, stored.seq)).or_default();
                copy.message = copy.message.or(stored.message);
                let handed_over = copy.acked || copy.swallowed;
                if record.is_pending(stored.seq) {
                    lost |= copy.settled.take().is_some() && copy.acked;
                } else if !handed_over {
                    let seq = stored.seq;
                    self.notes.fail(|| format!("{seq:016x} is not pending, but nobody acknowledged it"));
                }
            }
        }
        if lost {
            self.notes.hit(Point::Unsettled);
        }
    }

    /// Everybody is there, and nothing is under way.
    pub(crate) fn check_at_rest(&mut self) {
        self.check_posts();
        self.check_sessions();
        self.check_rosters();
        self.check_records();
    }

    /// What was posted to a session has come, all of it.
    fn check_posts(&mut self) {
        let mut posts = BTreeMap::new();
        self.server.hub.registry.each(&mut |live| {
            posts.extend(live.sessions.iter().map(|entry| (entry.id, entry.posts)));
        });
        for socket in self.server.sockets() {
            let Some(bound) = socket.conn.as_ref().and_then(|conn| conn.bound()) else { continue };
            let (posts, arrived) = (posts.get(&bound.id).copied(), bound.arrived);
            if posts != Some(arrived) {
                self.notes.fail(|| format!("{}: {arrived} posts have come, of {posts:?}", bound.jid));
            }
        }
    }

    /// Each session whose client is available takes its account's messages, and has had all that came since
    /// it does.
    fn check_sessions(&mut self) {
        let mut reading = Vec::new();
        self.server.hub.registry.each(&mut |live| {
            for entry in &live.sessions {
                let jid = format!("{}/{}", live.bare, entry.resource);
                reading.push((jid, entry.reads_from, entry.carbons_from));
            }
        });
        reading.sort();
        for client in self.clients.iter().filter(|client| client.is_online()) {
            let (jid, available) = (client.jid(), client.presence.is_some_and(|priority| priority >= 0));
            let reads = reading.iter().any(|(there, from, _)| *there == jid && from.is_some());
            if available != reads {
                self.notes.fail(|| format!("{jid} is available: {available}, and gets messages: {reads}"));
            }
        }
        for (jid, from, copies_from) in reading {
            let Some(client) = self.clients.iter().find(|client| client.jid() == jid) else { continue };
            let (Some(lineage), Some(from)) = (client.lineage, from) else { continue };
            let got = &self.notes.ledger.lineages[lineage].got;
            let resource = client.resource.clone();
            let misses = |stored: &Stored| {
                let for_it = stored.resource.is_empty() || stored.resource == resource;
                for_it && stored.seq > from && !got.contains(&stored.seq)
            };
            if !client.is_online() {
                continue;
            }
            let missed = self.archive(client.account).into_iter().find(misses).map(|stored| stored.seq);
            let uncopied = copies_from.and_then(|copies_from| {
                let copied = self.copied(client.account, &jid, copies_from.max(from));
                copied.into_iter().find(|seq| !got.contains(seq))
            });
            if let Some(missed) = missed.or(uncopied) {
                self.notes.fail(|| format!("{jid} never got {missed:016x}, which came after {from:016x}"));
            }
        }
    }

    /// Who sees whom is the same on both sides, and as clients were told.
    fn check_rosters(&mut self) {
        let mut rosters: Vec<BTreeMap<String, Item>> = vec![BTreeMap::new(); NAMES.len()];
        for (account, items) in rosters.iter_mut().enumerate() {
            if let Some(owner) = self.owner(account) {
                let mut visit = |contact: &str, item: Item| {
                    items.insert(contact.to_owned(), item);
                };
                if roster::each(&*self.server.store, owner.0, &mut visit).is_err() {
                    self.notes.fail(|| format!("the roster of account {account} cannot be read"));
                }
            }
        }
        for (account, items) in rosters.iter().enumerate() {
            for (other, others) in rosters.iter().enumerate() {
                let bare = |account: usize| format!("{}@{DOMAIN}", NAMES[account]);
                let here = items.get(&bare(other)).cloned().unwrap_or_default();
                let there = others.get(&bare(account)).cloned().unwrap_or_default();
                if here.to && here.from && account < other {
                    self.notes.hit(Point::Subscribed);
                }
                if here.to != there.from || here.pending_out != there.pending_in.is_some() {
                    let (one, two) = (bare(account), bare(other));
                    self.notes.fail(|| format!("{one} has {here:?}, {two} has {there:?}"));
                }
            }
        }
        self.check_told_rosters(&rosters);
        self.check_presence(&rosters);
        self.check_news(&rosters);
    }

    fn check_told_rosters(&mut self, rosters: &[BTreeMap<String, Item>]) {
        for client in &self.clients {
            let Some(told) = client.roster.as_ref().filter(|_| client.is_online()) else { continue };
            let listed = |(contact, item): (&String, &Item)| {
                item.listed.then(|| (contact.clone(), item.subscription().to_owned()))
            };
            let there: BTreeMap<String, String> = rosters[client.account].iter().filter_map(listed).collect();
            if *told != there {
                let jid = client.jid();
                self.notes.fail(|| format!("{jid} was told of the roster {told:?}, it is {there:?}"));
            }
        }
    }

    /// The record of what was handed over says what clients said.
    fn check_records(&mut self) {
        for (account, name) in NAMES.iter().enumerate() {
            let bare = format!("{name}@{DOMAIN}");
            let live = self.server.hub.registry.with(&bare, |live| live.delivery.clone());
            let Some(record) = live.or_else(|| self.record(account)) else { continue };
            for Stored { seq, message, .. } in self.archive(account) {
                let copy = self.notes.ledger.copies.entry((account, seq)).or_default();
                copy.message = copy.message.or(message);
                let (pending, copy) = (record.is_pending(seq), copy.clone());
                if !pending && !copy.acked && !copy.swallowed {
                    self.notes.fail(|| format!("{seq:016x} counts as handed over: {copy:?}"));
                } else if pending && copy.settled.is_some() {
                    self.notes.fail(|| format!("{seq:016x} counts as pending: {copy:?}"));
                }
            }
        }
    }

    /// All have left: nothing of them stays in memory.
    pub(crate) fn check_deserted(&mut self) {
        let mut there = Vec::new();
        self.server.hub.registry.each(&mut |live| there.push(live.bare.to_string()));
        if !there.is_empty() {
            self.notes.fail(|| format!("nobody is there, but the registry holds {there:?}"));
        }
        let sockets = self.server.sockets().count();
        if sockets > 0 {
            self.notes.fail(|| format!("nobody is there, but {sockets} sockets are open"));
        }
        self.check_records();
    }

    /// An error that went to a client without stream management, and was lost behind the kernel, counts.
    fn note_swallowed_errors(&mut self) {
        for account in 0..NAMES.len() {
            for stored in self.archive(account).into_iter().filter(|stored| stored.error) {
                let copy = self.notes.ledger.copies.get(&(account, stored.seq));
                if let Some(number) = stored.message.filter(|_| copy.is_some_and(|copy| copy.swallowed)) {
                    self.notes.ledger.messages[number].bounced = true;
                }
            }
        }
    }

    /// At the end: what was acknowledged has arrived, and there are no more copies than it was sent.
    pub(crate) fn check_all_arrived(&mut self) {
        self.check_records();
        self.note_swallowed_errors();
        self.check_archives();
        let mut copies: BTreeMap<usize, BTreeSet<(usize, u64)>> = BTreeMap::new();
        for account in 0..NAMES.len() {
            for stored in self.archive(account).into_iter().filter(|stored| !stored.error) {
                let number = stored.message.unwrap_or_default();
                copies.entry(number).or_default().insert((account, stored.seq));
            }
        }
        for (number, message) in self.notes.ledger.messages.clone().into_iter().enumerate() {
            let stored = copies.remove(&number).unwrap_or_default();
            let here = |key: &(usize, u64)| {
                self.notes.ledger.copies.get(key).is_some_and(|c| !c.receivers.is_empty() || c.swallowed)
            };
            let arrived = stored.iter().any(here);
            if message.acked && !message.bounced && !arrived {
                self.notes
                    .fail(|| format!("message {number} was acknowledged and never arrived: {message:?}"));
            }
            if stored.len() > message.sent_in.len() {
                let stored = stored.len();
                self.notes.fail(|| format!("message {number} is there {stored} times: {message:?}"));
            }
            let hopeless = message.account == NOBODY;
            if message.bounced && !hopeless && !self.notes.ledger.write_failed {
                self.notes.fail(|| format!("message {number} came back without a cause"));
            }
        }
    }
}
