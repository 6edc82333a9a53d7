//! Sessions that are resumed after the server was killed and started again (XEP-0198 §5).
use godwit_sim::{ClientId, World};

const SM: &str = "urn:xmpp:sm:3";

fn world(names: &[&str]) -> World {
    let mut w = World::new(1, 2);
    names.iter().for_each(|name| w.account(name));
    w
}

fn bodies(inbox: &str) -> Vec<&str> {
    let bodies = inbox.split("<body>").skip(1);
    bodies.map(|rest| rest.split("</body>").next().unwrap_or_default()).collect()
}

fn message(to: &str, body: &str) -> String {
    format!("<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>")
}

/// Stanzas that the client has received.
fn stanzas(inbox: &str) -> u32 {
    let count = ["<message", "<presence", "<iq"].iter().map(|tag| inbox.matches(tag).count()).sum::<usize>();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An available session under stream management; its resumption id and how many stanzas it got.
fn sm(w: &mut World, name: &str, resource: &str) -> (ClientId, String, u32) {
    let id = w.login(name, resource);
    w.send(id, &format!("<enable xmlns='{SM}' resume='true'/>"));
    let enabled = w.take(id);
    let key = enabled.split_once(" id='").and_then(|(_, rest)| rest.split('\'').next()).unwrap_or_default();
    assert!(!key.is_empty(), "{enabled}");
    w.send(id, "<presence/>");
    let got = stanzas(&w.take(id));
    (id, key.to_owned(), got)
}

fn resume(w: &mut World, name: &str, key: &str, h: u32) -> (ClientId, String) {
    let id = w.authenticate(name);
    w.send(id, &format!("<resume xmlns='{SM}' previd='{key}' h='{h}'/>"));
    let inbox = w.take(id);
    (id, inbox)
}

#[test]
fn a_session_is_resumed_after_a_crash_with_what_it_had_not_received() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    w.send(alice, &message("bob@example.org", "two"));
    assert_eq!(bodies(&w.take(bob)), ["one", "two"]);
    let mut w = w.crash();
    // It has received the first; the second was lost on the way.
    let (bob, inbox) = resume(&mut w, "bob", &key, got + 1);
    assert!(inbox.contains("<resumed "), "{inbox}");
    assert_eq!(bodies(&inbox), ["two"]);
    let alice = w.online("alice", "a");
    w.send(alice, &message("bob@example.org/phone", "three"));
    assert_eq!(bodies(&w.take(bob)), ["three"]);
}

#[test]
fn a_client_that_has_everything_gets_nothing_twice() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    w.take(bob);
    let mut w = w.crash();
    let (bob, inbox) = resume(&mut w, "bob", &key, got + 1);
    assert!(inbox.contains("<resumed ") && bodies(&inbox).is_empty(), "{inbox}");
    w.send(bob, "<presence type='unavailable'/>");
    w.cut(bob);
    let tablet = w.online("bob", "tablet");
    assert_eq!(bodies(&w.take(tablet)), [""; 0], "its own count acknowledged the message");
}

#[test]
fn messages_that_came_while_the_server_was_back_and_the_client_was_not_wait_for_it() {
    let mut w = world(&["alice", "bob"]);
    let (_, key, got) = sm(&mut w, "bob", "phone");
    let mut w = w.crash();
    let alice = w.online("alice", "a");
    w.send(alice, &message("bob@example.org", "one"));
    let desk = w.online("bob", "desk");
    assert_eq!(bodies(&w.take(desk)), ["one"], "another resource has it already");
    let (_, inbox) = resume(&mut w, "bob", &key, got);
    assert_eq!(bodies(&inbox), ["one"], "{inbox}");
}

#[test]
fn handled_stanzas_are_not_sent_again_and_others_are() {
    let mut w = world(&["alice", "bob"]);
    let (alice, key, got) = sm(&mut w, "alice", "a");
    w.send(alice, &message("bob@example.org", "one"));
    w.send(alice, "<presence><show>away</show></presence>");
    w.store.hold(true);
    w.push(alice, message("bob@example.org", "two").as_bytes());
    let mut w = w.crash();
    let (alice, inbox) = resume(&mut w, "alice", &key, got);
    // Its presence and the first message; the second presence changed nothing that is stored.
    assert!(inbox.contains(" h='2'"), "{inbox}");
    w.send(alice, &message("bob@example.org", "two"));
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["one", "two"]);
}

#[test]
fn an_h_that_was_told_is_never_taken_back() {
    let mut w = world(&["alice"]);
    let (alice, key, got) = sm(&mut w, "alice", "a");
    w.send(alice, "<presence><show>away</show></presence>");
    w.send(alice, &format!("<r xmlns='{SM}'/>"));
    let inbox = w.take(alice);
    assert!(inbox.contains(" h='2'"), "{inbox}");
    let got = got + stanzas(&inbox);
    let mut w = w.crash();
    let (_, inbox) = resume(&mut w, "alice", &key, got);
    assert!(inbox.contains("<resumed ") && inbox.contains(" h='2'"), "{inbox}");
}

