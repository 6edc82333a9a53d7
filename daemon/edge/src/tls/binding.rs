//! Channel bindings, computed before the handshake's secrets are let go: tls-exporter (RFC 9266) and
//! tls-server-end-point (RFC 5929).

use super::alert::TlsError;
use super::protect::{Cipher, HANDSHAKE, HEADER_LEN, expand_label};
use aws_lc_rs::{digest, tls_prf};
use x509_parser::prelude::X509Certificate;
use x509_parser::signature_algorithm::SignatureAlgorithm;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
const EXPORTER_LEN: usize = 32;
/// Handshake message and extension numbers.
const SERVER_HELLO: u8 = 2;
const EXTENDED_MASTER_SECRET: u16 = 23;

/// tls-exporter of a TLS 1.3 connection (RFC 8446 §7.5).
pub(super) fn exporter_tls13(cipher: Cipher, exporter_secret: &[u8]) -> Result<[u8; EXPORTER_LEN], TlsError> {
    let algorithm = if cipher.is_sha384() { &digest::SHA384 } else { &digest::SHA256 };
    let empty = digest::digest(algorithm, b"");
    let mut derived = [0; 48];
    let derived = derived.split_at_mut(cipher.hash_len()).0;
    expand_label(cipher, exporter_secret, EXPORTER_LABEL, empty.as_ref(), derived)?;
    let mut binding = [0; EXPORTER_LEN];
    // The context value is empty: its hash is the hash of nothing.
    expand_label(cipher, derived, b"exporter", empty.as_ref(), &mut binding)?;
    Ok(binding)
}

/// tls-exporter of a TLS 1.2 connection (RFC 5705 §4). `None` without an extended master secret, without
/// which it binds to nothing (RFC 9266 §4.2).
pub(super) fn exporter_tls12(
    cipher: Cipher,
    master_secret: &[u8],
    client_random: &[u8],
    server: &ServerHello,
) -> Option<[u8; EXPORTER_LEN]> {
    if !server.extended_master_secret {
        return None;
    }
    let algorithm = if cipher.is_sha384() { &tls_prf::P_SHA384 } else { &tls_prf::P_SHA256 };
    // RFC 9266 gives a context value, of no bytes: two bytes of length stand for it.
    let seed = [client_random, &server.random, &[0, 0]].concat();
    let secret = tls_prf::Secret::new(algorithm, master_secret).ok()?;
    secret.derive(EXPORTER_LABEL, &seed, EXPORTER_LEN).ok()?.try_into().ok()
}

/// tls-server-end-point: the certificate's hash by its signature's hash function, SHA-256 for MD5, SHA-1 and
/// signatures without one.
pub(super) fn server_end_point(der: &[u8], certificate: &X509Certificate<'_>) -> Vec<u8> {
    use SignatureAlgorithm as Algorithm;
    let oid = match SignatureAlgorithm::try_from(&certificate.signature_algorithm) {
        Ok(Algorithm::RSASSA_PSS(parameters)) => parameters.hash_algorithm_oid().to_id_string(),
        _ => certificate.signature_algorithm.algorithm.to_id_string(),
    };
    let algorithm = match oid.as_str() {
        // With RSA, with ECDSA, and the hash alone as RSASSA-PSS names it.
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        _ => &digest::SHA256,
    };
    digest::digest(algorithm, der).as_ref().to_vec()
}

/// What a TLS 1.2 exporter needs of the ServerHello, which the TLS library does not tell.
pub(super) struct ServerHello {
    random: [u8; 32],
    extended_master_secret: bool,
}

impl ServerHello {
    /// Reads the record that our first flight begins with.
    pub(super) fn read(flight: &[u8]) -> Option<ServerHello> {
        let (header, rest) = flight.split_first_chunk::<HEADER_LEN>()?;
        let ([message, _, high, low, _, _], rest) = rest.split_first_chunk::<6>()?;
        if (header[0], *message) != (HANDSHAKE, SERVER_HELLO) {
            return None;
        }
        let message_len = usize::from(u16::from_be_bytes([*high, *low]));
        let (random, mut rest) = rest.get(..message_len.checked_sub(2)?)?.split_first_chunk::<32>()?;
        let session_id_len = usize::from(*rest.first()?);
        // The session id, two bytes of suite, one of compression, two of the extensions' length.
        rest = rest.get(1 + session_id_len + 2 + 1..)?.get(2..).unwrap_or_default();
        let mut extended_master_secret = false;
        while let Some(([t0, t1, l0, l1], behind)) = rest.split_first_chunk::<4>() {
            extended_master_secret |= u16::from_be_bytes([*t0, *t1]) == EXTENDED_MASTER_SECRET;
            rest = behind.get(usize::from(u16::from_be_bytes([*l0, *l1]))..)?;
        }
        Some(ServerHello { random: *random, extended_master_secret })
    }
}
