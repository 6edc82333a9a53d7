//! A shard on loopback: what connections do as they should.
#![allow(clippy::unwrap_used, missing_docs)]

mod shard_support;

use godwit_edge::{Control, EdgeLimits, Ended, Entry};
use godwit_session::{Event, Outgoing, Stored};
use shard_support::{HEADER, Note, Server, Setup, message, settings, with_descriptors};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;

fn start() -> Server {
    Setup::default().start()
}

#[test]
fn direct_tls_and_starttls_both_lead_to_a_session() {
    let server = start();
    server.login().echo("direct");

    let mut tcp = server.tcp(server.starttls);
    tcp.write_all(HEADER.as_bytes()).unwrap();
    read_until(&mut tcp, "</stream:features>");
    tcp.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").unwrap();
    read_until(&mut tcp, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let mut client = server.over(tcp);
    client.login();
    client.echo("starttls");
    assert_eq!(server.stats.handshakes_tls13.get(), 2);
    server.stop();
}

fn read_until(tcp: &mut std::net::TcpStream, end: &str) {
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
}

#[test]
fn two_thousand_connections() {
    if !with_descriptors("two_thousand_connections", 4500) {
        return;
    }
    const MANY: usize = 2_000;
    let server = start();
    let mut clients: Vec<_> = (0..MANY).map(|_| server.login()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.message(&number.to_string());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert!(client.until("</message>").contains(&format!("id='{number}'")));
    }
    assert_eq!(server.stats.connections.get(), MANY as u64);
    assert_eq!(server.ceiling.now(), MANY);
    println!("machine of an idle session: {} bytes", server.seen.lock().unwrap().memory);
    drop(clients);
    server.until("all gone", |seen, stats| seen.closed.len() == MANY && stats.connections.get() == 0);
    assert_eq!(server.ceiling.now(), 0);
    assert_eq!(server.stats.queued_bytes.get(), 0);
    assert_eq!(server.seen.lock().unwrap().ended, MANY);
    server.stop();
}

/// After an outage all clients come at once.
#[test]
fn a_storm_is_let_in_as_it_can_be_served() {
    const MANY: usize = 100;
    let limits = EdgeLimits { strangers_min: 2, ..EdgeLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start();
    // All have spoken before the first is accepted.
    let hold = server.seen.lock().unwrap();
    server.mailbox.send(Note::Mark(0));
    let mut clients: Vec<_> = (0..MANY).map(|_| server.tls()).collect();
    for client in &mut clients {
        let (conn, tcp) = (&mut client.stream.conn, &mut client.stream.sock);
        conn.write_tls(tcp).unwrap();
    }
    drop(hold);
    for client in &mut clients {
        client.login();
    }
    assert!(server.stats.accept_delayed.get() > 0);
    assert_eq!(server.stats.connections.get(), MANY as u64);
    server.stop();
}

#[test]
fn a_slow_writer_sends_byte_by_byte() {
    let server = start();
    let mut client = server.login();
    client.stream.conn.writer().write_all(message("slow").as_bytes()).unwrap();
    client.stream.conn.writer().write_all(message("slower").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while client.stream.conn.wants_write() {
        client.stream.conn.write_tls(&mut bytes).unwrap();
    }
    let mut other = server.login();
    for (number, byte) in bytes.iter().enumerate() {
        client.stream.sock.write_all(&[*byte]).unwrap();
        if number % 50 == 0 {
            other.echo("meanwhile");
        }
    }
    assert!(client.until("</message>").contains("id='slow'"));
    assert!(client.until("</message>").contains("id='slower'"));
    server.stop();
}

#[test]
fn one_read_and_one_write_and_one_wait_per_stanza() {
    let server = start();
    let mut client = server.login();
    client.echo("warm");
    let count = || (server.stats.reads.get(), server.stats.writes.get(), server.stats.waits.get());
    let before = count();
    const STANZAS: u64 = 500;
    for _ in 0..STANZAS {
        client.echo("one");
    }
    let after = count();
    let spent = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    // A turn or two of the heartbeat or a timer may come in between.
    assert!(spent.0 <= STANZAS + 5 && spent.1 <= STANZAS + 5 && spent.2 <= STANZAS + 20, "{spent:?}");

    // What arrives at once is answered at once.
    let before = count();
    client.send(&message("many").repeat(50));
    for _ in 0..50 {
        client.until("</message>");
    }
    let after = count();
    assert!(after.0 - before.0 <= 3 && after.1 - before.1 <= 3, "{before:?} {after:?}");
    server.stop();
}

#[test]
fn notes_of_many_threads_arrive_in_the_order_of_each() {
    let server = start();
    let (mut client, at) = server.login_at();
    const EACH: u64 = 2_000;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let mailbox = server.mailbox.clone();
            thread::spawn(move || {
                let mut batch = Vec::new();
                for number in 0..EACH {
                    batch.push(Note::Mark(thread * EACH + number));
                    if number % 7 == 0 {
                        mailbox.send_batch(&mut batch);
                        assert!(batch.is_empty());
                    }
                }
                mailbox.send_batch(&mut batch);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    server.until("all notes", |seen, _| seen.notes.len() as u64 == 4 * EACH);
    let notes = server.seen.lock().unwrap().notes.clone();
    for thread in 0..4 {
        let own: Vec<_> = notes.iter().filter(|note| **note / EACH == thread).collect();
        assert!(own.is_sorted() && own.len() as u64 == EACH);
    }
    // From sleep, each time.
    for round in 0..50 {
        let bytes: Arc<[u8]> = format!("<message id='note-{round}'/>").into_bytes().into();
        let outgoing = Outgoing { bytes, extra: Box::default(), stored: None, number: None };
        server.mailbox.send(Note::Event(at, Event::Deliver(outgoing)));
        client.until(&format!("<message id='note-{round}'/>"));
    }
    assert!(server.mailbox.is_empty());
    server.stop();
}

#[test]
fn a_note_for_a_connection_that_is_gone_is_missed() {
    let server = start();
    let (client, at) = server.login_at();
    drop(client);
    server.until("gone", |seen, _| seen.closed.len() == 1);
    let (_next, next_at) = server.login_at();
    assert_eq!((next_at.slot, next_at.generation), (at.slot, at.generation + 1), "the slot is used again");
    server.mailbox.send(Note::Event(at, Event::Handled(1)));
    server.until("missed", |seen, _| seen.missed.len() == 1);
    assert_eq!(server.seen.lock().unwrap().missed, ["Handled(1)"]);
    server.stop();
}

#[test]
fn a_session_taken_over_closes_its_connection() {
    let server = start();
    let (mut client, at) = server.login_at();
    server.mailbox.send(Note::Event(at, Event::TakeOver));
    assert!(client.end().contains("<conflict"));
    drop(client);
    server.until("closed", |seen, _| seen.closed == [(at, Ended::ByUs)]);
    server.stop();
}

#[test]
fn the_kernel_having_it_all_is_told_once_a_turn() {
    let server = start();
    let (mut client, at) = server.login_at();
    server.mailbox.send(Note::Event(at, Event::FeedFrom { after: 0, new_after: 0, number: None }));
    let mut batch: Vec<_> = (1..=20_u64)
        .map(|seq| {
            let bytes: Arc<[u8]> = format!("<message id='s{seq}'/>").into_bytes().into();
            let stored = Some(Stored { seq, prev: seq - 1, again: false, regular: true, received: None });
            Note::Event(at, Event::Deliver(Outgoing { bytes, extra: Box::default(), stored, number: None }))
        })
        .collect();
    let writes = server.stats.writes.get();
    server.mailbox.send_batch(&mut batch);
    client.until("<message id='s20'/>");
    server.until("acknowledged by the kernel", |seen, _| seen.acked.len() == 20);
    assert!(server.seen.lock().unwrap().acked.is_sorted());
    assert!(server.stats.writes.get() - writes <= 2, "a batch of notes is one write");
    server.stop();
}

#[test]
fn the_end_of_a_stream_is_one_of_tls_and_tcp_too() {
    let limits = EdgeLimits { linger_ms_max: 60_000, ..EdgeLimits::default() };
    let server = Setup { limits, ..Setup::default() }.start();
    let mut client = server.login();
    client.send("</stream:stream>");
    assert_eq!(client.end(), "</stream:stream>");
    server.until("lingers", |seen, _| seen.ended == 1);
    assert_eq!(server.seen.lock().unwrap().closed.len(), 0, "it waits for the client's end");
    client.stream.sock.shutdown(Shutdown::Write).unwrap();
    server.until("closed", |seen, _| seen.closed.len() == 1);
    assert_eq!(server.seen.lock().unwrap().closed[0].1, Ended::ByUs);
    server.stop();
}

#[test]
fn the_end_may_come_in_the_same_segment_as_the_last_stanza() {
    let server = start();
    let mut client = server.login();
    client.stream.conn.writer().write_all(message("last").as_bytes()).unwrap();
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    client.stream.sock.shutdown(Shutdown::Write).unwrap();
    assert!(client.end().contains("id='last'"), "answered before the end");
    server.until("closed", |seen, _| seen.closed.len() == 1);
    assert_eq!(server.seen.lock().unwrap().closed[0].1, Ended::ByPeer);
    server.stop();
}

#[test]
fn listeners_can_be_added_and_closed() {
    let server = start();
    let more = godwit_edge::listen::bind(
        Entry::DirectTls,
        "127.0.0.1:0".parse().unwrap(),
        1,
        &godwit_edge::ListenOptions::default(),
    )
    .unwrap();
    let at = more[0].address().unwrap();
    server.mailbox.control(Control::Listen(more));
    let mut client = server.over(server.tcp(at));
    client.login();
    server.mailbox.control(Control::Deafen);
    server.mailbox.send(Note::Mark(1));
    server.until("deaf", |seen, _| seen.notes == [1]);
    // The control word came first, so by the next turn nobody listens any more.
    client.echo("still here");
    assert!(std::net::TcpStream::connect(at).is_err());
    client.echo("and still");
    server.stop();
}

#[test]
fn new_settings_are_for_all_connections() {
    let server = start();
    let (mut old, at) = server.login_at();
    let mut changed = settings();
    changed.ping_after_ms = 1_000;
    server.mailbox.control(Control::Settings(Arc::new(changed)));
    // The machine looks at the settings when its old deadline has come.
    server.advance(settings().ping_after_ms + 1_000);
    old.until("<ping xmlns='urn:xmpp:ping'/></iq>");
    server.advance(settings().ping_timeout_ms + 1_000);
    assert!(old.end().contains("<connection-timeout"));
    drop(old);
    server.until("closed", |seen, _| seen.closed == [(at, Ended::Deadline)]);
    server.stop();
}

#[test]
fn stopping_tells_everybody() {
    let server = start();
    let mut clients: Vec<_> = (0..40).map(|_| server.login()).collect();
    let mut fresh = server.tcp(server.starttls);
    server.until("accepted", |seen, _| seen.opened.len() == 41);
    let (seen, stats) = (Arc::clone(&server.seen), Arc::clone(&server.stats));
    let stopping = thread::spawn(move || server.stop());
    for client in &mut clients {
        let last = client.end();
        assert!(last.contains("<system-shutdown") && last.ends_with("</stream:stream>"), "{last}");
    }
    let mut last = String::new();
    fresh.read_to_string(&mut last).unwrap();
    assert!(last.contains("<system-shutdown"), "{last}");
    drop((clients, fresh));
    stopping.join().unwrap();
    assert_eq!(seen.lock().unwrap().closed.len(), 41);
    assert_eq!((seen.lock().unwrap().ended, stats.connections.get()), (40, 0));
}
