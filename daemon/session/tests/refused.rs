//! A message that was not taken, and whose error is in no archive: no count says that it was handled before
//! the client has the error (XEP-0198).
#![allow(clippy::unwrap_used)]

mod support;

use godwit_session::{Event, Outgoing};
use support::World;

const SM: &str = "urn:xmpp:sm:3";

/// A session that may be resumed, whose host answers nothing by itself.
fn resumable() -> World {
    let id = "${id?}";
    let script = format!(
        "HOST account alice secret\nCONNECT tls\nLOGIN alice secret desk\nC: <enable xmlns='{SM}' \
         resume='true'/>\nS: <enabled xmlns='{SM}' id='{id}' resume='true' max='300'/>\n"
    );
    let mut world = support::script::run_world(&script).unwrap();
    world.host.mute = true;
    world
}

fn error() -> Event {
    let bytes = b"<message type='error' id='1'></message>".as_slice().into();
    Event::Deliver(Outgoing { bytes, extra: Box::default(), stored: None, number: None })
}

fn wrote(world: &mut World) -> String {
    let client = &mut world.clients[0];
    let text = String::from_utf8_lossy(&client.wrote[client.read..]).into_owned();
    client.read = client.wrote.len();
    text
}

#[test]
fn no_count_covers_a_message_that_failed_before_the_client_has_its_error() {
    let mut world = resumable();
    world.bytes(
        0,
        format!("<message to='bob@example.org'/><message to='bob@example.org'/><r xmlns='{SM}'/>").as_bytes(),
    );
    world.event(0, error());
    world.event(0, Event::Failed);
    assert!(wrote(&mut world).contains("type='error'"));
    world.event(0, error());
    world.event(0, Event::Failed);
    world.bytes(0, format!("<a xmlns='{SM}' h='1'/>").as_bytes());
    assert!(!wrote(&mut world).contains("<a "), "the second error may still be lost");
    assert!(world.host.mended == 0 && world.host.persisted.is_empty());
    world.bytes(0, format!("<a xmlns='{SM}' h='2'/>").as_bytes());
    assert_eq!((world.host.mended, &*world.host.persisted), (1, &[2][..]));
    assert!(wrote(&mut world).contains("<a xmlns='urn:xmpp:sm:3' h='2'"));
}

#[test]
fn nothing_is_mended_while_a_stanza_is_under_way_that_may_have_failed_too() {
    let mut world = resumable();
    world.bytes(0, b"<message to='bob@example.org'/><message to='bob@example.org'/>");
    world.event(0, error());
    world.event(0, Event::Failed);
    world.bytes(0, format!("<a xmlns='{SM}' h='1'/>").as_bytes());
    assert_eq!(world.host.mended, 0);
    world.event(0, Event::Handled(1));
    assert_eq!(world.host.mended, 1);
}

#[test]
fn a_message_that_is_none_is_counted_by_the_host() {
    let mut world = resumable();
    world.bytes(0, format!("<message to='@'/><r xmlns='{SM}'/>").as_bytes());
    let answer = String::from_utf8(world.host.refused.remove(0)).unwrap();
    assert!(answer.contains("jid-malformed") && wrote(&mut world).is_empty(), "{answer}");
    world.event(0, Event::HandledDurably(1));
    assert!(wrote(&mut world).contains("<a xmlns='urn:xmpp:sm:3' h='1'"));
}

#[test]
fn a_count_that_could_not_be_written_breaks_nothing_for_long() {
    let mut world = resumable();
    world.event(0, Event::Persisted { h: 0, durable: false });
    assert_eq!(world.host.mended, 1, "no error has to be acknowledged for it");
}
