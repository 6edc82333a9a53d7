//! Rooms (XEP-0045): where the server has them, and how one enters.

use std::time::Duration;

use godwit_testclient::{Event, micros, xml};

use crate::Outcome;
use crate::worker::Worker;

/// Services of a server that are asked what they are.
const SERVICES_MAX: usize = 50;
/// How long an answer may take, µs.
const ANSWER_MAX: u64 = 10_000_000;

/// Rooms at a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rooms {
    pub(crate) service: String,
    /// Accounts in each; account `n` is in room `n / occupants`.
    pub(crate) occupants: usize,
}

impl Rooms {
    /// The room of this account, as it stands in an attribute.
    pub(crate) fn of(&self, account: usize) -> String {
        format!("load{}@{}", account / self.occupants.max(1), xml::escape(&self.service))
    }

    /// The presence that enters it.
    pub(crate) fn join(&self, account: usize) -> String {
        format!(
            "<presence to='{}/n{account}'><x xmlns='http://jabber.org/protocol/muc'>\
             <history maxstanzas='0'/></x></presence>",
            self.of(account)
        )
    }

    /// Makes a room that was just created usable, with its defaults.
    pub(crate) fn unlock(&self, account: usize) -> String {
        format!(
            "<iq type='set' id='unlock' to='{}'><query xmlns='http://jabber.org/protocol/muc#owner'>\
             <x xmlns='jabber:x:data' type='submit'/></query></iq>",
            self.of(account)
        )
    }
}

/// Asks the server for its service of rooms; `None` if it has none. The session in the slot is up.
pub(crate) fn find(worker: &mut Worker, slot: usize) -> Outcome<Option<String>> {
    let domain = xml::escape(&worker.common.domain);
    let items = ask(worker, slot, &domain, "http://jabber.org/protocol/disco#items")?;
    let services: Vec<String> = xml::tags(&items, "item")
        .filter_map(|item| xml::attr(item, "jid").map(std::borrow::Cow::into_owned))
        .take(SERVICES_MAX)
        .collect();
    for service in services {
        let info = ask(worker, slot, &xml::escape(&service), "http://jabber.org/protocol/disco#info")?;
        let is_muc = xml::tags(&info, "feature")
            .any(|f| xml::attr(f, "var").as_deref() == Some("http://jabber.org/protocol/muc"));
        if is_muc {
            return Ok(Some(service));
        }
    }
    Ok(None)
}

/// The text of the error when there is none.
pub(crate) fn none(domain: &str) -> String {
    format!(
        "the server offers no rooms: no service with XEP-0045 in the disco#items of {domain}. Use a server \
         with rooms, or a scenario without them"
    )
}

fn ask(worker: &mut Worker, slot: usize, to: &str, namespace: &str) -> Outcome<String> {
    let request = format!("<iq type='get' id='disco' to='{to}'><query xmlns='{namespace}'/></iq>");
    let client = worker.client(slot).ok_or("no session to ask with")?;
    client.send(&request).map_err(|e| e.to_string())?;
    let (begin, mut events) = (micros(), Vec::new());
    while micros() - begin < ANSWER_MAX {
        worker.turn(Duration::from_millis(5), &mut events)?;
        for (_, event) in events.drain(..) {
            match event {
                Event::Stanza(stanza) if xml::attr(&stanza, "id").as_deref() == Some("disco") => {
                    return Ok(stanza);
                }
                Event::Closed(reason) => return Err(format!("while asking for services: {reason}")),
                _ => {}
            }
        }
    }
    Err(format!("no answer from {to} to a service discovery"))
}
