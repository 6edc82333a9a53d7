//! A shard on loopback: peers that do not read, do not write, do not stop, or do not speak TLS, and a box
//! that runs out of things.
#![allow(clippy::unwrap_used, missing_docs)]

mod shard_support;

use godwit_edge::{Control, EdgeLimits, Ended};
use godwit_session::{Event, Outgoing};
use shard_support::{Client, Note, Server, Setup, message, now, settings, with_descriptors};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// More than the kernel takes for a peer that does not read (a few MB on loopback).
const MUCH: usize = 64 << 20;
const PIECE: usize = 64 << 10;

fn limits() -> EdgeLimits {
    Setup::default().limits
}

fn with(limits: EdgeLimits) -> Server {
    Setup { limits, ..Setup::default() }.start()
}

fn deliver(at: godwit_session::ConnId, number: usize) -> Note {
    let body = "x".repeat(PIECE);
    let bytes: Arc<[u8]> =
        format!("<message id='{number}'><body>{body}</body></message>").into_bytes().into();
    Note::Event(at, Event::Deliver(Outgoing { bytes, extra: Box::default(), stored: None, number: None }))
}

#[test]
fn a_slow_reader_is_congested_and_gets_everything_in_order() {
    let server = with(EdgeLimits { queue_bytes_max: 2 * MUCH, ..limits() });
    let (mut client, at) = server.login_at();
    let pieces = MUCH / PIECE;
    for number in 0..pieces {
        server.mailbox.send(deliver(at, number));
    }
    server.until("congestion", |_, stats| stats.congestions.get() == 1 && stats.notes.get() >= pieces as u64);
    server.until("bytes wait", |_, stats| stats.queued_bytes.get() > 0);
    // Another one is served meanwhile.
    server.login().echo("meanwhile");
    for number in 0..pieces {
        let got = client.until("</message>");
        assert!(got.starts_with(&format!("<message id='{number}'>")), "{number}: {}", &got[..40]);
    }
    server.until("drained", |_, stats| stats.queued_bytes.get() == 0);
    assert_eq!(server.stats.congestions.get(), 1);
    client.echo("after");
    server.stop();
}

#[test]
fn who_does_not_read_is_not_read_from() {
    let server = with(limits());
    let mut client = server.login();
    // Each of these asks for 2 KB; together they would fill the queue many times over.
    const ASKED: usize = 12_000;
    let text: String = (0..ASKED).map(|_| message("big-2000")).collect();
    let (mut writer, mut sealed) = (client.stream.sock.try_clone().unwrap(), Vec::new());
    client.stream.conn.set_buffer_limit(None);
    client.stream.conn.writer().write_all(text.as_bytes()).unwrap();
    while client.stream.conn.wants_write() {
        client.stream.conn.write_tls(&mut sealed).unwrap();
    }
    let writing = thread::spawn(move || writer.write_all(&sealed).unwrap());
    server.until("the kernel is full", |_, stats| stats.queued_bytes.get() > 0);
    for _ in 0..ASKED {
        client.until("</message>");
    }
    writing.join().unwrap();
    client.echo("after");
    assert_eq!(server.seen.lock().unwrap().closed, []);
    assert_eq!(server.stats.congestions.get(), 0, "it never came to that");
    server.stop();
}

#[test]
fn a_queue_that_is_full_ends_the_connection() {
    let server = with(limits());
    let (client, at) = server.login_at();
    for number in 0..MUCH / PIECE {
        server.mailbox.send(deliver(at, number));
    }
    server.until("closed", |seen, _| seen.closed == [(at, Ended::SendQueueFull)]);
    server.until("the account is settled", |_, stats| stats.queued_bytes.get() == 0);
    assert_eq!(server.seen.lock().unwrap().ended, 1, "the session was told");
    server.until("late notes are missed", |seen, _| !seen.missed.is_empty());
    drop(client);
    server.stop();
}

#[test]
fn a_peer_that_accepts_nothing_is_closed_in_time() {
    let server = with(EdgeLimits { queue_bytes_max: 2 * MUCH, write_stall_ms_max: 60_000, ..limits() });
    let (client, at) = server.login_at();
    for number in 0..MUCH / PIECE {
        server.mailbox.send(deliver(at, number));
    }
    server.until("bytes wait", |_, stats| {
        stats.notes.get() >= (MUCH / PIECE) as u64 && stats.queued_bytes.get() > 0
    });
    server.login().echo("time passes");
    assert_eq!(server.seen.lock().unwrap().closed.iter().filter(|(id, _)| *id == at).count(), 0);
    server.advance(61_000);
    server.until("closed", |seen, _| seen.closed.contains(&(at, Ended::SendQueueFull)));
    drop(client);
    server.stop();
}

