//! The client's side of SCRAM (RFC 5802, RFC 7677), without channel binding.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Salted passwords kept at most; PBKDF2 is what a login costs the client.
const CACHE_MAX: usize = 1_000_000;
/// More iterations than this are a mistake of the server.
const ITERATIONS_MAX: u32 = 1_000_000;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hash {
    /// SCRAM-SHA-1
    Sha1,
    /// SCRAM-SHA-256
    Sha256,
}

impl Hash {
    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        };
        let mut out = vec![0; self.len()];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut out);
        out
    }
}

/// Salted passwords, each under a hash of what it was made from: 56 bytes for each account. Should two ever
/// share a hash, one login fails.
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    keys: HashMap<u64, [u8; 32]>,
    hasher: RandomState,
}

impl KeyCache {
    fn get(&mut self, hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        if self.keys.len() >= CACHE_MAX {
            self.keys.clear();
        }
        let name = self.hasher.hash_one((hash, password, salt, iterations));
        let salted = self.keys.entry(name).or_insert_with(|| {
            let mut key = [0; 32];
            let salted = hash.salted(password, salt, iterations);
            key.iter_mut().zip(salted).for_each(|(place, byte)| *place = byte);
            key
        });
        salted.get(..hash.len()).unwrap_or_default().to_vec()
    }
}

/// One exchange.
#[derive(Debug)]
pub(crate) struct Scram {
    hash: Hash,
    first_bare: String,
    nonce: String,
    server_signature: Option<Vec<u8>>,
}

impl Scram {
    pub(crate) fn new(hash: Hash, user: &str) -> Result<Self, String> {
        let mut random = [0; 18];
        rand::fill(&mut random).map_err(|_| "no randomness".to_owned())?;
        let nonce = BASE64.encode(random);
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Ok(Self { hash, first_bare, nonce, server_signature: None })
    }

    /// The client's first message, encoded.
    pub(crate) fn first(&self) -> String {
        BASE64.encode(format!("n,,{}", self.first_bare))
    }

    /// The answer to the server's first message, both encoded.
    pub(crate) fn answer(
        &mut self,
        challenge: &str,
        password: &str,
        keys: &mut KeyCache,
    ) -> Result<String, String> {
        let server_first = decode(challenge)?;
        let field = |key: &str| {
            let found = server_first.split(',').find_map(|f| f.strip_prefix(key));
            found.ok_or_else(|| format!("SCRAM: no {key} in the challenge"))
        };
        let nonce = field("r=")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("SCRAM: the server's nonce does not extend ours".into());
        }
        let salt = BASE64.decode(field("s=")?).map_err(|_| "SCRAM: bad salt".to_owned())?;
        let iterations: NonZeroU32 = field("i=")?.parse().map_err(|_| "SCRAM: bad iterations".to_owned())?;
        if iterations.get() > ITERATIONS_MAX {
            return Err("SCRAM: too many iterations".into());
        }
        let salted = keys.get(self.hash, password, &salt, iterations);
        let without_proof = format!("c=biws,r={nonce}");
        let auth = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(&self.hash.digest(&client_key), auth.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(k, s)| k ^ s).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        self.server_signature = Some(self.hash.hmac(&server_key, auth.as_bytes()));
        Ok(BASE64.encode(format!("{without_proof},p={}", BASE64.encode(proof))))
    }

    /// Checks the server's final message: a server that does not know the password is refused.
    pub(crate) fn verify(&self, last: &str) -> Result<(), String> {
        let last = decode(last)?;
        let sent = last.strip_prefix("v=").and_then(|v| BASE64.decode(v.split(',').next()?).ok());
        match (&self.server_signature, sent) {
            (Some(expected), Some(sent)) if *expected == sent => Ok(()),
            _ => Err("SCRAM: wrong server signature".into()),
        }
    }
}

fn decode(text: &str) -> Result<String, String> {
    let bytes = BASE64.decode(text.trim()).map_err(|_| "SASL: not base64".to_owned())?;
    String::from_utf8(bytes).map_err(|_| "SASL: not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{BASE64, Hash, KeyCache, Scram};
    use base64::Engine as _;

    /// The exchange given in RFC 7677 section 3 and, for SHA-1, in RFC 5802 section 5.
    fn exchange(hash: Hash, nonce: &str, first: &str, last: &str) -> String {
        let mut scram = Scram::new(hash, "user").expect("randomness");
        scram.nonce = nonce.into();
        scram.first_bare = format!("n=user,r={nonce}");
        let answer = scram.answer(&BASE64.encode(first), "pencil", &mut KeyCache::default()).expect("answer");
        scram.verify(&BASE64.encode(last)).expect("server signature");
        assert!(scram.verify(&BASE64.encode("v=AAAA")).is_err());
        String::from_utf8(BASE64.decode(answer).expect("base64")).expect("UTF-8")
    }

    #[test]
    fn the_rfc_examples() {
        let answer = exchange(
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
        assert!(answer.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{answer}");
        let answer = exchange(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        assert!(answer.ends_with("p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="), "{answer}");
    }
}
