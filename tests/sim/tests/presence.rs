//! Rosters, subscriptions and presence through the whole server.
use godwit_sim::World;

fn world(names: &[&str]) -> World {
    let mut world = World::new(2, 2);
    names.iter().for_each(|name| world.account(name));
    world
}

const ROSTER: &str = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";

#[test]
fn two_users_subscribe_and_see_each_other() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.login("alice", "a"), w.login("bob", "b"));
    for id in [alice, bob] {
        w.send(id, ROSTER);
        w.send(id, "<presence><show>chat</show></presence>");
        w.take(id);
    }
    w.send(alice, "<presence to='bob@example.org' type='subscribe'/>");
    let push = w.take(alice);
    assert!(push.contains("jid='bob@example.org'") && push.contains("ask='subscribe'"), "{push}");
    let asked = w.take(bob);
    assert!(asked.contains("from='alice@example.org'") && asked.contains("type='subscribe'"), "{asked}");
    w.send(bob, "<presence to='alice@example.org' type='subscribed'/>");
    let told = w.take(alice);
    assert!(told.contains("subscription='to'") && told.contains("type='subscribed'"), "{told}");
    assert!(told.contains("from='bob@example.org/b'") && told.contains("<show>chat</show>"), "{told}");
    assert!(w.take(bob).contains("subscription='from'"));
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    w.send(alice, "<presence to='bob@example.org' type='subscribed'/>");
    assert!(w.take(bob).contains("subscription='both'") && w.take(alice).contains("subscription='both'"));
    w.cut(bob);
    let gone = w.take(alice);
    assert!(gone.contains("from='bob@example.org/b'") && gone.contains("type='unavailable'"), "{gone}");
    let bob = w.login("bob", "b2");
    w.send(bob, "<presence/>");
    let probed = w.take(bob);
    assert!(
        probed.contains("from='alice@example.org/a'") && probed.contains("<show>chat</show>"),
        "{probed}"
    );
    assert!(w.take(alice).contains("from='bob@example.org/b2'"));
}

#[test]
fn a_request_waits_for_a_user_who_is_away() {
    let mut w = world(&["alice", "bob"]);
    let alice = w.online("alice", "a");
    w.send(alice, "<presence to='bob@example.org' type='subscribe'><status>please</status></presence>");
    for _ in 0..2 {
        let bob = w.online("bob", "b");
        let inbox = w.take(bob);
        assert!(
            inbox.contains("type='subscribe'") && inbox.contains("please"),
            "until it is answered: {inbox}"
        );
        w.cut(bob);
    }
}

#[test]
fn removing_a_contact_ends_both_sides() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.send(bob, ROSTER);
    w.send(alice, "<presence to='bob@example.org' type='subscribe'/>");
    w.send(bob, "<presence to='alice@example.org' type='subscribed'/>");
    w.send(bob, "<presence to='alice@example.org' type='subscribe'/>");
    w.send(alice, "<presence to='bob@example.org' type='subscribed'/>");
    w.take(bob);
    w.send(
        alice,
        "<iq type='set' id='x'><query xmlns='jabber:iq:roster'>\
        <item jid='bob@example.org' subscription='remove'/></query></iq>",
    );
    let told = w.take(bob);
    for part in ["type='unsubscribe'", "type='unsubscribed'", "subscription='none'", "type='unavailable'"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    w.take(alice);
    w.send(alice, ROSTER);
    assert!(!w.take(alice).contains("bob@"));
}

