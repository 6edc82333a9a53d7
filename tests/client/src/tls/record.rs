//! The record layer of an open connection, TLS 1.2 and 1.3: keys as plain data, prepared for each turn.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;

use super::{FRAGMENT_MAX, HEADER_LEN, Took, record_len};

const TAG_LEN: usize = 16;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// Bytes of handshake messages that may wait for their end.
const MESSAGES_MAX: usize = 64 * 1024;

/// The ciphers that both versions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        if self == Self::Aes256Gcm { hkdf::HKDF_SHA384 } else { hkdf::HKDF_SHA256 }
    }

    fn hash_len(self) -> usize {
        if self == Self::Aes256Gcm { 48 } else { 32 }
    }
}

/// One direction.
pub(super) struct Direction {
    sequence: u64,
    /// Traffic secret of TLS 1.3.
    secret: [u8; 48],
    key: [u8; 32],
    iv: [u8; 12],
}

impl Direction {
    pub(super) fn new(sequence: u64, secret: &[u8], key: &[u8], iv: &[u8]) -> Option<Self> {
        let mut this = Self { sequence, secret: [0; 48], key: [0; 32], iv: iv.try_into().ok()? };
        this.secret.get_mut(..secret.len())?.copy_from_slice(secret);
        this.key.get_mut(..key.len())?.copy_from_slice(key);
        Some(this)
    }

    fn prepared(&self, cipher: Cipher) -> Result<LessSafeKey, String> {
        let algorithm = cipher.algorithm();
        let key = self.key.get(..algorithm.key_len()).unwrap_or_default();
        UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| "TLS: a bad key".into())
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// The next traffic secret (RFC 8446 §7.2).
    fn roll(&mut self, cipher: Cipher) -> Result<(), String> {
        let secret = self.secret.get(..cipher.hash_len()).unwrap_or_default().to_vec();
        let mut next = [0; 48];
        expand(cipher, &secret, b"traffic upd", next.get_mut(..cipher.hash_len()).unwrap_or_default())?;
        self.secret = next;
        let secret = next.get(..cipher.hash_len()).unwrap_or_default();
        expand(cipher, secret, b"key", self.key.get_mut(..cipher.algorithm().key_len()).unwrap_or_default())?;
        expand(cipher, secret, b"iv", &mut self.iv)?;
        self.sequence = 0;
        Ok(())
    }
}

/// An open connection.
pub(crate) struct Record {
    tls13: bool,
    cipher: Cipher,
    send: Direction,
    receive: Direction,
    /// What turns a ticket into something to resume with; gone once there is one.
    kernel: Option<Box<KernelConnection<ClientConnectionData>>>,
    /// The start of a handshake message that its sender split over records.
    messages: Vec<u8>,
}

impl Record {
    pub(super) fn new(
        tls13: bool,
        cipher: Cipher,
        send: Direction,
        receive: Direction,
        kernel: Option<Box<KernelConnection<ClientConnectionData>>>,
    ) -> Self {
        Self { tls13, cipher, send, receive, kernel, messages: Vec::new() }
    }

    pub(super) fn settle(&mut self) {
        self.kernel = None;
    }

    fn sends_nonce(&self) -> bool {
        !self.tls13 && self.cipher != Cipher::ChaCha20Poly1305
    }

