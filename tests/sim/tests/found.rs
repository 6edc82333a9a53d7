//! What the simulator found, each as a script of its own.
use godwit_sim::{ClientId, World};

fn message(to: &str, type_: &str, body: &str) -> String {
    format!("<message to='{to}' type='{type_}' id='{body}'><body>{body}</body></message>")
}

fn bodies(inbox: &str) -> Vec<&str> {
    inbox.split("<body>").skip(1).filter_map(|rest| rest.split("</body>").next()).collect()
}

fn world() -> World {
    let mut world = World::new(3, 2);
    ["alice", "bob"].into_iter().for_each(|name| world.account(name));
    world
}

/// A session with stream management that has sent presence and had it back: the client's `h` is 1.
fn sm(w: &mut World, name: &str, resource: &str) -> (ClientId, String) {
    let id = w.login(name, resource);
    w.send(id, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = w.take(id);
    let previd = enabled.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    w.send(id, "<presence/>");
    w.take(id);
    (id, previd.to_owned())
}

fn resume(previd: &str, h: u32) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{h}'/>")
}

fn notes(w: &mut World) {
    while (0..2).any(|shard| w.note(shard)) {}
}

#[test]
fn a_message_acknowledged_while_it_was_to_be_sent_again_is_not() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let (bob, _) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "chat", "once"));
    assert_eq!(bodies(&w.take(bob)), ["once"]);
    w.send(bob, "<presence><priority>-1</priority></presence>");
    // Available again while a stanza before that is under way: the writer's thread decides what is owed.
    w.push(bob, message("alice@example.org", "chat", "x").as_bytes());
    w.push(bob, b"<presence/>");
    let count = w.commit(usize::MAX);
    w.complete(count);
    w.push(bob, b"<a xmlns='urn:xmpp:sm:3' h='2'/>");
    w.settle();
    assert_eq!(bodies(&w.take(bob)), [""; 0]);
}

#[test]
fn a_roster_result_misses_no_change_that_was_under_way() {
    let mut w = world();
    let (phone, desk) = (w.online("bob", "phone"), w.online("bob", "desk"));
    w.take(phone);
    w.store.hold(true);
    w.push(phone, message("alice@example.org", "chat", "x").as_bytes());
    w.push(
        desk,
        b"<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='alice@example.org'/></query></iq>",
    );
    w.push(phone, b"<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>");
    w.store.hold(false);
    w.settle();
    let inbox = w.take(phone);
    assert!(inbox.contains("<item jid='alice@example.org'"), "{inbox}");
}

#[test]
fn a_page_for_a_connection_that_is_gone_is_not_taken_for_the_next_ones() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let (bob, previd) = sm(&mut w, "bob", "phone");
    for (type_, body) in [("chat", "one"), ("headline", "unstored"), ("chat", "two")] {
        w.send(alice, &message("bob@example.org", type_, body));
    }
    w.cut(bob);
    let (first, second) = (w.authenticate("bob"), w.authenticate("bob"));
    for id in [first, second] {
        // The stored messages are asked for, and not read yet.
        w.push(id, resume(&previd, 1).as_bytes());
        notes(&mut w);
    }
    w.settle();
    assert_eq!(bodies(&w.take(second)), ["one", "unstored", "two"]);
}

