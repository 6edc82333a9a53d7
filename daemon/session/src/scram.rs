//! SCRAM (RFC 5802, RFC 7677) as a pure exchange: messages in, messages out.
//!
//! A user who does not exist runs through the same steps with made-up keys and fails where a wrong password
//! fails.

use crate::keys::{digest, mac};
use crate::{ScramHash, ScramKeys, TlsFacts};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

/// Random bytes of the server's part of the nonce; in base64 on the wire.
pub(crate) const NONCE_BYTES: usize = 18;

/// Why an exchange fails; each maps to a SASL failure condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScramError {
    /// Not in the form that the RFC gives, or an extension that must be understood.
    Malformed,
    /// Channel binding wrong, missing or downgraded; wrong nonce; wrong proof.
    Refused,
}

/// What the client's first message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientFirst {
    /// User name, unescaped, not normalised.
    pub user: String,
    /// Authorisation identity, unescaped.
    pub authzid: Option<String>,
    /// What the client's `c=` has to be once decoded: GS2 header, then the channel-binding data.
    binding: Vec<u8>,
    /// The message without its GS2 header.
    bare: Box<str>,
    /// The client's nonce.
    nonce: Box<str>,
}

/// Waiting for the client's final message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    hash: ScramHash,
    first: ClientFirst,
    server_first: String,
    nonce: String,
    keys: ScramKeys,
}

impl ClientFirst {
    /// Reads the first message. `plus`: a -PLUS mechanism was chosen.
    pub(crate) fn read(message: &[u8], plus: bool, tls: &TlsFacts) -> Result<ClientFirst, ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Malformed);
        };
        let data = channel_binding(flag, plus, tls)?;
        let authzid = match authzid {
            "" => None,
            value => Some(unescape(value.strip_prefix("a=").ok_or(ScramError::Malformed)?)?),
        };
        // `m=` announces an extension that we must understand, and we know none.
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|f| f.strip_prefix("n=")).ok_or(ScramError::Malformed)?;
        let nonce = fields.next().and_then(|f| f.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) || !fields.all(is_extension) {
            return Err(ScramError::Malformed);
        }
        let gs2 = message.len() - bare.len();
        let mut binding = message.as_bytes().get(..gs2).unwrap_or_default().to_vec();
        binding.extend_from_slice(data);
        Ok(ClientFirst { user: unescape(user)?, authzid, binding, bare: bare.into(), nonce: nonce.into() })
    }
}

impl Exchange {
    /// Goes on with the user's keys; the second value is the server's first message.
    pub(crate) fn challenge(
        first: ClientFirst,
        hash: ScramHash,
        keys: ScramKeys,
        random: [u8; NONCE_BYTES],
    ) -> (Exchange, String) {
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(random));
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let sent = server_first.clone();
        (Exchange { hash, first, server_first, nonce, keys }, sent)
    }

    /// Checks the client's final message; gives the server's.
    pub(crate) fn finish(&self, message: &[u8]) -> Result<String, ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|f| f.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = fields.next().and_then(|f| f.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if !fields.all(is_extension) {
            return Err(ScramError::Malformed);
        }
        let binding = STANDARD.decode(binding).map_err(|_| ScramError::Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?;
        let transcript: [&[u8]; 5] =
            [self.first.bare.as_bytes(), b",", self.server_first.as_bytes(), b",", without_proof.as_bytes()];
        let signature = mac(self.hash, &self.keys.stored_key, &transcript);
        if proof.len() != signature.len() {
            return Err(ScramError::Malformed);
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(p, s)| p ^ s).collect();
        let right: Choice = binding.ct_eq(&self.first.binding)
            & nonce.as_bytes().ct_eq(self.nonce.as_bytes())
            & digest(self.hash, &client_key).ct_eq(&self.keys.stored_key);
        if !bool::from(right) {
            return Err(ScramError::Refused);
        }
        Ok(format!("v={}", STANDARD.encode(mac(self.hash, &self.keys.server_key, &transcript))))
    }

    /// Heap bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.server_first.capacity()
            + self.nonce.capacity()
            + self.first.binding.capacity()
            + self.first.bare.len()
    }
}

/// The channel-binding data that the GS2 flag calls for, RFC 5802 §6.
fn channel_binding<'a>(flag: &str, plus: bool, tls: &'a TlsFacts) -> Result<&'a [u8], ScramError> {
    match (flag, plus) {
        ("n", false) => Ok(&[]),
        // The client could bind but believes that we cannot, though we offered it: somebody took the offer
        // away.
        ("y", false) if offers_binding(tls) => Err(ScramError::Refused),
        ("y", false) => Ok(&[]),
        (flag, true) => match flag.strip_prefix("p=").ok_or(ScramError::Malformed)? {
            "tls-exporter" => tls.exporter.as_ref().map(|e| e.as_slice()).ok_or(ScramError::Refused),
            "tls-server-end-point" if !tls.server_end_point.is_empty() => Ok(&tls.server_end_point),
            _ => Err(ScramError::Refused),
        },
        _ => Err(ScramError::Malformed),
    }
}

/// True if this connection can be bound, so that -PLUS is offered on it.
pub(crate) fn offers_binding(tls: &TlsFacts) -> bool {
    tls.exporter.is_some() || !tls.server_end_point.is_empty()
}

/// `=2C` and `=3D`, the only escapes there are.
fn unescape(text: &str) -> Result<String, ScramError> {
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split('=');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (sign, rest) = if let Some(rest) = piece.strip_prefix("2C") {
            (',', rest)
        } else if let Some(rest) = piece.strip_prefix("3D") {
            ('=', rest)
        } else {
            return Err(ScramError::Malformed);
        };
        out.push(sign);
        out.push_str(rest);
    }
    if out.is_empty() || out.contains('\0') { Err(ScramError::Malformed) } else { Ok(out) }
}

/// An optional extension, RFC 5802 §7: a letter, `=`, a value. Read over.
fn is_extension(field: &str) -> bool {
    let mut bytes = field.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.next() == Some(b'=')
        && bytes.next().is_some()
}

#[cfg(test)]
#[path = "scram_tests.rs"]
mod tests;
