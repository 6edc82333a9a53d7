//! What all connections of a server share: certificates, ticket keys, and per kind of listener the protocols
//! that a client may ask for.

use super::alert::TlsError;
use super::certificates::Certificates;
use super::engine::Listener;
use super::tickets::TicketKeys;
use crate::Entry;
use std::sync::Arc;

/// XEP-0368 §3: with ALPN it must be this; without ALPN a client is served too.
const ALPN_CLIENT: &[u8] = b"xmpp-client";

/// The TLS side of the listeners for clients.
pub struct TlsConfig {
    direct: Listener,
    starttls: Listener,
}

impl TlsConfig {
    /// Both can be changed afterwards: [`Certificates::reload`], [`TicketKeys::rotate`].
    pub fn new(certificates: &Arc<Certificates>, tickets: &Arc<TicketKeys>) -> Result<TlsConfig, TlsError> {
        let listener = |alpn: &[&[u8]]| Listener::new(Arc::clone(certificates), Arc::clone(tickets), alpn);
        Ok(TlsConfig { direct: listener(&[ALPN_CLIENT])?, starttls: listener(&[])? })
    }

    pub(super) fn listener(&self, entry: Entry) -> &Listener {
        match entry {
            Entry::DirectTls => &self.direct,
            Entry::StartTls => &self.starttls,
        }
    }
}

/// Lets the cryptographic library gather its first randomness, before a listener opens. At once with the
/// build settings in `.cargo/config.toml`, up to 300 ms without.
pub fn warm_up() -> Result<(), TlsError> {
    aws_lc_rs::rand::fill(&mut [0; 1]).map_err(|_| TlsError::Internal("no random bytes"))
}
