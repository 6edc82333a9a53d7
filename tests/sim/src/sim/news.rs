//! Personal eventing (XEP-0163): clients publish an item over the last one, and those that want to know are
//! told, the last of it last.
use super::client::Client;
use super::coverage::Point;
use super::notes::Notes;
use super::plan::NAMES;
use super::run::Sim;
use crate::world::DOMAIN;
use godwit_modules::roster::Item;
use godwit_store::{Cf, Range, Read, schema};
use godwit_wire::Node;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// What such a client says of itself; the hash proves nothing, so that each is asked.
pub(crate) const CAPS: &str =
    "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='x'/>";
/// With so much room for what is unacknowledged, items as small as these always find some.
const ROOM_BYTES: u32 = 100_000;
const NODE: &str = "urn:sim";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const INFO: &str = "http://jabber.org/protocol/disco#info";

impl Client {
    /// The payload of its answer to a request.
    pub(crate) fn capabilities(&self, iq: Node<'_>) -> String {
        let Some(query) = iq.child("query", INFO).filter(|_| self.wants_news) else { return String::new() };
        let node = query.attr("node").unwrap_or_default();
        format!(
            "<query xmlns='{INFO}' node='{node}'><identity category='client' type='pc'/>\
             <feature var='{NODE}+notify'/></query>"
        )
    }

    /// A notification. False if the message is none.
    pub(crate) fn is_news(&mut self, message: Node<'_>, notes: &mut Notes) -> bool {
        let Some(event) = message.child("event", EVENT) else { return false };
        let item = event.child("items", EVENT).and_then(|items| items.child("item", EVENT));
        let value = item.and_then(|item| item.child("n", NODE)?.attr("v")?.parse().ok());
        match (message.attr("from"), value) {
            (Some(from), Some(value)) => {
                notes.hit(Point::Published);
                let bare = from.split('/').next().unwrap_or(from);
                self.news.insert(bare.to_owned(), value);
            }
            _ => notes.fail(|| format!("{} was told of nothing", self.jid())),
        }
        true
    }
}

impl Sim {
    /// A client publishes.
    pub(crate) fn publish(&mut self, me: usize) {
        self.notes.ledger.published += 1;
        let number = self.notes.ledger.published;
        let payload = format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'><item id='current'>\
             <n xmlns='{NODE}' v='{number}'/></item></publish></pubsub>"
        );
        self.clients[me].ask("set", &payload, &mut self.notes);
    }

    /// The item that an account has.
    fn item(&self, account: usize) -> Option<u64> {
        let owner = self.owner(account)?;
        let (start, end) = schema::everything(owner);
        let range = Range { cf: Cf::Pep, start, end, reverse: false };
        let mut found = None;
        let _ = self.server.store.scan(&range, &mut |_, value| {
            let text = String::from_utf8_lossy(value);
            let number = text.split(&format!("<n xmlns='{NODE}' v='")).nth(1);
            if let Some(number) = number.and_then(|rest| rest.split('\'').next()?.parse().ok()) {
                found = Some(number);
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Who is available and wants to know has been told the last item of its account and its contacts last.
    pub(crate) fn check_news(&mut self, rosters: &[BTreeMap<String, Item>]) {
        // A client that has no room for them is not told: of last items none that would take half of it.
        let shed = self.server.hub.counters.shed.load(Ordering::Relaxed) + self.shed;
        if shed > 0 || self.plan.config.stream.unacked_bytes_max < ROOM_BYTES {
            return;
        }
        let items: Vec<Option<u64>> = (0..NAMES.len()).map(|account| self.item(account)).collect();
        for client in self.clients.iter().filter(|client| client.is_online() && client.presence.is_some()) {
            for (account, item) in items.iter().enumerate().filter(|_| client.wants_news) {
                let bare = format!("{}@{DOMAIN}", NAMES[account]);
                let seen = rosters[client.account].get(&bare).is_some_and(|item| item.to);
                let told = client.news.get(&bare).copied();
                if (seen || account == client.account) && item.is_some() && told != *item {
                    let jid = client.jid();
                    self.notes.fail(|| format!("{jid} was told last of {told:?} of {bare}, it is {item:?}"));
                }
            }
        }
    }
}
