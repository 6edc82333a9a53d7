//! What a peer may not do, and the alert it gets for it.
#![allow(clippy::unwrap_used, missing_docs)]

mod tls_support;

use godwit_edge::tls::{Alert, Record, TlsError};
use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};
use std::sync::OnceLock;
use tls_support::{Forger, Kind, Pair, Server, mirror, suites};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::new(&[Kind::Ecdsa]))
}

fn tls13() -> Pair {
    server().pair(&suites(&TLS13))
}

fn tls12() -> Pair {
    server().pair(&suites(&TLS12))
}

/// Our side refuses `bytes`, and what it sends is that alert and nothing else.
fn refused(mut pair: Pair, bytes: &[u8], expected: Alert) {
    let mut client = mirror(pair.record());
    match pair.give(bytes) {
        Err(TlsError::Peer { alert, what }) => assert_eq!(alert, expected, "{what}"),
        other => panic!("{other:?} instead of {expected}"),
    }
    let told = client.receive(&mut pair.out, &mut Vec::new(), &mut Vec::new());
    assert_eq!(told, Err(TlsError::Alerted(expected)));
}

fn refused13(make: impl Fn(&mut Forger) -> Vec<u8>, expected: Alert) {
    let mut pair = tls13();
    let bytes = make(&mut pair.forger());
    refused(pair, &bytes, expected);
}

fn refused12(make: impl Fn(&mut Forger) -> Vec<u8>, expected: Alert) {
    let mut pair = tls12();
    let bytes = make(&mut pair.forger());
    refused(pair, &bytes, expected);
}

#[test]
fn the_forger_forges() {
    for mut pair in [tls13(), tls12()] {
        let bytes = pair.forger().record(DATA, b"as good as real");
        pair.give(&bytes).unwrap();
        assert_eq!(pair.got, b"as good as real");
    }
}

#[test]
fn oversized_records() {
    // Refused by the header alone.
    refused(tls13(), &[23, 3, 3, 0x41, 0x01], Alert::RECORD_OVERFLOW);
    refused(tls12(), &[23, 3, 3, 0x48, 0x01], Alert::RECORD_OVERFLOW);
    refused13(|forger| forger.record(DATA, &[7; 16_385]), Alert::RECORD_OVERFLOW);
    refused12(|forger| forger.record(DATA, &[7; 16_385]), Alert::RECORD_OVERFLOW);
    refused13(|forger| forger.inner(&[&[7; 16_384][..], &[DATA, 0]].concat()), Alert::RECORD_OVERFLOW);
}

#[test]
fn padding_is_stripped() {
    let mut pair = tls13();
    let mut forger = pair.forger();
    let padded = forger.inner(&[&b"data\0"[..], &[DATA], &[0; 1_000]].concat());
    let largest = forger.inner(&[&[7; 16_000][..], &[DATA], &[0; 384]].concat());
    pair.give(&padded).unwrap();
    assert_eq!(pair.got, b"data\0");
    pair.give(&largest).unwrap();
    assert_eq!(pair.got.len(), 5 + 16_000);
}

#[test]
fn record_types() {
    for kind in [0, 20, 21, 22, 24, 255] {
        refused(tls13(), &[kind, 3, 3, 0, 1, 1], Alert::UNEXPECTED_MESSAGE);
    }
    for kind in [0, 20, 24, 255] {
        refused13(|forger| forger.inner(&[1, kind, 0]), Alert::UNEXPECTED_MESSAGE);
    }
    for kind in [0, 20, 24, 255] {
        refused12(|forger| forger.record(kind, &[1]), Alert::UNEXPECTED_MESSAGE);
    }
    refused13(|forger| forger.inner(&[0; 20]), Alert::UNEXPECTED_MESSAGE);
    refused13(|forger| forger.inner(&[]), Alert::UNEXPECTED_MESSAGE);
    refused(tls12(), &[23, 3, 1, 0, 1, 1], Alert::PROTOCOL_VERSION);
    refused(tls13(), &[23, 3, 3, 0, 0], Alert::BAD_RECORD_MAC);
    refused(tls12(), &[23, 3, 3, 0, 7, 1, 2, 3, 4, 5, 6, 7], Alert::BAD_RECORD_MAC);
    refused(tls12(), &[23, 3, 3, 0, 0], Alert::BAD_RECORD_MAC);
}

