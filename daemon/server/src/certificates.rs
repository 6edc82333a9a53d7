//! The configured certificates, handed to the edge, and their problems handed back with the key that names
//! the file.
use crate::config::{CertificateFiles, Problems};
use godwit_edge::tls::{CertificateError, Certificates};

/// As the edge wants them.
pub fn files(of: &[CertificateFiles]) -> Vec<godwit_edge::tls::CertificateFiles> {
    let file = |files: &CertificateFiles| godwit_edge::tls::CertificateFiles {
        chain: files.certificate.clone(),
        key: files.key.clone(),
    };
    of.iter().map(file).collect()
}

/// Loads each pair by itself, so that each problem is at its own key.
pub fn probe(of: &[CertificateFiles], problems: &mut Problems) {
    for pair in of {
        if problems.has(&pair.path) {
            continue; // no path to look at
        }
        let Err(errors) = Certificates::load(&files(std::slice::from_ref(pair))) else { continue };
        for error in errors {
            let file = if blames_key(&error, pair) { &pair.key } else { &pair.certificate };
            let name = if blames_key(&error, pair) { "key" } else { "certificate" };
            problems.string(&format!("{}.{name}", pair.path), &file.display().to_string(), error.to_string());
        }
    }
}

/// What is not wrong but soon will be, or is for clients: expired certificates, and those with few days left.
pub fn warnings(of: &[CertificateFiles], now_s: i64) -> Vec<String> {
    let Ok(certificates) = Certificates::load(&files(of)) else { return Vec::new() };
    certificates.status().iter().filter_map(|status| status.warning(now_s)).collect()
}

fn blames_key(error: &CertificateError, pair: &CertificateFiles) -> bool {
    use CertificateError::*;
    match error {
        Unreadable { path, .. } | TooLong { path } | Pem { path, .. } => *path == pair.key,
        NoKey { .. } | EncryptedKey { .. } | KeyMismatch { .. } | UnsupportedKey { .. } => true,
        NoneConfigured | NoCertificate { .. } | ChainTooLong { .. } | BadCertificate { .. } => false,
    }
}
