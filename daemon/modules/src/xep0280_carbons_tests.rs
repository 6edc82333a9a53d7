//! Which messages are copied, and what a copy looks like.
use super::*;
use godwit_wire::{Element, Scope};

fn message(xml: &str) -> Stanza {
    Stanza::from_element(Element::parse(xml.as_bytes(), &Scope::client()).unwrap()).unwrap().unwrap()
}

fn copied(type_: &str, children: &str) -> (bool, bool) {
    let message = message(&format!("<message to='a@b/c' type='{type_}'>{children}</message>"));
    (is_copied(&message, Direction::Sent), is_copied(&message, Direction::Received))
}

#[test]
fn the_rules_of_which_messages_are_copied() {
    const BOTH: (bool, bool) = (true, true);
    const NEITHER: (bool, bool) = (false, false);
    let body = "<body>x</body>";
    let marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>";
    let muc = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
    let invitation = "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='x@y'/></x>";
    let table = [
        ("chat", "", BOTH),
        ("chat", body, BOTH),
        ("normal", body, BOTH),
        ("normal", "", NEITHER),
        ("normal", "<x xmlns='urn:unknown'/>", NEITHER),
        ("normal", marker, BOTH),
        ("normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", BOTH),
        ("normal", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", BOTH),
        ("normal", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", BOTH),
        ("normal", "<x xmlns='jabber:x:conference' jid='r@s'/>", BOTH),
        ("normal", invitation, BOTH),
        ("headline", body, NEITHER),
        ("groupchat", body, NEITHER),
        ("groupchat", marker, NEITHER),
        ("error", "<error type='cancel'/>", NEITHER),
        ("error", "<body>x</body><error type='cancel'/>", BOTH),
        ("chat", muc, (true, false)),
        ("chat", "<body>x</body><private xmlns='urn:xmpp:carbons:2'/>", NEITHER),
        ("chat", "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>", NEITHER),
        ("chat", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>", BOTH),
        ("error", "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>", BOTH),
    ];
    for (type_, children, expected) in table {
        assert_eq!(copied(type_, children), expected, "{type_}: {children}");
    }
}

#[test]
fn a_copy_is_from_the_bare_jid_to_the_session_and_holds_the_message_whole() {
    let raw = b"<message type='chat' from='a@b/1' to='c@d'><body>x</body></message>";
    let out = copy(("a@b", "2"), Direction::Sent, raw, b"<stanza-id/>", b"");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<message from='a@b' to='a@b/2' type='chat'><sent xmlns='urn:xmpp:carbons:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'>\
         <message xmlns='jabber:client' type='chat' from='a@b/1' to='c@d'>\
         <body>x</body><stanza-id/></message></forwarded></sent></message>"
    );
    let out = copy(("a@b", "2"), Direction::Received, b"<message></message>", b"", b"<delay/>");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<message from='a@b' to='a@b/2'><received xmlns='urn:xmpp:carbons:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'><delay/><message xmlns='jabber:client'></message>\
         </forwarded></received></message>"
    );
}

#[test]
fn only_copies_are_forged() {
    let message = message(
        "<message><sent xmlns='urn:xmpp:carbons:2'/><received xmlns='urn:xmpp:carbons:2'/>\
         <private xmlns='urn:xmpp:carbons:2'/><received xmlns='urn:xmpp:receipts'/></message>",
    );
    let forged: Vec<bool> = message.root().children().map(is_forged).collect();
    assert_eq!(forged, [true, true, false, false]);
}
