//! The record layer against a rustls client in memory: every suite, every size, key changes, rebuilt state.
#![allow(clippy::unwrap_used, missing_docs)]

mod tls_support;

use godwit_edge::tls::{Alert, Record, Tls, TlsError};
use godwit_session::TlsVersion;
use rustls::CipherSuite;
use rustls::version::{TLS12, TLS13};
use std::io::Write;
use tls_support::{Kind, Server, at_sequence, mirror, one, suites};

const SIZES: [usize; 10] = [0, 1, 2, 300, 1_023, 16_383, 16_384, 16_385, 65_536, 3_000_000];

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

#[test]
fn every_suite_echoes_every_size_with_state_rebuilt_each_time() {
    let server = Server::new(&[Kind::Ecdsa, Kind::Rsa]);
    let all = [suites(&TLS13), suites(&TLS12)].concat();
    assert_eq!(all.len(), 9);
    for suite in all {
        let mut pair = server.pair(&[suite]);
        pair.rebuild = true;
        for size in SIZES {
            pair.echo(&data(size));
        }
        let facts = pair.facts.unwrap();
        let expected = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        assert_eq!(facts.suite, expected);
        assert_eq!(facts.version == TlsVersion::Tls13, suite.version() == &TLS13);
        assert_eq!(facts.sni.as_deref(), Some("localhost"));
        assert!(!facts.resumed);
    }
}

#[test]
fn exporters_equal_the_clients() {
    let server = Server::new(&[Kind::Ecdsa, Kind::Rsa]);
    for suite in [suites(&TLS13), suites(&TLS12)].concat() {
        let pair = server.pair(&[suite]);
        let label = b"EXPORTER-Channel-Binding";
        let theirs = pair.client.export_keying_material([0; 32], label, Some(&[])).unwrap();
        assert_eq!(pair.facts.unwrap().exporter, Some(theirs), "{:?}", suite.suite());
    }
}

#[test]
fn thirty_records_each_way_after_each_rebuild() {
    let server = Server::new(&[Kind::Ecdsa, Kind::Rsa]);
    for suite in [suites(&TLS13), suites(&TLS12)].concat() {
        let mut pair = server.pair(&[suite]);
        for round in 0..4 {
            pair.rebuild = true;
            pair.echo(b"rebuilt");
            pair.rebuild = false;
            for number in 0..30 {
                pair.echo(format!("round {round}, record {number}").as_bytes());
            }
        }
    }
}

#[test]
fn key_updates_from_either_side() {
    let server = Server::new(&[Kind::Ecdsa]);
    for suite in suites(&TLS13) {
        let mut pair = server.pair(&[suite]);
        pair.rebuild = true;
        for round in 0..20 {
            match round % 4 {
                0 => pair.client.refresh_traffic_keys().unwrap(),
                1 => update_keys(&mut pair, false),
                2 => update_keys(&mut pair, true),
                _ => {
                    pair.client.refresh_traffic_keys().unwrap();
                    update_keys(&mut pair, true);
                }
            }
            for number in 0..3 {
                pair.echo(format!("round {round}, record {number}").as_bytes());
            }
            assert_eq!(pair.run().unwrap(), b"");
        }
    }
}

fn update_keys(pair: &mut tls_support::Pair, request: bool) {
    let mut out = Vec::new();
    pair.record().update_keys(request, &mut out).unwrap();
    assert!(!out.is_empty());
    pair.out.extend(out);
}

#[test]
fn tls12_has_no_key_update() {
    let server = Server::new(&[Kind::Ecdsa]);
    let mut pair = server.pair(&suites(&TLS12));
    let mut out = Vec::new();
    pair.record().update_keys(true, &mut out).unwrap();
    assert!(out.is_empty());
    pair.echo(b"the keys are the same");
}

