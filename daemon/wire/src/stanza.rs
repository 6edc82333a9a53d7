//! Typed views of message, presence and iq (RFC 6120 §8, RFC 6121): addresses parsed, the rest kept raw.
//!
//! A stanza is never taken apart and written anew: [`Stanza::render`] writes a new start tag around the bytes
//! that came, so that a child which nobody here understands arrives as it was sent.

use crate::writer::write_attr;
use crate::{Condition, Element, Jid, Node, StanzaError, Writer};

/// Which of the three stanzas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Message,
    Presence,
    Iq,
}

/// RFC 6121 §5.2.2; unknown values are `Normal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MessageType {
    Chat,
    Error,
    Groupchat,
    Headline,
    Normal,
}

/// RFC 6121 §4.7.1; `Available` is the absent attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum PresenceType {
    Available,
    Error,
    Probe,
    Subscribe,
    Subscribed,
    Unavailable,
    Unsubscribe,
    Unsubscribed,
}

/// RFC 6120 §8.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IqType {
    Error,
    Get,
    Result,
    Set,
}

impl Kind {
    /// The element name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::Presence => "presence",
            Kind::Iq => "iq",
        }
    }

    /// Inverse of [`Kind::name`].
    pub fn from_name(name: &str) -> Option<Kind> {
        match name {
            "message" => Some(Kind::Message),
            "presence" => Some(Kind::Presence),
            "iq" => Some(Kind::Iq),
            _ => None,
        }
    }
}

/// A stanza with parsed addresses.
#[derive(Debug, Clone)]
pub struct Stanza {
    /// Kind.
    pub kind: Kind,
    /// Destination.
    pub to: Option<Jid>,
    /// Origin; the server stamps it.
    pub from: Option<Jid>,
    element: Element,
}

impl Stanza {
    /// From an element in `jabber:client` (`jabber:server` on a server's stream). `Err` holds the stanza
    /// error to send back: `jid-malformed` for a bad `to` or `from`, `bad-request` for an iq without id, with
    /// a wrong type, or (get/set) without exactly one child. `Ok(None)` if the element is no stanza.
    pub fn from_element(element: Element) -> Result<Option<Stanza>, Box<(Element, StanzaError)>> {
        let root = element.root();
        let kind = match Kind::from_name(root.name()) {
            Some(kind) if root.ns() == element.scope().content() => kind,
            _ => return Ok(None),
        };
        let address = |name| root.attr(name).map(Jid::parse).transpose();
        match (address("to"), address("from"), check(kind, root)) {
            (Ok(to), Ok(from), Ok(())) => Ok(Some(Stanza { kind, to, from, element })),
            (_, _, Err(text)) => {
                Err(Box::new((element, StanzaError::new(Condition::BadRequest).with_text(text))))
            }
            (Err(bad), _, _) | (_, Err(bad), _) => {
                let error = StanzaError::new(Condition::JidMalformed).with_text(bad.to_string());
                Err(Box::new((element, error)))
            }
        }
    }

