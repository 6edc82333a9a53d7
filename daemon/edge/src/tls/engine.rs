//! The one file that names the TLS library (rustls 0.23): handshakes, and what a handshake asks of us.
//!
//! Three things are not to be had from the library's unbuffered connection and come by its callbacks
//! instead: traffic secrets (by the key log), the server name (by the certificate resolver), and the
//! certificate that a resumed session was bound to (by the ticketer, which keeps it beside the session's
//! state). Callbacks know no connection, so [`Notes`] lie in a thread-local while the library runs, and
//! with the [`Engine`] otherwise.
//!
//! Input is whole records, one more at each call: with a KeyUpdate behind the client's Finished in one call
//! the library would queue an answer, and drop it when the connection is taken apart.

use super::alert::{Alert, TlsError};
use super::certificates::Certificates;
use super::hello;
use super::protect::{Cipher, Suite};
use super::tickets::{LIFETIME_SECONDS, TicketKeys};
use godwit_session::TlsVersion;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, Error, HandshakeKind, InconsistentKeys, KeyLog, ServerConfig,
    SupportedCipherSuite,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::RefCell;
use std::sync::Arc;
use zeroize::Zeroizing;

/// States that one record can lead through, flights included; more is a loop.
const STEPS_MAX: usize = 64;

/// A certificate chain with its key, ready to sign handshakes.
#[derive(Clone, Debug)]
pub(super) struct ServerKey(Arc<CertifiedKey>);

/// Why chain and key are of no use.
pub(super) enum KeyFault {
    Mismatch,
    Unsupported(String),
}

impl ServerKey {
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerKey, KeyFault> {
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(key) => Ok(ServerKey(Arc::new(key))),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(KeyFault::Mismatch),
            Err(error) => Err(KeyFault::Unsupported(error.to_string())),
        }
    }
}

/// Settings of one kind of listener.
#[derive(Clone)]
pub(super) struct Listener {
    /// Our order of suites.
    ours: Arc<ServerConfig>,
    /// The client's, for those that have a reason for theirs.
    theirs: Arc<ServerConfig>,
}

impl Listener {
    /// With `alpn` empty whatever the client offers is let pass.
    pub(super) fn new(
        certificates: Arc<Certificates>,
        tickets: Arc<TicketKeys>,
        alpn: &[&[u8]],
    ) -> Result<Listener, TlsError> {
        let mut provider = default_provider();
        // SHA-384, computed without special instructions, was 6 to 8 % of the samples of a login; SHA-256
        // has them. AES-128 is no weaker than a P-256 or RSA-2048 key.
        provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), rank(suite.suite())));
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsError::Internal("the TLS library supports neither TLS 1.2 nor 1.3"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(certificates)));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.ticketer = Arc::new(Ticketer(tickets));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.key_log = Arc::new(SecretsToNotes);
        config.enable_secret_extraction = true;
        let theirs = Arc::new(config.clone());
        config.ignore_client_order = true;
        Ok(Listener { ours: Arc::new(config), theirs })
    }
}

/// The place of a suite among those of its version.
fn rank(suite: CipherSuite) -> u8 {
    match suite_name(suite) {
        name if name.contains("AES_128") => 0,
        name if name.contains("AES_256") => 1,
        _ => 2,
    }
}

/// What callbacks learned about the connection being worked on.
#[derive(Default)]
struct Notes {
    server_name: Option<Box<str>>,
    /// tls-server-end-point of the certificate that was chosen, and of the one a ticket was bound to.
    chosen: Option<Arc<[u8]>>,
    restored: Option<Arc<[u8]>>,
    secrets: LoggedSecrets,
}

