//! Messages through the whole server: routing, order, offline, acknowledgement, resumption, crashes.
use godwit_sim::{ClientId, World};

fn message(to: &str, body: &str) -> String {
    format!("<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>")
}

fn bodies(inbox: &str) -> Vec<String> {
    inbox
        .split("<body>")
        .skip(1)
        .map(|rest| rest.split("</body>").next().unwrap_or_default().to_owned())
        .collect()
}

fn world(names: &[&str]) -> World {
    let mut world = World::new(1, 2);
    names.iter().for_each(|name| world.account(name));
    world
}

#[test]
fn a_message_reaches_every_available_resource_with_one_stanza_id() {
    let mut w = world(&["alice", "bob"]);
    let (alice, phone, desk) = (w.online("alice", "a"), w.online("bob", "phone"), w.online("bob", "desk"));
    let _ = [phone, desk].map(|id| w.take(id));
    w.send(alice, &message("bob@example.org", "hello"));
    let (at_phone, at_desk) = (w.take(phone), w.take(desk));
    assert_eq!(bodies(&at_phone), ["hello"]);
    assert_eq!(at_phone, at_desk, "the same message with the same id");
    assert!(at_phone.contains("from='alice@example.org/a'"), "{at_phone}");
    assert!(at_phone.contains("<stanza-id xmlns='urn:xmpp:sid:0' by='bob@example.org' id='"), "{at_phone}");
    assert!(!at_phone.contains("<delay"), "it was not delayed: {at_phone}");
}

#[test]
fn negative_priority_gets_only_what_is_addressed_to_it() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.login("bob", "shy"));
    w.send(bob, "<presence><priority>-1</priority></presence>");
    w.take(bob);
    w.send(alice, &message("bob@example.org", "for-anyone"));
    assert_eq!(bodies(&w.take(bob)), [""; 0]);
    w.send(alice, &message("bob@example.org/shy", "for-shy"));
    assert_eq!(bodies(&w.take(bob)), ["for-shy"]);
    w.send(bob, "<presence/>");
    assert_eq!(
        bodies(&w.take(bob)),
        ["for-anyone"],
        "what waited comes when the priority allows, and only that"
    );
}

#[test]
fn offline_messages_come_once_in_order_with_delay() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    for n in 0..250 {
        w.send(alice, &message("bob@example.org", &format!("m{n}")));
    }
    assert!(!w.take(alice).contains("error"));
    let bob = w.online("bob", "phone");
    let inbox = w.take(bob);
    let expected: Vec<String> = (0..250).map(|n| format!("m{n}")).collect();
    assert_eq!(bodies(&inbox), expected);
    assert!(w.pages.len() >= 3, "{:?}", w.pages);
    for pair in w.pages.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "each page says that it joins on to the one before: {:?}", w.pages);
    }
    assert_eq!(inbox.matches("<delay xmlns='urn:xmpp:delay' from='example.org' stamp='").count(), 250);
    w.cut(bob);
    let again = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(again)), [""; 0], "they were handed over");
}

#[test]
fn live_messages_do_not_overtake_the_offline_ones() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    for n in 0..150 {
        w.send(alice, &message("bob@example.org", &format!("m{n}")));
    }
    let bob = w.login("bob", "phone");
    w.push(bob, b"<presence/>");
    for n in 150..300 {
        w.push(alice, message("bob@example.org", &format!("m{n}")).as_bytes());
        w.step();
    }
    w.settle();
    let expected: Vec<String> = (0..300).map(|n| format!("m{n}")).collect();
    assert_eq!(bodies(&w.take(bob)), expected);
}

fn sm(w: &mut World, name: &str, resource: &str) -> (ClientId, String) {
    let id = w.login(name, resource);
    w.send(id, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = w.take(id);
    let sm_id =
        enabled.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default().to_owned();
    assert!(!sm_id.is_empty(), "{enabled}");
    w.send(id, "<presence/>");
    w.take(id);
    (id, sm_id)
}

fn resume(w: &mut World, name: &str, sm_id: &str, h: u32) -> (ClientId, String) {
    let id = w.authenticate(name);
    w.send(id, &format!("<resume xmlns='urn:xmpp:sm:3' previd='{sm_id}' h='{h}'/>"));
    let inbox = w.take(id);
    (id, inbox)
}

#[test]
fn the_answer_to_r_waits_for_the_commit() {
    let mut w = world(&["alice", "bob"]);
    let (alice, _) = sm(&mut w, "alice", "a");
    w.store.hold(true);
    w.push(alice, message("bob@example.org", "x").as_bytes());
    w.push(alice, b"<r xmlns='urn:xmpp:sm:3'/>");
    while w.step() {}
    assert_eq!(w.take(alice), "", "nothing is acknowledged before it is durable");
    w.store.hold(false);
    w.settle();
    let inbox = w.take(alice);
    assert!(inbox.contains("<a xmlns='urn:xmpp:sm:3' h='2'/>"), "presence and message: {inbox}");
}

#[test]
fn a_broken_connection_is_resumed_and_nothing_comes_twice() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, sm_id) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    w.send(alice, &message("bob@example.org", "two"));
    assert_eq!(bodies(&w.take(bob)), ["one", "two"]);
    w.cut(bob);
    w.send(alice, &message("bob@example.org", "three"));
    // Of presence, `one` and `two` the client has seen the first two.
    let (bob, inbox) = resume(&mut w, "bob", &sm_id, 2);
    assert!(inbox.contains("<resumed "), "{inbox}");
    assert_eq!(bodies(&inbox), ["two", "three"]);
    w.send(alice, &message("bob@example.org", "four"));
    assert_eq!(bodies(&w.take(bob)), ["four"]);
}

