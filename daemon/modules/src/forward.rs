//! XEP-0297 Stanza Forwarding: a rendered message inside another stanza.
use godwit_wire::{Writer, ns, stanza::splice};

/// Appends `<forwarded/>` with the message in it. `extra` (raw XML: stanza id) goes inside the message,
/// `delay` (raw XML, may be empty) beside it.
pub fn forwarded(out: &mut Vec<u8>, rendered: &[u8], extra: &[u8], delay: &[u8]) {
    const NAME: &[u8] = b"<message";
    let mut inside = delay.to_vec();
    // Rendered without `xmlns`, because the stream's default is `jabber:client`; here it is not. One that is
    // written with a prefix has its declarations with it.
    match rendered.strip_prefix(NAME).filter(|rest| matches!(rest.first(), Some(b' ' | b'>'))) {
        Some(rest) => {
            Writer::new(&mut inside).start("message").attr("xmlns", ns::CLIENT);
            splice(&mut inside, rest, extra);
        }
        None => splice(&mut inside, rendered, extra),
    }
    Writer::new(out).start("forwarded").attr("xmlns", ns::FORWARD).raw(&inside).end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_wire::{Element, Scope};

    fn forward(raw: &str) -> String {
        let mut out = Vec::new();
        forwarded(&mut out, raw.as_bytes(), b"<stanza-id/>", b"<delay/>");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_message_keeps_its_namespace_and_gets_its_id() {
        let out = forward("<message type='chat'><body>x</body></message>");
        assert_eq!(
            out,
            "<forwarded xmlns='urn:xmpp:forward:0'><delay/><message xmlns='jabber:client' type='chat'>\
             <body>x</body><stanza-id/></message></forwarded>"
        );
        assert!(
            forward("<message></message>").contains("<message xmlns='jabber:client'><stanza-id/></message>")
        );
    }

    #[test]
    fn one_with_a_prefix_stays_as_it_is() {
        let out = forward("<c:message xmlns:c='jabber:client' xmlns='urn:d'><x/></c:message>");
        let element = Element::parse(out.as_bytes(), &Scope::client()).unwrap();
        assert!(element.root().child("message", ns::CLIENT).unwrap().child("x", "urn:d").is_some());
    }
}
