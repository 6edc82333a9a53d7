//! What is stored of a password, RFC 5802 §3, and the checks against it. Constant in time over secrets.
//!
//! Passwords are prepared by SASLprep (RFC 4013), which is what RFC 5802 §2.2 asks for and what the clients
//! in the field do: PRECIS OpaqueString (RFC 8265) differs from it for compatibility characters (full-width
//! digits, ligatures), so a server that used it would compute other keys than such a client.

use crate::{ScramHash, ScramKeys};
use godwit_wire::Jid;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Iterations for new passwords. RFC 7677 §4 asks for at least 4,096. With SCRAM the client pays them (once,
/// it may keep the result); we pay only for PLAIN and for setting a password: about 3 ms at 10,000, off the
/// shards.
pub const ITERATIONS: u32 = 10_000;
/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// Longest password, in bytes, before preparation.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The password is empty, too long, or holds characters that SASLprep prohibits (control characters, mixed
/// directions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordRefused;

impl std::fmt::Display for PasswordRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the password is empty, too long, or holds characters that SASLprep prohibits")
    }
}
impl std::error::Error for PasswordRefused {}

/// The password as SASLprep leaves it. Preparing twice changes nothing.
pub fn prepare_password(password: &str) -> Result<Zeroizing<String>, PasswordRefused> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordRefused);
    }
    let prepared = Zeroizing::new(stringprep::saslprep(password).map_err(|_| PasswordRefused)?.into_owned());
    if prepared.is_empty() { Err(PasswordRefused) } else { Ok(prepared) }
}

/// Keys of a password, which is prepared here. Costs `iterations` HMACs.
pub fn derive_keys(
    password: &str,
    salt: &[u8],
    iterations: u32,
    hash: ScramHash,
) -> Result<ScramKeys, PasswordRefused> {
    let salted = salted_password(&prepare_password(password)?, salt, iterations, hash);
    Ok(ScramKeys {
        salt: salt.to_vec(),
        iterations,
        stored_key: digest(hash, &mac(hash, &salted, &[b"Client Key"])),
        server_key: mac(hash, &salted, &[b"Server Key"]),
    })
}

/// True if these are the keys of the password, which is prepared here. The hash is told by the keys' length.
pub fn verify_plain(password: &str, keys: &ScramKeys) -> bool {
    let hash = match keys.stored_key.len() {
        n if n == hash_bytes(ScramHash::Sha256) => ScramHash::Sha256,
        n if n == hash_bytes(ScramHash::Sha1) => ScramHash::Sha1,
        _ => return false,
    };
    let Ok(found) = derive_keys(password, &keys.salt, keys.iterations, hash) else { return false };
    (found.stored_key.ct_eq(&keys.stored_key) & found.server_key.ct_eq(&keys.server_key)).into()
}

/// Keys for an account that does not exist: the same ones each time, shaped like real ones, known to nobody.
pub fn fake_keys(secret: &[u8; 32], user: &Jid, hash: ScramHash) -> ScramKeys {
    let label: &[u8] = match hash {
        ScramHash::Sha1 => b"SHA-1",
        ScramHash::Sha256 => b"SHA-256",
    };
    let draw = |what: &[u8], bytes: usize| {
        let mut drawn =
            mac(ScramHash::Sha256, secret, &[what, b"\0", label, b"\0", user.bare_str().as_bytes()]);
        drawn.truncate(bytes);
        drawn
    };
    ScramKeys {
        salt: draw(b"salt", SALT_BYTES),
        iterations: ITERATIONS,
        stored_key: draw(b"stored", hash_bytes(hash)),
        server_key: draw(b"server", hash_bytes(hash)),
    }
}

