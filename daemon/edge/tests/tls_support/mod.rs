//! What the TLS tests share: certificates, a rustls client joined to our side in memory, and a forger.
//!
//! The forger seals what no honest client would send.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use godwit_edge::Entry;
use godwit_edge::tls::{CertificateFiles, Certificates, Event, Record, TicketKeys, Tls, TlsConfig, TlsError};
use godwit_session::TlsFacts;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, SupportedCipherSuite};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the test.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("godwit-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ecdsa,
    Rsa,
}

pub fn key(kind: Kind) -> rcgen::KeyPair {
    match kind {
        Kind::Ecdsa => rcgen::KeyPair::generate().unwrap(),
        Kind::Rsa => {
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
        }
    }
}

/// A self-signed certificate for `names`, written to `dir`.
pub fn certificate(
    dir: &Dir,
    file: &str,
    kind: Kind,
    names: &[&str],
) -> (CertificateFiles, rcgen::Certificate) {
    let key = key(kind);
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let chain = dir.write(&format!("{file}.crt"), &made.pem());
    let key = dir.write(&format!("{file}.key"), &key.serialize_pem());
    (CertificateFiles { chain, key }, made)
}

/// A server with one certificate per kind for `localhost`.
pub struct Server {
    pub config: TlsConfig,
    pub certificates: Arc<Certificates>,
    pub tickets: Arc<TicketKeys>,
    pub roots: Arc<rustls::RootCertStore>,
    pub dir: Dir,
}

impl Server {
    pub fn new(kinds: &[Kind]) -> Server {
        let dir = Dir::new();
        let mut roots = rustls::RootCertStore::empty();
        let mut files = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let (file, made) = certificate(&dir, &number.to_string(), *kind, &["localhost"]);
            roots.add(made.der().clone()).unwrap();
            files.push(file);
        }
        let certificates = Arc::new(Certificates::load(&files).unwrap());
        let tickets = Arc::new(TicketKeys::new(0).unwrap());
        let config = TlsConfig::new(&certificates, &tickets).unwrap();
        Server { config, certificates, tickets, roots: Arc::new(roots), dir }
    }

    pub fn client_config(&self, suites: &[SupportedCipherSuite]) -> ClientConfig {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if !suites.is_empty() {
            provider.cipher_suites = suites.to_vec();
        }
        let versions: Vec<_> = [&rustls::version::TLS13, &rustls::version::TLS12]
            .into_iter()
            .filter(|version| provider.cipher_suites.iter().any(|suite| suite.version() == *version))
            .collect();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config
    }

    pub fn accept(&self) -> Tls {
        Tls::accept(&self.config, Entry::DirectTls).unwrap()
    }

    /// A pair whose handshake is over.
    pub fn pair(&self, suites: &[SupportedCipherSuite]) -> Pair {
        let mut pair = Pair::new(self.accept(), Arc::new(self.client_config(suites)));
        pair.run().unwrap();
        assert!(pair.facts.is_some());
        pair
    }
}

/// A rustls client and our side, joined in memory.
pub struct Pair {
    pub client: ClientConnection,
    pub tls: Tls,
    /// Our side's unconsumed input.
    pub pending: Vec<u8>,
    /// What our side received.
    pub got: Vec<u8>,
    /// What our side has to send and did not.
    pub out: Vec<u8>,
    pub facts: Option<TlsFacts>,
    pub peer_closed: bool,
    /// Our side's state goes through bytes before each call.
    pub rebuild: bool,
}

impl Pair {
    pub fn new(tls: Tls, config: Arc<ClientConfig>) -> Pair {
        Pair::named(tls, config, "localhost")
    }

    pub fn named(tls: Tls, config: Arc<ClientConfig>, name: &str) -> Pair {
        let client = ClientConnection::new(config, name.to_string().try_into().unwrap()).unwrap();
        let (pending, got, out) = (Vec::new(), Vec::new(), Vec::new());
        Pair { client, tls, pending, got, out, facts: None, peer_closed: false, rebuild: false }
    }

