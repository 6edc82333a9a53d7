//! XEP-0352 Client State Indication: a client that nobody looks at is not woken for what can wait.
//!
//! While the client is inactive, presence, and messages that only say who is typing or what somebody
//! published, are held. Everything else goes out at once, behind all that is held, and so does what is held
//! when there is too much of it or the client becomes active: the order stays, except that of several
//! presences of one sender only the last is left, in its own place. What is held is not sent yet: it is not
//! counted (XEP-0198), and not written down. A session that loses its connection is active again (§5).

use crate::connection::State;
use crate::{Bound, Connection, Cx, Outgoing, Request, Unacked};
use godwit_wire::{Element, MessageType, Node, Scope, Stanza, StreamCondition, ns, rendered};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Stanzas held for one session; their bytes are bounded by `Settings::held_bytes_max`.
const HELD_STANZAS_MAX: usize = 512;

/// What is held for an inactive client, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "crate::image::Stanzas", into = "crate::image::Stanzas")]
pub struct Held {
    list: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl From<crate::image::Stanzas> for Held {
    fn from(stanzas: crate::image::Stanzas) -> Held {
        let mut held = Held::default();
        stanzas.0.into_iter().for_each(|stanza| held.push(stanza.0));
        held
    }
}

impl From<Held> for crate::image::Stanzas {
    fn from(held: Held) -> crate::image::Stanzas {
        crate::image::Stanzas(held.list.into_iter().map(crate::image::Shared).collect())
    }
}

impl Held {
    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Held>() + self.bytes + self.list.capacity() * size_of::<Arc<[u8]>>()
    }

    fn push(&mut self, stanza: Arc<[u8]>) {
        if let Some(from) = presence_of(&stanza)
            && let Some(at) = self.list.iter().position(|older| presence_of(older) == Some(from))
            && let Some(older) = self.list.remove(at)
        {
            self.bytes -= older.len();
        }
        self.bytes += stanza.len();
        self.list.push_back(stanza);
    }
}

impl Connection {
    /// `<active/>` or `<inactive/>`.
    pub(crate) fn client_state(&mut self, element: Node<'_>, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        match element.name() {
            "inactive" => {
                bound.held.get_or_insert_default();
            }
            "active" => {
                self.release(cx);
                if let State::Bound(bound) = &mut self.state {
                    bound.held = None;
                }
            }
            _ => return self.fail(&StreamCondition::UnsupportedStanzaType.into(), cx),
        }
        cx.out.requests.push(Request::ClientState);
    }

    /// Holds a stanza that can wait. What cannot comes back, and what was held before it is out.
    pub(crate) fn hold(&mut self, outgoing: Outgoing, cx: &mut Cx<'_>) -> Option<Outgoing> {
        let State::Bound(bound) = &mut self.state else { return Some(outgoing) };
        let Some(held) = &mut bound.held else { return Some(outgoing) };
        let waits = outgoing.stored.is_none() && outgoing.extra.is_empty() && can_wait(&outgoing.bytes);
        if waits {
            held.push(Arc::clone(&outgoing.bytes));
        }
        if !waits || held.list.len() > HELD_STANZAS_MAX || held.bytes > cx.settings.held_bytes_max as usize {
            self.release(cx);
        }
        (!waits).then_some(outgoing)
    }

    /// Sends what is held.
    pub(crate) fn release(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let Some(held) = &mut bound.held else { return };
        for stanza in std::mem::take(&mut **held).list {
            self.send_inline(stanza, false, cx);
        }
    }
}

impl Bound {
    /// The client has said that nobody looks at it.
    pub fn is_inactive(&self) -> bool {
        self.held.is_some()
    }

    /// The connection is gone: the client is active again, and gets what was held with the rest of what it
    /// has not acknowledged.
    pub(crate) fn wake(&mut self) {
        for stanza in self.held.take().map(|held| held.list).unwrap_or_default() {
            self.remember(Unacked::Inline(stanza));
        }
    }
}

