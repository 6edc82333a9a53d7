//! The end of an account through the whole server: its contacts are told, and nothing of it is left behind.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

use godwit_modules::{accounts, removal, roster};
use godwit_sim::{ClientId, World};
use godwit_store::{Cf, Outcome, Range, Read, Submit, schema};
use godwit_wire::Jid;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

const ROSTER: &str = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";

fn message(to: &str, body: &str) -> String {
    format!("<message to='{to}@example.org' type='chat' id='{body}'><body>{body}</body></message>")
}

fn jid(name: &str) -> Jid {
    Jid::new(Some(name), "example.org", None).unwrap()
}

/// Alice and Bob, online and subscribed to each other.
fn friends() -> (World, ClientId, ClientId) {
    let mut w = World::new(3, 2);
    ["alice", "bob"].iter().for_each(|name| w.account(name));
    let (alice, bob) = (w.login("alice", "a"), w.login("bob", "b"));
    for id in [alice, bob] {
        w.send(id, ROSTER);
        w.send(id, "<presence/>");
    }
    for (id, to) in [(alice, "bob"), (bob, "alice")] {
        w.send(id, &format!("<presence to='{to}@example.org' type='subscribe'/>"));
    }
    for (id, to) in [(alice, "bob"), (bob, "alice")] {
        w.send(id, &format!("<presence to='{to}@example.org' type='subscribed'/>"));
    }
    w.send(alice, &message("bob", "hello"));
    w.send(bob, &message("alice", "hello yourself"));
    w.take(alice);
    w.take(bob);
    (w, alice, bob)
}

fn owner(w: &World, name: &str) -> u64 {
    accounts::read(&*w.store, jid(name).bare_str()).unwrap().unwrap().owner
}

/// Removes an account as the administrator does. The outcome is there when the world has settled.
fn remove(w: &World, name: &str) -> Arc<Mutex<Option<Outcome>>> {
    let told = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&told);
    w.hub.remove_account(&jid(name), Box::new(move |outcome| *tell.lock().unwrap() = Some(outcome))).unwrap();
    told
}

/// Rows in any family that belong to an account, or name it as theirs.
fn rows(store: &dyn Read, owner: u64, bare: &str) -> Vec<(Cf, Vec<u8>)> {
    let (start, end) = schema::accounts();
    let mut found = Vec::new();
    for cf in Cf::ALL {
        let range = Range { cf, start: start.clone(), end: end.clone(), reverse: false };
        let mut each = |key: &[u8], _: &[u8]| {
            if key.starts_with(&owner.to_be_bytes()) || key == bare.as_bytes() {
                found.push((cf, key.to_vec()));
            }
            ControlFlow::Continue(())
        };
        store.scan(&range, &mut each).unwrap();
    }
    found
}

fn subscription(w: &World, of: &str, to: &str) -> Option<String> {
    let mut found = None;
    roster::each(&*w.store, owner(w, of), &mut |contact, item| {
        if contact == jid(to).bare_str() {
            found = Some(item.subscription().to_owned());
        }
    })
    .unwrap();
    found
}

#[test]
fn contacts_see_an_account_go_that_the_administrator_removes() {
    let (mut w, alice, bob) = friends();
    assert_eq!(subscription(&w, "bob", "alice").as_deref(), Some("both"));
    let told = remove(&w, "alice");
    w.settle();
    assert_eq!(*told.lock().unwrap(), Some(Ok(Vec::new())));
    let seen = w.take(bob);
    assert!(seen.contains("jid='alice@example.org' subscription='none'"), "a roster push: {seen}");
    for kind in ["unsubscribe", "unsubscribed"] {
        assert!(
            seen.contains(&format!("from='alice@example.org' to='bob@example.org' type='{kind}'")),
            "{seen}"
        );
    }
    let gone = "from='alice@example.org/a' to='bob@example.org' type='unavailable'";
    assert_eq!(seen.matches(gone).count(), 1, "{seen}");
    assert_eq!(subscription(&w, "bob", "alice").as_deref(), Some("none"));
    let goodbye = w.take(alice);
    assert!(goodbye.contains("<not-authorized") && w.client(alice).closed, "{goodbye}");
    w.send(bob, &message("alice", "anybody there"));
    assert!(w.take(bob).contains("<service-unavailable "));
}

