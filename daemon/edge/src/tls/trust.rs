//! What clients will think of a chain: whether it leads to a root that this system trusts. For `godwitctl
//! doctor`; the daemon serves any chain.

use super::certificates::{CertificateError, CertificateStatus, read_chain};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CertificateError as Fault, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Judged by a name that no certificate is for, where a certificate has none: the chain is judged first.
const NAMELESS: &str = "nameless.invalid";

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It leads to a trusted root.
    Trusted,
    /// The certificate is its own issuer.
    SelfSigned,
    /// It leads to a root that is not trusted here.
    Private(String),
    /// It ends before any root: the certificate of this issuer lacks.
    Incomplete(String),
    /// It leads nowhere for another reason.
    Bad(String),
}

/// The roots that this system trusts.
#[derive(Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Those of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
    ///
    /// # Errors
    /// There are none.
    pub fn system() -> Result<Roots, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        match (roots.is_empty(), found.errors.first()) {
            (false, _) => Ok(Roots(Arc::new(roots))),
            (true, Some(error)) => Err(error.to_string()),
            (true, None) => Err("this system has no root certificates (package ca-certificates)".into()),
        }
    }
}

/// The first certificate of a file, DER.
///
/// # Errors
/// The file.
pub fn leaf(file: &Path) -> Result<Vec<u8>, CertificateError> {
    let chain = read_chain(file)?;
    let lacks = || CertificateError::NoCertificate { path: file.display().to_string() };
    chain.first().map(|leaf| leaf.to_vec()).ok_or_else(lacks)
}

/// Judges the chain of a certificate as if its own certificate were valid at `now` (Unix seconds): its dates
/// and names are somebody else's to judge.
///
/// # Errors
/// The file.
pub fn trust(of: &CertificateStatus, roots: &Roots, now: i64) -> Result<Trust, CertificateError> {
    let chain = read_chain(&of.chain)?;
    let Some((leaf, rest)) = chain.split_first() else {
        return Err(CertificateError::NoCertificate { path: of.chain.display().to_string() });
    };
    if issuer(leaf).is_some_and(|(issuer, subject)| issuer == subject) {
        return Ok(Trust::SelfSigned);
    }
    let name = of.names.first().map_or_else(|| NAMELESS.into(), |name| name.replace('*', "any"));
    let at = now.clamp(of.not_before, of.not_after.max(of.not_before));
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
    Ok(match verify(leaf, rest, &name, roots, at) {
        Ok(()) => Trust::Trusted,
        Err(Error::InvalidCertificate(Fault::NotValidForName | Fault::NotValidForNameContext { .. })) => {
            Trust::Trusted
        }
        Err(Error::InvalidCertificate(Fault::UnknownIssuer)) => match chain.last().and_then(issuer) {
            Some((issuer, subject)) if issuer == subject => Trust::Private(subject),
            Some((issuer, _)) => Trust::Incomplete(issuer),
            None => Trust::Bad("its last certificate cannot be parsed".into()),
        },
        Err(error) => Trust::Bad(error.to_string()),
    })
}

fn verify(
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    name: &str,
    roots: &Roots,
    at: UnixTime,
) -> Result<(), Error> {
    let name = ServerName::try_from(name).map_err(|error| Error::General(error.to_string()))?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots.0), Arc::new(default_provider()))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
    verifier.verify_server_cert(leaf, rest, &name, &[], at).map(|_| ())
}

/// Issuer and subject.
fn issuer(certificate: &CertificateDer<'_>) -> Option<(String, String)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((parsed.issuer().to_string(), parsed.subject().to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    /// A root of this name, an issuer below it, and a certificate for `example.org` by that.
    fn made(name: &str) -> [String; 3] {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let key = || KeyPair::generate().unwrap();
        let root = Issuer::new(authority(name), key());
        let root_pem = authority(name).self_signed(root.key()).unwrap().pem();
        let between_key = key();
        let between_pem = authority("Between").signed_by(&between_key, &root).unwrap().pem();
        let between = Issuer::new(authority("Between"), between_key);
        let own = CertificateParams::new(vec!["example.org".into()]).unwrap();
        let own_pem = own.signed_by(&key(), &between).unwrap().pem();
        [root_pem, between_pem, own_pem]
    }

    fn judged(pems: &[&str], trusted: &str) -> Trust {
        use rustls_pki_types::pem::PemObject;
        let file = std::env::temp_dir().join(format!(
            "godwit-trust-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&file, pems.concat()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let status = CertificateStatus {
            chain: file.clone(),
            names: vec!["example.org".into()],
            not_before: 0,
            not_after: 2_000_000_000,
        };
        let found = trust(&status, &Roots(Arc::new(roots)), 1_800_000_000).unwrap();
        std::fs::remove_file(file).unwrap();
        found
    }

    #[test]
    fn a_chain_is_trusted_private_or_incomplete() {
        let [root, between, own] = made("Root");
        let [other, ..] = made("Another");
        assert_eq!(judged(&[&own, &between], &root), Trust::Trusted);
        assert_eq!(judged(&[&own], &root), Trust::Incomplete("CN=Between".into()));
        assert_eq!(judged(&[&own, &between, &root], &other), Trust::Private("CN=Root".into()));
        assert_eq!(judged(&[&own, &between], &other), Trust::Incomplete("CN=Root".into()));
        assert_eq!(judged(&[&root], &other), Trust::SelfSigned);
    }
}
