//! Typed views of message, presence and iq (RFC 6120 §8, RFC 6121): addresses parsed, the rest kept raw.
use crate::{Element, Jid, Node, StanzaError};
/// Which of the three stanzas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind { Message, Presence, Iq }
/// RFC 6121 §5.2.2; unknown values are `Normal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MessageType { Chat, Error, Groupchat, Headline, Normal }
/// RFC 6121 §4.7.1; `Available` is the absent attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PresenceType { Available, Error, Probe, Subscribe, Subscribed, Unavailable, Unsubscribe, Unsubscribed }
/// RFC 6120 §8.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IqType { Error, Get, Result, Set }
/// A stanza with parsed addresses.
#[derive(Debug, Clone)]
pub struct Stanza { /// Kind.
    pub kind: Kind, /// Destination.
    pub to: Option<Jid>, /// Origin; the server stamps it.
    pub from: Option<Jid>, element: Element }
impl Stanza {
    /// From an element in `jabber:client`. `Err` holds the stanza error to send back: `jid-malformed` for a bad `to`,
    /// `bad-request` for an iq without id, with a wrong type, or (get/set) without exactly one child.
    /// `Ok(None)` if the element is no stanza.
    pub fn from_element(_element: Element) -> Result<Option<Stanza>, Box<(Element, StanzaError)>> { unimplemented!() }
    /// The element.
    pub fn root(&self) -> Node<'_> { self.element.root() }
    /// `id`.
    pub fn id(&self) -> Option<&str> { self.root().attr("id") }
    /// `type` as a message's.
    pub fn message_type(&self) -> MessageType { unimplemented!() }
    /// `type` as a presence's; `None` for an unknown value.
    pub fn presence_type(&self) -> Option<PresenceType> { unimplemented!() }
    /// `type` as an iq's.
    pub fn iq_type(&self) -> IqType { unimplemented!() }
    /// The one child of an iq get or set.
    pub fn payload(&self) -> Option<Node<'_>> { unimplemented!() }
    /// Child with name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Node<'_>> { self.root().child(name, ns) }
    /// Appends the stanza with the start tag rewritten: the given `from` and `to`, all other attributes kept, prefixes that the
    /// stream header declared added, children copied raw except those for which `drop` is true; always with an end tag
    /// (`<message …></message>`), so that [`splice`] can add to it. No xmlns for `jabber:client`: it is the stream's default.
    pub fn render(&self, _out: &mut Vec<u8>, _from: Option<&Jid>, _to: Option<&Jid>, _drop: &dyn Fn(Node<'_>) -> bool) { unimplemented!() }
    /// Appends the error reply (RFC 6120 §8.3.1): addresses swapped, same id, type `error`.
    pub fn error_reply(&self, _out: &mut Vec<u8>, _error: &StanzaError) { unimplemented!() }
}
/// Appends rendered stanza bytes with `extra` (raw XML) inserted before the end tag.
pub fn splice(_out: &mut Vec<u8>, _rendered: &[u8], _extra: &[u8]) { unimplemented!() }
