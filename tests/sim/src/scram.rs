//! The client's side of SCRAM-SHA-256 (RFC 7677), without channel binding. Salted passwords are kept: they
//! are what a login costs.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Salted passwords by salt; all of them are of one password.
pub type Salted = HashMap<Vec<u8>, [u8; 32]>;

/// One exchange.
#[derive(Debug)]
pub struct Scram {
    first: String,
}

impl Scram {
    /// For a user, with a nonce.
    pub fn new(user: &str, nonce: u64) -> Scram {
        Scram { first: format!("n={user},r={nonce:016x}") }
    }

    /// The client's first message, encoded.
    pub fn first(&self) -> String {
        BASE64.encode(format!("n,,{}", self.first))
    }

    /// The answer to the server's first message, both encoded; `None` if that is no such message.
    pub fn answer(&self, challenge: &str, password: &str, salted: &mut Salted) -> Option<String> {
        let server = String::from_utf8(BASE64.decode(challenge).ok()?).ok()?;
        let field = |key: &str| server.split(',').find_map(|field| field.strip_prefix(key));
        let salt = BASE64.decode(field("s=")?).ok()?;
        let (nonce, iterations) = (field("r=")?, field("i=")?.parse().ok()?);
        let salted = *salted.entry(salt).or_insert_with_key(|salt| {
            pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations)
        });
        let last = format!("c=biws,r={nonce}");
        let auth = format!("{},{server},{last}", self.first);
        let key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(key), auth.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        Some(BASE64.encode(format!("{last},p={}", BASE64.encode(proof))))
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}