#[test]
fn a_key_update_split_anywhere() {
    for cuts in 0..16u8 {
        let mut pair = tls13();
        pair.rebuild = true;
        let mut forger = pair.forger();
        let mut start = 0;
        for end in 1..=5 {
            if end == 5 || cuts & (1 << (end - 1)) != 0 {
                let bytes = forger.record(HANDSHAKE, &[24, 0, 0, 1, 1][start..end]);
                pair.give(&bytes).unwrap();
                start = end;
            }
        }
        assert!(!pair.out.is_empty(), "it asked for ours");
        let mut forger = pair.forger();
        for _ in 0..3 {
            let bytes = forger.record(DATA, b"under the new key");
            pair.give(&bytes).unwrap();
        }
        assert_eq!(pair.got.len(), 3 * 17);
    }
}

#[test]
fn handshake_messages() {
    refused13(|forger| forger.record(HANDSHAKE, &[]), Alert::UNEXPECTED_MESSAGE);
    for message in [0, 1, 4, 11, 13, 20] {
        refused13(|forger| forger.record(HANDSHAKE, &[message, 0, 0, 0]), Alert::UNEXPECTED_MESSAGE);
        refused13(|forger| forger.record(HANDSHAKE, &[message]), Alert::UNEXPECTED_MESSAGE);
    }
    refused13(
        |forger| forger.record(HANDSHAKE, &[KEY_UPDATE, KEY_UPDATE].concat()),
        Alert::UNEXPECTED_MESSAGE,
    );
    refused13(|forger| forger.record(HANDSHAKE, &[24, 0, 0, 1, 2]), Alert::ILLEGAL_PARAMETER);
    for length in [[0, 0, 0], [0, 0, 2], [1, 0, 1], [0, 1, 1]] {
        let message = [&[24][..], &length].concat();
        refused13(|forger| forger.record(HANDSHAKE, &message), Alert::DECODE_ERROR);
    }
    let interleaved = |forger: &mut Forger| {
        [forger.record(HANDSHAKE, &KEY_UPDATE[..3]), forger.record(DATA, b"x")].concat()
    };
    refused13(interleaved, Alert::UNEXPECTED_MESSAGE);
    refused12(|forger| forger.record(HANDSHAKE, &KEY_UPDATE), Alert::UNEXPECTED_MESSAGE);
    refused12(|forger| forger.record(HANDSHAKE, &[]), Alert::UNEXPECTED_MESSAGE);
}

#[test]
fn alerts() {
    for bad in [&[][..], &[2], &[1, 0, 1, 0]] {
        refused13(|forger| forger.record(ALERT, bad), Alert::DECODE_ERROR);
        refused12(|forger| forger.record(ALERT, bad), Alert::DECODE_ERROR);
    }
    // The level of a TLS 1.3 alert means nothing.
    for (mut pair, level) in [(tls13(), 1), (tls13(), 2), (tls12(), 2)] {
        let bytes = pair.forger().record(ALERT, &[level, 80]);
        let error = pair.give(&bytes).unwrap_err();
        assert_eq!(error, TlsError::Alerted(Alert::INTERNAL_ERROR));
        assert!(pair.out.is_empty(), "an alert is not answered with one");
    }
}

