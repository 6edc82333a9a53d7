//! Record protection: one direction's keys as plain data, and sealing or opening one record with them.
//!
//! A [`Direction`] is 100 bytes and holds no prepared key: [`Direction::key`] makes one when records are at
//! hand (0.2 µs), so an idle connection pays nothing for it. Sequence numbers are this file's alone: each
//! record sealed or opened advances the direction's by one.
//!
//! The AEAD is used directly and not through the TLS library's `encrypter()`: aws-lc's TLS key types take the
//! first nonce they see as record 0, so a key rebuilt in mid-connection would fail after its second record.

use super::alert::{Alert, TlsError};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use godwit_session::TlsVersion;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes before a record's body: type, version, length.
pub(super) const HEADER_LEN: usize = 5;
/// Plaintext bytes in one record (RFC 8446 §5.1).
pub(super) const FRAGMENT_MAX: usize = 16_384;
/// Bytes of an AEAD tag; the same for all our suites.
const TAG_LEN: usize = 16;
/// TLS 1.2 AES-GCM sends half of its nonce in each record (RFC 5288 §3).
const EXPLICIT_NONCE_LEN: usize = 8;
/// Of the twelve nonce bytes, those that TLS 1.2 AES-GCM keeps to itself.
const SALT_LEN: usize = 4;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Alert levels.
pub(super) const WARNING: u8 = 1;
pub(super) const FATAL: u8 = 2;

/// The ciphers of TLS 1.3, and of TLS 1.2 as far as we take part in it. The numbers are in serialised state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cipher {
    Aes128Gcm = 1,
    Aes256Gcm = 2,
    ChaCha20Poly1305 = 3,
}

impl Cipher {
    pub(super) fn from_number(number: u8) -> Option<Cipher> {
        [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]
            .into_iter()
            .find(|c| *c as u8 == number)
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// In both versions the suites with AES-256 use SHA-384, all others SHA-256.
    fn hkdf(self) -> hkdf::Algorithm {
        if self.is_sha384() { hkdf::HKDF_SHA384 } else { hkdf::HKDF_SHA256 }
    }

    pub(super) fn is_sha384(self) -> bool {
        self == Cipher::Aes256Gcm
    }

    pub(super) fn hash_len(self) -> usize {
        if self.is_sha384() { 48 } else { 32 }
    }
}

/// What both directions of a connection share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suite {
    pub(super) version: TlsVersion,
    pub(super) cipher: Cipher,
}

impl Suite {
    pub(super) fn is_tls13(self) -> bool {
        self.version == TlsVersion::Tls13
    }

    /// TLS 1.2 AES-GCM.
    fn sends_nonce(self) -> bool {
        !self.is_tls13() && self.cipher != Cipher::ChaCha20Poly1305
    }

    /// The longest body a peer may send (RFC 8446 §5.2, RFC 5246 §6.2.3).
    pub(super) fn body_max(self) -> usize {
        FRAGMENT_MAX + if self.is_tls13() { 256 } else { 2048 }
    }
}

/// Keys and sequence number of one direction.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Direction {
    /// The next record's number.
    pub(super) sequence: u64,
    /// Traffic secret (TLS 1.3), zero-filled behind the hash's length; all zero in TLS 1.2.
    pub(super) secret: [u8; 48],
    /// Zero-filled behind the cipher's key length.
    pub(super) key: [u8; 32],
    /// The nonce's fixed part; in TLS 1.2 AES-GCM four bytes of salt and eight to start the sent part from.
    pub(super) iv: [u8; 12],
}

impl Direction {
    /// The first direction state of a TLS 1.3 traffic secret.
    pub(super) fn from_secret(cipher: Cipher, secret: &[u8]) -> Result<Direction, TlsError> {
        let mut direction = Direction { sequence: 0, secret: [0; 48], key: [0; 32], iv: [0; 12] };
        match direction.secret.get_mut(..secret.len()) {
            Some(place) if secret.len() == cipher.hash_len() => place.copy_from_slice(secret),
            _ => return Err(TlsError::Internal("traffic secret of a wrong length")),
        }
        direction.expand(cipher)?;
        Ok(direction)
    }

    /// The next traffic secret (RFC 8446 §7.2), with its key, from record 0.
    pub(super) fn roll(&mut self, cipher: Cipher) -> Result<(), TlsError> {
        let mut next = [0; 48];
        let (filled, _) = next.split_at_mut(cipher.hash_len());
        expand_label(cipher, self.secret(cipher), b"traffic upd", b"", filled)?;
        self.secret = next;
        next.zeroize();
        self.sequence = 0;
        self.expand(cipher)
    }

    fn secret(&self, cipher: Cipher) -> &[u8] {
        self.secret.split_at(cipher.hash_len()).0
    }

    fn expand(&mut self, cipher: Cipher) -> Result<(), TlsError> {
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        expand_label(
            cipher,
            self.secret(cipher),
            b"key",
            b"",
            key.split_at_mut(cipher.algorithm().key_len()).0,
        )?;
        expand_label(cipher, self.secret(cipher), b"iv", b"", &mut iv)?;
        (self.key, self.iv) = (key, iv);
        key.zeroize();
        Ok(())
    }