/// `Hi(password, salt, iterations)`, RFC 5802 §2.2. The password is prepared already.
pub(crate) fn salted_password(
    prepared: &str,
    salt: &[u8],
    iterations: u32,
    hash: ScramHash,
) -> Zeroizing<Vec<u8>> {
    let mut salted = Zeroizing::new(vec![0; hash_bytes(hash)]);
    match hash {
        ScramHash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(prepared.as_bytes(), salt, iterations, &mut salted),
        ScramHash::Sha256 => {
            pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, &mut salted)
        }
    }
    salted
}

/// Bytes that the hash gives.
pub(crate) fn hash_bytes(hash: ScramHash) -> usize {
    match hash {
        ScramHash::Sha1 => 20,
        ScramHash::Sha256 => 32,
    }
}

/// `H(data)`.
pub(crate) fn digest(hash: ScramHash, data: &[u8]) -> Vec<u8> {
    match hash {
        ScramHash::Sha1 => Sha1::digest(data).to_vec(),
        ScramHash::Sha256 => Sha256::digest(data).to_vec(),
    }
}

/// `HMAC(key, parts joined)`.
pub(crate) fn mac(hash: ScramHash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    fn run<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        // HMAC takes keys of any length, so there is no error to report.
        let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        ScramHash::Sha1 => run::<Hmac<Sha1>>(key, parts),
        ScramHash::Sha256 => run::<Hmac<Sha256>>(key, parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn made_up_keys_are_stable_shaped_like_real_ones_and_differ_by_name_and_hash() {
        let user = Jid::parse("nobody@example.org").expect("a JID");
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            let real = derive_keys("secret", &[7; SALT_BYTES], ITERATIONS, hash).expect("a password");
            let fake = fake_keys(&[9; 32], &user, hash);
            assert_eq!(fake, fake_keys(&[9; 32], &user, hash));
            assert_eq!(fake.salt.len(), real.salt.len());
            assert_eq!(fake.iterations, real.iterations);
            assert_eq!(fake.stored_key.len(), real.stored_key.len());
            assert_eq!(fake.server_key.len(), real.server_key.len());
            assert_ne!(fake.salt, fake_keys(&[8; 32], &user, hash).salt);
            let other = Jid::parse("other@example.org").expect("a JID");
            assert_ne!(fake.salt, fake_keys(&[9; 32], &other, hash).salt);
        }
        let sha1 = fake_keys(&[9; 32], &user, ScramHash::Sha1);
        assert_ne!(sha1.salt, fake_keys(&[9; 32], &user, ScramHash::Sha256).salt);
    }

    #[test]
    fn plain_is_checked_against_either_hash() {
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            let keys = derive_keys("p\u{e4}ss", b"0123456789abcdef", 64, hash).expect("a password");
            assert!(verify_plain("p\u{e4}ss", &keys));
            assert!(verify_plain("pa\u{308}ss", &keys), "SASLprep composes");
            assert!(!verify_plain("pass", &keys));
            assert!(!verify_plain("", &keys));
        }
    }

    #[test]
    fn saslprep_is_the_one_of_rfc_4013() {
        let prepared = |p: &str| prepare_password(p).map(|p| p.to_string());
        assert_eq!(prepared("I\u{ad}X"), Ok("IX".to_owned()));
        assert_eq!(prepared("\u{aa}"), Ok("a".to_owned()));
        assert_eq!(prepared("\u{2168}"), Ok("IX".to_owned()));
        assert_eq!(prepared("\u{7}"), Err(PasswordRefused));
        assert_eq!(prepared("\u{627}1"), Err(PasswordRefused));
        assert_eq!(prepared(""), Err(PasswordRefused));
        assert_eq!(prepared(&"x".repeat(PASSWORD_BYTES_MAX + 1)), Err(PasswordRefused));
    }

    proptest! {
        #[test]
        fn preparing_twice_changes_nothing(password in any::<String>()) {
            if let Ok(once) = prepare_password(&password) {
                prop_assert_eq!(prepare_password(&once).map(|p| p.to_string()), Ok(once.to_string()));
            }
        }
    }
}
