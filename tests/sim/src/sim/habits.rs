//! What clients do of their own accord.
use super::client::{Client, Stage};
use super::coverage::Point;
use super::ledger::NOBODY;
use super::plan::NAMES;
use super::run::Sim;
use crate::world::DOMAIN;

pub(crate) const ACTIVE: &str = "<active xmlns='urn:xmpp:csi:0'/>";

impl Sim {
    /// A client does something.
    pub(crate) fn act(&mut self, me: usize) {
        match self.clients[me].stage {
            Stage::Off => {
                if self.clients[me].retry_at <= self.notes.now {
                    self.connect(me);
                }
            }
            Stage::Login(_) => {}
            Stage::Online => self.act_online(me),
        }
    }

    fn act_online(&mut self, me: usize) {
        if let Some(from) = self.clients[me].requests.pop()
            && self.dice.chance(70)
        {
            for type_ in ["subscribed", "subscribe"] {
                let xml = format!("<presence to='{from}' type='{type_}'/>");
                self.clients[me].send(xml, None, &mut self.notes);
            }
        }
        let padding = self.dice.below(self.plan.padding_max + 1);
        let sm = self.clients[me].counts.sm;
        match self.dice.below(100) {
            0..40 => self.message(me, padding),
            40..42 => self.publish(me),
            42..46 => self.read_archive(me),
            46..49 => (0..20).for_each(|_| self.message(me, padding)),
            49..58 if sm => self.clients[me].request(),
            58..66 if sm => self.clients[me].acknowledge(&mut self.notes),
            49..66 => self.clients[me].ask("get", "<ping xmlns='urn:xmpp:ping'/>", &mut self.notes),
            66..74 => self.presence(me),
            74..94 => self.roster(me),
            94..97 => self.typing(me),
            97..98 => self.close(me),
            98 => self.inactive(me),
            99 => self.clients[me].say(ACTIVE),
            _ => {}
        }
    }

    fn message(&mut self, me: usize, padding: usize) {
        if self.dice.chance(3) {
            let to = ["nobody@", "a@b@", "@"][self.dice.below(3)];
            return self.clients[me].write_to(NOBODY, &format!("{to}{DOMAIN}"), padding, &mut self.notes);
        }
        let accounts = self.clients.iter().map(|client| client.account).max().unwrap_or(0) + 1;
        let account = self.dice.below(accounts);
        let mut to = format!("{}@{DOMAIN}", NAMES[account]);
        if self.dice.chance(25) {
            let resources: Vec<String> =
                self.clients.iter().filter(|c| c.account == account).map(Client::jid).collect();
            to = resources[self.dice.below(resources.len())].clone();
        }
        self.clients[me].write_to(account, &to, padding, &mut self.notes);
    }

    fn presence(&mut self, me: usize) {
        let client = &mut self.clients[me];
        match self.dice.below(5) {
            0 => client.unavailable(&mut self.notes),
            1 => client.available(-1, &mut self.notes),
            _ => client.available(i8::try_from(self.dice.below(6)).unwrap_or(0), &mut self.notes),
        }
    }

    fn roster(&mut self, me: usize) {
        let account = self.dice.below(NAMES.len());
        let to = format!("{}@{DOMAIN}", NAMES[account]);
        let client = &mut self.clients[me];
        if account == client.account {
            return;
        }
        let type_ = ["subscribe", "subscribe", "subscribed", "subscribed", "unsubscribe", "unsubscribed"];
        match self.dice.below(10) {
            n @ 0..6 => {
                client.send(format!("<presence to='{to}' type='{}'/>", type_[n]), None, &mut self.notes);
            }
            6 => client.ask("set", &item(&format!("jid='{to}' subscription='remove'")), &mut self.notes),
            7 => client.get_roster(&mut self.notes),
            n => client.ask("set", &item(&format!("jid='{to}' name='n{n}'")), &mut self.notes),
        }
    }

    fn typing(&mut self, me: usize) {
        let to = NAMES[self.clients[me].account ^ 1];
        let number = self.notes.ledger.signal(me);
        let xml = format!(
            "<message to='{to}@{DOMAIN}' type='chat' id='t{number}'>\
             <composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
        );
        self.clients[me].send(xml, None, &mut self.notes);
    }

    fn inactive(&mut self, me: usize) {
        self.notes.hit(Point::Inactive);
        self.clients[me].say("<inactive xmlns='urn:xmpp:csi:0'/>");
    }

    /// The client says goodbye, and is over with its session.
    pub(crate) fn close(&mut self, me: usize) {
        let client = &mut self.clients[me];
        if client.counts.sm {
            client.acknowledge(&mut self.notes);
        }
        client.say("</stream:stream>");
        client.forget();
        client.stage = Stage::Off;
        client.retry_at = u64::MAX;
    }
}

fn item(attributes: &str) -> String {
    format!("<query xmlns='jabber:iq:roster'><item {attributes}/></query>")
}