#[test]
fn contacts_rosters_are_mended_with_no_daemon_running() {
    let (mut w, alice, bob) = friends();
    w.cut(alice);
    w.cut(bob);
    let settings = godwit_sim::world::settings();
    let tx = removal::without_daemon(&*w.store, &settings, w.now(), &|_| {}, &jid("alice")).unwrap();
    let told = godwit_modules::Completion::Told(Box::new(|outcome| assert!(outcome.is_ok())));
    assert!(w.store.submit(tx, told).is_ok());
    w.settle();
    assert_eq!(subscription(&w, "bob", "alice").as_deref(), Some("none"));
    let bob = w.login("bob", "b");
    w.send(bob, ROSTER);
    let listed = w.take(bob);
    assert!(listed.contains("jid='alice@example.org' subscription='none'"), "{listed}");
}

#[test]
fn nothing_of_a_removed_account_is_left_in_any_family() {
    let (mut w, alice, _) = friends();
    w.send(alice, "<presence type='unavailable'><status>for ever</status></presence>");
    w.send(alice, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let item = "<item id='current'><mood xmlns='urn:mood'/></item>";
    let publish = format!("<publish node='urn:mood'>{item}</publish>");
    let pubsub = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>");
    w.send(alice, &format!("<iq type='set' id='p'>{pubsub}</iq>"));
    let number = owner(&w, "alice");
    let families: std::collections::BTreeSet<Cf> =
        rows(&*w.store, number, "alice@example.org").into_iter().map(|(cf, _)| cf).collect();
    for cf in Cf::ALL.into_iter().filter(|cf| *cf == Cf::Accounts || cf.is_owned()) {
        assert!(families.contains(&cf), "there is something to remove in {cf:?}");
    }
    remove(&w, "alice");
    w.settle();
    w.pass(700_000);
    assert_eq!(rows(&*w.store, number, "alice@example.org"), []);
}

/// Everything here was decided while the account was there, and is committed after its removal.
#[test]
fn what_was_under_way_when_an_account_was_removed_leaves_no_row() {
    let (mut w, alice, bob) = friends();
    let number = owner(&w, "alice");
    w.store.hold(true);
    let told = remove(&w, "alice");
    w.push(bob, message("alice", "too late").as_bytes());
    w.push(alice, message("bob", "last words").as_bytes());
    w.push(bob, b"<presence to='alice@example.org' type='unsubscribe'/>");
    w.push(
        alice,
        b"<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@y.example'/></query></iq>",
    );
    w.push(alice, b"<presence type='unavailable'/>");
    while w.step() {}
    w.store.hold(false);
    w.settle();
    w.pass(700_000);
    assert_eq!(*told.lock().unwrap(), Some(Ok(Vec::new())));
    assert_eq!(rows(&*w.store, number, "alice@example.org"), []);
    let answers = w.take(bob);
    assert!(answers.contains("id='too late'") && answers.contains("<service-unavailable "), "{answers}");
    assert!(!answers.contains("last words"), "the account was gone when it was committed: {answers}");
    let crashed = w.crash();
    assert_eq!(rows(&*crashed.store, number, "alice@example.org"), []);
}

#[test]
fn an_account_of_the_same_name_is_another_one() {
    let (mut w, _, bob) = friends();
    let before = owner(&w, "alice");
    remove(&w, "alice");
    w.settle();
    w.account("alice");
    let after = owner(&w, "alice");
    assert_ne!(before, after);
    w.send(bob, &message("alice", "welcome"));
    let alice = w.online("alice", "new");
    let inbox = w.take(alice);
    assert!(inbox.contains("welcome") && !inbox.contains("hello"), "{inbox}");
    assert_eq!(rows(&*w.store, before, ""), []);
}

#[test]
fn removing_an_account_that_is_not_there_says_so() {
    let w = World::new(3, 1);
    let refused = w.hub.remove_account(&jid("nobody"), Box::new(|_| {}));
    assert!(matches!(refused, Err(accounts::AccountError::Missing(_))), "{refused:?}");
}