#[test]
fn messages_to_a_replaced_session_come_to_the_new_one_in_order() {
    let mut w = world();
    let alice = w.online("alice", "a");
    w.send(alice, &message("bob@example.org/phone", "chat", "one"));
    // Connected but not available yet: what is addressed to it comes at once, the rest waits.
    let old = w.login("bob", "phone");
    w.send(old, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    w.send(alice, &message("bob@example.org/phone", "chat", "two"));
    w.cut(old);
    let new = w.authenticate("bob");
    w.push(
        new,
        b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
          <resource>phone</resource></bind></iq><presence/>",
    );
    w.settle();
    assert_eq!(bodies(&w.take(new)), ["one", "two"]);
}

#[test]
fn a_count_written_late_does_not_undo_a_later_one() {
    let mut w = world();
    let (bob, previd) = sm(&mut w, "bob", "phone");
    w.push(bob, message("alice@example.org", "chat", "one").as_bytes());
    // This one brings no count of its own, so that it is written when the client asks …
    w.push(bob, message("alice@example.org", "headline", "unstored").as_bytes());
    w.push(bob, b"<r xmlns='urn:xmpp:sm:3'/>");
    // … by when this one has brought a later one.
    w.push(bob, message("alice@example.org", "chat", "two").as_bytes());
    w.settle();
    w.send(bob, "<r xmlns='urn:xmpp:sm:3'/>");
    let told = w.take(bob);
    assert!(told.contains("<a xmlns='urn:xmpp:sm:3' h='4'/>"), "{told}");
    let mut w = w.crash();
    let bob = w.authenticate("bob");
    w.send(bob, &resume(&previd, 1));
    let inbox = w.take(bob);
    assert!(inbox.contains("<resumed ") && inbox.contains("h='4'"), "{inbox}");
}

#[test]
fn presence_that_counts_as_handled_survives_a_crash() {
    let mut w = world();
    let (bob, previd) = sm(&mut w, "bob", "phone");
    w.send(bob, "<presence><priority>-1</priority></presence>");
    w.push(bob, message("alice@example.org", "chat", "before").as_bytes());
    w.push(bob, b"<presence/>");
    w.push(bob, message("alice@example.org", "chat", "behind").as_bytes());
    w.commit(usize::MAX);
    let mut w = w.crash();
    let bob = w.authenticate("bob");
    w.send(bob, &resume(&previd, 2));
    let inbox = w.take(bob);
    let h: u32 = inbox
        .split("<resumed ")
        .nth(1)
        .and_then(|rest| rest.split(" h='").nth(1)?.split('\'').next()?.parse().ok())
        .unwrap_or_default();
    assert_eq!(h, 3, "the first message counts, what changed the session does not yet: {inbox}");
}

#[test]
fn a_session_that_has_ended_is_not_revived_while_its_end_is_being_written() {
    let mut w = world();
    let (bob, previd) = sm(&mut w, "bob", "phone");
    w.store.hold(true);
    w.push(bob, message("alice@example.org", "chat", "x").as_bytes());
    w.cut(bob);
    w.pass(700_000);
    let bob = w.authenticate("bob");
    w.send(bob, &resume(&previd, 1));
    let inbox = w.take(bob);
    assert!(inbox.contains("<failed "), "{inbox}");
}

#[test]
fn presence_that_could_not_be_written_down_is_with_the_next_record() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let bob = w.login("bob", "phone");
    w.send(bob, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = w.take(bob);
    let previd = enabled.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    w.store.fail_next(godwit_store::Fault::Failed);
    w.send(bob, "<presence/>");
    w.send(alice, &message("bob@example.org", "chat", "one"));
    assert_eq!(bodies(&w.take(bob)), ["one"]);
    let mut w = w.crash();
    let (alice, bob) = (w.online("alice", "a"), w.authenticate("bob"));
    w.send(bob, &resume(previd, 2));
    w.send(alice, &message("bob@example.org", "chat", "two"));
    let inbox = w.take(bob);
    assert!(inbox.contains("<resumed "), "{inbox}");
    assert_eq!(bodies(&inbox), ["two"]);
}

#[test]
fn a_session_from_before_that_is_given_up_does_not_come_back_while_that_is_written() {
    let mut w = world();
    let (bob, previd) = sm(&mut w, "bob", "phone");
    w.send(bob, "<r xmlns='urn:xmpp:sm:3'/>");
    let mut w = w.crash();
    w.settle();
    w.store.hold(true);
    w.pass(700_000);
    let first = w.authenticate("bob");
    w.send(first, &resume(&previd, 1));
    let inbox = w.take(first);
    assert!(inbox.contains("<failed "), "{inbox}");
    w.store.hold(false);
    w.settle();
    w.send(first, &resume(&previd, 1));
    let inbox = w.take(first);
    assert!(inbox.contains("<failed ") && inbox.contains(" h='1'"), "what it was told last: {inbox}");
}

#[test]
fn a_session_replaced_while_it_is_being_resumed_does_not_live_on() {
    let mut w = world();
    let (old, previd) = sm(&mut w, "bob", "phone");
    let (resuming, binding) = (w.authenticate("bob"), w.authenticate("bob"));
    w.push(resuming, resume(&previd, 1).as_bytes());
    // The session's shard has the wish, and not looked at it yet.
    w.push(
        binding,
        b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
          <resource>phone</resource></bind></iq><presence/>",
    );
    w.settle();
    let inbox = w.take(resuming);
    assert!(inbox.contains("<failed "), "{inbox}");
    assert!(w.take(old).contains("<conflict "));
    assert!(w.client(old).closed);
    w.send(binding, "</stream:stream>");
    w.cut(resuming);
    let mut there = 0;
    w.hub.registry.each(&mut |_| there += 1);
    assert_eq!((there, w.sockets().count()), (0, 0));
}

#[test]
fn what_was_posted_to_the_old_place_comes_before_what_is_posted_to_the_new_one() {
    let mut w = world();
    let (phone, previd) = sm(&mut w, "bob", "phone");
    w.send(phone, "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>");
    let desk = w.online("bob", "desk");
    let _other = w.connect();
    let moved = w.authenticate("bob");
    let h = 2 + u32::from(w.take(phone).contains("desk"));
    w.push(moved, resume(&previd, h).as_bytes());
    let shard = |w: &World, id| w.socket(w.at(id)).map(|socket| socket.shard);
    assert_ne!(shard(&w, phone), shard(&w, moved));
    for name in ["older", "newer"] {
        let item = format!("<item jid='alice@example.org' name='{name}'/>");
        let set = format!("<iq type='set' id='s'><query xmlns='jabber:iq:roster'>{item}</query></iq>");
        w.push(desk, set.as_bytes());
        let count = w.commit(usize::MAX);
        w.complete(count);
        // The first is posted behind the note that makes the session move; the desk goes on.
        if name == "older" {
            w.note(0);
            while w.note(1) {}
        }
    }
    w.settle();
    let inbox = w.take(moved);
    let at = |name: &str| inbox.find(&format!("name='{name}'"));
    assert!(inbox.contains("<resumed ") && at("older").is_some() && at("older") < at("newer"), "{inbox}");
    assert!(!w.client(moved).closed);
}

#[test]
fn a_session_that_moves_does_not_escape_the_removal_of_its_account() {
    let mut w = world();
    let (_, previd) = sm(&mut w, "bob", "phone");
    let desk = w.login("bob", "desk");
    let _other = w.connect();
    let moved = w.authenticate("bob");
    w.push(moved, resume(&previd, 1).as_bytes());
    w.push(desk, b"<iq type='set' id='r'><query xmlns='jabber:iq:register'><remove/></query></iq>");
    let count = w.commit(usize::MAX);
    w.complete(count);
    w.settle();
    let inbox = w.take(moved);
    assert!(inbox.contains("<not-authorized "), "{inbox}");
    assert!(w.client(moved).closed);
}

#[test]
fn what_was_acknowledged_before_a_crash_is_not_sent_to_the_same_session_again() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let (bob, previd) = sm(&mut w, "bob", "phone");
    for body in ["one", "two"] {
        w.send(alice, &message("bob@example.org", "chat", body));
    }
    assert_eq!(bodies(&w.take(bob)), ["one", "two"]);
    // The second comes while the first is being written down; then something that needs a record.
    w.push(bob, b"<a xmlns='urn:xmpp:sm:3' h='2'/><a xmlns='urn:xmpp:sm:3' h='3'/>");
    w.push(bob, b"<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    w.commit(usize::MAX);
    let mut w = w.crash();
    w.settle();
    let bob = w.authenticate("bob");
    w.send(bob, &resume(&previd, 4));
    w.send(bob, "<presence type='unavailable'/><presence/>");
    let inbox = w.take(bob);
    assert!(inbox.contains("<resumed "), "{inbox}");
    assert_eq!(bodies(&inbox), [""; 0]);
}

#[test]
fn what_was_acknowledged_while_nothing_could_be_written_does_not_come_again() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let (bob, _) = sm(&mut w, "bob", "phone");
    w.send(alice, &message("bob@example.org", "chat", "one"));
    assert_eq!(bodies(&w.take(bob)), ["one"]);
    w.push(bob, b"<a xmlns='urn:xmpp:sm:3' h='2'/></stream:stream>");
    w.store.fail_next(godwit_store::Fault::Full);
    w.commit(usize::MAX);
    w.complete(usize::MAX);
    let deserted = |w: &World| {
        let mut there = 0;
        w.hub.registry.each(&mut |live| there += usize::from(live.sessions.is_empty()));
        there
    };
    assert_eq!(deserted(&w), 1, "its record waits to be written");
    w.send(alice, &message("alice@example.org", "chat", "written"));
    assert_eq!(deserted(&w), 0);
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), [""; 0]);
}

