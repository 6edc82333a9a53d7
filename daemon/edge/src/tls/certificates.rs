//! The certificates a server has, chosen by the name a client asks for (SNI), and their reload.
//!
//! The first one is for clients that ask for no name or for an unknown one. New handshakes see a reload at
//! once; connections that are open, or in their handshake, go on with what they have.

use super::binding::server_end_point;
use super::engine::{KeyFault, ServerKey};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

/// Bytes of a PEM file: a chain has about 6,000.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// Certificates in a chain.
const CHAIN_MAX: usize = 16;
/// A certificate with fewer days left is warned of. ACME clients renew a third of its life before the end.
const WARN_DAYS: i64 = 14;
const DAY: i64 = 86_400;

/// Where one certificate lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the server's own certificate first, then its issuers.
    pub chain: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What is wrong with the operator's files, and what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum CertificateError {
    #[error("no certificate is configured: name a chain and a key, both PEM files")]
    NoneConfigured,
    #[error("{path}: cannot be read ({error}): {}", remedy(error))]
    Unreadable { path: String, error: io::Error },
    #[error("{path}: is longer than {PEM_BYTES_MAX} bytes: name a PEM file with one chain or one key")]
    TooLong { path: String },
    #[error("{path}: is damaged PEM ({error}): write the file anew")]
    Pem { path: String, error: PemError },
    #[error("{path}: no certificate in it: it must have a -----BEGIN CERTIFICATE----- section")]
    NoCertificate { path: String },
    #[error("{path}: more than {CHAIN_MAX} certificates in it: name the chain of one certificate")]
    ChainTooLong { path: String },
    #[error("{path}: its first certificate cannot be parsed ({what}): have it issued anew")]
    BadCertificate { path: String, what: String },
    #[error("{path}: no private key in it: it must have a -----BEGIN PRIVATE KEY----- section")]
    NoKey { path: String },
    #[error("{path}: the private key is encrypted: decrypt it with `openssl pkey -in FILE -out NEW`")]
    EncryptedKey { path: String },
    #[error(
        "{key}: the key does not belong to the first certificate of {chain}: \
         put the server's own certificate first, or name the key it was issued for"
    )]
    KeyMismatch { chain: String, key: String },
    #[error("{path}: the key is of no use ({what}): use ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 bits")]
    UnsupportedKey { path: String, what: String },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "correct the path, or have the certificate issued first",
        io::ErrorKind::PermissionDenied => "let the daemon's user or group read it",
        _ => "check the file and the disk it is on",
    }
}

/// One certificate, for status and warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The file it came from.
    pub chain: PathBuf,
    /// Names it is for, lower case, wildcards as `*.example.org`.
    pub names: Vec<String>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
}

impl CertificateStatus {
    /// Whether it is for a domain.
    pub fn is_for(&self, domain: &str) -> bool {
        self.names.iter().any(|name| covers(name, domain))
    }

    /// What the operator should know of it at `now` (Unix seconds).
    pub fn warning(&self, now: i64) -> Option<String> {
        let path = self.chain.display();
        let left = self.not_after.saturating_sub(now);
        if left < 0 {
            Some(format!("{path}: the certificate expired {} days ago: renew it, then reload", -left / DAY))
        } else if now < self.not_before {
            let days = (self.not_before - now) / DAY;
            Some(format!("{path}: the certificate is not valid for another {days} days: check the clock"))
        } else if self.names.is_empty() {
            Some(format!("{path}: the certificate names no domain (subjectAltName): clients will refuse it"))
        } else if left < WARN_DAYS * DAY {
            Some(format!("{path}: the certificate expires in {} days: renew it, then reload", left / DAY))
        } else {
            None
        }
    }
}

#[derive(Debug)]
struct Certificate {
    key: ServerKey,
    end_point: Arc<[u8]>,
    status: CertificateStatus,
}

/// The certificates in use.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<[Certificate]>>);

impl Certificates {
    /// Reads all files; every error found is reported. A certificate that expired is not one: see
    /// [`CertificateStatus::warning`].
    pub fn load(files: &[CertificateFiles]) -> Result<Certificates, Vec<CertificateError>> {
        read_all(files).map(|all| Certificates(RwLock::new(all)))
    }

