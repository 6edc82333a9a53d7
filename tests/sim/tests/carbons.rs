//! XEP-0280 through the whole server: who gets a copy, in which order, and that nobody gets anything twice.
use godwit_sim::{ClientId, World};

const ENABLE: &str = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>";

fn message(to: &str, body: &str) -> String {
    format!("<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>")
}

fn world() -> World {
    let mut world = World::new(1, 2);
    ["alice", "bob"].iter().for_each(|name| world.account(name));
    world
}

/// A session with carbons that has sent `presence`.
fn device(w: &mut World, name: &str, resource: &str, presence: &str) -> ClientId {
    let id = w.login(name, resource);
    w.send(id, ENABLE);
    assert!(w.take(id).contains("type='result' id='c'"));
    w.send(id, presence);
    w.take(id);
    id
}

fn text(xml: &str, from: &str, to: &str) -> String {
    xml.split(from).nth(1).and_then(|rest| rest.split(to).next()).unwrap_or_default().to_owned()
}

/// What came, in order: body, or `sent:` or `received:` and the body of the copy.
fn heard(inbox: &str) -> Vec<String> {
    inbox
        .split("<message ")
        .filter(|part| !part.is_empty())
        .scan("", |wrapper, part| {
            if part.contains("<forwarded ") {
                *wrapper = if part.contains("<sent ") { "sent:" } else { "received:" };
                return Some(None);
            }
            let body = text(part, "<body>", "</body>");
            Some((!body.is_empty()).then(|| format!("{}{body}", std::mem::take(wrapper))))
        })
        .flatten()
        .collect()
}

fn stanza_id(xml: &str, by: &str) -> String {
    let id = text(xml, &format!("by='{by}' id='"), "'");
    assert!(!id.is_empty(), "{xml}");
    id
}

#[test]
fn both_sides_of_a_conversation_reach_every_device() {
    let mut w = world();
    let phone = device(&mut w, "alice", "phone", "<presence/>");
    let desk = device(&mut w, "alice", "desk", "<presence/>");
    let bob = device(&mut w, "bob", "b", "<presence/>");
    let second = device(&mut w, "bob", "second", "<presence/>");
    [phone, desk, bob, second].iter().for_each(|id| drop(w.take(*id)));
    w.send(phone, &message("bob@example.org/b", "question"));
    assert_eq!(heard(&w.take(bob)), ["question"]);
    assert_eq!(heard(&w.take(second)), ["received:question"]);
    let copy = w.take(desk);
    assert_eq!(heard(&copy), ["sent:question"]);
    assert!(
        copy.starts_with("<message from='alice@example.org' to='alice@example.org/desk' type='chat'>"),
        "{copy}"
    );
    assert!(copy.contains("<message xmlns='jabber:client' "), "{copy}");
    stanza_id(&copy, "alice@example.org");
    assert!(!copy.contains("<delay"), "{copy}");
    assert_eq!(heard(&w.take(phone)), [""; 0], "the sender has it");
    w.send(bob, &message("alice@example.org/phone", "answer"));
    assert_eq!(heard(&w.take(phone)), ["answer"]);
    assert_eq!(heard(&w.take(desk)), ["received:answer"]);
    assert_eq!(heard(&w.take(second)), ["sent:answer"]);
}

#[test]
fn a_message_to_the_bare_jid_is_not_copied_to_who_has_it() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let phone = device(&mut w, "bob", "phone", "<presence/>");
    let shy = device(&mut w, "bob", "shy", "<presence><priority>-1</priority></presence>");
    let silent = device(&mut w, "bob", "silent", "");
    [phone, shy, silent].iter().for_each(|id| drop(w.take(*id)));
    w.send(alice, &message("bob@example.org", "x"));
    let (original, copy) = (w.take(phone), w.take(shy));
    assert_eq!(heard(&original), ["x"]);
    assert_eq!(heard(&copy), ["received:x"]);
    assert_eq!(stanza_id(&original, "bob@example.org"), stanza_id(&copy, "bob@example.org"));
    assert_eq!(heard(&w.take(silent)), ["received:x"]);
}

#[test]
fn a_copy_to_a_session_that_is_not_fed_does_not_count_as_delivery_and_the_message_does_not_follow() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let shy = device(&mut w, "bob", "shy", "<presence><priority>-1</priority></presence>");
    w.send(alice, &message("bob@example.org", "x"));
    assert_eq!(heard(&w.take(shy)), ["received:x"]);
    w.send(shy, "<presence/>");
    assert_eq!(heard(&w.take(shy)), [""; 0], "it had it");
    w.cut(shy);
    let phone = w.online("bob", "phone");
    assert_eq!(
        heard(&w.take(phone)),
        ["x"],
        "a copy to a negative priority is not how a message is delivered"
    );
}

