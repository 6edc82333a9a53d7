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
    /// Never.
    None,
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

/// Sessions that share a source address: each address has about 28,000 ports, and those of closed
/// connections rest for a minute.
const SESSIONS_PER_ADDRESS: usize = 1_000;

/// One or more addresses to connect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    first: IpAddr,
    /// How many there are from the first one on.
    count: u32,
}

impl Source {
    /// Just this one.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        Self { first: address, count: 1 }
    }

    /// All of a network but its first and last address; `None` if the prefix is too long for the address.
    #[must_use]
    pub fn network(address: IpAddr, bits: u32) -> Option<Self> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let host = u32::checked_sub(width, bits)?;
        if host < 2 {
            return Some(Self::one(address));
        }
        let count = (1_u32.checked_shl(host).unwrap_or(u32::MAX)).saturating_sub(2);
        let mask = u128::MAX.checked_shl(host).unwrap_or(0);
        let first = match address {
            IpAddr::V4(v4) => {
                let base = u32::try_from(u128::from(u32::from(v4)) & mask & u128::from(u32::MAX)).ok()?;
                IpAddr::from((base + 1).to_be_bytes())
            }
            IpAddr::V6(v6) => IpAddr::from(((u128::from(v6) & mask) + 1).to_be_bytes()),
        };
        Some(Self { first, count })
    }

    /// True for IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// The address of the session with this number.
    #[must_use]
    pub fn address(&self, session: usize) -> IpAddr {
        let step = u32::try_from(session / SESSIONS_PER_ADDRESS).unwrap_or(0) % self.count.max(1);
        match self.first {
            IpAddr::V4(v4) => IpAddr::from(u32::from(v4).wrapping_add(step).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from(u128::from(v6).wrapping_add(u128::from(step)).to_be_bytes()),
        }
    }
}

/// Shared by all clients of a pool.
#[derive(Debug)]
pub struct Settings {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The addresses to connect from; the kernel chooses if there are none.
    pub source: Option<Source>,
    /// Keep TLS tickets for the next connection.
    pub tickets: bool,
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
        let (source, tickets, receive_buffer) = (None, false, None);
        Self { addr, source, tickets, tls, domain, mechanism, receive_buffer, config, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;
    use std::net::IpAddr;

    #[test]
    fn sessions_are_spread_over_a_network() {
        let source = Source::network(IpAddr::from([127, 9, 9, 9]), 8).expect("a network");
        let address = |session| source.address(session).to_string();
        assert_eq!((address(0).as_str(), address(999).as_str()), ("127.0.0.1", "127.0.0.1"));
        assert_eq!((address(1_000).as_str(), address(1_000_000).as_str()), ("127.0.0.2", "127.0.3.233"));
        let small = Source::network(IpAddr::from([10, 0, 0, 4]), 30).expect("a network");
        assert_eq!(
            (small.address(0).to_string(), small.address(2_000).to_string()),
            ("10.0.0.5".into(), "10.0.0.5".into())
        );
        assert_eq!(Source::one(IpAddr::from([10, 0, 0, 4])).address(9_999).to_string(), "10.0.0.4");
        assert_eq!(Source::network(IpAddr::from([10, 0, 0, 4]), 33), None);
    }
}