    /// The element.
    pub fn root(&self) -> Node<'_> {
        self.element.root()
    }

    /// The element with its raw bytes, as it came.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// `id`.
    pub fn id(&self) -> Option<&str> {
        self.root().attr("id")
    }

    /// `type` as a message's.
    pub fn message_type(&self) -> MessageType {
        match self.root().attr("type") {
            Some("chat") => MessageType::Chat,
            Some("error") => MessageType::Error,
            Some("groupchat") => MessageType::Groupchat,
            Some("headline") => MessageType::Headline,
            _ => MessageType::Normal,
        }
    }

    /// `type` as a presence's; `None` for an unknown value.
    pub fn presence_type(&self) -> Option<PresenceType> {
        match self.root().attr("type") {
            None => Some(PresenceType::Available),
            Some("error") => Some(PresenceType::Error),
            Some("probe") => Some(PresenceType::Probe),
            Some("subscribe") => Some(PresenceType::Subscribe),
            Some("subscribed") => Some(PresenceType::Subscribed),
            Some("unavailable") => Some(PresenceType::Unavailable),
            Some("unsubscribe") => Some(PresenceType::Unsubscribe),
            Some("unsubscribed") => Some(PresenceType::Unsubscribed),
            Some(_) => None,
        }
    }

    /// `type` as an iq's. ([`Stanza::from_element`] refused an iq with another value.)
    pub fn iq_type(&self) -> IqType {
        match self.root().attr("type") {
            Some("get") => IqType::Get,
            Some("set") => IqType::Set,
            Some("result") => IqType::Result,
            _ => IqType::Error,
        }
    }

    /// The one child of an iq get or set.
    pub fn payload(&self) -> Option<Node<'_>> {
        self.root().children().next()
    }

    /// Child with name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Node<'_>> {
        self.root().child(name, ns)
    }

    /// Appends the stanza with the start tag rewritten: the given `from` and `to`, all other attributes kept,
    /// prefixes that the stream header declared added, children copied raw except those for which `drop` is
    /// true; always with an end tag (`<message …></message>`), so that [`splice`] can add to it. No xmlns for
    /// `jabber:client`: it is the stream's default.
    ///
    /// A start tag that is written with a prefix and gives its children another default namespace than the
    /// stream's is kept as it is, `<c:message xmlns:c='jabber:client' xmlns='urn:other'>`, because the
    /// children depend on it.
    pub fn render(
        &self,
        out: &mut Vec<u8>,
        from: Option<&Jid>,
        to: Option<&Jid>,
        drop: &dyn Fn(Node<'_>) -> bool,
    ) {
        let root = self.root();
        let scope = self.element.scope();
        let own_default =
            root.declarations().any(|(prefix, uri)| prefix.is_empty() && uri != scope.content());
        let name = if own_default { root.qualified_name() } else { self.kind.name() };
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        for (name, value) in root.attrs().filter(|(name, _)| !matches!(*name, "from" | "to")) {
            write_attr(out, name, value);
        }
        for (name, address) in [("from", from), ("to", to)] {
            if let Some(address) = address {
                write_attr(out, name, address.as_str());
            }
        }
        for (prefix, uri) in root.declarations() {
            if !prefix.is_empty() {
                write_declaration(out, prefix, uri);
            } else if own_default {
                write_attr(out, "xmlns", uri);
            }
        }
        for (prefix, uri) in scope.extra_prefixes() {
            if !root.declarations().any(|(declared, _)| declared == prefix) {
                write_declaration(out, prefix, uri);
            }
        }
        out.push(b'>');
        root.inner_without(out, drop);
        out.extend_from_slice(b"</");
        out.extend_from_slice(name.as_bytes());
        out.push(b'>');
    }

    /// Appends the error reply (RFC 6120 §8.3.1): addresses swapped, same id, type `error`.
    pub fn error_reply(&self, out: &mut Vec<u8>, error: &StanzaError) {
        let (from, to) = (self.to.as_ref().map(Jid::as_str), self.from.as_ref().map(Jid::as_str));
        write_error_reply(out, self.kind, self.id(), from, to, error);
    }

    /// Appends the result of an iq get or set: addresses swapped, same id, `payload` (raw XML, may be empty)
    /// inside.
    pub fn iq_result(&self, out: &mut Vec<u8>, payload: &[u8]) {
        let (from, to) = (self.to.as_ref().map(Jid::as_str), self.from.as_ref().map(Jid::as_str));
        let mut w = Writer::new(out);
        w.start("iq").attr("type", "result").attr_opt("id", self.id());
        w.attr_opt("from", from).attr_opt("to", to).raw(payload).end();
    }
}

/// Appends the error reply to an element that [`Stanza::from_element`] refused: its `to` goes back as sent,
/// and `to` is the sender as the server knows it. Nothing if the element is no stanza, or an error itself
/// (RFC 6120 §8.3.1).
pub fn refuse(out: &mut Vec<u8>, element: &Element, to: Option<&Jid>, error: &StanzaError) {
    let root = element.root();
    if let Some(kind) = Kind::from_name(root.name())
        && !matches!(root.attr("type"), Some("error"))
    {
        write_error_reply(out, kind, root.attr("id"), root.attr("to"), to.map(Jid::as_str), error);
    }
}

/// Appends rendered stanza bytes with `extra` (raw XML) inserted before the end tag.
pub fn splice(out: &mut Vec<u8>, rendered: &[u8], extra: &[u8]) {
    // The last `<` of a rendered stanza is that of its end tag.
    let end_tag = memchr::memrchr(b'<', rendered).unwrap_or(rendered.len());
    let (before, after) = rendered.split_at(end_tag);
    out.extend_from_slice(before);
    out.extend_from_slice(extra);
    out.extend_from_slice(after);
}

