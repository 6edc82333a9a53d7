//! Where an account's messages are, as the administrator is told.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

use godwit_modules::inspect::{Inspection, without_daemon};
use godwit_sim::{ClientId, World};
use godwit_wire::Jid;

fn jid(name: &str) -> Jid {
    Jid::new(Some(name), "example.org", None).unwrap()
}

fn world() -> (World, ClientId) {
    let mut w = World::new(4, 2);
    ["alice", "bob"].iter().for_each(|name| w.account(name));
    let alice = w.online("alice", "a");
    (w, alice)
}

fn send(w: &mut World, from: ClientId, to: &str, id: &str) {
    w.send(
        from,
        &format!("<message to='{to}@example.org' type='chat' id='{id}'><body>secret {id}</body></message>"),
    );
}

/// Asks the sessions and lets the world answer.
fn inspect(w: &mut World, name: &str) -> Inspection {
    let mut inquiry = w.hub.inquire(&jid(name));
    w.settle();
    inquiry.collect(&|told| told.try_recv().ok());
    w.hub.inspect(inquiry).unwrap()
}

fn enable(w: &mut World, name: &str, resource: &str) -> ClientId {
    let id = w.login(name, resource);
    w.send(id, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    w.send(id, "<presence/>");
    w.take(id);
    id
}

#[test]
fn what_waits_is_shown_with_and_without_a_daemon() {
    let (mut w, alice) = world();
    for n in 0..30 {
        send(&mut w, alice, "bob", &format!("m{n}"));
    }
    let found = inspect(&mut w, "bob");
    assert_eq!(found.sessions, Some(Vec::new()));
    assert_eq!((found.pending.messages, found.pending.more, found.pending.first.len()), (30, false, 20));
    let first = &found.pending.first[0];
    assert_eq!((first.from.as_str(), first.id.as_deref()), ("alice@example.org", Some("m0")));
    assert_eq!((first.at_ms, first.sent_to.len()), (w.now(), 0));
    assert_eq!((found.archive.rows, found.archive.oldest_ms), (30, Some(first.at_ms)));
    let offline = without_daemon(&*w.store, &jid("bob")).unwrap();
    assert_eq!(offline, Inspection { sessions: None, ..found });
    assert!(!format!("{offline:?}").contains("secret"), "never the body");
}

#[test]
fn each_session_says_what_it_was_sent() {
    let (mut w, alice) = world();
    let (phone, _desk) = (enable(&mut w, "bob", "phone"), enable(&mut w, "bob", "desk"));
    for id in ["one", "two"] {
        send(&mut w, alice, "bob", id);
    }
    w.send(phone, "<inactive xmlns='urn:xmpp:csi:0'/>");
    let found = inspect(&mut w, "bob");
    let inactive = |session: &godwit_modules::inspect::Session| session.report.as_ref().unwrap().inactive;
    assert_eq!(found.sessions.iter().flatten().map(inactive).collect::<Vec<_>>(), [true, false]);
    let sent: Vec<_> = found.pending.first.iter().map(|message| message.sent_to.join(" ")).collect();
    assert_eq!(sent, ["phone desk", "phone desk"]);
    w.send(phone, "<a xmlns='urn:xmpp:sm:3' h='3'/>"); // one of presences and the first message
    let before = found.pending.first[0].stanza_id.clone();
    let found = inspect(&mut w, "bob");
    let ids: Vec<_> = found.pending.first.iter().map(|message| message.id.clone().unwrap()).collect();
    assert_eq!(ids, ["two"], "one client has the other");
    let sessions = found.sessions.unwrap();
    let desk = sessions.iter().find(|session| session.resource == "desk").unwrap();
    let report = desk.report.as_ref().unwrap();
    assert!(report.acknowledges && report.unacked_ids.contains(&before), "{report:?}");
}

#[test]
fn a_session_that_waits_to_be_resumed_says_until_when() {
    let (mut w, alice) = world();
    let phone = enable(&mut w, "bob", "phone");
    w.cut(phone);
    send(&mut w, alice, "bob", "late");
    let found = inspect(&mut w, "bob");
    let sessions = found.sessions.unwrap();
    let report = sessions[0].report.as_ref().unwrap();
    assert_eq!(report.waits_until_ms, Some(w.now() + 600_000));
    assert_eq!(found.pending.first[0].sent_to.len(), 0);
}

#[test]
fn an_account_that_is_not_there_is_missing() {
    let (w, _) = world();
    assert!(without_daemon(&*w.store, &jid("nobody")).is_err());
}

#[test]
fn sessions_from_before_a_restart_are_shown_until_they_come_back() {
    let (mut w, alice) = world();
    enable(&mut w, "bob", "phone");
    send(&mut w, alice, "bob", "m1");
    let found = inspect(&mut w, "bob");
    assert_eq!((found.resumable.len(), found.sessions.map(|sessions| sessions.len())), (0, Some(1)));
    let mut w = w.crash();
    for found in [inspect(&mut w, "bob"), without_daemon(&*w.store, &jid("bob")).unwrap()] {
        assert_eq!(found.sessions.map_or(0, |sessions| sessions.len()), 0);
        let resources: Vec<_> = found.resumable.iter().map(|session| session.resource.as_str()).collect();
        assert_eq!(resources, ["phone"]);
        assert_eq!(found.resumable[0].resume_s_max, 600);
    }
}

#[test]
fn how_far_an_account_has_read_is_shown() {
    let (mut w, alice) = world();
    let bob = w.online("bob", "phone");
    send(&mut w, alice, "bob", "m1");
    let id = inspect(&mut w, "bob").pending.first.first().map(|message| message.stanza_id.clone());
    assert_eq!(id, None, "the kernel took it");
    let marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>";
    w.send(bob, &format!("<message to='alice@example.org' type='chat' id='d1'>{marker}</message>"));
    let displayed = inspect(&mut w, "bob").displayed;
    assert_eq!(displayed.len(), 1);
    assert_eq!((displayed[0].with.as_str(), displayed[0].id.as_str()), ("alice@example.org", "m1"));
    w.pass(1_000);
    let synced = "<displayed xmlns='urn:xmpp:mds:displayed:0'>\
        <stanza-id xmlns='urn:xmpp:sid:0' by='bob@example.org' id='00ff'/></displayed>";
    w.send(bob, &format!("<message to='alice@example.org' type='chat' id='d2'>{synced}</message>"));
    let displayed = inspect(&mut w, "bob").displayed;
    let seen: Vec<_> = displayed.iter().map(|one| (one.with.as_str(), one.id.as_str())).collect();
    assert_eq!(seen, [("alice@example.org", "00ff")], "the newer of the two");
}