    /// Reads all files again, or others. With any error nothing changes.
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<(), Vec<CertificateError>> {
        let all = read_all(files)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    /// All certificates in use, the default one first.
    pub fn status(&self) -> Vec<CertificateStatus> {
        self.all().iter().map(|certificate| certificate.status.clone()).collect()
    }

    fn all(&self) -> Arc<[Certificate]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first certificate for `name` whose key the client can use (`usable`), else the first for that
    /// name, else the first of all.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        usable: impl Fn(&ServerKey) -> bool,
    ) -> Option<(ServerKey, Arc<[u8]>)> {
        let all = self.all();
        let asked =
            |c: &&Certificate| name.is_some_and(|name| c.status.names.iter().any(|n| covers(n, name)));
        let named = all.iter().filter(asked);
        let chosen = named.clone().find(|c| usable(&c.key)).or_else(|| named.clone().next());
        let default = || all.iter().find(|c| usable(&c.key)).or(all.first());
        chosen.or_else(default).map(|c| (c.key.clone(), Arc::clone(&c.end_point)))
    }
}

/// A wildcard stands for one label (RFC 6125 §6.4.3).
fn covers(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.strip_prefix("*.") {
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

fn read_all(files: &[CertificateFiles]) -> Result<Arc<[Certificate]>, Vec<CertificateError>> {
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    for files in files {
        match (read_chain(&files.chain), read_key(&files.key)) {
            (Ok(chain), Ok(key)) => match assemble(files, chain, key) {
                Ok(certificate) => good.push(certificate),
                Err(error) => errors.push(error),
            },
            (chain, key) => errors.extend(chain.err().into_iter().chain(key.err())),
        }
    }
    if files.is_empty() {
        errors.push(CertificateError::NoneConfigured);
    }
    if errors.is_empty() { Ok(good.into()) } else { Err(errors) }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let unreadable = |error| CertificateError::Unreadable { path: shown(path), error };
    let mut bytes = Zeroizing::new(Vec::new());
    let mut file = std::fs::File::open(path).map_err(unreadable)?.take(PEM_BYTES_MAX + 1);
    match file.read_to_end(&mut bytes).map_err(unreadable)? as u64 {
        0..=PEM_BYTES_MAX => Ok(bytes),
        _ => Err(CertificateError::TooLong { path: shown(path) }),
    }
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read_file(path)?;
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        chain.push(certificate.map_err(|error| CertificateError::Pem { path: shown(path), error })?);
        if chain.len() > CHAIN_MAX {
            return Err(CertificateError::ChainTooLong { path: shown(path) });
        }
    }
    if chain.is_empty() { Err(CertificateError::NoCertificate { path: shown(path) }) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    let bytes = read_file(path)?;
    let path = shown(path);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound if bytes.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) => {
            CertificateError::EncryptedKey { path }
        }
        PemError::NoItemsFound => CertificateError::NoKey { path },
        error => CertificateError::Pem { path, error },
    })
}

fn assemble(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Certificate, CertificateError> {
    let CertificateFiles { chain: path, key: key_path } = files;
    let bad = |what: String| CertificateError::BadCertificate { path: shown(path), what };
    let own = chain.first().ok_or_else(|| CertificateError::NoCertificate { path: shown(path) })?;
    let (_, parsed) = X509Certificate::from_der(own).map_err(|error| bad(error.to_string()))?;
    let alternative = parsed.subject_alternative_name().map_err(|error| bad(error.to_string()))?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let status = CertificateStatus {
        chain: path.clone(),
        names: names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    };
    let end_point = server_end_point(own, &parsed).into();
    let key = ServerKey::new(chain, key).map_err(|fault| match fault {
        KeyFault::Mismatch => CertificateError::KeyMismatch { chain: shown(path), key: shown(key_path) },
        KeyFault::Unsupported(what) => CertificateError::UnsupportedKey { path: shown(key_path), what },
    })?;
    Ok(Certificate { key, end_point, status })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label() {
        assert!(covers("*.example.org", "chat.Example.org"));
        assert!(covers("example.org", "EXAMPLE.org."));
        for name in ["example.org", "a.b.example.org", ".example.org", "chat.example.com"] {
            assert!(!covers("*.example.org", name), "{name}");
        }
    }

    #[test]
    fn warnings_count_days() {
        let status = CertificateStatus {
            chain: "c.pem".into(),
            names: vec!["example.org".into()],
            not_before: 10 * DAY,
            not_after: 100 * DAY,
        };
        assert_eq!(status.warning(50 * DAY), None);
        assert!(status.warning(8 * DAY).unwrap().contains("not valid for another 2 days"));
        assert!(status.warning(97 * DAY).unwrap().contains("expires in 3 days"));
        assert!(status.warning(105 * DAY).unwrap().contains("expired 5 days ago"));
        let nameless = CertificateStatus { names: Vec::new(), ..status };
        assert!(nameless.warning(50 * DAY).unwrap().contains("names no domain"));
    }
}
