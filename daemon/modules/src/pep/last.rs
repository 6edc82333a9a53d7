//! The last items, sent to a session that newly wants to hear of nodes (XEP-0163 §4.3.4); and to one that is
//! resumed after a restart of the server what was published meanwhile.
//!
//! Reading them takes a while: a worker does it. What is notified to the session meanwhile is newer than what
//! the worker read, so it is noted, and the worker's item dropped: no client ends up with the older one.
use super::Reader;
use super::config::{Access, Config, SendLast};
use super::event::{self, Notice};
use super::table::{self, Item};
use crate::apply::plain;
use crate::hub::{Hub, Origin};
use crate::note::{Address, Poster};
use crate::registry::Entry;
use crate::xep0115_caps::Caps;
use crate::{accounts, feed, roster};
use godwit_session::{Event, Millis, Outgoing};
use godwit_store::{Read, StoreError};
use godwit_wire::{Jid, Writer, ns};
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes of last items sent to one session at once. A client that sees the presence of a great many contacts
/// has to ask for the rest; it could not take it all at once.
const LAST_BYTES_MAX: usize = 128 * 1024;
/// The same when one more contact's presence is seen.
const GRANTED_BYTES_MAX: usize = 32 * 1024;
/// Items of one node that a session is sent which missed them.
const MISSED_MAX: usize = 64;
/// Notifications noted during one reading; with more of them the rest of the reading is given up.
const TOLD_MAX: usize = 4_096;

/// What a session wants to hear of.
#[derive(Debug, Default)]
pub struct Interest {
    /// What its client announced; wants nothing before that.
    pub caps: Option<Arc<Caps>>,
    /// It was resumed after a restart and has missed what was published since then, ms since 1970.
    missed_since: Option<Millis>,
    /// The last items are being read for it.
    catching: Option<Box<Catching>>,
}

/// A session's last items on their way.
#[derive(Debug, Default)]
struct Catching {
    /// Which reading: one that the session has since given up finds another.
    token: Arc<()>,
    /// What is still to be read. As long as what the session announces and is granted in one reading's time.
    wanted: Vec<Wanted>,
    /// What it was notified of meanwhile.
    told: Told,
}

/// Notifications: of which nodes, and of which items (`None`: of all at once).
#[derive(Debug, Default)]
struct Told {
    nodes: HashSet<(u64, Box<str>)>,
    items: HashSet<(u64, Box<str>, Option<Box<str>>)>,
}

impl Told {
    fn note(&mut self, notice: &Notice) {
        if self.items.len() < TOLD_MAX {
            self.nodes.insert((notice.owner, notice.node.clone()));
            self.items.insert((notice.owner, notice.node.clone(), notice.item.clone()));
        }
    }

    /// What was read is older than what was told, or may be.
    fn outdates(&self, read: &Last<'_>) -> bool {
        let item = |id| self.items.contains(&(read.owner, read.node.into(), id));
        self.items.len() >= TOLD_MAX
            || match read.missed {
                false => self.nodes.contains(&(read.owner, read.node.into())),
                true => item(None) || item(Some(read.id.as_str().into())),
            }
    }
}

/// Nodes to read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// Of this account; otherwise of the session's own and of all contacts whose presence it sees.
    of: Option<Box<str>>,
    nodes: Vec<Box<str>>,
    /// Everything since then.
    missed_since: Option<Millis>,
}

impl Interest {
    /// Of a session that is resumed: it was told of nothing since then.
    pub fn revived(missed_since: Millis) -> Interest {
        Interest { missed_since: Some(missed_since), ..Interest::default() }
    }

    /// What is left of it at rest, when nothing is being read.
    pub(crate) fn missed_since(&self) -> Option<Millis> {
        self.missed_since
    }

    /// From that.
    pub(crate) fn taken_over(caps: Option<Arc<Caps>>, missed_since: Option<Millis>) -> Interest {
        Interest { caps, missed_since, catching: None }
    }

    /// Takes in what the client announced. `Some`: a reading is to be started, with this token.
    fn announce(&mut self, caps: Arc<Caps>) -> Option<Arc<()>> {
        let news: Vec<Box<str>> = caps.news(self.caps.as_deref()).map(Into::into).collect();
        self.caps = Some(caps);
        let missed_since = if news.is_empty() { None } else { self.missed_since.take() };
        self.want(Wanted { of: None, nodes: news, missed_since })
    }