#[test]
fn several_requests_in_one_turn_get_one_answer() {
    let server = Server::new(&[Kind::Ecdsa]);
    let mut pair = server.pair(&suites(&TLS13));
    let mut client = mirror(pair.record());
    let (mut bytes, mut plain, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        client.update_keys(true, &mut bytes).unwrap();
    }
    client.seal(b"ping", &mut bytes).unwrap();
    pair.record().receive(&mut bytes, &mut plain, &mut out).unwrap();
    assert_eq!(plain, b"ping");
    let one_answer = out.len();
    pair.record().seal(b"pong", &mut out).unwrap();
    assert_eq!(one_answer, 5 + 5 + 1 + 16);
    plain.clear();
    client.receive(&mut out, &mut plain, &mut Vec::new()).unwrap();
    assert_eq!(plain, b"pong");
}

#[test]
fn a_record_split_at_every_byte() {
    let server = Server::new(&[Kind::Ecdsa, Kind::Rsa]);
    for suite in [suites(&TLS13), suites(&TLS12)].concat() {
        let mut pair = server.pair(&[suite]);
        let record = pair.record().clone();
        let mut bytes = Vec::new();
        mirror(&record).seal(&data(300), &mut bytes).unwrap();
        for at in 0..bytes.len() {
            let mut record = record.clone();
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let first = record.receive(&mut bytes.clone()[..at], &mut plain, &mut out).unwrap();
            assert_eq!((first.consumed, plain.len()), (0, 0), "at {at}");
            let all = record.receive(&mut bytes.clone(), &mut plain, &mut out).unwrap();
            assert_eq!(all.consumed, bytes.len());
            assert!(plain == data(300) && out.is_empty());
        }
    }
}

#[test]
fn a_handshake_byte_by_byte() {
    let server = Server::new(&[Kind::Ecdsa]);
    for suites in [suites(&TLS13), suites(&TLS12)] {
        let mut pair = tls_support::Pair::new(server.accept(), server.client_config(&suites).into());
        while pair.facts.is_none() {
            for byte in pair.client_bytes() {
                pair.give(&[byte]).unwrap();
            }
            pair.client_reads().unwrap();
        }
        pair.echo(b"done");
    }
}

#[test]
fn data_and_key_update_in_the_segment_of_finished() {
    let server = Server::new(&[Kind::Ecdsa]);
    for (suites, update) in [(suites(&TLS12), false), (suites(&TLS13), false), (suites(&TLS13), true)] {
        let mut pair = tls_support::Pair::new(server.accept(), server.client_config(&suites).into());
        pair.rebuild = true;
        while pair.client.is_handshaking() {
            let bytes = pair.client_bytes();
            pair.give(&bytes).unwrap();
            pair.client_reads().unwrap();
        }
        if update {
            pair.client.refresh_traffic_keys().unwrap();
        }
        pair.client.writer().write_all(b"<stream>").unwrap();
        let segment = pair.client_bytes();
        pair.give(&segment).unwrap();
        assert!(pair.facts.is_some());
        assert_eq!(pair.got, b"<stream>");
        pair.got.clear();
        for _ in 0..12 {
            pair.echo(b"more");
        }
    }
}

#[test]
fn every_changed_byte_is_a_bad_mac() {
    let server = Server::new(&[Kind::Ecdsa, Kind::Rsa]);
    for suite in [suites(&TLS13), suites(&TLS12)].concat() {
        let mut pair = server.pair(&[suite]);
        let record = pair.record().clone();
        let mut bytes = Vec::new();
        mirror(&record).seal(b"message", &mut bytes).unwrap();
        for at in 5..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            let (mut record, mut out) = (record.clone(), Vec::new());
            let error = record.receive(&mut bad, &mut Vec::new(), &mut out).unwrap_err();
            assert!(matches!(error, TlsError::Peer { alert: Alert::BAD_RECORD_MAC, .. }), "{error}");
            assert!(error.blames_peer());
            assert_eq!(record.seal(b"x", &mut out), Err(TlsError::NotOpen));
        }
        bytes[10] ^= 1;
        pair.give(&bytes).unwrap_err();
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
        assert_eq!(pair.client_reads(), Err(alert));
    }
}