#[test]
fn a_lost_answer_refuses_the_resumption_but_says_h_and_repeats_no_message() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    w.take(bob);
    w.send(bob, "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(w.take(bob).contains("id='p'"));
    let mut w = w.crash();
    let (bob, inbox) = resume(&mut w, "bob", &key, got + 1);
    assert!(inbox.contains("<failed ") && inbox.contains(" h='"), "{inbox}");
    assert!(inbox.contains("<item-not-found "), "{inbox}");
    w.send(
        bob,
        "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource>\
         </bind></iq><presence/>",
    );
    assert_eq!(bodies(&w.take(bob)), [""; 0], "by its own count it had the message");
}

#[test]
fn presence_is_told_again_in_both_directions() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.send(alice, "<presence to='bob@example.org' type='subscribe'/>");
    w.send(bob, "<presence to='alice@example.org' type='subscribed'/>");
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    w.send(alice, "<presence to='bob@example.org' type='subscribed'/>");
    w.cut(bob);
    let (bob, key, mut got) = sm(&mut w, "bob", "phone");
    got += stanzas(&w.take(bob));
    let mut w = w.crash();
    let alice = w.online("alice", "a");
    assert!(!w.take(alice).contains("from='bob@example.org/phone'"));
    let (bob, inbox) = resume(&mut w, "bob", &key, got);
    assert!(w.take(alice).contains("from='bob@example.org/phone'"), "bob is back");
    let all = inbox + &w.take(bob);
    assert!(all.contains("from='alice@example.org/a'"), "{all}");
    w.cut(alice);
    assert!(w.take(bob).contains("type='unavailable'"));
}

#[test]
fn a_contact_that_did_not_come_back_is_said_to_be_gone() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    w.send(alice, "<presence to='bob@example.org' type='subscribed'/>");
    w.cut(bob);
    let (_, key, got) = sm(&mut w, "bob", "phone");
    let mut w = w.crash();
    let (_, inbox) = resume(&mut w, "bob", &key, got);
    assert!(inbox.contains("type='unavailable'") && inbox.contains("from='alice@example.org'"), "{inbox}");
}

/// Found by the simulator: contacts that were told before the crash that one of two devices is there went on
/// believing it.
#[test]
fn a_device_that_does_not_come_back_in_time_is_said_to_be_gone_and_no_other_one() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    w.send(alice, "<presence to='bob@example.org' type='subscribed'/>");
    w.cut(alice);
    w.cut(bob);
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    let (alice, own, had) = sm(&mut w, "alice", "here");
    sm(&mut w, "alice", "lost");
    let seen = w.take(bob);
    assert!(seen.contains("from='alice@example.org/here'") && seen.contains("from='alice@example.org/lost'"));
    let (got, had) = (got + stanzas(&seen), had + stanzas(&w.take(alice)));
    let mut w = w.crash();
    let (alice, _) = resume(&mut w, "alice", &own, had);
    let (bob, _) = resume(&mut w, "bob", &key, got);
    w.pass(700_000);
    for who in [alice, bob] {
        let told = w.take(who);
        let gone = |resource: &str| {
            told.split("<presence").any(|one| {
                one.contains("type='unavailable'")
                    && one.contains(&format!("from='alice@example.org/{resource}'"))
            })
        };
        assert!(gone("lost") && !gone("here"), "{told}");
    }
}

#[test]
fn a_session_that_is_not_resumed_in_time_is_forgotten_and_its_messages_wait() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    assert_eq!(bodies(&w.take(bob)), ["one"]);
    let mut w = w.crash();
    w.settle();
    assert_eq!(w.hub.waiting_since_before(), 1);
    w.pass(700_000);
    assert_eq!(w.hub.waiting_since_before(), 0);
    let (_, inbox) = resume(&mut w, "bob", &key, got + 1);
    assert!(
        inbox.contains("<failed ") && inbox.contains(" h='0'"),
        "its presence was never asked for: {inbox}"
    );
    let next = w.online("bob", "tablet");
    assert_eq!(bodies(&w.take(next)), ["one"], "exactly once");
    w.send(next, "<presence type='unavailable'/>");
    w.cut(next);
    let next = w.online("bob", "tablet");
    assert_eq!(bodies(&w.take(next)), [""; 0]);
}

#[test]
fn nobody_else_resumes_it_and_nobody_claims_too_much() {
    let mut w = world(&["alice", "bob"]);
    let (_, key, got) = sm(&mut w, "bob", "phone");
    let mut w = w.crash();
    let (_, inbox) = resume(&mut w, "alice", &key, got);
    assert!(inbox.contains("<failed "), "{inbox}");
    let (_, inbox) = resume(&mut w, "bob", &key, got + 40);
    assert!(inbox.contains("<failed "), "{inbox}");
    let (_, inbox) = resume(&mut w, "bob", &key, got);
    assert!(inbox.contains("<failed ") && inbox.contains(" h='0'"), "it was given up: {inbox}");
}