    /// Takes all whole records.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Took, String> {
        let mut consumed = 0;
        let mut key = None;
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            let whole = record_len(rest)?.filter(|len| rest.len() >= *len);
            let Some(record) = whole.and_then(|len| rest.get_mut(..len)) else {
                return Ok(Took { consumed, closed: false });
            };
            consumed += record.len();
            if key.is_none() {
                key = Some(self.receive.prepared(self.cipher)?);
            }
            let Some(prepared) = &key else { return Err("TLS: a bad key".into()) };
            let (kind, content) = self.open(prepared, record)?;
            match (kind, content) {
                (APPLICATION_DATA, data) => plain.extend_from_slice(data),
                (ALERT, [_, 0]) => return Ok(Took { consumed, closed: true }),
                (ALERT, [level, 90 | 100]) if *level == 1 => {}
                (ALERT, [_, description]) => return Err(format!("TLS: the server sent alert {description}")),
                (HANDSHAKE, message) => {
                    self.messages.extend_from_slice(message);
                    if self.messages(out)? {
                        key = None;
                    }
                }
                _ => return Err(format!("TLS: a record of type {kind}")),
            }
        }
    }

    /// Type and content of a record, decrypted in place.
    fn open<'r>(&mut self, key: &LessSafeKey, record: &'r mut [u8]) -> Result<(u8, &'r [u8]), String> {
        const BAD: &str = "TLS: a record does not authenticate";
        let mut nonce = self.receive.nonce();
        let sequence = self.receive.sequence;
        let (tls13, sends_nonce) = (self.tls13, self.sends_nonce());
        let (header, body) = record.split_first_chunk_mut::<HEADER_LEN>().ok_or(BAD)?;
        let kind = *header.first().ok_or(BAD)?;
        self.receive.sequence += 1;
        if tls13 {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let inner = key.open_in_place(nonce, Aad::from(*header), body).map_err(|_| BAD)?;
            let end = inner.iter().rposition(|byte| *byte != 0).ok_or(BAD)?;
            return Ok((*inner.get(end).ok_or(BAD)?, inner.get(..end).unwrap_or_default()));
        }
        let sealed = if sends_nonce {
            let (explicit, sealed) = body.split_first_chunk_mut::<8>().ok_or(BAD)?;
            nonce.get_mut(4..).ok_or(BAD)?.copy_from_slice(explicit);
            sealed
        } else {
            body
        };
        let aad = aad12(sequence, kind, sealed.len().checked_sub(TAG_LEN).ok_or(BAD)?)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let content = key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| BAD)?;
        Ok((kind, content))
    }

    /// Takes the whole messages that are there; true if the receiving key changed.
    fn messages(&mut self, out: &mut Vec<u8>) -> Result<bool, String> {
        let mut changed = false;
        while let Some(([kind, a, b, c], rest)) = self.messages.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if length > MESSAGES_MAX {
                return Err("TLS: an endless handshake message".into());
            }
            let Some(body) = rest.get(..length) else { break };
            match *kind {
                NEW_SESSION_TICKET => {
                    // One is enough for one login.
                    if let Some(mut kernel) = self.kernel.take() {
                        kernel.handle_new_session_ticket(body).map_err(|e| format!("TLS: {e}"))?;
                    }
                }
                KEY_UPDATE if self.tls13 => {
                    let asked = body == [1];
                    self.receive.roll(self.cipher)?;
                    changed = true;
                    if asked {
                        self.seal_record(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], out)?;
                        self.send.roll(self.cipher)?;
                    }
                }
                // A request to renegotiate may be ignored.
                0 if !self.tls13 => {}
                other => return Err(format!("TLS: a handshake message of type {other}")),
            }
            self.messages.drain(..4 + length);
        }
        if self.messages.is_empty() {
            self.messages = Vec::new();
        }
        Ok(changed)
    }

    /// Seals `plain` in as many records as it needs.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        plain.chunks(FRAGMENT_MAX).try_for_each(|piece| self.seal_record(APPLICATION_DATA, piece, out))
    }

    fn seal_record(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let key = self.send.prepared(self.cipher)?;
        let nonce = self.send.nonce();
        let explicit = if self.sends_nonce() { 8 } else { 0 };
        let body = explicit + content.len() + usize::from(self.tls13) + TAG_LEN;
        let [high, low] = u16::try_from(body).map_err(|_| "TLS: a record too long")?.to_be_bytes();
        let header = [if self.tls13 { APPLICATION_DATA } else { kind }, 3, 3, high, low];
        out.reserve(HEADER_LEN + body);
        out.extend_from_slice(&header);
        out.extend_from_slice(nonce.get(12 - explicit..).unwrap_or_default());
        let start = out.len();
        out.extend_from_slice(content);
        if self.tls13 {
            out.push(kind);
        }
        let place = out.get_mut(start..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = if self.tls13 {
            key.seal_in_place_separate_tag(nonce, Aad::from(header), place)
        } else {
            let aad = aad12(self.send.sequence, kind, content.len())?;
            key.seal_in_place_separate_tag(nonce, Aad::from(aad), place)
        };
        let tag = sealed.map_err(|_| "TLS: a record could not be sealed")?;
        out.extend_from_slice(tag.as_ref());
        self.send.sequence += 1;
        Ok(())
    }
}

/// RFC 5246 §6.2.3.3.
fn aad12(sequence: u64, kind: u8, plain: usize) -> Result<[u8; 13], String> {
    let [high, low] = u16::try_from(plain).map_err(|_| "TLS: a record too long")?.to_be_bytes();
    let mut aad = [0; 13];
    for (place, byte) in aad.iter_mut().zip(sequence.to_be_bytes().into_iter().chain([kind, 3, 3, high, low]))
    {
        *place = byte;
    }
    Ok(aad)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
fn expand(cipher: Cipher, secret: &[u8], label: &[u8], out: &mut [u8]) -> Result<(), String> {
    let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let info = [&[0, byte(out.len()), byte(label.len() + 6)], b"tls13 ".as_slice(), label, &[0]].concat();
    let prk = hkdf::Prk::new_less_safe(cipher.hkdf(), secret);
    let info = [info.as_slice()];
    let okm = prk.expand(&info, Length(out.len()));
    okm.and_then(|okm| okm.fill(out)).map_err(|_| "TLS: HKDF".into())
}
