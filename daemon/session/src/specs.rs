//! The specifications that streams implement, machine-readable: with those of the modules they are the
//! README's table, which `make generate` writes.

/// A specification, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// `"RFC 6120"` or `"XEP-0198"`.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The version that is implemented; empty for RFCs.
    pub version: &'static str,
    /// Which part of it, in a few words; empty if all that concerns a server.
    pub note: &'static str,
}

const fn spec(id: &'static str, title: &'static str, version: &'static str, note: &'static str) -> Spec {
    Spec { id, title, version, note }
}

/// What is done on the stream itself, and by addresses and stanzas as such. In the order of their names.
pub const STREAMS: [Spec; 11] = [
    spec("RFC 4616", "The PLAIN SASL Mechanism", "", "under TLS only"),
    spec("RFC 5802", "SCRAM SASL Mechanisms", "", "SCRAM-SHA-1 and SCRAM-SHA-1-PLUS"),
    spec("RFC 5929", "Channel Bindings for TLS", "", "tls-server-end-point"),
    spec("RFC 6120", "XMPP: Core", "", "client to server"),
    spec("RFC 7622", "XMPP: Address Format", "", ""),
    spec("RFC 7677", "SCRAM-SHA-256 SASL Mechanisms", "", "also -PLUS"),
    spec("RFC 9266", "Channel Bindings for TLS 1.3", "", "tls-exporter"),
    spec("XEP-0198", "Stream Management", "1.6.3", "acknowledgements and resumption"),
    spec("XEP-0352", "Client State Indication", "1.0.0", ""),
    spec("XEP-0368", "SRV records for XMPP over TLS", "1.1.0", "direct TLS, with and without ALPN"),
    spec("XEP-0440", "SASL Channel-Binding Type Capability", "1.0.0", ""),
];