#[test]
fn a_request_that_was_approved_in_advance_changes_the_roster_twice_and_its_version_too() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.send(bob, "<presence to='alice@example.org' type='subscribed'/>");
    w.send(alice, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    w.take(alice);
    w.send(alice, "<presence to='bob@example.org' type='subscribe'/>");
    let inbox = w.take(alice);
    let versions: Vec<&str> =
        inbox.split(" ver='").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert_eq!(versions, ["1", "2"], "a client with the first push has not seen the second: {inbox}");
}

#[test]
fn what_is_published_while_a_contact_comes_to_see_it_is_told() {
    let mut w = world();
    let (alice, bob) = (w.online("alice", "a"), w.login("bob", "b"));
    w.send(
        bob,
        "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>",
    );
    let inbox = w.take(bob);
    let id = inbox.split("id='caps-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a question");
    let features = "<feature var='urn:x+notify'/>";
    let answer = format!(
        "<iq type='result' id='caps-{id}' to='bob@example.org'><query \
         xmlns='http://jabber.org/protocol/disco#info' node='n#v'>{features}</query></iq>"
    );
    w.send(bob, &answer);
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    let phone = w.online("alice", "phone");
    // The item is decided on before alice lets bob see her, and written after that.
    w.store.hold(true);
    w.push(alice, b"<presence to='bob@example.org' type='subscribed'/>");
    let publish = "<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish \
                   node='urn:x'><item id='current'><n xmlns='urn:x'/></item></publish></pubsub></iq>";
    w.push(phone, publish.as_bytes());
    w.store.hold(false);
    let count = w.commit(1);
    w.complete(count);
    while w.job(0) || (0..2).any(|shard| w.note(shard)) {}
    w.settle();
    assert!(w.take(bob).contains("<items node='urn:x'>"));
}

#[test]
fn who_comes_online_while_a_contact_lets_him_see_her_sees_her() {
    let mut w = world();
    let alice = w.online("alice", "a");
    let bob = w.online("bob", "desk");
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    let phone = w.login("bob", "phone");
    // The presence is decided on before the subscription, and takes effect after it.
    w.store.hold(true);
    w.push(alice, b"<presence to='bob@example.org' type='subscribed'/>");
    w.push(phone, b"<presence/>");
    w.store.hold(false);
    w.settle();
    let inbox = w.take(phone);
    assert!(inbox.contains("from='alice@example.org/a'"), "{inbox}");
}

#[test]
fn a_revived_session_sees_its_own_accounts_others_that_came_before_it() {
    let mut w = world();
    let (_, previd) = sm(&mut w, "bob", "phone");
    let mut w = w.crash();
    w.online("bob", "desk");
    let phone = w.authenticate("bob");
    w.send(phone, &resume(&previd, 1));
    let inbox = w.take(phone);
    assert!(inbox.contains("<resumed ") && inbox.contains("from='bob@example.org/desk'"), "{inbox}");
}