    /// The account sees the presence of another one from now on. `Some` as above.
    fn granted(&mut self, of: &str) -> Option<Arc<()>> {
        let nodes = self.caps.as_ref()?.news(None).map(Into::into).collect();
        self.want(Wanted { of: Some(of.into()), nodes, missed_since: None })
    }

    fn want(&mut self, wanted: Wanted) -> Option<Arc<()>> {
        if wanted.nodes.is_empty() {
            return None;
        }
        let begin = self.catching.is_none();
        let catching = self.catching.get_or_insert_default();
        catching.wanted.push(wanted);
        begin.then(|| Arc::clone(&catching.token))
    }

    /// Wants to hear of this node; notes that it now does.
    fn take(&mut self, notice: &Notice) -> bool {
        let wants = self.caps.as_ref().is_some_and(|caps| caps.wants(&notice.node));
        if let Some(catching) = self.catching.as_mut().filter(|_| wants) {
            catching.told.note(notice);
        }
        wants
    }

    fn catching(&mut self, token: &Arc<()>) -> Option<&mut Catching> {
        self.catching.as_deref_mut().filter(|catching| Arc::ptr_eq(&catching.token, token))
    }

    /// What to read next; with nothing left the reading is over.
    fn next(&mut self, token: &Arc<()>) -> Option<Wanted> {
        let next = self.catching(token)?.wanted.pop();
        if next.is_none() {
            self.catching = None;
        }
        next
    }
}

/// A session that last items are read for.
struct Session {
    address: Address,
    owner: u64,
    jid: Jid,
    /// Bytes that it may be sent.
    room: usize,
}

impl Hub {
    /// A notification, to those of an account's sessions that want it.
    pub(crate) fn notify(&self, notice: &Notice, to: &str, post: &mut Poster) {
        self.registry.with(to, |live| {
            let bare = Arc::clone(&live.bare);
            for entry in live.sessions.iter_mut().filter(|entry| entry.presence.is_some()) {
                if entry.interest.take(notice) {
                    let bytes = notice.addressed(&format!("{bare}/{}", entry.resource));
                    entry.post(&bare, plain(bytes), post);
                }
            }
        });
    }

    /// A session's client has announced what it wants.
    pub(crate) fn caps(self: &Arc<Self>, origin: &Origin, caps: Arc<Caps>) {
        let announce = |entry: &mut Entry| entry.interest.announce(caps);
        let token = self
            .registry
            .with(&origin.address.bare, |live| live.session(origin.address.session).and_then(announce));
        if let Some(token) = token.flatten() {
            let (address, jid) = (origin.address.clone(), origin.jid.clone());
            let room = LAST_BYTES_MAX.min(origin.room / 2);
            self.catch_up_later(Session { address, owner: origin.owner, jid, room }, token);
        }
    }

    /// An account sees the presence of another one from now on: to each of its sessions as if it had just
    /// come online.
    pub(crate) fn granted(self: &Arc<Self>, of: &str, to: &str) {
        let begun = self.registry.with(to, |live| {
            let (owner, bare) = (live.owner, Arc::clone(&live.bare));
            let available = live.sessions.iter_mut().filter(|entry| entry.presence.is_some());
            let begun = available.filter_map(|entry| {
                let token = entry.interest.granted(of)?;
                let jid = Jid::parse(&format!("{bare}/{}", entry.resource)).ok()?;
                let address = Address { session: entry.id, bare: Arc::clone(&bare) };
                Some((Session { address, owner, jid, room: GRANTED_BYTES_MAX }, token))
            });
            begun.collect::<Vec<_>>()
        });
        for (session, token) in begun.unwrap_or_default() {
            self.catch_up_later(session, token);
        }
    }

    fn catch_up_later(self: &Arc<Self>, session: Session, token: Arc<()>) {
        let hub = Arc::clone(self);
        let (address, kept) = (session.address.clone(), Arc::clone(&token));
        let queued = self.outside.background.run(Box::new(move || hub.catch_up(&session, &token)));
        if !queued {
            // Too much to do: it has to ask by itself, as it would of a server that keeps no items.
            tracing::warn!(account = %address.bare, "the workers' queue is full; last items were not sent");
            self.registry.with(&address.bare, |live| {
                let entry = live.session(address.session)?;
                entry.interest.catching(&kept)?;
                entry.interest.catching = None;
                Some(())
            });
        }
    }

