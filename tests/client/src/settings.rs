//! What a client needs to know before it connects.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::scram::KeyCache;

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// With the first byte (XEP-0368).
    Direct,
    /// After `<starttls/>`.
    StartTls,
}

/// The SASL mechanism to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The strongest that the server offers.
    Auto,
    /// SCRAM-SHA-256
    ScramSha256,
    /// SCRAM-SHA-1
    ScramSha1,
    /// PLAIN
    Plain,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Log in and bind; with `sm`, enable XEP-0198 too.
    Session {
        /// Enable stream management with resumption.
        sm: bool,
    },
    /// Stop at the features, before authentication (XEP-0077).
    Register,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The local part.
    pub user: String,
    /// The password.
    pub password: String,
    /// The resource to ask for; `None` leaves it to the server.
    pub resource: Option<String>,
}

/// Shared by all clients of a pool.
#[derive(Debug)]
pub struct Settings {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The address to connect from: each has its own range of ports.
    pub source: Option<IpAddr>,
    /// How TLS begins.
    pub tls: TlsMode,
    /// The XMPP domain, also the TLS server name.
    pub domain: String,
    /// The SASL mechanism.
    pub mechanism: Mechanism,
    /// The sockets' receive buffer, bytes; small ones let the server feel a client that does not read.
    pub receive_buffer: Option<usize>,
    /// See [`client_config`](crate::client_config).
    pub config: Arc<ClientConfig>,
    pub(crate) keys: RefCell<KeyCache>,
}

impl Settings {
    /// Settings for one server; the rest starts at its defaults.
    #[must_use]
    pub fn new(addr: SocketAddr, tls: TlsMode, domain: &str, config: Arc<ClientConfig>) -> Self {
        let domain = domain.to_owned();
        let keys = RefCell::new(KeyCache::default());
        let mechanism = Mechanism::Auto;
        Self { addr, source: None, tls, domain, mechanism, receive_buffer: None, config, keys }
    }
}