#[test]
fn a_session_that_is_still_connected_is_taken_over() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (old, sm_id) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    assert_eq!(bodies(&w.take(old)), ["one"]);
    let (new, inbox) = resume(&mut w, "bob", &sm_id, 1);
    assert_eq!(bodies(&inbox), ["one"], "{inbox}");
    let goodbye = w.take(old);
    assert!(goodbye.contains("<conflict ") && w.client(old).closed, "{goodbye}");
    w.send(alice, &message("bob@example.org", "two"));
    assert_eq!(bodies(&w.take(new)), ["two"]);
}

#[test]
fn what_a_lost_session_never_acknowledged_waits_for_the_next() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (bob, _) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "one"));
    w.send(bob, "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    w.send(alice, &message("bob@example.org", "two"));
    w.cut(bob);
    w.pass(700_000);
    let next = w.online("bob", "tablet");
    assert_eq!(bodies(&w.take(next)), ["two"], "the first was acknowledged, the second was not");
}

#[test]
fn what_a_lost_resource_never_acknowledged_goes_to_the_one_that_is_there() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (phone, _) = sm(&mut w, "bob", "phone");
    let desk = w.online("bob", "desk");
    w.take(desk);
    w.send(alice, &message("bob@example.org/phone", "for-phone"));
    w.send(alice, &message("bob@example.org", "for-both"));
    assert_eq!(bodies(&w.take(desk)), ["for-both"]);
    w.cut(phone);
    w.pass(700_000);
    assert_eq!(bodies(&w.take(desk)), ["for-phone"], "and `for-both` not a second time");
    w.cut(desk);
    let next = w.online("bob", "tablet");
    assert_eq!(bodies(&w.take(next)), [""; 0]);
}

#[test]
fn acknowledged_messages_survive_a_crash_and_come_once() {
    let mut w = world(&["alice", "bob"]);
    let (alice, _) = sm(&mut w, "alice", "a");
    w.send(alice, &message("bob@example.org", "durable"));
    w.send(alice, "<r xmlns='urn:xmpp:sm:3'/>");
    assert!(w.take(alice).contains("h='2'"));
    w.store.hold(true);
    w.push(alice, message("bob@example.org", "in-flight").as_bytes());
    let mut w = w.crash();
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["durable"]);
}

#[test]
fn a_full_disk_is_answered_and_nothing_is_acknowledged() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    w.take(alice);
    w.store.fail_next(godwit_store::Fault::Full);
    w.send(alice, &message("bob@example.org", "lost"));
    let inbox = w.take(alice);
    assert!(inbox.contains("<resource-constraint ") && inbox.contains("id='lost'"), "{inbox}");
    w.send(alice, &message("bob@example.org", "kept"));
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["kept"], "and it recovers");
}

#[test]
fn types_go_where_rfc_6121_says() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let typed = |type_: &str, to: &str| {
        format!("<message to='{to}' type='{type_}' id='{type_}'><body>{type_}</body></message>")
    };
    w.send(alice, &typed("groupchat", "bob@example.org"));
    assert!(w.take(alice).contains("<service-unavailable "));
    w.send(alice, &typed("headline", "bob@example.org"));
    w.send(alice, &typed("error", "bob@example.org"));
    w.send(alice, &typed("normal", "bob@example.org/gone"));
    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    w.send(alice, &format!("<message to='bob@example.org' type='chat'>{typing}</message>"));
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["normal"], "headlines, errors and chat states are not kept");
    w.send(alice, &message("nobody@example.org", "x"));
    assert!(w.take(alice).contains("<service-unavailable "));
    w.send(alice, &message("bob@elsewhere.example", "x"));
    assert!(w.take(alice).contains("<remote-server-not-found "));
}

#[test]
fn forged_ids_and_delays_are_taken_out() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "phone"));
    w.take(bob);
    w.send(
        alice,
        "<message to='bob@example.org' type='chat'><body>x</body>\
        <stanza-id xmlns='urn:xmpp:sid:0' by='bob@example.org' id='forged'/>\
        <stanza-id xmlns='urn:xmpp:sid:0' by='room@elsewhere.example' id='theirs'/>\
        <origin-id xmlns='urn:xmpp:sid:0' id='mine'/>\
        <delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/></message>",
    );
    let inbox = w.take(bob);
    assert!(!inbox.contains("forged") && !inbox.contains("2001"), "{inbox}");
    assert!(inbox.contains("theirs") && inbox.contains("mine"), "{inbox}");
}