    /// On a worker: reads and sends, until there is nothing more that the session wants.
    fn catch_up(&self, session: &Session, token: &Arc<()>) {
        let mut post = Poster::new(self.outside.post.shards());
        let mut room = session.room;
        loop {
            let wanted = self.registry.with(&session.address.bare, |live| {
                live.session(session.address.session).and_then(|entry| entry.interest.next(token))
            });
            let Some(wanted) = wanted.flatten() else { break };
            if let Err(error) = self.read_last(session, token, &wanted, &mut room, &mut post) {
                tracing::error!(jid = %session.jid, %error, "last items cannot be read");
            }
        }
        post.flush(&*self.outside.post);
    }

    fn read_last(
        &self,
        session: &Session,
        token: &Arc<()>,
        wanted: &Wanted,
        room: &mut usize,
        post: &mut Poster,
    ) -> Result<(), StoreError> {
        let store = &*self.outside.store;
        let mut sources: Vec<Box<str>> = wanted.of.iter().cloned().collect();
        if wanted.of.is_none() {
            sources.push(session.address.bare.as_ref().into());
            // Both sides of a subscription change in one transaction, so that this side tells what is seen.
            roster::each(store, session.owner, &mut |contact, item| {
                if item.to {
                    sources.push(contact.into());
                }
            })?;
        }
        for source in sources {
            let Some(record) = accounts::read(store, &source)? else { continue };
            let mut found = Vec::new();
            for node in &wanted.nodes {
                for last in unasked(store, &source, record.owner, node, wanted.missed_since, session)? {
                    let outgoing = last.outgoing(event::message_id(&*self.outside.random), session);
                    let length = outgoing.bytes.len() + outgoing.extra.len();
                    let Some(left) = room.checked_sub(length) else {
                        tracing::info!(jid = %session.jid, "more last items than a session is sent at once");
                        return Ok(());
                    };
                    *room = left;
                    found.push((last, outgoing));
                }
            }
            self.send_last(session, token, found, post);
        }
        Ok(())
    }

    /// Sends what the session was not told of meanwhile.
    fn send_last(
        &self,
        session: &Session,
        token: &Arc<()>,
        found: Vec<(Last<'_>, Outgoing)>,
        post: &mut Poster,
    ) {
        if found.is_empty() {
            return;
        }
        self.registry.with(&session.address.bare, |live| {
            let entry = live.session(session.address.session)?;
            let told = &entry.interest.catching(token)?.told;
            let current: Vec<Outgoing> = found
                .into_iter()
                .filter(|(last, _)| !told.outdates(last))
                .map(|(_, outgoing)| outgoing)
                .collect();
            for outgoing in current {
                entry.post(&session.address.bare, Event::Deliver(outgoing), post);
            }
            // Under the account's lock, or a notification could overtake it on its way to the shard. A
            // mailbox's own lock is the innermost of all.
            post.flush_locked(&*self.outside.post);
            Some(())
        });
    }
}

/// An item that is sent unasked.
struct Last<'a> {
    owner: u64,
    from: &'a str,
    node: &'a str,
    id: String,
    item: Item,
    /// As one that was missed; otherwise as the node's last.
    missed: bool,
    config: Config,
}

/// The items of a node that are sent to this session unasked, oldest first.
fn unasked<'a>(
    store: &dyn Read,
    from: &'a str,
    owner: u64,
    node: &'a str,
    missed_since: Option<Millis>,
    session: &Session,
) -> Result<Vec<Last<'a>>, StoreError> {
    let Some(table::Node { config, .. }) = table::node(store, owner, node)?.row else {
        return Ok(Vec::new());
    };
    if !config.deliver || !config.persist {
        return Ok(Vec::new());
    }
    if owner != session.owner {
        let groups = match config.access {
            Access::Roster => roster::find(store, owner, session.jid.bare_str())?.item.groups,
            _ => Vec::new(),
        };
        if !Reader::Contact(groups).may(&config) {
            return Ok(Vec::new());
        }
    }
    let (mut items, mut missed) = (Vec::new(), true);
    if let Some(since) = missed_since {
        items = table::since(store, owner, node, since, MISSED_MAX)?;
    }
    if items.is_empty() && config.send_last == SendLast::OnPresence {
        missed = false;
        items.extend(table::last(store, owner, node)?);
    }
    let last = |(id, item)| Last { owner, from, node, id, item, missed, config: config.clone() };
    Ok(items.into_iter().map(last).collect())
}