#[test]
fn roster_versions_and_pushes() {
    let mut w = world(&["alice"]);
    let (one, two) = (w.login("alice", "1"), w.login("alice", "2"));
    for id in [one, two] {
        w.send(id, ROSTER);
        w.take(id);
    }
    w.send(
        one,
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'>\
        <item jid='Carol@Example.ORG' name='C'><group>g</group></item></query></iq>",
    );
    let (first, second) = (w.take(one), w.take(two));
    assert!(first.contains("id='s'") && first.contains("type='result'"), "{first}");
    for push in [&first, &second] {
        assert!(
            push.contains("jid='carol@example.org'")
                && push.contains("name='C'")
                && push.contains("<group>g</group>"),
            "{push}"
        );
        assert!(push.contains("ver='1'"), "{push}");
    }
    w.send(two, "<iq type='get' id='v'><query xmlns='jabber:iq:roster' ver='1'/></iq>");
    let inbox = w.take(two);
    assert!(inbox.contains("id='v'") && !inbox.contains("<query"), "nothing new: {inbox}");
    w.send(two, "<iq type='get' id='w'><query xmlns='jabber:iq:roster' ver='0'/></iq>");
    assert!(w.take(two).contains("carol@example.org"));
}

#[test]
fn pre_approval_answers_at_once() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.send(bob, "<presence to='alice@example.org' type='subscribed'/>");
    w.send(alice, ROSTER);
    let _ = [alice, bob].map(|id| w.take(id));
    w.send(alice, "<presence to='bob@example.org' type='subscribe'/>");
    let told = w.take(alice);
    assert!(told.contains("subscription='to'") && told.contains("type='subscribed'"), "{told}");
    assert!(!w.take(bob).contains("type='subscribe'"), "bob was not asked again");
}

#[test]
fn directed_presence_is_withdrawn_at_the_end() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.take(bob);
    w.send(alice, "<presence to='bob@example.org/b'><status>psst</status></presence>");
    assert!(w.take(bob).contains("psst"));
    w.send(alice, "<presence type='unavailable'/>");
    let gone = w.take(bob);
    assert!(gone.contains("from='alice@example.org/a'") && gone.contains("type='unavailable'"), "{gone}");
}

#[test]
fn the_same_resource_replaces_the_older_session() {
    let mut w = world(&["alice", "bob"]);
    let old = w.online("alice", "a");
    let new = w.online("alice", "a");
    let goodbye = w.take(old);
    assert!(goodbye.contains("<conflict ") && w.client(old).closed, "{goodbye}");
    w.send(new, "<iq type='get' id='p' to='alice@example.org/a'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(w.take(new).contains("id='p'"));
}

#[test]
fn iqs_are_answered_by_whom_they_are_for() {
    let mut w = world(&["alice", "bob"]);
    let (alice, bob) = (w.online("alice", "a"), w.online("bob", "b"));
    w.take(alice);
    let ask = |to: &str, payload: &str| format!("<iq type='get' id='q'{to}>{payload}</iq>");
    let server = " to='example.org'";
    for (to, payload, expected) in [
        (server, "<ping xmlns='urn:xmpp:ping'/>", "type='result'"),
        (server, "<query xmlns='jabber:iq:version'/>", "<name>Godwit</name>"),
        (server, "<time xmlns='urn:xmpp:time'/>", "<tzo>+00:00</tzo>"),
        (server, "<query xmlns='jabber:iq:last'/>", "seconds='0'"),
        (server, "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<feature var='urn:xmpp:ping'/>"),
        ("", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "category='account'"),
        (server, "<query xmlns='urn:example:unknown'/>", "<service-unavailable "),
        (" to='bob@example.org/none'", "<ping xmlns='urn:xmpp:ping'/>", "<service-unavailable "),
        (" to='nobody@example.org'", "<query xmlns='jabber:iq:version'/>", "<service-unavailable "),
        (" to='bob@example.org'", "<query xmlns='jabber:iq:last'/>", "<forbidden "),
    ] {
        w.send(alice, &ask(to, payload));
        let inbox = w.take(alice);
        assert!(inbox.contains(expected) && inbox.contains("id='q'"), "{to} {payload}: {inbox}");
    }
    w.take(bob);
    w.send(alice, &ask(" to='bob@example.org/b'", "<query xmlns='urn:example:unknown'/>"));
    let asked = w.take(bob);
    assert!(asked.contains("from='alice@example.org/a'"), "{asked}");
    w.send(bob, "<iq type='result' id='q' to='alice@example.org/a'/>");
    assert!(w.take(alice).contains("from='bob@example.org/b'"));
}
