//! The client's side of a handshake, for `godwitctl doctor`: whether a listener shakes hands, and with which
//! certificate. Every certificate is taken; what it is worth is judged in `trust.rs`.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its own certificate, DER.
    pub leaf: Vec<u8>,
    /// TLS 1.3; otherwise 1.2.
    pub tls13: bool,
}

/// Shakes hands over a connection, asking for `name` (SNI); nothing is sent afterwards.
///
/// # Errors
/// What the peer, or the library, did not like.
pub fn probe(mut stream: impl Read + Write, name: &str) -> io::Result<Peer> {
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    let leaf = client.peer_certificates().and_then(<[_]>::first);
    let leaf = leaf.ok_or_else(|| io::Error::other("it shows no certificate"))?.to_vec();
    Ok(Peer { leaf, tls13: client.protocol_version() == Some(ProtocolVersion::TLSv1_3) })
}

/// Takes any certificate; the peer must have its key all the same.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