fn write_error_reply(
    out: &mut Vec<u8>,
    kind: Kind,
    id: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    error: &StanzaError,
) {
    let mut inside = Vec::new();
    error.write(&mut inside);
    let mut w = Writer::new(out);
    w.start(kind.name()).attr("type", "error").attr_opt("id", id);
    w.attr_opt("from", from).attr_opt("to", to).raw(&inside).end();
}

fn write_declaration(out: &mut Vec<u8>, prefix: &str, uri: &str) {
    write_attr(out, &["xmlns:", prefix].concat(), uri);
}

/// What RFC 6120 §8.2.3 requires of an iq.
fn check(kind: Kind, root: Node<'_>) -> Result<(), &'static str> {
    if kind != Kind::Iq {
        return Ok(());
    }
    if root.attr("id").is_none() {
        return Err("an iq needs an id");
    }
    match root.attr("type") {
        Some("get" | "set") => match root.children().count() {
            1 => Ok(()),
            _ => Err("an iq get or set needs exactly one child element"),
        },
        Some("result") if root.children().count() > 1 => Err("an iq result has at most one child element"),
        Some("result" | "error") => Ok(()),
        _ => Err("the type of an iq is get, set, result or error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::{Header, Scope};

    fn element(raw: &str) -> Element {
        Element::parse(raw.as_bytes(), &Scope::client()).expect(raw)
    }

    fn stanza(raw: &str) -> Stanza {
        Stanza::from_element(element(raw)).expect("valid").expect("a stanza")
    }

    fn rendered(stanza: &Stanza) -> String {
        let mut out = Vec::new();
        stanza.render(&mut out, stanza.from.as_ref(), stanza.to.as_ref(), &|_| false);
        String::from_utf8(out).expect("UTF-8")
    }

    fn text(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn kinds_and_types() {
        let message =
            stanza("<message to='Romeo@Example.NET/x' type='chat' id='7'><body>hi</body></message>");
        assert_eq!(
            (message.kind, message.message_type(), message.id()),
            (Kind::Message, MessageType::Chat, Some("7"))
        );
        assert_eq!(message.to.as_ref().map(Jid::as_str), Some("romeo@example.net/x"));
        assert_eq!(
            message.child("body", crate::ns::CLIENT).map(|b| b.text().into_owned()),
            Some("hi".to_owned())
        );
        assert_eq!(stanza("<message type='odd'/>").message_type(), MessageType::Normal);
        assert_eq!(stanza("<presence/>").presence_type(), Some(PresenceType::Available));
        assert_eq!(stanza("<presence type='probe'/>").presence_type(), Some(PresenceType::Probe));
        assert_eq!(stanza("<presence type='odd'/>").presence_type(), None);
        let iq = stanza("<iq type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>");
        assert_eq!((iq.iq_type(), iq.payload().map(Node::ns)), (IqType::Set, Some("jabber:iq:roster")));
        assert_eq!(stanza("<iq type='result' id='1'/>").iq_type(), IqType::Result);
        for kind in [Kind::Message, Kind::Presence, Kind::Iq] {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
    }

    #[test]
    fn other_elements_are_no_stanzas() {
        for raw in
            ["<r xmlns='urn:xmpp:sm:3'/>", "<message xmlns='urn:x'/>", "<message xmlns=''/>", "<body/>"]
        {
            assert!(matches!(Stanza::from_element(element(raw)), Ok(None)), "{raw}");
        }
    }

    #[test]
    fn bad_stanzas_are_refused_with_the_error_to_send() {
        use Condition::*;
        let cases = [
            ("<message to='a@b@c'/>", JidMalformed),
            ("<message to=''/>", JidMalformed),
            ("<presence from='@x'/>", JidMalformed),
            ("<iq type='get'><a/></iq>", BadRequest),
            ("<iq id='1'><a/></iq>", BadRequest),
            ("<iq id='1' type='ask'><a/></iq>", BadRequest),
            ("<iq id='1' type='get'/>", BadRequest),
            ("<iq id='1' type='set'><a/><b/></iq>", BadRequest),
            ("<iq id='1' type='result'><a/><b/></iq>", BadRequest),
        ];
        for (raw, condition) in cases {
            let refused = Stanza::from_element(element(raw)).expect_err(raw);
            assert_eq!(refused.1.condition, condition, "{raw}");
            assert_eq!(refused.0.raw(), raw.as_bytes());
        }
    }

    #[test]
    fn rendering_changes_the_start_tag_only() {
        let mut message = stanza(
            "<message to='a@b' id='&apos;1&#10;' from='forged@x' xmlns='jabber:client' \
             p:q='r' xmlns:p='urn:p' \
             ><body>&lt;&#x20AC;</body> <p:x  y = \"z\"/><![CDATA[t]]></message >",
        );
        message.from = Jid::parse("me@here/now").ok();
        assert_eq!(
            rendered(&message),
            "<message id='&apos;1&#10;' p:q='r' from='me@here/now' to='a@b' xmlns:p='urn:p'>\
             <body>&lt;&#x20AC;</body> \
             <p:x  y = \"z\"/><![CDATA[t]]></message>"
        );
        let kept = text(|out| message.render(out, None, None, &|child| child.ns() == "urn:p"));
        assert_eq!(
            kept,
            "<message id='&apos;1&#10;' p:q='r' xmlns:p='urn:p'>\
             <body>&lt;&#x20AC;</body> <![CDATA[t]]></message>"
        );
        let spliced = text(|out| splice(out, rendered(&stanza("<presence/>")).as_bytes(), b"<x/>"));
        assert_eq!(spliced, "<presence><x/></presence>");
    }

    #[test]
    fn prefixes_of_the_stream_header_travel_along() {
        let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:x='urn:&lt;x' xmlns:y='urn:y' xmlns:c='jabber:client'>";
        let scope = Header::parse(header.as_bytes()).expect("a header").scope;
        let raw = "<c:message xmlns:y='urn:own'><x:a/><y:b/><c:body/></c:message>";
        let element = Element::parse(raw.as_bytes(), &scope).expect("well-formed");
        let stanza = Stanza::from_element(element).expect("valid").expect("a stanza");
        let out = rendered(&stanza);
        assert_eq!(
            out,
            "<message xmlns:y='urn:own' xmlns:x='urn:&lt;x' xmlns:c='jabber:client'>\
             <x:a/><y:b/><c:body/></message>"
        );
        let again = Element::parse(out.as_bytes(), &Scope::client()).expect("complete in itself");
        assert!(again.root().child("a", "urn:<x").is_some() && again.root().child("b", "urn:own").is_some());
    }

    #[test]
    fn another_default_namespace_on_a_prefixed_stanza_is_kept() {
        let raw = "<c:message xmlns:c='jabber:client' xmlns='urn:d' to='a@b'><x/></c:message>";
        let out = rendered(&stanza(raw));
        assert_eq!(out, "<c:message to='a@b' xmlns:c='jabber:client' xmlns='urn:d'><x/></c:message>");
        assert_eq!(rendered(&stanza(&out)), out);
    }

    #[test]
    fn replies() {
        let iq = stanza("<iq type='get' id='&lt;' to='b@c' from='a@b/r'><q xmlns='urn:q'/></iq>");
        assert_eq!(
            text(|out| iq.iq_result(out, b"<q/>")),
            "<iq type='result' id='&lt;' from='b@c' to='a@b/r'><q/></iq>"
        );
        assert_eq!(
            text(|out| iq.error_reply(out, &Condition::Forbidden.into())),
            "<iq type='error' id='&lt;' from='b@c' to='a@b/r'><error type='auth'>\
             <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
        let error = StanzaError::new(Condition::JidMalformed);
        let to = Jid::parse("a@b/r").expect("a JID");
        assert_eq!(
            text(|out| refuse(out, &element("<message to='a@@' id='3'/>"), Some(&to), &error)),
            "<message type='error' id='3' from='a@@' to='a@b/r'><error type='modify'>\
             <jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        );
        assert_eq!(text(|out| refuse(out, &element("<message type='error' to='a@@'/>"), None, &error)), "");
        assert_eq!(text(|out| refuse(out, &element("<r xmlns='urn:xmpp:sm:3'/>"), None, &error)), "");
    }
}