#[test]
fn floods() {
    let many = |count: usize, make: &dyn Fn(&mut Forger) -> Vec<u8>, forger: &mut Forger| -> Vec<u8> {
        (0..count).flat_map(|_| make(forger)).collect()
    };
    let empty = |forger: &mut Forger| forger.record(DATA, &[]);
    let cancel = |forger: &mut Forger| forger.record(ALERT, &[1, 90]);
    let hello = |forger: &mut Forger| forger.record(HANDSHAKE, &[1, 0, 0, 1, 0]);
    refused13(|forger| many(33, &empty, forger), Alert::UNEXPECTED_MESSAGE);
    refused12(|forger| many(33, &empty, forger), Alert::UNEXPECTED_MESSAGE);
    refused13(|forger| many(5, &cancel, forger), Alert::UNEXPECTED_MESSAGE);
    refused12(|forger| many(5, &cancel, forger), Alert::UNEXPECTED_MESSAGE);
    let mut pair = tls12();
    let bytes = many(5, &hello, &mut pair.forger());
    pair.give(&bytes).unwrap_err();
    // Data makes up for all of it.
    for mut pair in [tls13(), tls12()] {
        pair.rebuild = true;
        let mut forger = pair.forger();
        for _ in 0..3 {
            for part in
                [many(32, &empty, &mut forger), many(4, &cancel, &mut forger), forger.record(DATA, b"x")]
            {
                pair.give(&part).unwrap();
            }
        }
        assert_eq!(pair.got, b"xxx");
    }
}

#[test]
fn a_flood_of_key_updates() {
    let mut pair = tls13();
    let mut client = mirror(pair.record());
    for _ in 0..3 {
        let mut bytes = Vec::new();
        for _ in 0..32 {
            client.update_keys(true, &mut bytes).unwrap();
        }
        client.seal(b"x", &mut bytes).unwrap();
        pair.give(&bytes).unwrap();
    }
    let mut bytes = Vec::new();
    for _ in 0..33 {
        client.update_keys(false, &mut bytes).unwrap();
    }
    assert!(matches!(pair.give(&bytes), Err(TlsError::Peer { alert: Alert::UNEXPECTED_MESSAGE, .. })));
    assert_eq!(pair.got, b"xxx");
}

#[test]
fn renegotiation_is_refused_and_the_connection_goes_on() {
    let mut pair = tls12();
    let mut client = mirror(pair.record());
    let mut forger = pair.forger();
    let (hello, data) = (forger.record(HANDSHAKE, &[1, 0, 0, 1, 0]), forger.record(DATA, b"on"));
    pair.give(&hello).unwrap();
    let warned = client.receive(&mut pair.out.clone(), &mut Vec::new(), &mut Vec::new()).unwrap();
    assert_eq!((warned.consumed, warned.event), (pair.out.len(), None));
    assert_eq!(pair.out[0], ALERT);
    pair.give(&data).unwrap();
    assert_eq!(pair.got, b"on");
}

#[test]
fn not_tls() {
    for text in [&b"<?xml version='1.0'?>"[..], b"GET / HTTP/1.1\r\n", b" ", b"\0"] {
        let mut pair = Pair::new(server().accept(), server().client_config(&[]).into());
        assert_eq!(pair.give(text), Err(TlsError::NotTls));
        assert_eq!(pair.out, [21, 3, 3, 0, 2, 2, 10]);
        pair.give(b"whatever follows is dropped").unwrap();
        assert!(pair.pending.is_empty());
        assert_eq!(pair.send(b"x"), Err(TlsError::NotOpen));
    }
}

#[test]
fn bad_handshakes_get_an_alert() {
    for bytes in [
        &[22, 2, 0, 0, 5, 1, 0, 0, 1, 0][..],
        &[22, 3, 1, 0x60, 0],
        &[22, 3, 1, 0, 5, 2, 0, 0, 1, 0],
        &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        &[23, 3, 3, 0, 1, 0],
    ] {
        let mut pair = Pair::new(server().accept(), server().client_config(&[]).into());
        assert!(pair.give(bytes).unwrap_err().blames_peer());
        assert_eq!(pair.out[..6], [21, 3, 3, 0, 2, 2], "{bytes:?}");
    }
}

#[test]
fn an_endless_handshake_ends() {
    let mut pair = Pair::new(server().accept(), server().client_config(&[]).into());
    // A ClientHello of 65,000 bytes, said to be so and sent in records of one byte.
    let mut sent = 0;
    let error = loop {
        let byte = *[1, 0, 0xfd, 0xe8].get(sent).unwrap_or(&3);
        sent += 1;
        if let Err(error) = pair.give(&[22, 3, 1, 0, 1, byte]) {
            break error;
        }
        assert!(pair.pending.len() <= 66_000);
    };
    assert!(error.blames_peer());
    assert!(sent < 11_000, "{sent}");
}

