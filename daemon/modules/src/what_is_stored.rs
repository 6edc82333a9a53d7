//! What is kept of a message, and what counts as instant messaging: one table, a line per element.
//!
//! XEP-0334 (hints) comes first, then the message's type, then its children. An element that is in no line is
//! kept as history: what nobody here understands may matter to a client, and too much is better than lost.
//!
//! A receipt or a marker (XEP-0184, XEP-0333) is kept like any message, also for a recipient who is away:
//! XEP-0160 §3 excepts chat states only, and a sender who is never told shows the message as undelivered for
//! ever.
use crate::module::{Cx, Info, Keep, Module};
use godwit_session::Spec;
use godwit_wire::{MessageType, Node, Stanza, ns};

/// What an element says about the message that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It makes the message one to be kept so.
    Kept(Keep),
    /// Nothing: addressing, ids, marks on something else in the message.
    Nothing,
}

/// One line: an element (`""`: all of its namespace) and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Namespace.
    pub ns: &'static str,
    /// Element name, or `""`.
    pub name: &'static str,
    /// What it says about keeping.
    pub says: Says,
    /// Instant messaging payload: the message is copied by carbons (XEP-0280 §6.1).
    pub im: bool,
    /// Where it is defined.
    pub spec: &'static str,
}

const fn line(ns: &'static str, name: &'static str, says: Says, im: bool, spec: &'static str) -> Line {
    Line { ns, name, says, im, spec }
}

const ARCHIVE: Says = Says::Kept(Keep::Archive);
const NO: Says = Says::Kept(Keep::No);

/// The table. The first line that fits counts.
pub const TABLE: &[Line] = &[
    line(ns::CLIENT, "body", ARCHIVE, false, "RFC 6121"), // carbons ask for it by the message's type
    line(ns::CLIENT, "subject", ARCHIVE, false, "RFC 6121"),
    line(ns::CLIENT, "thread", Says::Nothing, false, "RFC 6121"),
    line(ns::CHAT_STATES, "", NO, true, "XEP-0085"),
    line(ns::RECEIPTS, "request", Says::Nothing, true, "XEP-0184"),
    line(ns::RECEIPTS, "received", ARCHIVE, true, "XEP-0184"),
    line(ns::DELAY, "delay", Says::Nothing, false, "XEP-0203"),
    line(ns::CONFERENCE, "x", ARCHIVE, true, "XEP-0249"),
    line(ns::CARBONS, "", Says::Nothing, false, "XEP-0280"),
    line(ns::MESSAGE_CORRECT, "replace", ARCHIVE, true, "XEP-0308"),
    line(ns::CHAT_MARKERS, "markable", Says::Nothing, true, "XEP-0333"),
    line(ns::CHAT_MARKERS, "", ARCHIVE, true, "XEP-0333"),
    line(ns::HINTS, "", Says::Nothing, false, "XEP-0334"),
    line(ns::STANZA_IDS, "", Says::Nothing, false, "XEP-0359"),
    line(ns::OMEMO, "encrypted", ARCHIVE, true, "XEP-0384"),
    line(ns::OMEMO_LEGACY, "encrypted", ARCHIVE, true, "XEP-0384"),
    line(ns::MESSAGE_RETRACT, "retract", ARCHIVE, true, "XEP-0424"),
    line(ns::FALLBACK, "fallback", Says::Nothing, false, "XEP-0428"),
    line(ns::REACTIONS, "reactions", ARCHIVE, true, "XEP-0444"),
    line(ns::REPLY, "reply", ARCHIVE, true, "XEP-0461"),
    line(ns::MDS, "", Says::Nothing, false, "XEP-0490"),
];