#[test]
fn a_session_goes_through_two_crashes_and_is_taken_over_after_that() {
    let mut w = world(&["alice", "bob"]);
    let (_, key, mut got) = sm(&mut w, "bob", "phone");
    for round in 0..2 {
        w = w.crash();
        let alice = w.online("alice", "a");
        let (bob, inbox) = resume(&mut w, "bob", &key, got);
        assert!(inbox.contains("<resumed "), "{inbox}");
        got += stanzas(&inbox);
        w.send(alice, &message("bob@example.org", &format!("m{round}")));
        let inbox = w.take(bob);
        assert_eq!(bodies(&inbox), [format!("m{round}")]);
        got += stanzas(&inbox);
    }
    let (_, inbox) = resume(&mut w, "bob", &key, got);
    assert!(inbox.contains("<resumed ") && bodies(&inbox).is_empty(), "{inbox}");
}

#[test]
fn records_from_before_a_failed_write_do_not_count() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    w.store.fail_next(godwit_store::Fault::Full);
    w.send(bob, "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(w.take(bob).contains("id='p'"), "it is answered all the same");
    w.send(alice, &message("bob@example.org", "one"));
    let mut w = w.crash();
    let (_, inbox) = resume(&mut w, "bob", &key, got + 1);
    assert!(inbox.contains("<failed "), "{inbox}");
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["one"]);
}

#[test]
fn a_revived_session_hears_of_what_was_published_meanwhile_and_after() {
    let mut w = world(&["bob"]);
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    let caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:c' ver='x'/>";
    w.send(bob, &format!("<presence>{caps}</presence>"));
    let got = got + stanzas(&w.take(bob));
    let publish = |id: &str| {
        format!(
            "<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <publish node='urn:chats'><item id='{id}'><x xmlns='urn:x'/></item></publish><publish-options>\
             <x xmlns='jabber:x:data' type='submit'><field var='pubsub#max_items'><value>max</value></field>\
             <field var='pubsub#send_last_published_item'><value>never</value></field></x>\
             </publish-options></pubsub></iq>"
        )
    };
    let laptop = w.online("bob", "laptop");
    let got = got + stanzas(&w.take(bob));
    w.send(laptop, &publish("before"));
    w.pass(1_000);
    w.send(laptop, "<message to='bob@example.org/laptop' type='chat'><body>time goes by</body></message>");
    let mut w = w.crash();
    w.pass(1_000);
    let laptop = w.online("bob", "laptop");
    w.send(laptop, &publish("one"));
    w.send(laptop, &publish("two"));
    let (bob, inbox) = resume(&mut w, "bob", &key, got);
    assert!(inbox.contains("<resumed "), "{inbox}");
    let asked = inbox.split_once("id='caps-").map(|(_, rest)| &rest[..16]).expect(&inbox);
    w.send(
        bob,
        &format!(
            "<iq type='result' id='caps-{asked}' to='bob@example.org'>\
             <query xmlns='http://jabber.org/protocol/disco#info'>\
             <feature var='urn:chats+notify'/></query></iq>"
        ),
    );
    let told = w.take(bob);
    assert!(told.find("id='one'") < told.find("id='two'") && told.contains("id='one'"), "{told}");
    assert!(!told.contains("id='before'"), "{told}");
    w.send(laptop, &publish("three"));
    assert!(w.take(bob).contains("id='three'"));
}

#[test]
fn a_client_whose_roster_changed_meanwhile_has_to_ask_for_it_again() {
    let mut w = world(&["alice", "bob"]);
    let id = w.login("bob", "phone");
    w.send(id, &format!("<enable xmlns='{SM}' resume='true'/>"));
    let enabled = w.take(id);
    let key = enabled.split_once(" id='").and_then(|(_, rest)| rest.split('\'').next()).unwrap_or_default();
    w.send(id, "<iq type='get' id='r'><query xmlns='jabber:iq:roster' ver=''/></iq><presence/>");
    w.send(
        id,
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@example.org'/></query></iq>",
    );
    let got = stanzas(&w.take(id));
    let mut w = w.crash();
    let (bob, inbox) = resume(&mut w, "bob", key, got);
    assert!(inbox.contains("<resumed "), "it has seen its own push: {inbox}");
    let got = got + stanzas(&inbox) + stanzas(&w.take(bob));
    let mut w = w.crash();
    let desk = w.online("bob", "desk");
    w.send(
        desk,
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='y@example.org'/></query></iq>",
    );
    let (_, inbox) = resume(&mut w, "bob", key, got);
    assert!(inbox.contains("<failed "), "{inbox}");
}

#[test]
fn what_was_sent_while_nothing_could_be_written_counts_after_the_rest() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, key, got) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    w.take(bob);
    w.store.fail_next(godwit_store::Fault::Full);
    w.send(bob, "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(w.take(bob).contains("id='p'"), "it is answered all the same");
    let mut w = w.crash();
    let (_, inbox) = resume(&mut w, "bob", &key, got + 2);
    assert!(inbox.contains("<failed "), "{inbox}");
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), [""; 0], "it had the message, and what came after it");
}
