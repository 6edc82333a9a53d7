//! A handshake in progress: feeds the engine whole records, one at a time, and turns its outcome into an open
//! [`Record`] and the facts that outlive it.
//!
//! Everything behind the client's Finished stays where it is, for the record layer.

use super::alert::{Alert, TlsError};
use super::binding::{ServerHello, exporter_tls12, exporter_tls13};
use super::engine::{Engine, ExtractedKeys, Listener, Outcome, Secrets, Step};
use super::protect::{ALERT, CHANGE_CIPHER_SPEC, Direction, FRAGMENT_MAX, HANDSHAKE, HEADER_LEN, fault};
use super::protect::{APPLICATION_DATA, Cipher, FATAL};
use super::record::Record;
use godwit_session::TlsFacts;

/// Bytes of records a client may use for its part of a handshake: a ClientHello with a post-quantum key share
/// and a ticket takes about 2,000, the rest 100.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// The longest body of a handshake record, protected ones of both versions included.
const BODY_MAX: usize = FRAGMENT_MAX + 2048;

/// A handshake in progress.
pub struct Handshake {
    engine: Engine,
    /// Bytes at the front of the unconsumed input that the engine has seen and wants to see again.
    fed: usize,
    /// Bytes of records since the start.
    total: usize,
    server_hello: Option<ServerHello>,
}

impl Handshake {
    pub(super) fn new(listener: &Listener) -> Result<Handshake, TlsError> {
        Ok(Handshake { engine: Engine::new(listener)?, fed: 0, total: 0, server_hello: None })
    }

    /// The peer has sent nothing that was looked at.
    pub(super) fn is_fresh(&self) -> bool {
        self.total == 0 && self.fed == 0
    }

    /// Takes what `cipher` holds, up to the end of the handshake: bytes consumed, and where it stands.
    pub(super) fn receive(
        &mut self,
        cipher: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), TlsError> {
        let mut rest = cipher;
        let mut consumed = 0;
        loop {
            let Some(record) = self.next_record(rest, out)? else { return Ok((consumed, Step::Blocked)) };
            let flight = out.len();
            let (input, _) = rest.split_at_mut(self.fed + record);
            if self.is_fresh() {
                self.engine.first_record(input)?;
            }
            let (discard, step) = self.engine.feed(input, out);
            self.total += record;
            self.fed = (self.fed + record).saturating_sub(discard);
            if self.server_hello.is_none() {
                self.server_hello = ServerHello::read(out.split_at(flight).1);
            }
            consumed += discard;
            match step {
                Ok(Step::Done) => return Ok((consumed, Step::Done)),
                Ok(Step::Blocked) => {}
                Err(error) => {
                    // For some malformed messages the library has an error, and no alert.
                    let silent = out.len() == flight && self.server_hello.is_none();
                    if silent && !matches!(error, TlsError::Alerted(_)) {
                        plain_alert(Alert::DECODE_ERROR, out);
                    }
                    return Err(error);
                }
            }
            if self.total > HANDSHAKE_BYTES_MAX {
                return Err(refuse(Alert::UNEXPECTED_MESSAGE, "the handshake is too long", out));
            }
            rest = rest.split_at_mut(discard).1;
        }
    }

    /// The length of the record behind what was fed, when all of it is there.
    fn next_record(&self, rest: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, TlsError> {
        let Some((_, next)) = rest.split_at_checked(self.fed) else { return Ok(None) };
        match next.first() {
            Some(&(CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE | APPLICATION_DATA)) | None => {}
            Some(_) => {
                plain_alert(Alert::UNEXPECTED_MESSAGE, out);
                return Err(TlsError::NotTls);
            }
        }
        let Some(([_, major, _, high, low], body)) = next.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *major != 3 {
            return Err(refuse(Alert::PROTOCOL_VERSION, "a record of another version", out));
        }
        if length > BODY_MAX {
            return Err(refuse(Alert::RECORD_OVERFLOW, "a record is too long", out));
        }
        Ok((body.len() >= length).then_some(HEADER_LEN + length))
    }

    /// After [`Step::Done`].
    pub(super) fn finish(self) -> Result<(Record, TlsFacts), TlsError> {
        if self.fed != 0 {
            return Err(TlsError::Internal("the handshake ended inside a record"));
        }
        let Outcome { suite, suite_name, resumed, alpn, server_name, end_point, send, receive, secrets } =
            self.engine.finish()?;
        let (send, receive, exporter) = match &secrets {
            Secrets::Tls13 { client, server, exporter } => (
                direction_tls13(suite.cipher, server, &send)?,
                direction_tls13(suite.cipher, client, &receive)?,
                Some(exporter_tls13(suite.cipher, exporter)?),
            ),
            Secrets::Tls12 { master, client_random } => {
                let hello = self.server_hello.as_ref();
                let exporter =
                    hello.and_then(|hello| exporter_tls12(suite.cipher, master, client_random, hello));
                (direction_tls12(&send)?, direction_tls12(&receive)?, exporter)
            }
        };
        let facts = TlsFacts {
            version: suite.version,
            suite: suite_name,
            sni: server_name,
            alpn,
            resumed,
            exporter,
            server_end_point: end_point.to_vec(),
        };
        Ok((Record::new(suite, send, receive), facts))
    }
}

/// The keys must be those of the secret: otherwise keys were changed while the library held the connection.
fn direction_tls13(cipher: Cipher, secret: &[u8], keys: &ExtractedKeys) -> Result<Direction, TlsError> {
    let mut direction = Direction::from_secret(cipher, secret)?;
    let (key, padding) = direction.key.split_at(keys.key.len().min(direction.key.len()));
    if key != keys.key.as_slice()
        || direction.iv != keys.iv.as_slice()
        || padding.iter().any(|byte| *byte != 0)
    {
        return Err(TlsError::Internal("the handshake's keys are not those of its secrets"));
    }
    direction.sequence = keys.sequence;
    Ok(direction)
}

fn direction_tls12(keys: &ExtractedKeys) -> Result<Direction, TlsError> {
    let mut direction = Direction { sequence: keys.sequence, secret: [0; 48], key: [0; 32], iv: [0; 12] };
    match (direction.key.get_mut(..keys.key.len()), keys.iv.as_slice().try_into()) {
        (Some(place), Ok(iv)) => {
            place.copy_from_slice(&keys.key);
            direction.iv = iv;
            Ok(direction)
        }
        _ => Err(TlsError::Internal("the handshake's keys have a wrong length")),
    }
}

fn refuse(alert: Alert, what: &'static str, out: &mut Vec<u8>) -> TlsError {
    plain_alert(alert, out);
    fault(alert, what)
}

/// Nothing else can be sent before there are keys.
fn plain_alert(alert: Alert, out: &mut Vec<u8>) {
    out.extend_from_slice(&[ALERT, 3, 3, 0, 2, FATAL, alert.0]);
}