#[test]
fn a_flood_leaves_room_for_others() {
    let server = with(limits());
    let done = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let (client, done) = (server.login(), Arc::clone(&done));
            thread::spawn(move || flood(client, &done))
        })
        .collect();
    let mut client = server.login();
    let start = now();
    for _ in 0..100 {
        client.echo("polite");
    }
    println!("100 echoes beside a flood: {:?}", start.elapsed());
    done.store(true, Ordering::Relaxed);
    for flood in floods {
        assert!(flood.join().unwrap() > 0);
    }
    server.stop();
}

#[test]
fn while_the_host_has_enough_to_do_clients_are_not_read_and_then_all_are() {
    let server = with(limits());
    let mut clients: Vec<Client> = (0..5).map(|_| server.login()).collect();
    server.seen.lock().unwrap().crowded = true;
    for client in &mut clients {
        client.send("<message id='late'/>");
    }
    server.until("the shard leaves them unread", |_, stats| stats.crowded.get() > 0);
    let reads = server.stats.reads.get();
    // Waits for several looks; new clients get their handshake meanwhile, and no more.
    let looks = server.stats.crowded.get();
    server.until("more looks", |_, stats| stats.crowded.get() >= looks + 5);
    assert_eq!(server.stats.reads.get(), reads);
    server.seen.lock().unwrap().crowded = false;
    for client in &mut clients {
        client.until("id='late'");
    }
    server.stop();
}

#[test]
fn a_host_that_hangs_does_not_make_clients_look_silent() {
    let server = with(limits());
    let mut client = server.login();
    server.seen.lock().unwrap().crowded = true;
    client.send("<message id='heard'/>");
    server.until("unread", |_, stats| stats.crowded.get() > 0);
    server.advance(1_001);
    client.until("id='heard'");
    server.stop();
}

/// Sends as fast as it can and reads only as much as it must.
fn flood(mut client: Client, done: &AtomicBool) -> u64 {
    let text = message("flood").repeat(200);
    let mut sent = 0;
    while !done.load(Ordering::Relaxed) {
        client.send(&text);
        for _ in 0..200 {
            client.until("</message>");
        }
        sent += 200;
    }
    sent
}

#[test]
fn descriptors_run_out_without_spinning() {
    if !with_descriptors("descriptors_run_out_without_spinning", 64) {
        return;
    }
    let server = with(EdgeLimits { accept_pause_ms: 100, ..limits() });
    let mut client = server.login();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    // One descriptor for the client's end, none for the server's.
    drop(hoard.pop());
    let waiting = server.tcp(server.direct);
    server.until("starved", |_, stats| stats.accept_starved.get() > 0);
    let (turns, times) = (server.stats.turns.get(), server.stats.accept_starved.get());
    server.until("starved thrice more", |_, stats| stats.accept_starved.get() >= times + 3);
    let spent = server.stats.turns.get() - turns;
    assert!(spent < 60, "{spent} turns in three pauses");
    client.echo("those who are in are served");
    drop(hoard);
    server.over(waiting).login();
    server.stop();
}

#[test]
fn above_the_ceiling_nobody_comes_in() {
    let server = Setup { connections_max: 2, limits: limits(), ..Setup::default() }.start();
    let (mut first, _second) = (server.login(), server.login());
    let mut third = server.tcp(server.direct);
    assert_eq!(third.read(&mut [0]).unwrap(), 0, "refused");
    assert_eq!(server.stats.refused_full.get(), 1);
    first.echo("unharmed");
    drop(first);
    server.until("one left", |seen, _| seen.closed.len() == 1);
    server.until("room", |_, _| server.ceiling.now() == 1);
    server.login().echo("in");
    server.stop();
}

#[test]
fn the_host_may_refuse_an_address() {
    let server = Setup { admit: false, ..Setup::default() }.start();
    let mut client = server.tcp(server.direct);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    server.until("counted", |_, stats| stats.refused_host.get() == 1);
    assert!(server.seen.lock().unwrap().opened.is_empty());
    assert_eq!(server.ceiling.now(), 0);
    server.stop();
}

