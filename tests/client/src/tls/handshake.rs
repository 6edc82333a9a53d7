//! The handshake, by rustls's unbuffered API. It gets one whole record more at each call, so that everything
//! behind the server's Finished is left to our record layer.
//!
//! Traffic secrets, which a KeyUpdate needs, come by the key log only; it knows no connection, so they pass
//! through a thread-local.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, ConnectionTrafficSecrets, KeyLog, ProtocolVersion};
use rustls_pki_types::ServerName;

use super::record::{Cipher, Direction, Record};
use super::record_len;

/// States that one record can lead through; more is a loop.
const STEPS_MAX: usize = 64;
/// Bytes of the server's part of a handshake at most.
const HANDSHAKE_BYTES_MAX: usize = 256 * 1024;

/// Secrets of the handshake that this thread works on.
#[derive(Debug, Default)]
struct Secrets {
    client: Vec<u8>,
    server: Vec<u8>,
}

thread_local! {
    static SECRETS: RefCell<Secrets> = RefCell::default();
}

/// Where rustls writes them.
#[derive(Debug)]
pub(super) struct SecretsOfThread;

impl KeyLog for SecretsOfThread {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        SECRETS.with_borrow_mut(|secrets| match label {
            "CLIENT_TRAFFIC_SECRET_0" => secrets.client = secret.to_vec(),
            "SERVER_TRAFFIC_SECRET_0" => secrets.server = secret.to_vec(),
            _ => {}
        });
    }

    fn will_log(&self, _label: &str) -> bool {
        true
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Blocked,
    Done,
}

/// A handshake in progress.
pub(crate) struct Handshake {
    connection: UnbufferedClientConnection,
    /// Bytes at the front of the unconsumed input that the library has seen and wants to see again.
    fed: usize,
    total: usize,
    tickets: bool,
    secrets: Secrets,
    /// What is to be sent once data may be.
    pub(super) waiting: Vec<u8>,
}

impl Handshake {
    pub(super) fn begin(
        config: &Arc<ClientConfig>,
        name: &str,
        tickets: bool,
        out: &mut Vec<u8>,
    ) -> Result<Self, String> {
        let name = ServerName::try_from(name.to_owned()).map_err(|e| format!("TLS: {name}: {e}"))?;
        let connection = UnbufferedClientConnection::new(Arc::clone(config), name);
        let connection = connection.map_err(|e| format!("TLS: {e}"))?;
        let (secrets, waiting) = (Secrets::default(), Vec::new());
        let mut this = Self { connection, fed: 0, total: 0, tickets, secrets, waiting };
        this.run(&mut [], out)?;
        Ok(this)
    }

    /// Takes what `input` holds up to the end of the handshake, and says how many bytes are done with.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), String> {
        let mut consumed = 0;
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            let next = rest.get(self.fed..).unwrap_or_default();
            let Some(record) = record_len(next)?.filter(|len| next.len() >= *len) else {
                return Ok((consumed, Progress::Blocked));
            };
            let fed = self.fed + record;
            let (discarded, progress) = self.run(rest.get_mut(..fed).unwrap_or_default(), out)?;
            self.fed = fed.saturating_sub(discarded);
            self.total += record;
            consumed += discarded;
            if progress == Progress::Done {
                return Ok((consumed, progress));
            }
            if self.total > HANDSHAKE_BYTES_MAX {
                return Err("TLS: an endless handshake".into());
            }
        }
    }

    fn run(&mut self, mut input: &mut [u8], out: &mut Vec<u8>) -> Result<(usize, Progress), String> {
        let mut discarded = 0;
        for _ in 0..STEPS_MAX {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(input);
            let progress = match state.map_err(|e| format!("TLS: {e}"))? {
                ConnectionState::EncodeTlsData(data) => encode(data, out).map(|()| None)?,
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::BlockedHandshake => Some(Progress::Blocked),
                ConnectionState::WriteTraffic(_) => Some(Progress::Done),
                _ => return Err("TLS: the server closed during the handshake".into()),
            };
            discarded += discard;
            input = input.get_mut(discard..).unwrap_or_default();
            if let Some(progress) = progress {
                let logged = SECRETS.take();
                if !logged.client.is_empty() {
                    self.secrets = logged;
                }
                return Ok((discarded, progress));
            }
        }
        Err("TLS: the library goes round in circles".into())
    }

    /// Takes the finished handshake apart: the record layer, and what waited to be sent.
    pub(super) fn finish(self) -> Result<(Record, Vec<u8>), String> {
        if self.fed != 0 {
            return Err("TLS: the handshake ended inside a record".into());
        }
        let taken = self.connection.dangerous_into_kernel_connection();
        let (extracted, kernel) = taken.map_err(|e| format!("TLS: {e}"))?;
        let tls13 = kernel.protocol_version() == ProtocolVersion::TLSv1_3;
        let (cipher, send) = direction(extracted.tx, &self.secrets.client)?;
        let (_, receive) = direction(extracted.rx, &self.secrets.server)?;
        let kernel = (self.tickets && tls13).then(|| Box::new(kernel));
        Ok((Record::new(tls13, cipher, send, receive, kernel), self.waiting))
    }
}

fn direction(
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
    secret: &[u8],
) -> Result<(Cipher, Direction), String> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
        _ => return Err("TLS: an unknown cipher".into()),
    };
    let made = Direction::new(sequence, secret, key.as_ref(), iv.as_ref());
    Ok((cipher, made.ok_or("TLS: keys of a wrong length")?))
}

fn encode(mut data: EncodeTlsData<'_, impl Sized>, out: &mut Vec<u8>) -> Result<(), String> {
    let Err(EncodeError::InsufficientSize(need)) = data.encode(&mut []) else {
        return Err("TLS: a flight could not be written".into());
    };
    let start = out.len();
    out.resize(start + need.required_size, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    let written = data.encode(place).map_err(|e| format!("TLS: {e}"))?;
    out.truncate(start + written);
    Ok(())
}