/// The sender, escaped, of a presence that says whether somebody is there.
fn presence_of(stanza: &[u8]) -> Option<&[u8]> {
    let state = matches!(rendered::attr(stanza, "type"), None | Some(b"unavailable"));
    if state && rendered::is_named(stanza, "presence") { rendered::attr(stanza, "from") } else { None }
}

/// True for presence, and for a message of which nothing but passing signals would be left later.
fn can_wait(stanza: &[u8]) -> bool {
    if presence_of(stanza).is_some() {
        return true;
    }
    // Most messages have a body: no need to parse those.
    if !rendered::is_named(stanza, "message") || rendered::mentions(stanza, "<body") {
        return false;
    }
    let parsed = Element::parse(stanza, &Scope::client()).ok().and_then(|e| Stanza::from_element(e).ok());
    parsed.flatten().is_some_and(|message| {
        message.message_type() != MessageType::Error && message.root().children().all(is_passing)
    })
}

/// A child that can wait, or says nothing by itself.
fn is_passing(child: Node<'_>) -> bool {
    match child.ns() {
        ns::CHAT_STATES | ns::HINTS | ns::STANZA_IDS | ns::DELAY => true,
        ns::PUBSUB_EVENT => child.name() == "event",
        ns::CLIENT => child.name() == "thread",
        // A copy is as important as what was copied.
        ns::CARBONS => child
            .child("forwarded", ns::FORWARD)
            .and_then(|forwarded| forwarded.child("message", ns::CLIENT))
            .is_none_or(|message| {
                message.attr("type") != Some("error") && message.children().all(is_passing)
            }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_wait() {
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        let event = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='x'/></event>";
        let copy = |inside: &str| {
            format!(
                "<message><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                 <message xmlns='jabber:client'>{inside}</message></forwarded></sent></message>"
            )
        };
        let message = |inside: &str| format!("<message from='a@b'>{inside}</message>");
        for waits in [
            "<presence from='a@b/c'/>".to_owned(),
            "<presence from='a@b/c'><show>away</show></presence>".to_owned(),
            "<presence type='unavailable' from='a@b/c'></presence>".to_owned(),
            message(state),
            message(event),
            message(&format!("{state}<thread>t</thread><no-store xmlns='urn:xmpp:hints'/>")),
            copy(state),
        ] {
            assert!(can_wait(waits.as_bytes()), "{waits}");
        }
        for important in [
            "<presence type='subscribe' from='a@b'/>".to_owned(),
            "<presence type='error' from='a@b/c'/>".to_owned(),
            "<iq type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>".to_owned(),
            message("<body>x</body>"),
            message(&format!("<body>x</body>{state}")),
            message(&format!("{state}<encrypted xmlns='urn:xmpp:omemo:2'/>")),
            message("<received xmlns='urn:xmpp:receipts' id='1'/>"),
            message("<unknown xmlns='urn:x'/>"),
            format!("<message type='error' from='a@b'>{state}<error type='cancel'/></message>"),
            copy("<body>x</body>"),
            copy("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"),
        ] {
            assert!(!can_wait(important.as_bytes()), "{important}");
        }
    }

    #[test]
    fn of_one_senders_presences_the_last_is_left_in_its_place() {
        let mut held = Held::default();
        for stanza in [
            "<presence from='a@b/1'/>",
            "<presence from='c@d/1'/>",
            "<message from='a@b/1'/>",
            "<presence from='a@b/1' type='unavailable'/>",
            "<presence from='a@b/2'/>",
        ] {
            held.push(Arc::from(stanza.as_bytes()));
        }
        let left: Vec<&str> = held.list.iter().map(|s| std::str::from_utf8(s).unwrap()).collect();
        assert_eq!(
            left,
            [
                "<presence from='c@d/1'/>",
                "<message from='a@b/1'/>",
                "<presence from='a@b/1' type='unavailable'/>",
                "<presence from='a@b/2'/>",
            ]
        );
        assert_eq!(held.bytes, left.iter().map(|s| s.len()).sum::<usize>());
    }
}
