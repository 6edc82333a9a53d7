//! Who is available sees who else of its account and its contacts is, with their last presence.
use super::plan::NAMES;
use super::run::Sim;
use crate::world::DOMAIN;
use godwit_modules::roster::Item;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

impl Sim {
    /// At rest.
    pub(crate) fn check_presence(&mut self, rosters: &[BTreeMap<String, Item>]) {
        // A client that has no room for it is not told; one whose "unavailable" failed does not know what it
        // saw.
        let shed = self.server.hub.counters.shed.load(Ordering::Relaxed) + self.shed;
        if shed > 0 || self.notes.ledger.write_failed {
            return;
        }
        let available = |client: &&super::client::Client| client.is_online() && client.presence.is_some();
        for client in self.clients.iter().filter(available) {
            for other in self.clients.iter().filter(|other| other.me != client.me) {
                let bare = format!("{}@{DOMAIN}", NAMES[other.account]);
                let contact = rosters[client.account].get(&bare).is_some_and(|item| item.to);
                if !contact && other.account != client.account {
                    continue;
                }
                let seen = client.seen.get(&other.jid());
                let there = available(&other).then_some(&other.presence_id);
                if seen != there {
                    let (jid, other) = (client.jid(), other.jid());
                    self.notes.fail(|| format!("{jid} sees {other} with {seen:?}, it has {there:?}"));
                }
            }
        }
    }
}