#[derive(Default)]
struct LoggedSecrets {
    client: Zeroizing<Vec<u8>>,
    server: Zeroizing<Vec<u8>>,
    exporter: Zeroizing<Vec<u8>>,
    master: Zeroizing<Vec<u8>>,
    client_random: Vec<u8>,
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

#[derive(Debug)]
struct SecretsToNotes;

impl KeyLog for SecretsToNotes {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        NOTES.with_borrow_mut(|Notes { secrets, .. }| {
            let place = match label {
                "CLIENT_TRAFFIC_SECRET_0" => &mut secrets.client,
                "SERVER_TRAFFIC_SECRET_0" => &mut secrets.server,
                "EXPORTER_SECRET" => &mut secrets.exporter,
                "CLIENT_RANDOM" => &mut secrets.master,
                _ => return,
            };
            *place = Zeroizing::new(secret.to_vec());
            secrets.client_random = client_random.to_vec();
        });
    }

    fn will_log(&self, _label: &str) -> bool {
        true
    }
}

#[derive(Debug)]
struct Resolver(Arc<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |key: &ServerKey| key.0.key.choose_scheme(schemes).is_some();
        let (ServerKey(key), end_point) = self.0.choose(hello.server_name(), usable)?;
        NOTES.with_borrow_mut(|notes| {
            notes.server_name = hello.server_name().map(Box::from);
            notes.chosen = Some(end_point);
        });
        Some(key)
    }
}

/// A ticket holds, before the session's state, one byte of length and tls-server-end-point of the certificate
/// that the client saw: a client that resumes after a renewal still binds to the old one.
#[derive(Debug)]
struct Ticketer(Arc<TicketKeys>);

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let end_point = NOTES.with_borrow(|notes| notes.restored.clone().or_else(|| notes.chosen.clone()))?;
        let length = u8::try_from(end_point.len()).ok()?;
        self.0.seal(&Zeroizing::new([[length].as_slice(), &end_point, state].concat()))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let opened = self.0.open(ticket)?;
        let (length, rest) = opened.split_first()?;
        let (end_point, state) = rest.split_at_checked(usize::from(*length))?;
        NOTES.with_borrow_mut(|notes| notes.restored = Some(end_point.into()));
        Some(state.to_vec())
    }
}

/// Where a handshake stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next record is wanted.
    Blocked,
    /// Over; the next record is for our record layer.
    Done,
}

/// A handshake in progress.
pub(super) struct Engine {
    connection: UnbufferedServerConnection,
    /// Until the first record.
    theirs: Option<Arc<ServerConfig>>,
    notes: Notes,
}

impl Engine {
    pub(super) fn new(listener: &Listener) -> Result<Engine, TlsError> {
        let theirs = Some(Arc::clone(&listener.theirs));
        Ok(Engine { connection: begin(&listener.ours)?, theirs, notes: Notes::default() })
    }