/// The line of an element; `None` if no line fits.
pub fn line_of(element: Node<'_>) -> Option<&'static Line> {
    TABLE.iter().find(|line| line.ns == element.ns() && (line.name.is_empty() || line.name == element.name()))
}

/// True if the message has this hint (XEP-0334). Hints in an error are those of the message it answers: not
/// heard.
pub fn hint(message: &Stanza, name: &str) -> bool {
    message.message_type() != MessageType::Error && message.child(name, ns::HINTS).is_some()
}

/// XEP-0428: the whole body stands in for elements of another namespace, for clients that do not know that.
/// `None`: there is no such mark, or it covers only part of the body.
fn body_stands_for(message: &Stanza) -> Option<&str> {
    message
        .root()
        .children()
        .filter(|child| child.is("fallback", ns::FALLBACK))
        .find(|fallback| {
            let mut parts = fallback.children().filter(|part| part.ns() == ns::FALLBACK).peekable();
            parts.peek().is_none() || parts.any(|part| part.name() == "body" && part.attr("start").is_none())
        })
        .and_then(|fallback| fallback.attr("for"))
}

/// What the children say together: the most of what any of them says.
fn content(message: &Stanza) -> Keep {
    let stands_for = body_stands_for(message);
    // Its own element decides, if this server knows it; a body that stands for something unknown is a body.
    let spoken_for = stands_for.is_some_and(|ns| {
        message.root().children().any(|child| child.ns() == ns && line_of(child).is_some())
    });
    message
        .root()
        .children()
        .filter(|child| {
            !(spoken_for && matches!(child.name(), "body" | "subject") && child.ns() == ns::CLIENT)
        })
        .map(|child| match line_of(child).map(|line| line.says) {
            Some(Says::Kept(keep)) => keep,
            Some(Says::Nothing) => Keep::No,
            None => Keep::Archive,
        })
        .max()
        .unwrap_or(Keep::No)
}

/// How a message is kept, by hints, type and children.
pub fn kept(message: &Stanza) -> Keep {
    let by_content = match message.message_type() {
        // XEP-0160 §3. A room keeps its own history, whatever hints are for it.
        MessageType::Groupchat | MessageType::Error => return Keep::No,
        MessageType::Headline => Keep::No,
        MessageType::Normal | MessageType::Chat => content(message),
    };
    // Of two hints that contradict each other the one for privacy counts.
    if hint(message, "no-store") {
        return Keep::No;
    }
    let wanted = if hint(message, "store") { Keep::Archive } else { by_content };
    if hint(message, "no-permanent-store") { wanted.min(Keep::Delivery) } else { wanted }
}

/// Specifications of which only this concerns a server: what is kept.
const ALSO: [Spec; 9] = [
    spec("XEP-0085", "Chat State Notifications", "2.1", "not stored"),
    spec("XEP-0184", "Message Delivery Receipts", "1.4.0", "stored"),
    spec("XEP-0308", "Last Message Correction", "1.2.1", "stored"),
    spec("XEP-0333", "Displayed Markers", "1.0.0", "stored"),
    spec("XEP-0424", "Message Retraction", "0.4.2", "stored, without tombstones"),
    spec("XEP-0428", "Fallback Indication", "0.2.1", "heard when deciding what to store"),
    spec("XEP-0444", "Message Reactions", "0.2.1", "stored"),
    spec("XEP-0461", "Message Replies", "0.2.1", "stored"),
    spec("XEP-0384", "OMEMO Encryption", "0.9.1", "messages without a body are stored"),
];

const fn spec(id: &'static str, title: &'static str, version: &'static str, note: &'static str) -> Spec {
    Spec { id, title, version, note }
}

/// XEP-0334 Message Processing Hints: the module by which the rules of this file take effect.
#[derive(Debug)]
pub struct Hints;

impl Module for Hints {
    fn info(&self) -> Info {
        Info {
            name: "hints",
            spec: "XEP-0334",
            title: "Message Processing Hints",
            version: "1.0.0",
            also: &ALSO,
            // XEP-0424 §3: said by a server that keeps retractions.
            features: &[ns::MESSAGE_RETRACT],
            account_features: &[ns::MESSAGE_RETRACT],
            ..Info::default()
        }
    }

    fn store(&self, _cx: &Cx<'_>, message: &Stanza) -> Option<Keep> {
        Some(kept(message))
    }
}

#[cfg(test)]
#[path = "what_is_stored_tests.rs"]
mod tests;