#[test]
fn what_is_lost_with_a_connection_comes_again_in_order_and_once() {
    let mut w = world();
    let bob = w.online("bob", "b");
    let phone = device(&mut w, "alice", "phone", "<presence/>");
    let desk = w.login("alice", "desk");
    w.send(desk, ENABLE);
    w.send(desk, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let id = text(&w.take(desk), "<enabled xmlns='urn:xmpp:sm:3' id='", "'");
    w.send(desk, "<presence/>");
    w.take(desk);
    w.client(desk).stalled = true;
    w.send(phone, &message("bob@example.org/b", "one"));
    w.send(bob, &message("alice@example.org/phone", "two"));
    w.cut(desk);
    w.send(phone, &message("bob@example.org/b", "three"));
    w.send(bob, &message("alice@example.org", "four"));
    w.send(
        phone,
        "<message to='bob@example.org/b' type='chat'><body>five</body>\
                   <private xmlns='urn:xmpp:carbons:2'/></message>",
    );
    let again = w.authenticate("alice");
    w.send(again, &format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
    let inbox = w.take(again);
    assert!(inbox.contains("<resumed "), "{inbox}");
    assert_eq!(heard(&inbox), ["sent:one", "received:two", "sent:three", "four"]);
    for body in ["one", "two", "three", "four"] {
        assert_eq!(inbox.matches(&format!("<body>{body}</body>")).count(), 1, "{inbox}");
    }
    w.send(phone, &message("bob@example.org/b", "six"));
    assert_eq!(heard(&w.take(again)), ["sent:six"]);
}

#[test]
fn a_slow_device_reads_its_copies_from_the_archive() {
    let mut w = world();
    let bob = w.online("bob", "b");
    let (phone, desk) =
        (device(&mut w, "alice", "phone", "<presence/>"), device(&mut w, "alice", "desk", "<presence/>"));
    w.client(desk).stalled = true;
    let pages = w.pages.len();
    let long = |to: &str, body: String| {
        let padding = "x".repeat(2048);
        message(to, &body).replace("</body>", &format!("</body><x xmlns='urn:x'>{padding}</x>"))
    };
    for n in 0..150 {
        w.send(phone, &long("bob@example.org/b", format!("q{n}")));
        w.send(bob, &long("alice@example.org/phone", format!("a{n}")));
    }
    w.client(desk).stalled = false;
    (0..10).for_each(|_| w.settle());
    assert!(w.pages.len() > pages, "it was slow enough to read from the archive");
    let expected: Vec<String> =
        (0..150).flat_map(|n| [format!("sent:q{n}"), format!("received:a{n}")]).collect();
    assert_eq!(heard(&w.take(desk)), expected);
    assert_eq!(heard(&w.take(phone)), (0..150).map(|n| format!("a{n}")).collect::<Vec<_>>());
}

#[test]
fn a_device_that_was_offline_gets_messages_but_no_copies() {
    let mut w = world();
    let (bob, phone) = (w.online("bob", "b"), w.online("alice", "phone"));
    w.send(phone, &message("bob@example.org/b", "sent-before"));
    w.send(bob, &message("alice@example.org/phone", "had-by-phone"));
    let desk = device(&mut w, "alice", "desk", "<presence/>");
    assert_eq!(heard(&w.take(desk)), [""; 0]);
    w.send(desk, "<iq type='set' id='d'><disable xmlns='urn:xmpp:carbons:2'/></iq>");
    assert!(w.take(desk).contains("type='result' id='d'"));
    w.send(phone, &message("bob@example.org/b", "while-disabled"));
    w.send(desk, ENABLE);
    w.send(desk, ENABLE);
    w.take(desk);
    w.send(phone, &message("bob@example.org/b", "while-enabled"));
    assert_eq!(heard(&w.take(desk)), ["sent:while-enabled"]);
}

#[test]
fn the_end_of_the_addressed_session_gives_nobody_a_second_copy() {
    let mut w = world();
    let bob = w.online("bob", "b");
    let desk = device(&mut w, "alice", "desk", "<presence/>");
    let plain = w.online("alice", "plain");
    let phone = w.login("alice", "phone");
    w.send(phone, "<enable xmlns='urn:xmpp:sm:3'/>");
    w.send(phone, "<presence/>");
    [desk, plain, phone].iter().for_each(|id| drop(w.take(*id)));
    w.client(phone).stalled = true;
    w.client(desk).stalled = true; // its copy reaches the kernel just when the phone's session ends
    w.send(bob, &message("alice@example.org/phone", "x"));
    w.client(desk).stalled = false;
    w.cut(phone); // it never acknowledged
    assert_eq!(heard(&w.take(plain)), ["x"]);
    (0..3).for_each(|_| w.settle());
    assert_eq!(heard(&w.take(desk)), ["received:x"]);
}

#[test]
fn what_is_not_stored_is_copied_from_memory() {
    let mut w = world();
    let bob = w.online("bob", "b");
    let (phone, desk) =
        (device(&mut w, "alice", "phone", "<presence/>"), device(&mut w, "alice", "desk", "<presence/>"));
    w.take(phone);
    w.send(
        phone,
        "<message to='bob@example.org/b' type='chat'>\
         <composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    );
    let copy = w.take(desk);
    assert!(
        copy.contains("<sent ") && copy.contains("<composing ") && !copy.contains("<stanza-id"),
        "{copy}"
    );
    w.send(
        bob,
        "<message to='alice@example.org/phone' type='chat'><body>off the record</body>\
         <no-store xmlns='urn:xmpp:hints'/></message>",
    );
    let copy = w.take(desk);
    assert!(
        copy.contains("<received ") && copy.contains("off the record") && !copy.contains("<stanza-id"),
        "{copy}"
    );
}

#[test]
fn nobody_can_forge_a_copy_and_its_bounce_goes_nowhere() {
    let mut w = world();
    let bob = w.online("bob", "b");
    let (phone, desk) =
        (device(&mut w, "alice", "phone", "<presence/>"), device(&mut w, "alice", "desk", "<presence/>"));
    [bob, phone, desk].iter().for_each(|id| drop(w.take(*id)));
    let forged = "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                  <message xmlns='jabber:client' from='x@y'><body>lies</body></message>\
                  </forwarded></received>";
    w.send(bob, &format!("<message to='alice@example.org' type='chat'><body>t</body>{forged}</message>"));
    for id in [phone, desk] {
        let inbox = w.take(id);
        assert!(heard(&inbox) == ["t"] && !inbox.contains("lies"), "{inbox}");
    }
    w.send(
        desk,
        "<message to='alice@example.org' type='error' id='1'><error type='cancel'>\
                  <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    );
    for id in [bob, phone, desk] {
        assert_eq!(w.take(id), "");
    }
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let mut w = world();
    let alice = w.online("alice", "a");
    w.take(alice);
    for (iq, condition) in [
        ("<iq type='get' id='1'><enable xmlns='urn:xmpp:carbons:2'/></iq>", "bad-request"),
        ("<iq type='set' id='1'><maybe xmlns='urn:xmpp:carbons:2'/></iq>", "bad-request"),
        (
            "<iq type='set' id='1' to='bob@example.org'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
            "not-allowed",
        ),
    ] {
        w.send(alice, iq);
        let answer = w.take(alice);
        assert!(answer.contains("type='error'") && answer.contains(condition), "{iq}: {answer}");
    }
}

#[test]
fn messages_to_oneself_come_once_to_each_device() {
    let mut w = world();
    let phone = device(&mut w, "alice", "phone", "<presence/>");
    let desk = device(&mut w, "alice", "desk", "<presence/>");
    let third = device(&mut w, "alice", "third", "<presence/>");
    [phone, desk, third].iter().for_each(|id| drop(w.take(*id)));
    w.send(phone, &message("alice@example.org", "note"));
    for id in [phone, desk, third] {
        assert_eq!(heard(&w.take(id)), ["note"]);
    }
    w.send(phone, &message("alice@example.org/desk", "here"));
    assert_eq!(heard(&w.take(phone)), [""; 0]);
    assert_eq!(heard(&w.take(desk)), ["here"]);
    assert_eq!(heard(&w.take(third)), ["received:here"]);
}

#[test]
fn what_came_as_a_copy_does_not_follow_at_the_second_presence_either() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let shy = device(&mut w, "bob", "shy", "<presence><priority>-1</priority></presence>");
    let expected: Vec<String> = (0..400).map(|n| format!("received:m{n}")).collect();
    for n in 0..400 {
        w.send(alice, &message("bob@example.org", &format!("m{n}")));
    }
    assert_eq!(heard(&w.take(shy)), expected);
    for _ in 0..3 {
        w.send(shy, "<presence/>");
        assert_eq!(heard(&w.take(shy)), [""; 0]);
        w.send(shy, "<presence><priority>-1</priority></presence>");
        w.take(shy);
    }
    let phone = w.online("bob", "phone");
    assert_eq!(heard(&w.take(phone)).len(), 400, "they were delivered to nobody yet");
}
