//! A client that is told by a count that its message was handled learns when it was not taken, whatever
//! happens meanwhile (XEP-0198).
use godwit_sim::{ClientId, World};
use godwit_store::Fault;

const SM: &str = "urn:xmpp:sm:3";

fn world() -> World {
    let mut world = World::new(5, 2);
    ["alice", "bob"].into_iter().for_each(|name| world.account(name));
    world
}

fn message(to: &str, id: &str) -> String {
    format!("<message to='{to}' type='chat' id='{id}'><body>{id}</body></message>")
}

/// Ids of the messages that came back with an error.
fn bounced(inbox: &str) -> Vec<&str> {
    let ids = inbox.split("<message type='error' id='").skip(1);
    ids.filter_map(|rest| rest.split('\'').next()).collect()
}

fn bodies(inbox: &str) -> Vec<&str> {
    inbox.split("<body>").skip(1).filter_map(|rest| rest.split("</body>").next()).collect()
}

/// An available session that may be resumed, and its resumption id; it has received one stanza, its own
/// presence, which the server counts as handled.
fn sm(w: &mut World, name: &str, resource: &str) -> (ClientId, String) {
    let id = w.login(name, resource);
    w.send(id, &format!("<enable xmlns='{SM}' resume='true' max='60'/>"));
    let enabled = w.take(id);
    let key = enabled.split_once(" id='").and_then(|(_, rest)| rest.split('\'').next()).unwrap_or_default();
    w.send(id, "<presence/>");
    w.take(id);
    (id, key.to_owned())
}

fn resume(w: &mut World, name: &str, key: &str, h: u32) -> (ClientId, String) {
    let id = w.authenticate(name);
    w.send(id, &format!("<resume xmlns='{SM}' previd='{key}' h='{h}'/>"));
    let inbox = w.take(id);
    (id, inbox)
}

#[test]
fn an_error_that_was_lost_with_the_daemon_comes_with_the_resumption() {
    let mut w = world();
    let (alice, key) = sm(&mut w, "alice", "a");
    w.send(alice, &message("nobody@example.org", "one"));
    assert_eq!(bounced(&w.take(alice)), ["one"]);
    let mut w = w.crash();
    let (_, inbox) = resume(&mut w, "alice", &key, 1);
    assert!(inbox.contains("<resumed ") && inbox.contains(" h='2'"), "{inbox}");
    assert_eq!(bounced(&inbox), ["one"]);
}

#[test]
fn an_error_that_was_lost_with_its_session_is_for_the_next_one_once() {
    let mut w = world();
    let (alice, key) = sm(&mut w, "alice", "a");
    w.client(alice).stalled = true;
    w.send(alice, &message("nobody@example.org", "one"));
    // No address at all: no account can be looked up for it.
    w.send(alice, &message("@", "two"));
    w.cut(alice);
    w.pass(61_000);
    let (_, inbox) = resume(&mut w, "alice", &key, 1);
    assert!(inbox.contains("<failed ") && inbox.contains(" h='3'"), "{inbox}");
    let next = w.online("alice", "b");
    assert_eq!(bounced(&w.take(next)), ["one", "two"]);
    let third = w.online("alice", "c");
    assert_eq!(bounced(&w.take(third)), [""; 0]);
    w.send(third, "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>");
    let inbox = w.take(third);
    assert!(inbox.contains("<fin ") && bounced(&inbox).is_empty(), "errors are no history: {inbox}");
}

#[test]
fn nothing_is_written_behind_a_message_that_could_not_be_until_its_error_has_arrived() {
    let mut w = world();
    let (alice, _) = sm(&mut w, "alice", "a");
    w.store.fail_next(Fault::Full);
    w.send(alice, &message("bob@example.org", "one"));
    assert_eq!(bounced(&w.take(alice)), ["one"]);
    w.send(alice, &format!("{}<r xmlns='{SM}'/>", message("bob@example.org", "two")));
    let inbox = w.take(alice);
    assert_eq!(bounced(&inbox), ["two"], "writing works again, but no count may cover the first");
    assert!(!inbox.contains("<a "), "{inbox}");
    w.send(alice, &format!("<a xmlns='{SM}' h='3'/>"));
    assert!(w.take(alice).contains("<a xmlns='urn:xmpp:sm:3' h='3'"));
    w.send(alice, &message("bob@example.org", "three"));
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["three"]);
}

#[test]
fn what_was_queued_behind_a_failed_write_fails_too_and_is_sent_again_after_a_crash() {
    let mut w = world();
    let (alice, key) = sm(&mut w, "alice", "a");
    w.store.fail_next(Fault::Failed);
    w.push(alice, message("bob@example.org", "one").as_bytes());
    w.push(alice, message("bob@example.org", "two").as_bytes());
    // Two rounds: the second can be written.
    for _ in 0..2 {
        let count = w.commit(1);
        w.complete(count);
    }
    w.settle();
    assert_eq!(bounced(&w.take(alice)), ["one", "two"]);
    let mut w = w.crash();
    let (alice, inbox) = resume(&mut w, "alice", &key, 1);
    assert!(inbox.contains(" h='0'"), "the count covers neither: {inbox}");
    let alice = if inbox.contains("<failed ") { sm(&mut w, "alice", "a").0 } else { alice };
    w.send(alice, &message("bob@example.org", "one"));
    w.send(alice, &message("bob@example.org", "two"));
    let bob = w.online("bob", "phone");
    assert_eq!(bodies(&w.take(bob)), ["one", "two"]);
}

#[test]
fn a_client_that_takes_too_much_from_others_still_gets_its_own_errors() {
    let mut w = world();
    let (alice, _) = sm(&mut w, "alice", "a");
    let bob = w.online("bob", "phone");
    let filler = "x".repeat(20_000);
    for _ in 0..8 {
        let typing = format!(
            "<message to='alice@example.org/a' type='headline'><x xmlns='u'>{filler}</x>\
             <no-store xmlns='urn:xmpp:hints'/></message>"
        );
        w.send(bob, &typing);
    }
    w.take(alice);
    w.store.fail_next(Fault::Full);
    w.send(alice, &message("bob@example.org", "one"));
    assert_eq!(
        bounced(&w.take(alice)),
        ["one"],
        "it comes in another's name, and is alice's own all the same"
    );
}