#[test]
fn a_waiting_session_that_is_replaced_ends_and_its_messages_go_on() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    let (old, sm_id) = sm(&mut w, "bob", "phone");
    w.cut(old);
    w.send(alice, &message("bob@example.org", "one"));
    let new = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(new)), ["one"]);
    let (_, inbox) = resume(&mut w, "bob", &sm_id, 0);
    assert!(inbox.contains("<failed ") && inbox.contains("item-not-found"), "{inbox}");
    w.pass(700_000);
    w.send(alice, &message("bob@example.org", "two"));
    assert_eq!(bodies(&w.take(new)), ["two"]);
}

/// A world in which so many messages may wait for an account.
fn bounded(messages: u64, bytes: u64) -> World {
    let w = world(&["alice", "bob", "carol"]);
    let settings = godwit_sim::world::settings();
    w.hub.reload(godwit_modules::Settings {
        offline_messages_max: messages,
        offline_bytes_max: bytes,
        ..settings
    });
    w
}

/// How many of so many messages from Alice to Bob are refused.
fn refused(w: &mut World, alice: ClientId, count: usize) -> usize {
    w.take(alice);
    (0..count).for_each(|n| w.send(alice, &message("bob@example.org", &format!("r{n}"))));
    let answers = w.take(alice);
    let refused = answers.matches("<service-unavailable ").count();
    assert_eq!(answers.matches("too many messages wait for this account").count(), refused, "{answers}");
    refused
}

#[test]
fn messages_wait_up_to_the_limit_and_then_senders_are_told() {
    let mut w = bounded(300, 1 << 20);
    let (alice, carol) = (w.online("alice", "a"), w.online("carol", "c"));
    assert_eq!(refused(&mut w, alice, 310), 10);
    w.send(carol, &message("bob@example.org", "from-carol"));
    assert!(w.take(carol).contains("<service-unavailable "), "whoever sends");
    w.send(alice, "<message to='bob@example.org' type='headline'><body>passing</body></message>");
    assert!(!w.take(alice).contains("error"), "what is not stored takes no room");
    let bob = w.online("bob", "b");
    assert_eq!(bodies(&w.take(bob)).len(), 300);
    assert_eq!(refused(&mut w, alice, 10), 0, "there is room again");
    assert_eq!(bodies(&w.take(bob)).len(), 10);
    w.cut(bob);
    assert_eq!(refused(&mut w, alice, 305), 5);
}

#[test]
fn a_restarted_server_counts_what_waits_a_part_with_each_message() {
    let mut w = bounded(1_000, 1 << 30);
    let alice = w.online("alice", "a");
    assert_eq!(refused(&mut w, alice, 1_000), 0);
    let mut w = w.crash();
    let settings = godwit_sim::world::settings();
    w.hub.reload(godwit_modules::Settings { offline_messages_max: 1_000, ..settings });
    let alice = w.online("alice", "a");
    let admitted = 20 - refused(&mut w, alice, 20);
    assert_eq!(admitted, 7, "one for each 128 rows until all are counted");
    let bob = w.online("bob", "b");
    assert_eq!(bodies(&w.take(bob)).len(), 1_007);
}

#[test]
fn bytes_that_wait_have_a_limit_too() {
    let mut w = bounded(1_000, 10_000);
    let alice = w.online("alice", "a");
    let refused = refused(&mut w, alice, 200);
    assert!((80..140).contains(&refused), "a message has about 100 bytes: {refused}");
}

#[test]
fn a_client_that_never_acknowledges_does_not_hold_more_than_the_limit() {
    let mut w = bounded(300, 1 << 20);
    let alice = w.online("alice", "a");
    let (bob, _) = sm(&mut w, "bob", "phone");
    assert_eq!(refused(&mut w, alice, 310), 10);
    w.send(bob, "<a xmlns='urn:xmpp:sm:3' h='101'/>");
    assert_eq!(refused(&mut w, alice, 110), 10, "each acknowledgement makes room for one");
    w.cut(bob);
    w.pass(700_000);
    assert_eq!(refused(&mut w, alice, 5), 5, "nor when it is gone");
    let next = w.online("bob", "tablet");
    assert_eq!(bodies(&w.take(next)).len(), 300);
    assert_eq!(refused(&mut w, alice, 5), 0);
}

#[test]
fn what_an_account_sends_takes_no_room_of_its_own() {
    let mut w = bounded(300, 1 << 20);
    let (alice, bob) = (w.online("alice", "a"), w.login("bob", "b"));
    for n in 0..400 {
        w.send(bob, &message("alice@example.org", &format!("s{n}")));
    }
    assert!(!w.take(bob).contains("error"));
    w.cut(bob);
    assert_eq!(refused(&mut w, alice, 305), 5);
}
