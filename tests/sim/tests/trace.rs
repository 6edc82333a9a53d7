//! What became of a message, as the administrator is told.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

use godwit_modules::traced::{Traced, without_daemon};
use godwit_sim::{ClientId, World};
use godwit_wire::Jid;

fn jid(name: &str) -> Jid {
    Jid::new(Some(name), "example.org", None).unwrap()
}

fn world() -> (World, ClientId) {
    let mut w = World::new(5, 2);
    ["alice", "bob"].iter().for_each(|name| w.account(name));
    let alice = w.online("alice", "a");
    (w, alice)
}

fn send(w: &mut World, from: ClientId, id: &str) {
    let origin = format!("<origin-id xmlns='urn:xmpp:sid:0' id='o-{id}'/>");
    let body = format!("<body>secret {id}</body>{origin}");
    w.send(from, &format!("<message to='bob@example.org' type='chat' id='{id}'>{body}</message>"));
}

fn one(mut found: Vec<Traced>) -> Traced {
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn steps(traced: &Traced) -> Vec<String> {
    let step = |taken: &godwit_modules::traced::Taken| match &taken.session {
        Some(session) => format!("{} {session}", taken.step),
        None => taken.step.clone(),
    };
    traced.steps.iter().map(step).collect()
}

#[test]
fn each_step_is_shown_and_found_by_any_of_its_ids() {
    let (mut w, alice) = world();
    let bob = w.login("bob", "phone");
    w.send(bob, "<enable xmlns='urn:xmpp:sm:3'/>");
    w.send(bob, "<presence/>");
    w.take(bob);
    let received = w.now();
    send(&mut w, alice, "m1");
    w.pass(1_000);
    let unacked = one(w.hub.traced("m1", None).unwrap());
    let so_far = [
        "received alice@example.org/a",
        "committed",
        "posted bob@example.org/phone",
        "written bob@example.org/phone",
    ];
    assert_eq!(steps(&unacked), so_far);
    let stored = unacked.stored.as_ref().unwrap();
    assert!(stored.pending);
    assert_eq!((stored.from.as_str(), stored.to.as_str()), ("alice@example.org", "bob@example.org"));
    w.send(bob, "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    let traced = one(w.hub.traced("o-m1", None).unwrap());
    assert_eq!(steps(&traced)[4..], ["acknowledged bob@example.org/phone"]);
    assert!(!traced.stored.as_ref().unwrap().pending);
    assert_eq!((traced.steps[0].at_ms, traced.steps[4].at_ms), (received, received + 1_000));
    assert_eq!(one(w.hub.traced(&traced.stanza_id, None).unwrap()), traced);
    let copy = u64::from_str_radix(&traced.stanza_id, 16).unwrap() - 1;
    let by_copy = one(w.hub.traced(&format!("{copy:016x}"), None).unwrap());
    assert_eq!(by_copy, traced, "by the id in the sender's archive");
    assert!(!format!("{traced:?}").contains("secret"));
    w.cut(bob);
    assert_eq!(
        steps(&one(w.hub.traced("m1", None).unwrap())),
        steps(&traced),
        "names outlive their sessions"
    );
}

#[test]
fn a_client_without_acknowledgements_is_said_to_have_what_the_kernel_took() {
    let (mut w, alice) = world();
    w.online("bob", "desk");
    send(&mut w, alice, "m1");
    let traced = one(w.hub.traced("m1", None).unwrap());
    assert_eq!(steps(&traced)[3..], ["written bob@example.org/desk", "taken bob@example.org/desk"]);
}

#[test]
fn what_waited_offline_is_written_later() {
    let (mut w, alice) = world();
    send(&mut w, alice, "m1");
    assert_eq!(steps(&one(w.hub.traced("m1", None).unwrap())), ["received alice@example.org/a", "committed"]);
    w.pass(5_000);
    w.online("bob", "desk");
    let traced = one(w.hub.traced("m1", None).unwrap());
    assert_eq!(steps(&traced)[2..], ["written bob@example.org/desk", "taken bob@example.org/desk"]);
}

#[test]
fn older_messages_are_found_in_the_store() {
    let (mut w, alice) = world();
    send(&mut w, alice, "m1");
    let id = one(w.hub.traced("m1", None).unwrap()).stanza_id;
    let w = w.crash();
    for (by, account) in
        [(id.as_str(), None), (&id, Some("bob")), ("m1", Some("alice")), ("o-m1", Some("bob"))]
    {
        let account = account.map(jid);
        let traced = one(w.hub.traced(by, account.as_ref()).unwrap());
        assert_eq!((traced.stanza_id.as_str(), traced.steps.len()), (id.as_str(), 0), "{by}");
        assert!(traced.stored.as_ref().is_some_and(|stored| stored.pending));
        assert_eq!(one(without_daemon(&*w.store, by, account.as_ref()).unwrap()), traced);
    }
    assert_eq!(w.hub.traced("m1", None).unwrap(), [], "an id of a sender needs an account");
    assert_eq!(w.hub.traced("0000000000000001", None).unwrap(), []);
    assert!(w.hub.traced("m1", Some(&jid("nobody"))).is_err());
}
