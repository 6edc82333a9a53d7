//! XEP-0352 through the whole server: what waits for an inactive client, and what does not.
use godwit_sim::{ClientId, World};

const INACTIVE: &str = "<inactive xmlns='urn:xmpp:csi:0'/>";
const ACTIVE: &str = "<active xmlns='urn:xmpp:csi:0'/>";
const COMPOSING: &str = "<message to='bob@example.org/phone' type='chat'>\
                         <composing xmlns='http://jabber.org/protocol/chatstates'/></message>";

/// Alice with two sessions, and Bob's phone, who see each other's presence.
fn world() -> (World, ClientId, ClientId) {
    let mut w = World::new(1, 2);
    ["alice", "bob"].iter().for_each(|name| w.account(name));
    let (alice, phone) = (w.online("alice", "a"), w.online("bob", "phone"));
    for (from, to) in [(alice, "bob"), (phone, "alice")] {
        w.send(from, &format!("<presence type='subscribe' to='{to}@example.org'/>"));
    }
    for (from, to) in [(alice, "bob"), (phone, "alice")] {
        w.send(from, &format!("<presence type='subscribed' to='{to}@example.org'/>"));
    }
    [alice, phone].iter().for_each(|id| drop(w.take(*id)));
    (w, alice, phone)
}

fn message(body: &str) -> String {
    format!("<message to='bob@example.org' type='chat'><body>{body}</body></message>")
}

/// What came: shows of presence, `typing`, bodies, `pong`.
fn heard(inbox: &str) -> Vec<String> {
    inbox
        .split('<')
        .filter_map(|tag| {
            if tag.starts_with("composing") {
                return Some("typing".to_owned());
            }
            if tag.starts_with("iq ") {
                return Some("pong".to_owned());
            }
            tag.strip_prefix("body>").or_else(|| tag.strip_prefix("show>")).map(Into::into)
        })
        .collect()
}

#[test]
fn presence_and_typing_wait_and_only_the_last_presence_comes() {
    let (mut w, alice, phone) = world();
    w.send(phone, INACTIVE);
    for show in ["away", "xa", "dnd"] {
        w.send(alice, &format!("<presence><show>{show}</show></presence>"));
    }
    w.send(alice, COMPOSING);
    w.send(alice, COMPOSING);
    assert_eq!(w.take(phone), "");
    w.send(phone, &format!("{ACTIVE}<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"));
    assert_eq!(heard(&w.take(phone)), ["dnd", "typing", "typing", "pong"]);
    w.send(alice, "<presence><show>away</show></presence>");
    assert_eq!(heard(&w.take(phone)), ["away"], "it is active");
}

#[test]
fn what_is_important_comes_at_once_behind_what_was_held() {
    let (mut w, alice, phone) = world();
    w.send(phone, INACTIVE);
    w.send(alice, COMPOSING);
    w.send(alice, &message("one"));
    assert_eq!(heard(&w.take(phone)), ["typing", "one"]);
    w.send(alice, COMPOSING);
    assert_eq!(w.take(phone), "", "it is still inactive");
    w.send(phone, "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(heard(&w.take(phone)), ["typing", "pong"]);
}

#[test]
fn too_much_is_not_held() {
    let (mut w, alice, phone) = world();
    w.send(phone, INACTIVE);
    let show = "x".repeat(3_000);
    let limit = w.settings.held_bytes_max as usize;
    for _ in 0..limit / 3_000 {
        w.send(alice, &COMPOSING.replace("<composing", &format!("<thread>{show}</thread><composing")));
    }
    let held = w.take(phone);
    assert!(held.len() >= limit && held.len() < limit + 8_000, "{}", held.len());
}

#[test]
fn what_was_held_is_sent_by_the_resumption_and_the_client_is_active_then() {
    let (mut w, alice, phone) = world();
    w.send(phone, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = w.take(phone);
    let id = enabled.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    w.send(phone, INACTIVE);
    w.send(alice, COMPOSING);
    w.cut(phone);
    w.send(alice, "<presence><show>away</show></presence>");
    w.send(alice, &message("one"));
    let again = w.authenticate("bob");
    w.send(again, &format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
    assert_eq!(heard(&w.take(again)), ["typing", "away", "one"]);
    w.send(alice, COMPOSING);
    assert_eq!(heard(&w.take(again)), ["typing"]);
    // What was held is counted once it is sent, and not before: h is believed.
    w.send(again, "<a xmlns='urn:xmpp:sm:3' h='4'/>");
    assert!(!w.client(again).closed);
}

#[test]
fn what_is_held_is_not_counted_as_sent() {
    let (mut w, alice, phone) = world();
    w.send(phone, "<enable xmlns='urn:xmpp:sm:3'/>");
    w.take(phone);
    w.send(phone, INACTIVE);
    w.send(alice, COMPOSING);
    w.send(phone, "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    let inbox = w.take(phone);
    assert!(inbox.contains("<handled-count-too-high "), "{inbox}");
}

#[test]
fn an_inactive_client_is_pinged_less_often() {
    let (mut w, _, phone) = world();
    let interval = w.settings.ping_after_ms;
    w.send(phone, INACTIVE);
    w.pass(interval);
    w.pass(interval);
    w.pass(interval);
    assert_eq!(w.take(phone), "");
    w.pass(interval);
    assert!(w.take(phone).contains("<ping "));
    w.send(phone, &format!(" {ACTIVE}"));
    w.pass(interval);
    assert!(w.take(phone).contains("<ping "));
}

#[test]
fn administrators_see_the_state() {
    let (mut w, _, phone) = world();
    let inactive = |w: &World| {
        w.hub.registry.with("bob@example.org", |live| live.sessions.iter().any(|entry| entry.inactive))
    };
    w.send(phone, INACTIVE);
    assert_eq!(inactive(&w), Some(true));
    w.send(phone, ACTIVE);
    assert_eq!(inactive(&w), Some(false));
    w.send(phone, "<sleepy xmlns='urn:xmpp:csi:0'/>");
    assert!(w.take(phone).contains("<unsupported-stanza-type "));
}