    /// Must be told the first record before it is fed.
    pub(super) fn first_record(&mut self, record: &[u8]) -> Result<(), TlsError> {
        match self.theirs.take() {
            Some(theirs) if hello::prefers_chacha20(record) => self.connection = begin(&theirs)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes one more record. `input` is what was not discarded yet, then the record; returns how many
    /// bytes of its front are to be discarded now.
    pub(super) fn feed(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> (usize, Result<Step, TlsError>) {
        NOTES.set(std::mem::take(&mut self.notes));
        let result = self.run(input, out);
        self.notes = NOTES.take();
        if self.connection.handshake_kind().is_some_and(|kind| kind != HandshakeKind::Resumed) {
            self.notes.restored = None;
        }
        result
    }

    fn run(&mut self, mut input: &mut [u8], out: &mut Vec<u8>) -> (usize, Result<Step, TlsError>) {
        let mut discarded = 0;
        for _ in 0..STEPS_MAX {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(input);
            let result = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out).map(|()| None),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(None)
                }
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(Step::Blocked)),
                Ok(ConnectionState::WriteTraffic(_)) => Ok(Some(Step::Done)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Err(TlsError::Alerted(Alert::CLOSE_NOTIFY))
                }
                Ok(_) => Err(TlsError::Internal("the TLS library read past the handshake")),
                Err(Error::AlertReceived(alert)) => Err(TlsError::Alerted(Alert(u8::from(alert)))),
                Err(error) => Err(TlsError::Handshake(error.to_string())),
            };
            discarded += discard;
            input = input.get_mut(discard..).unwrap_or_default();
            match result {
                Ok(None) => {}
                Ok(Some(step)) => return (discarded, Ok(step)),
                Err(error) => {
                    self.write_queued(out);
                    return (discarded, Err(error));
                }
            }
        }
        (discarded, Err(TlsError::Internal("the TLS library goes round in circles")))
    }

    /// After a failure: its alert. Only while something is queued, because then the library does not look
    /// at its input again; it would find fault with it once more, and its assertions with that.
    fn write_queued(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if encode(data, out).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Takes a finished handshake apart.
    pub(super) fn finish(self) -> Result<Outcome, TlsError> {
        const NOT_OVER: TlsError = TlsError::Internal("the handshake is not over");
        let suite = self.connection.negotiated_cipher_suite().ok_or(NOT_OVER)?;
        let resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let alpn = self.connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into());
        let (extracted, _) = self
            .connection
            .dangerous_into_kernel_connection()
            .map_err(|_| TlsError::Internal("the handshake's keys could not be taken"))?;
        let ((cipher, send), (_, receive)) = (keys(extracted.tx)?, keys(extracted.rx)?);
        let Notes { server_name, chosen, restored, secrets } = self.notes;
        Ok(Outcome {
            suite: Suite { version: version(suite), cipher },
            suite_name: suite_name(suite.suite()),
            resumed,
            alpn,
            server_name,
            end_point: restored.or(chosen).ok_or(NOT_OVER)?,
            send,
            receive,
            secrets: match suite {
                SupportedCipherSuite::Tls13(_) => Secrets::Tls13 {
                    client: secrets.client,
                    server: secrets.server,
                    exporter: secrets.exporter,
                },
                SupportedCipherSuite::Tls12(_) => {
                    Secrets::Tls12 { master: secrets.master, client_random: secrets.client_random }
                }
            },
        })
    }
}

fn begin(config: &Arc<ServerConfig>) -> Result<UnbufferedServerConnection, TlsError> {
    UnbufferedServerConnection::new(Arc::clone(config))
        .map_err(|_| TlsError::Internal("a handshake could not begin"))
}

/// What a handshake leaves.
pub(super) struct Outcome {
    pub(super) suite: Suite,
    pub(super) suite_name: &'static str,
    pub(super) resumed: bool,
    pub(super) alpn: Option<Box<str>>,
    pub(super) server_name: Option<Box<str>>,
    pub(super) end_point: Arc<[u8]>,
    pub(super) send: ExtractedKeys,
    pub(super) receive: ExtractedKeys,
    pub(super) secrets: Secrets,
}

/// One direction's keys as the library has them.
pub(super) struct ExtractedKeys {
    pub(super) sequence: u64,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) iv: Vec<u8>,
}

pub(super) enum Secrets {
    Tls13 { client: Zeroizing<Vec<u8>>, server: Zeroizing<Vec<u8>>, exporter: Zeroizing<Vec<u8>> },
    Tls12 { master: Zeroizing<Vec<u8>>, client_random: Vec<u8> },
}

fn encode(mut data: EncodeTlsData<'_, impl Sized>, out: &mut Vec<u8>) -> Result<(), TlsError> {
    const FAILED: TlsError = TlsError::Internal("a flight could not be written");
    let Err(EncodeError::InsufficientSize(need)) = data.encode(&mut []) else { return Err(FAILED) };
    let start = out.len();
    out.resize(start + need.required_size, 0);
    let written = data.encode(out.split_at_mut(start).1).map_err(|_| FAILED)?;
    out.truncate(start + written);
    Ok(())
}

fn keys((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<(Cipher, ExtractedKeys), TlsError> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
        _ => return Err(TlsError::Internal("a cipher that we do not know")),
    };
    let key = Zeroizing::new(key.as_ref().to_vec());
    Ok((cipher, ExtractedKeys { sequence, key, iv: iv.as_ref().to_vec() }))
}

fn version(suite: SupportedCipherSuite) -> TlsVersion {
    match suite {
        SupportedCipherSuite::Tls13(_) => TlsVersion::Tls13,
        SupportedCipherSuite::Tls12(_) => TlsVersion::Tls12,
    }
}

/// The IANA names.
fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