    /// A prepared key. Good until [`Direction::roll`].
    pub(super) fn key(&self, cipher: Cipher) -> Result<LessSafeKey, TlsError> {
        let algorithm = cipher.algorithm();
        let key = self.key.split_at(algorithm.key_len()).0;
        UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| TlsError::Internal("AEAD key"))
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(SALT_LEN).zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// Appends one record. `content` is at most [`FRAGMENT_MAX`] bytes.
    pub(super) fn seal(
        &mut self,
        suite: Suite,
        key: &LessSafeKey,
        kind: u8,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        debug_assert!(content.len() <= FRAGMENT_MAX);
        let nonce = self.nonce();
        let extra = if suite.is_tls13() { 1 } else { 0 };
        let sent_nonce = if suite.sends_nonce() { EXPLICIT_NONCE_LEN } else { 0 };
        let body = length(sent_nonce + content.len() + extra + TAG_LEN)?;
        let outer = if suite.is_tls13() { APPLICATION_DATA } else { kind };
        let header = [outer, 3, 3, body[0], body[1]];
        out.reserve(HEADER_LEN + sent_nonce + content.len() + extra + TAG_LEN);
        out.extend_from_slice(&header);
        out.extend(nonce.iter().skip(nonce.len() - sent_nonce));
        let start = out.len();
        out.extend_from_slice(content);
        let sealed = |aad: &[u8], out: &mut [u8]| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_separate_tag(nonce, Aad::from(aad), out)
                .map_err(|_| TlsError::Internal("a record could not be sealed"))
        };
        let tag = if suite.is_tls13() {
            out.push(kind);
            sealed(&header, out.split_at_mut(start).1)?
        } else {
            let aad = self.tls12_aad(kind, content.len())?;
            sealed(&aad, out.split_at_mut(start).1)?
        };
        out.extend_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Opens one record in place: its type and content.
    pub(super) fn open<'b>(
        &mut self,
        suite: Suite,
        key: &LessSafeKey,
        header: [u8; HEADER_LEN],
        body: &'b mut [u8],
    ) -> Result<(u8, &'b [u8]), TlsError> {
        let (kind, content) = if suite.is_tls13() {
            let nonce = Nonce::assume_unique_for_key(self.nonce());
            let inner = key.open_in_place(nonce, Aad::from(header), body).map_err(|_| bad_mac())?;
            inner_type(inner)?
        } else {
            let content = self.open_tls12(suite, key, header[0], body)?;
            (header[0], content)
        };
        if content.len() > FRAGMENT_MAX {
            return Err(fault(Alert::RECORD_OVERFLOW, "a record's content is longer than 16,384 bytes"));
        }
        self.sequence += 1;
        Ok((kind, content))
    }

    fn open_tls12<'b>(
        &self,
        suite: Suite,
        key: &LessSafeKey,
        kind: u8,
        body: &'b mut [u8],
    ) -> Result<&'b [u8], TlsError> {
        let mut nonce = self.nonce();
        let sealed = if suite.sends_nonce() {
            let (explicit, sealed) =
                body.split_first_chunk_mut::<EXPLICIT_NONCE_LEN>().ok_or_else(bad_mac)?;
            nonce.split_at_mut(SALT_LEN).1.copy_from_slice(explicit);
            sealed
        } else {
            body
        };
        let plain_len = sealed.len().checked_sub(TAG_LEN).ok_or_else(bad_mac)?;
        let aad = self.tls12_aad(kind, plain_len)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.open_in_place(nonce, Aad::from(aad), sealed).map(|plain| &*plain).map_err(|_| bad_mac())
    }

    /// RFC 5246 §6.2.3.3.
    fn tls12_aad(&self, kind: u8, plain_len: usize) -> Result<[u8; 13], TlsError> {
        let mut aad = [0; 13];
        let (number, rest) = aad.split_at_mut(8);
        number.copy_from_slice(&self.sequence.to_be_bytes());
        let length = length(plain_len)?;
        rest.copy_from_slice(&[kind, 3, 3, length[0], length[1]]);
        Ok(aad)
    }
}

/// The content type stands behind the content, then zeros as padding (RFC 8446 §5.4).
fn inner_type(inner: &[u8]) -> Result<(u8, &[u8]), TlsError> {
    if inner.len() > FRAGMENT_MAX + 1 {
        return Err(fault(Alert::RECORD_OVERFLOW, "a record's content is longer than 16,384 bytes"));
    }
    let padding = inner.iter().rev().take_while(|byte| **byte == 0).count();
    match inner.split_at(inner.len() - padding).0.split_last() {
        Some((kind, content)) => Ok((*kind, content)),
        None => Err(fault(Alert::UNEXPECTED_MESSAGE, "a record without a content type")),
    }
}

fn length(bytes: usize) -> Result<[u8; 2], TlsError> {
    u16::try_from(bytes)
        .map(u16::to_be_bytes)
        .map_err(|_| TlsError::Internal("a record longer than its length field"))
}

pub(super) fn fault(alert: Alert, what: &'static str) -> TlsError {
    TlsError::Peer { alert, what }
}

fn bad_mac() -> TlsError {
    fault(Alert::BAD_RECORD_MAC, "a record does not authenticate")
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
pub(super) fn expand_label(
    cipher: Cipher,
    secret: &[u8],
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Result<(), TlsError> {
    const FAILED: TlsError = TlsError::Internal("HKDF");
    const PREFIX: &[u8] = b"tls13 ";
    let byte = |n: usize| u8::try_from(n).map(|n| [n]).map_err(|_| FAILED);
    let out_len = length(out.len())?;
    let (label_len, context_len) = (byte(PREFIX.len() + label.len())?, byte(context.len())?);
    let info = [out_len.as_slice(), &label_len, PREFIX, label, &context_len, context];
    let prk = hkdf::Prk::new_less_safe(cipher.hkdf(), secret);
    prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out)).map_err(|_| FAILED)
}