#[test]
fn a_client_alert_during_the_handshake() {
    let mut pair = Pair::new(server().accept(), server().client_config(&[]).into());
    assert_eq!(pair.give(&[21, 3, 3, 0, 2, 2, 48]), Err(TlsError::Alerted(Alert(48))));
}

fn states() -> &'static [Record; 2] {
    static STATES: OnceLock<[Record; 2]> = OnceLock::new();
    STATES.get_or_init(|| [tls13(), tls12()].map(|mut pair| pair.record().clone()))
}

proptest! {
    #[test]
    fn random_bytes_on_an_open_connection(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        v in 0..2usize,
    ) {
        let mut record = states()[v].clone();
        let (mut plain, mut bytes) = (Vec::new(), bytes);
        let _ = record.receive(&mut bytes, &mut plain, &mut Vec::new());
        prop_assert!(plain.is_empty());
    }

    #[test]
    fn random_authentic_records(
        records in prop::collection::vec((18u8..26, prop::collection::vec(0u8..28, 0..8)), 1..20),
        v in 0..2usize,
    ) {
        let mut record = states()[v].clone();
        let mut forger = Forger::new(&record);
        for (kind, content) in records {
            let mut bytes = forger.record(kind, &content);
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            match record.receive(&mut bytes, &mut plain, &mut out) {
                Ok(received) => prop_assert_eq!(received.consumed, bytes.len()),
                Err(error) => {
                    prop_assert!(error.blames_peer());
                    prop_assert_eq!(out.is_empty(), matches!(error, TlsError::Alerted(_)));
                    break;
                }
            }
            if kind == HANDSHAKE && v == 0 && !content.is_empty() {
                forger = Forger::new(&record);
            }
        }
    }

    #[test]
    fn random_bytes_instead_of_a_handshake(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        tls in any::<bool>(),
    ) {
        if let (true, Some((header, body))) = (tls, bytes.split_first_chunk_mut::<5>()) {
            let len = u16::try_from(body.len()).unwrap().to_be_bytes();
            *header = [22, 3, 1, len[0], len[1]];
        }
        let mut pair = Pair::new(server().accept(), server().client_config(&[]).into());
        prop_assert!(pair.give(&bytes).is_ok() || !pair.out.is_empty() || bytes[0] == ALERT);
    }

    #[test]
    fn a_client_hello_with_changed_bytes(
        changes in prop::collection::vec((0..1_500usize, any::<u8>()), 0..4),
        cuts in prop::collection::vec(1..600usize, 0..6),
    ) {
        let mut pair = Pair::new(server().accept(), server().client_config(&[]).into());
        let mut hello = pair.client_bytes().split_off(5);
        for (at, value) in changes {
            let at = at % hello.len();
            hello[at] = value;
        }
        let mut rest = hello.as_slice();
        for cut in cuts.into_iter().chain([rest.len()]) {
            let (fragment, behind) = rest.split_at(cut.min(rest.len()));
            rest = behind;
            let len = u16::try_from(fragment.len()).unwrap().to_be_bytes();
            if let Err(error) = pair.give(&[&[22, 3, 1, len[0], len[1]][..], fragment].concat()) {
                prop_assert!(error.blames_peer(), "{error}");
                prop_assert!(!pair.out.is_empty());
                break;
            }
        }
    }

    #[test]
    fn random_state(bytes in prop::collection::vec(any::<u8>(), Record::BYTES)) {
        let bytes: [u8; Record::BYTES] = bytes.try_into().unwrap();
        for head in [[1, 2, 1, 0], [1, 3, 2, 0], [1, 3, 3, 1], [bytes[0], bytes[1], bytes[2], bytes[3]]] {
            let mut bytes = bytes;
            bytes[..4].copy_from_slice(&head);
            if let Some(mut record) = Record::from_bytes(&bytes) {
                prop_assert_eq!(*record.to_bytes(), bytes);
                let _ = record.receive(&mut [23, 3, 3, 0, 1, 0], &mut Vec::new(), &mut Vec::new());
            }
        }
    }
}
