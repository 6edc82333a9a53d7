//! XEP-0280 Message Carbons: every device of an account sees both sides of its conversations.
//!
//! A copy of a stored message is no message of its own: it is the message's row in this account's archive,
//! wrapped for the session that gets it. So it travels as a position like everything stored: in order with
//! the rest, once, read from the archive again by a session that was slow, or cut off and resumed; and the
//! stanza id inside it is that row's. Copies of what is not stored (who is typing) are sent to whoever is
//! there, from memory. A session that was offline has its archive (XEP-0313), and gets no copies of what it
//! missed.
//!
//! Bounces: a client's error goes to the copy's `from`, its own bare JID, where the router ends it. `private`
//! and `no-copy` stay in the message: XEP-0280 1.0 no longer has them removed.
use crate::effects::{Copied, Effect, Effects};
use crate::feed;
use crate::forward::forwarded;
use crate::module::{Cx, Info, Iq, Module, Target};
use crate::note::Poster;
use crate::registry::{Entry, Live};
use crate::what_is_stored::{hint, line_of};
use godwit_session::{Event, Outgoing, SessionId, Stored};
use godwit_wire::{Condition, MessageType, Stanza, StanzaError, Writer, ns, rendered};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The module.
#[derive(Debug)]
pub struct Carbons;

impl Module for Carbons {
    fn info(&self) -> Info {
        Info {
            name: "carbons",
            spec: "XEP-0280",
            title: "Message Carbons",
            version: "1.0.1",
            note: "errors are copied if they hold the message they answer",
            features: &[ns::CARBONS],
            account_features: &[ns::CARBONS],
            iq: &[ns::CARBONS],
            ..Info::default()
        }
    }

    fn iq(&self, _cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        let on = match iq.payload.name() {
            "enable" => true,
            "disable" => false,
            _ => return Err(StanzaError::new(Condition::BadRequest)),
        };
        if !iq.set {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        if matches!(iq.target, Target::Account { .. }) {
            return Err(StanzaError::new(Condition::NotAllowed)); // not this client's account
        }
        fx.then(Effect::Carbons(on));
        iq.result(b"", fx);
        Ok(())
    }
}

/// Whose side of the conversation a copy shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The account's own message, sent by another session.
    Sent,
    /// A message to the account, delivered to another session.
    Received,
}

/// §6.1: whether a message is copied to the account's other sessions.
pub fn is_copied(message: &Stanza, direction: Direction) -> bool {
    let muc = message.child("x", ns::MUC_USER);
    let invitation = muc.is_some_and(|x| x.child("invite", ns::MUC_USER).is_some());
    let type_ = message.message_type();
    if message.child("private", ns::CARBONS).is_some()
        || hint(message, "no-copy")
        || type_ == MessageType::Groupchat
        // A room sends private messages to all sessions of the occupant by itself.
        || (direction == Direction::Received && muc.is_some() && !invitation)
    {
        return false;
    }
    let has_body = message.child("body", ns::CLIENT).is_some();
    let has_im = || message.root().children().any(|child| line_of(child).is_some_and(|line| line.im));
    match type_ {
        MessageType::Chat => true,
        MessageType::Normal => has_body || invitation || has_im(),
        // Whether it answers a message that was copied shows only if that message is in it.
        MessageType::Error => has_body || has_im(),
        MessageType::Headline | MessageType::Groupchat => invitation || has_im(),
    }
}

/// True for what only a server may say: a copy (CVE-2017-5589 and its like). Taken out of what clients send.
pub fn is_forged(child: godwit_wire::Node<'_>) -> bool {
    child.ns() == ns::CARBONS && matches!(child.name(), "sent" | "received")
}

/// The copy for one session. `rendered`: the message; `extra` (stanza id) goes into it, `delay` beside it.
pub fn copy(
    (bare, resource): (&str, &str),
    direction: Direction,
    rendered: &[u8],
    extra: &[u8],
    delay: &[u8],
) -> Vec<u8> {
    let mut inside = Vec::with_capacity(rendered.len() + extra.len() + delay.len() + 128);
    forwarded(&mut inside, rendered, extra, delay);
    let type_ = ["chat", "error", "headline", "normal"]
        .into_iter()
        .find(|type_| rendered::attr(rendered, "type") == Some(type_.as_bytes()));
    let mut out = Vec::with_capacity(inside.len() + bare.len() * 2 + resource.len() + 128);
    let mut w = Writer::new(&mut out);
    w.start("message").attr("from", bare).attr("to", &format!("{bare}/{resource}")).attr_opt("type", type_);
    w.start(match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    });
    w.attr("xmlns", ns::CARBONS).raw(&inside).end().end();
    out
}

/// Posts copies of one message to those sessions of an account that want copies and fit. Under the account's
/// lock, in commit order. Gives those whose [`Runs`] have changed.
pub(crate) fn post(
    live: &mut Live,
    copied: &Copied,
    fits: impl Fn(&Entry) -> bool,
    post: &mut Poster,
) -> Vec<SessionId> {
    let (bare, seq) = (Arc::clone(&live.bare), copied.seq);
    let extra = seq.map(|seq| feed::stanza_id(&bare, seq)).unwrap_or_default();
    let mut changed = Vec::new();
    for entry in live.sessions.iter_mut().filter(|entry| fits(entry) && entry.copies(seq)) {
        let stored = match seq {
            Some(seq) if entry.reads() => {
                let prev = std::mem::replace(&mut entry.posted, seq);
                // Whether a message comes to a session as a copy depends on the other sessions.
                Some(Stored { seq, prev, again: false, regular: false, received: None })
            }
            Some(seq) => {
                entry.copied.add(seq);
                changed.push(entry.id);
                None
            }
            None => None,
        };
        let bytes = copy((&bare, &entry.resource), copied.direction, &copied.bytes, &extra, b"");
        let outgoing = Outgoing { bytes: bytes.into(), extra: Box::default(), stored, number: None };
        let event = match seq {
            Some(seq) if outgoing.stored.is_none() => Event::Copy(seq, outgoing),
            _ => Event::Deliver(outgoing),
        };
        entry.post(&bare, event, post);
    }
    changed
}

/// Runs of positions kept; the oldest is forgotten beyond that.
const RUNS_MAX: usize = 64;

/// Which messages a session was sent copies of from memory, while it was not fed. It does not get them again
/// when it is. In each run it was sent all copies that there were for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// First and last position.
    list: Vec<(u64, u64)>,
    /// The last run goes on.
    open: bool,
}

impl Runs {
    /// A copy of the message at this position was posted.
    pub fn add(&mut self, seq: u64) {
        match self.list.last_mut().filter(|_| self.open) {
            Some((_, last)) => *last = seq,
            None => {
                if self.list.len() >= RUNS_MAX {
                    self.list.remove(0);
                }
                self.list.push((seq, seq));
                self.open = true;
            }
        }
    }

    /// Not every message is copied from here on.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// The session was sent a copy of the message at this position, if the message is copied at all.
    pub fn has(&self, seq: u64) -> bool {
        self.list.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }
}

#[cfg(test)]
#[path = "xep0280_carbons_tests.rs"]
mod tests;