#[test]
fn what_is_not_tls_gets_an_alert_at_most() {
    let server = with(limits());
    let inputs: [&[u8]; 4] = [
        b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client'>",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0x16, 0x03, 0x01, 0xff, 0xff],
        &[0; 2000],
    ];
    for input in inputs {
        let mut client = server.tcp(server.direct);
        client.write_all(input).unwrap();
        let mut got = Vec::new();
        // A reset is as good as an end: the server did not read everything.
        let _ = client.read_to_end(&mut got);
        assert!(got.is_empty() || got[0] == 21, "{got:?}");
    }
    server.until("closed", |seen, _| seen.closed.len() == inputs.len());
    assert!(server.seen.lock().unwrap().closed.iter().all(|(_, why)| *why == Ended::TlsFailed));
    assert_eq!(server.stats.tls_failures.get(), inputs.len() as u64);
    server.stop();
}

#[test]
fn a_forged_record_ends_the_session_at_once() {
    let server = with(limits());
    let (mut client, at) = server.login_at();
    client.stream.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
    client.stream.sock.write_all(&[7; 32]).unwrap();
    server.until("told", |seen, _| seen.ended == 1);
    drop(client);
    server.until("closed", |seen, _| seen.closed == [(at, Ended::TlsFailed)]);
    server.stop();
}

#[test]
fn handshakes_and_logins_that_take_too_long_end() {
    let setup = Setup { limits: limits(), ..Setup::default() };
    let server = setup.start();
    let mut in_handshake = server.tcp(server.direct);
    in_handshake.write_all(&[0x16]).unwrap();
    let mut silent = server.tcp(server.starttls);
    let mut open = server.tls();
    open.send("<stream:stream");
    let mut bound = server.login();
    server.until("all there", |seen, _| seen.opened.len() == 4);
    server.advance(settings().handshake_ms_max + 1_000);
    assert_eq!(in_handshake.read(&mut [0]).unwrap(), 0, "no TLS, no words");
    let mut words = String::new();
    silent.read_to_string(&mut words).unwrap();
    assert!(words.contains("<connection-timeout"), "{words}");
    assert!(open.end().contains("<connection-timeout"));
    drop((in_handshake, silent, open));
    server.until("three ended", |seen, _| seen.closed.len() == 3);
    assert!(server.seen.lock().unwrap().closed.iter().all(|(_, why)| *why == Ended::Deadline));
    bound.echo("unharmed");
    server.stop();
}

#[test]
fn a_reset_is_noticed() {
    let server = with(limits());
    let (client, at) = server.login_at();
    // Closing with unread input sends a reset.
    server.mailbox.send(deliver(at, 0));
    server.until("sent", |_, stats| stats.bytes_out.get() > PIECE as u64);
    drop(client);
    server.until("closed", |seen, _| seen.closed.len() == 1);
    assert_eq!(server.seen.lock().unwrap().ended, 1);
    server.stop();
}

#[test]
fn a_client_that_never_closes_is_left_after_a_while() {
    let server = with(EdgeLimits { linger_ms_max: 60_000, ..limits() });
    let mut client = server.login();
    client.send("</stream:stream>");
    client.end();
    // What it still sends is thrown away.
    client.stream.sock.write_all(&[0; 3000]).unwrap();
    assert_eq!(server.seen.lock().unwrap().closed.len(), 0);
    server.advance(61_000);
    server.until("closed", |seen, _| seen.closed.len() == 1);
    server.stop();
}

#[test]
fn stopping_ends_at_its_deadline() {
    let server = with(EdgeLimits { linger_ms_max: 600_000, ..limits() });
    let clients: Vec<_> = (0..5).map(|_| server.login()).collect();
    let silent = TcpStream::connect(server.direct).unwrap();
    server.until("accepted", |seen, _| seen.opened.len() == 6);
    let seen = Arc::clone(&server.seen);
    server.mailbox.control(Control::Stop { deadline: (server.clock)() + 300 });
    server.stop();
    assert_eq!(seen.lock().unwrap().closed.len(), 6);
    assert_eq!(seen.lock().unwrap().ended, 5);
    drop((clients, silent));
}
