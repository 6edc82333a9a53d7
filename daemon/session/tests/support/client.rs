//! The client's side of SASL, with the faults that transcripts ask for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A `SASL` line, read.
#[derive(Default)]
pub struct Sasl {
    pub mechanism: String,
    pub user: String,
    pub password: String,
    pub authzid: String,
    /// GS2 flag in place of the usual one.
    pub flag: Option<String>,
    /// `proof`, `nonce`, `binding` or `header`: what is spoiled.
    pub tamper: String,
}

/// The exchange after the first message.
pub struct Exchange {
    sha1: bool,
    gs2: String,
    bare: String,
    nonce: String,
    binding: Vec<u8>,
    sasl: Sasl,
}

impl Sasl {
    /// First message and, for SCRAM, what goes on from there.
    pub fn first(self) -> (String, Option<Exchange>) {
        if self.mechanism == "PLAIN" {
            return (STANDARD.encode(format!("{}\0{}\0{}", self.authzid, self.user, self.password)), None);
        }
        let plus = self.mechanism.ends_with("-PLUS");
        let default = if plus { "p=tls-exporter" } else { "n" };
        let flag = self.flag.clone().unwrap_or_else(|| default.to_owned());
        let authzid = if self.authzid.is_empty() { String::new() } else { format!("a={}", self.authzid) };
        let gs2 = format!("{flag},{authzid},");
        let nonce = "clientnonce".to_owned();
        let bare = format!("n={},r={nonce}", self.user.replace('=', "=3D").replace(',', "=2C"));
        let binding = match flag.as_str() {
            "p=tls-exporter" => vec![0x42; 32],
            "p=tls-server-end-point" => vec![0x24; 32],
            _ => Vec::new(),
        };
        let message = STANDARD.encode(format!("{gs2}{bare}"));
        let sha1 = self.mechanism.starts_with("SCRAM-SHA-1");
        (
            message,
            Some(Exchange {
                sha1: sha1 && !self.mechanism.contains("256"),
                gs2,
                bare,
                nonce,
                binding,
                sasl: self,
            }),
        )
    }
}

impl Exchange {
    /// Final message, and the signature that the server has to show.
    pub fn last(&self, challenge: &str) -> (String, String) {
        let challenge = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
        let field = |name: &str| challenge.split(',').find_map(|f| f.strip_prefix(name)).unwrap().to_owned();
        let (mut nonce, salt, iterations) = (field("r="), field("s="), field("i=").parse().unwrap());
        assert!(
            nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len() + 16,
            "the server's nonce: {nonce}"
        );
        let salt = STANDARD.decode(salt).unwrap();
        let mut salted = vec![0; if self.sha1 { 20 } else { 32 }];
        if self.sha1 {
            pbkdf2::pbkdf2_hmac::<Sha1>(self.sasl.password.as_bytes(), &salt, iterations, &mut salted);
        } else {
            pbkdf2::pbkdf2_hmac::<Sha256>(self.sasl.password.as_bytes(), &salt, iterations, &mut salted);
        }
        let (mut gs2, mut binding) = (self.gs2.clone(), self.binding.clone());
        match self.sasl.tamper.as_str() {
            "nonce" => nonce.push('x'),
            "header" => gs2 = "y,,".to_owned(),
            "binding" => binding.iter_mut().for_each(|b| *b ^= 1),
            _ => {}
        }
        let c = STANDARD.encode([gs2.as_bytes(), &binding].concat());
        let without_proof = format!("c={c},r={nonce}");
        let transcript = format!("{},{challenge},{without_proof}", self.bare);
        let client_key = self.mac(&salted, "Client Key");
        let stored =
            if self.sha1 { Sha1::digest(&client_key).to_vec() } else { Sha256::digest(&client_key).to_vec() };
        let signature = self.mac(&stored, &transcript);
        let mut proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if self.sasl.tamper == "proof" {
            proof[0] ^= 1;
        }
        let message = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
        let server = self.mac(&self.mac(&salted, "Server Key"), &transcript);
        (message, STANDARD.encode(format!("v={}", STANDARD.encode(server))))
    }

    fn mac(&self, key: &[u8], text: &str) -> Vec<u8> {
        if self.sha1 {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        } else {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
    }
}
