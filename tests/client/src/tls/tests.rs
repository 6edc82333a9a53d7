//! Against rustls's own server in memory: both versions, all ciphers, key updates, tickets, input in pieces.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, SupportedCipherSuite};
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::{Tls, TlsVersions, client_config};

fn server_config(suite: SupportedCipherSuite) -> Arc<ServerConfig> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("a key");
    config.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
    Arc::new(config)
}

struct Pair {
    client: Tls,
    server: ServerConnection,
    /// What the client was sent and has not consumed.
    input: Vec<u8>,
    out: Vec<u8>,
    got: Vec<u8>,
    piece: usize,
}

impl Pair {
    fn new(server: &Arc<ServerConfig>, client: &Arc<rustls::ClientConfig>, piece: usize) -> Self {
        let mut out = Vec::new();
        let client = Tls::connect(client, "localhost", true, &mut out).expect("a flight");
        let server = ServerConnection::new(Arc::clone(server)).expect("a server");
        Self { client, server, input: Vec::new(), out, got: Vec::new(), piece }
    }

    /// Until neither has anything to say. Returns what the server read.
    fn settle(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        loop {
            let mut flight = std::mem::take(&mut self.out);
            let quiet = flight.is_empty() && !self.server.wants_write();
            while !flight.is_empty() {
                let n = self.server.read_tls(&mut flight.as_slice()).expect("room");
                flight.drain(..n);
                let state = self.server.process_new_packets().expect("good records");
                let start = read.len();
                read.resize(start + state.plaintext_bytes_to_read(), 0);
                self.server.reader().read_exact(&mut read[start..]).expect("plaintext");
            }
            let mut bytes = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut bytes).expect("a flight");
            }
            for piece in bytes.chunks(self.piece) {
                self.input.extend_from_slice(piece);
                let took = self.client.receive(&mut self.input, &mut self.got, &mut self.out);
                self.input.drain(..took.expect("good records").consumed);
            }
            if quiet {
                return read;
            }
        }
    }

    fn talk(&mut self, text: &[u8]) {
        self.client.seal(text, &mut self.out).expect("open");
        assert_eq!(self.settle(), text);
        self.server.writer().write_all(text).expect("room");
        self.settle();
        assert_eq!(std::mem::take(&mut self.got), text);
    }
}

#[test]
fn both_versions_and_all_ciphers_talk() {
    for suite in aws_lc_rs::default_provider().cipher_suites {
        if format!("{suite:?}").contains("RSA") {
            continue;
        }
        for piece in [1, 7, 100_000] {
            let client = client_config(TlsVersions::Both, false, false).expect("a configuration");
            let mut pair = Pair::new(&server_config(suite), &client, piece);
            // Said before the handshake is over.
            pair.client.seal(b"early", &mut pair.out).expect("waits");
            assert_eq!(pair.settle(), b"early", "{suite:?}");
            (0..5).for_each(|n| pair.talk(format!("{suite:?} {n}").as_bytes()));
            pair.talk(&vec![b'x'; 40_000]);
            assert!(pair.input.is_empty());
        }
    }
}

#[test]
fn keys_change_at_the_servers_wish() {
    let client = client_config(TlsVersions::Both, false, false).expect("a configuration");
    for suite in [cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_AES_128_GCM_SHA256] {
        let mut pair = Pair::new(&server_config(suite), &client, 3);
        pair.talk(b"before");
        for _ in 0..3 {
            // The server asks for ours too.
            pair.server.refresh_traffic_keys().expect("TLS 1.3");
            pair.talk(b"after");
        }
    }
}

#[test]
fn each_login_keeps_one_ticket_and_uses_one() {
    let server = server_config(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let client = client_config(TlsVersions::Both, false, true).expect("a configuration");
    let mut pairs: Vec<Pair> = (0..20).map(|_| Pair::new(&server, &client, 999)).collect();
    for pair in &mut pairs {
        pair.talk(b"first");
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Full));
    }
    // All at once: the library's own store would have eight.
    let mut again: Vec<Pair> = (0..20).map(|_| Pair::new(&server, &client, 999)).collect();
    for pair in &mut again {
        pair.talk(b"again");
        assert_eq!(pair.server.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn what_is_no_tls_or_was_changed_is_refused() {
    let client = client_config(TlsVersions::Both, false, false).expect("a configuration");
    let mut out = Vec::new();
    let mut tls = Tls::connect(&client, "localhost", false, &mut out).expect("a flight");
    let mut input = b"<stream:stream>".to_vec();
    assert!(tls.receive(&mut input, &mut Vec::new(), &mut out).is_err());

    let mut pair = Pair::new(&server_config(cipher_suite::TLS13_AES_256_GCM_SHA384), &client, 999);
    pair.talk(b"fine");
    pair.server.writer().write_all(b"changed").expect("room");
    let mut bytes = Vec::new();
    pair.server.write_tls(&mut bytes).expect("a record");
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    assert!(pair.client.receive(&mut bytes, &mut Vec::new(), &mut Vec::new()).is_err());
    assert!(pair.client.seal(b"x", &mut Vec::new()).is_err());
}