impl Last<'_> {
    fn outgoing(&self, message_id: String, session: &Session) -> Outgoing {
        let notice = Notice {
            owner: self.owner,
            from: self.from.into(),
            node: self.node.into(),
            item: Some(self.id.as_str().into()),
            id: message_id,
            normal: self.config.normal,
            inside: event::published(self.node, &self.config, &self.id, &self.item.payload),
        };
        let mut extra = Vec::new();
        let stamp = feed::timestamp(self.item.at_ms);
        let mut writer = Writer::new(&mut extra);
        writer.start("delay").attr("xmlns", ns::DELAY).attr("from", self.from).attr("stamp", &stamp).end();
        Outgoing {
            bytes: notice.addressed(session.jid.as_str()),
            extra: extra.into(),
            stored: None,
            number: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xep0115_caps::tests::caps;

    fn wanted(of: Option<&str>, nodes: &[&str], missed_since: Option<Millis>) -> Wanted {
        let nodes = nodes.iter().map(|node| Box::from(*node)).collect();
        Wanted { of: of.map(Into::into), nodes, missed_since }
    }

    fn notice(node: &str, item: Option<&str>) -> Notice {
        Notice {
            owner: 7,
            from: "alice@x".into(),
            node: node.into(),
            item: item.map(Into::into),
            id: String::new(),
            normal: false,
            inside: Vec::new(),
        }
    }

    fn read(node: &'static str, id: &str, missed: bool) -> Last<'static> {
        let item = Item { revision: 1, at_ms: 0, payload: Vec::new() };
        Last { owner: 7, from: "alice@x", node, id: id.into(), item, missed, config: Config::default() }
    }

    #[test]
    fn only_what_is_new_is_read() {
        let mut interest = Interest::revived(5);
        assert!(interest.granted("bob@x").is_none(), "nothing is wanted");
        assert!(interest.announce(caps(&[])).is_none());
        let token = interest.announce(caps(&["a", "b"])).expect("a reading");
        assert!(interest.announce(caps(&["a", "b", "c"])).is_none(), "one at a time");
        assert!(interest.granted("bob@x").is_none(), "one at a time");
        assert!(interest.take(&notice("a", None)) && !interest.take(&notice("d", None)));
        assert_eq!(interest.next(&token), Some(wanted(Some("bob@x"), &["a", "b", "c"], None)));
        assert_eq!(interest.next(&token), Some(wanted(None, &["c"], None)));
        assert_eq!(interest.next(&token), Some(wanted(None, &["a", "b"], Some(5))));
        assert!(interest.next(&token).is_none() && interest.catching(&token).is_none());
        assert!(interest.announce(caps(&["a"])).is_none(), "nothing new");
        let second = interest.announce(caps(&["a", "d"])).expect("something new");
        assert!(interest.next(&token).is_none(), "an abandoned reading gets nothing");
        assert_eq!(interest.next(&second), Some(wanted(None, &["d"], None)));
    }

    #[test]
    fn what_was_told_meanwhile_outdates_what_was_read() {
        let mut told = Told::default();
        told.note(&notice("a", Some("1")));
        told.note(&notice("b", None));
        for (read, outdated) in [
            (read("a", "1", true), true),
            (read("a", "2", true), false),
            (read("a", "2", false), true),
            (read("b", "1", true), true),
            (read("b", "1", false), true),
            (read("c", "1", false), false),
        ] {
            assert_eq!(told.outdates(&read), outdated, "{} {} {}", read.node, read.id, read.missed);
        }
        (0..TOLD_MAX).for_each(|n| told.note(&notice("a", Some(&n.to_string()))));
        assert!(told.outdates(&read("c", "1", false)), "too many to know");
    }
}