#[test]
fn keys_are_changed_before_they_are_used_up() {
    let server = Server::new(&[Kind::Ecdsa]);
    for suite in suites(&TLS13) {
        let mut ours = at_sequence(server.pair(&[suite]).record(), (1 << 24) - 5);
        let mut theirs = mirror(&ours);
        for number in 0..20 {
            let (mut bytes, mut plain) = (Vec::new(), Vec::new());
            ours.seal(b"over the edge", &mut bytes).unwrap();
            // Four records go under the old key, and the KeyUpdate before the fifth.
            assert_eq!(bytes.len() > 50, number == 4, "record {number}");
            theirs.receive(&mut bytes, &mut plain, &mut Vec::new()).unwrap();
            assert_eq!(plain, b"over the edge");
        }
    }
}

#[test]
fn tls12_closes_before_its_keys_are_used_up() {
    let server = Server::new(&[Kind::Ecdsa]);
    let mut ours = at_sequence(server.pair(&suites(&TLS12)).record(), (1 << 24) - 3);
    let mut theirs = mirror(&ours);
    let (mut bytes, mut plain) = (Vec::new(), Vec::new());
    ours.seal(b"one", &mut bytes).unwrap();
    ours.seal(b"two", &mut bytes).unwrap();
    assert_eq!(ours.seal(b"three", &mut bytes), Err(TlsError::KeysUsedUp));
    assert_eq!(ours.seal(b"four", &mut bytes), Err(TlsError::NotOpen));
    let received = theirs.receive(&mut bytes, &mut plain, &mut Vec::new()).unwrap();
    assert_eq!(plain, b"onetwo");
    assert_eq!(received.event, Some(godwit_edge::tls::Event::PeerClosed));
}

#[test]
fn closing_both_ways() {
    let server = Server::new(&[Kind::Ecdsa]);
    for suites in [suites(&TLS13), suites(&TLS12)] {
        let mut pair = server.pair(&suites);
        pair.rebuild = true;
        pair.client.writer().write_all(b"</stream>").unwrap();
        pair.client.send_close_notify();
        let bytes = pair.client_bytes();
        pair.give(&bytes).unwrap();
        assert!(pair.peer_closed);
        assert_eq!(pair.got, b"</stream>");
        pair.give(b"anything at all is ignored now").unwrap();
        assert!(pair.pending.is_empty());
        pair.send(b"goodbye").unwrap();
        pair.tls.close_notify(&mut pair.out).unwrap();
        let len = pair.out.len();
        pair.tls.close_notify(&mut pair.out).unwrap();
        assert_eq!(pair.out.len(), len);
        assert_eq!(pair.send(b"too late"), Err(TlsError::NotOpen));
        assert_eq!(pair.client_reads().unwrap(), b"goodbye");
        let state = pair.client.process_new_packets().unwrap();
        assert!(state.peer_has_closed());
    }
}

#[test]
fn state_as_bytes_is_checked() {
    let server = Server::new(&[Kind::Ecdsa]);
    let good = *server.pair(&one(CipherSuite::TLS13_AES_128_GCM_SHA256)).record().to_bytes();
    assert_eq!(*Record::from_bytes(&good).unwrap().to_bytes(), good);
    for (at, bad) in [(0, 0), (0, 2), (1, 1), (1, 4), (2, 0), (2, 4), (3, 4), (7, 5)] {
        let mut bytes = good;
        bytes[at] = bad;
        assert!(Record::from_bytes(&bytes).is_none(), "byte {at} = {bad}");
    }
}

#[test]
fn an_idle_connection_is_small() {
    assert_eq!(size_of::<Tls>(), 16);
    assert!(size_of::<Record>() <= 224, "{}", size_of::<Record>());
}