    /// All that the client has to send.
    pub fn client_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Our side takes bytes, as one segment.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.pending.extend_from_slice(bytes);
        loop {
            self.rebuilt();
            let received = self.tls.receive(&mut self.pending, &mut self.got, &mut self.out)?;
            self.pending.drain(..received.consumed);
            match received.event {
                Some(Event::HandshakeDone(facts)) => self.facts = Some(*facts),
                Some(Event::PeerClosed) => self.peer_closed = true,
                None => return Ok(()),
            }
        }
    }

    pub fn send(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        self.rebuilt();
        self.tls.seal(plain, &mut self.out)
    }

    fn rebuilt(&mut self) {
        if let Tls::Open(record) = &self.tls
            && self.rebuild
        {
            self.tls = Tls::Open(Box::new(Record::from_bytes(&record.to_bytes()).unwrap()));
        }
    }

    pub fn record(&mut self) -> &mut Record {
        match &mut self.tls {
            Tls::Open(record) => record,
            _ => panic!("not open"),
        }
    }

    /// The client takes what our side has to send: the data in it.
    pub fn client_reads(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let mut data = Vec::new();
        let sent = std::mem::take(&mut self.out);
        let mut sent = sent.as_slice();
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).unwrap();
            let state = self.client.process_new_packets()?;
            let start = data.len();
            data.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut data[start..]).unwrap();
        }
        Ok(data)
    }

    /// Both sides talk until neither has anything to send. What the client received is dropped.
    pub fn run(&mut self) -> Result<Vec<u8>, TlsError> {
        let mut data = Vec::new();
        loop {
            let bytes = self.client_bytes();
            if bytes.is_empty() && self.out.is_empty() {
                return Ok(data);
            }
            self.give(&bytes)?;
            data.extend(self.client_reads().unwrap());
        }
    }

    /// The client sends, our side echoes it.
    pub fn echo(&mut self, data: &[u8]) {
        let mut back = Vec::new();
        for part in data.chunks(40_000) {
            self.client.writer().write_all(part).unwrap();
            let bytes = self.client_bytes();
            self.give(&bytes).unwrap();
            let got = std::mem::take(&mut self.got);
            self.send(&got).unwrap();
            back.extend(self.client_reads().unwrap());
        }
        assert!(back == data, "{} bytes came back as {}", data.len(), back.len());
    }

    pub fn forger(&mut self) -> Forger {
        Forger::new(self.record())
    }
}

const DIRECTION: usize = 100;
const SEND: usize = 13;
const RECEIVE: usize = SEND + DIRECTION;

/// The other end of a record layer: its directions exchanged.
pub fn mirror(record: &Record) -> Record {
    let bytes = record.to_bytes();
    let mut swapped = *bytes;
    swapped[SEND..RECEIVE].copy_from_slice(&bytes[RECEIVE..]);
    swapped[RECEIVE..].copy_from_slice(&bytes[SEND..RECEIVE]);
    Record::from_bytes(&swapped).unwrap()
}

/// A record layer whose next sequence numbers, both ways, are `sequence`.
pub fn at_sequence(record: &Record, sequence: u64) -> Record {
    let mut bytes = *record.to_bytes();
    bytes[SEND..SEND + 8].copy_from_slice(&sequence.to_be_bytes());
    bytes[RECEIVE..RECEIVE + 8].copy_from_slice(&sequence.to_be_bytes());
    Record::from_bytes(&bytes).unwrap()
}

/// Seals what a client's record layer would not, with an implementation of its own.
pub struct Forger {
    tls13: bool,
    gcm: bool,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forger {
    pub fn new(server: &Record) -> Forger {
        let bytes = server.to_bytes();
        let (algorithm, len) = match bytes[2] {
            1 => (&AES_128_GCM, 16),
            2 => (&AES_256_GCM, 32),
            _ => (&CHACHA20_POLY1305, 32),
        };
        let direction = &bytes[RECEIVE..];
        Forger {
            tls13: bytes[1] == 3,
            gcm: bytes[2] != 3,
            key: LessSafeKey::new(UnboundKey::new(algorithm, &direction[56..56 + len]).unwrap()),
            iv: direction[88..100].try_into().unwrap(),
            sequence: u64::from_be_bytes(direction[..8].try_into().unwrap()),
        }
    }

    /// TLS 1.3: `content`, its type and padding are given as they are to be sealed.
    pub fn inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let len = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
        let header = [23, 3, 3, len[0], len[1]];
        let mut body = inner.to_vec();
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).unwrap();
        [&header[..], &body].concat()
    }

    fn nonce(&mut self) -> Nonce {
        let mut padded = [0; 12];
        padded[4..].copy_from_slice(&self.sequence.to_be_bytes());
        self.sequence += 1;
        let nonce: Vec<u8> = padded.iter().zip(self.iv).map(|(a, b)| a ^ b).collect();
        Nonce::try_assume_unique_for_key(&nonce).unwrap()
    }

    pub fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        if self.tls13 {
            return self.inner(&[content, &[kind]].concat());
        }
        let len = u16::try_from(content.len()).unwrap().to_be_bytes();
        let aad = [&self.sequence.to_be_bytes()[..], &[kind, 3, 3, len[0], len[1]]].concat();
        let nonce = self.nonce();
        let explicit = if self.gcm { nonce.as_ref()[4..].to_vec() } else { Vec::new() };
        let mut body = content.to_vec();
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut body).unwrap();
        let len = u16::try_from(explicit.len() + body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3, len[0], len[1]][..], &explicit, &body].concat()
    }
}

pub fn suites(version: &'static rustls::SupportedProtocolVersion) -> Vec<SupportedCipherSuite> {
    let all = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
    all.into_iter().filter(|suite| suite.version() == version).collect()
}

pub fn one(suite: rustls::CipherSuite) -> Vec<SupportedCipherSuite> {
    let all = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
    all.into_iter().filter(|known| known.suite() == suite).collect()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
