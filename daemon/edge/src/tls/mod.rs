//! TLS, sans-IO: the library's handshake, then a record layer of our own whose state is plain data.
//!
//! A shard owns the buffers. It gives [`Tls::receive`] what the connection has unconsumed, and keeps what
//! is left (the start of a record) until more has come. An idle connection is one [`Tls`] of 16 bytes and a
//! boxed [`Record`] of 224.

mod alert;
mod binding;
mod certificates;
mod config;
mod engine;
mod handshake;
mod hello;
mod image;
mod probe;
mod protect;
mod record;
mod tickets;
mod trust;

pub use alert::{Alert, TlsError};
pub use certificates::{CertificateError, CertificateFiles, CertificateStatus, Certificates};
pub use config::{TlsConfig, warm_up};
pub use handshake::Handshake;
pub use probe::{Peer, probe};
pub use record::Record;
pub use tickets::{LIFETIME_SECONDS, TicketKeys};
pub use trust::{Roots, Trust, leaf, trust};

use crate::Entry;
use engine::Step;
use godwit_session::{TlsFacts, TlsVersion};
use zeroize::Zeroizing;

/// A connection's TLS.
pub enum Tls {
    /// Before its end nothing can be sent.
    Handshake(Box<Handshake>),
    /// Data flows.
    Open(Box<Record>),
    /// The handshake failed.
    Failed,
}

/// What [`Tls::receive`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the input that are done with; the others are to be given again, with what comes behind them.
    pub consumed: usize,
    /// What has happened. There may be more in the unconsumed input: call again before reading on.
    pub event: Option<Event>,
}

/// Turning points.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Data can be sent, and may be waiting in the unconsumed input.
    HandshakeDone(Box<TlsFacts>),
    /// The peer's `close_notify`: nothing more comes. Send what is left, then [`Tls::close_notify`].
    PeerClosed,
}

impl Tls {
    /// The server's side of a new connection.
    pub fn accept(config: &TlsConfig, entry: Entry) -> Result<Tls, TlsError> {
        Handshake::new(config.listener(entry)).map(|handshake| Tls::Handshake(Box::new(handshake)))
    }

    /// The state of an open connection ([`Record::to_bytes`]).
    pub fn image(&self) -> Option<Zeroizing<[u8; Record::BYTES]>> {
        match self {
            Tls::Open(record) => Some(record.to_bytes()),
            Tls::Handshake(_) | Tls::Failed => None,
        }
    }

    /// From that.
    pub fn from_image(bytes: &[u8]) -> Option<Tls> {
        Some(Tls::Open(Box::new(Record::from_bytes(bytes.try_into().ok()?)?)))
    }

    /// A handshake of which nothing has happened: another one may take its place.
    pub fn is_fresh(&self) -> bool {
        matches!(self, Tls::Handshake(handshake) if handshake.is_fresh())
    }

    /// Takes ciphertext. `cipher` is all of the connection's unconsumed input and is decrypted in place (so
    /// the unconsumed rest must be kept as this leaves it); plaintext is appended to `plain`, bytes to send
    /// (flights, KeyUpdates, alerts) to `out`. After an error `out` holds the alert; send it and close the
    /// socket.
    pub fn receive(
        &mut self,
        cipher: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        match self {
            Tls::Handshake(handshake) => match handshake.receive(cipher, out) {
                Ok((consumed, Step::Blocked)) => Ok(Received { consumed, event: None }),
                Ok((consumed, Step::Done)) => self.open(consumed),
                Err(error) => {
                    *self = Tls::Failed;
                    Err(error)
                }
            },
            Tls::Open(record) => record.receive(cipher, plain, out),
            Tls::Failed => Ok(Received { consumed: cipher.len(), event: None }),
        }
    }

    fn open(&mut self, consumed: usize) -> Result<Received, TlsError> {
        let Tls::Handshake(handshake) = std::mem::replace(self, Tls::Failed) else {
            return Err(TlsError::NotOpen);
        };
        let (record, facts) = handshake.finish()?;
        *self = Tls::Open(Box::new(record));
        Ok(Received { consumed, event: Some(Event::HandshakeDone(Box::new(facts))) })
    }

    /// Seals `plain` into records of at most 16,384 bytes, appended to `out`. [`TlsError::KeysUsedUp`] (TLS
    /// 1.2 after 2^24 records): the `close_notify` is in `out`, some of `plain` may be before it.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        match self {
            Tls::Open(record) => record.seal(plain, out),
            Tls::Handshake(_) | Tls::Failed => Err(TlsError::NotOpen),
        }
    }

    /// The version of an open connection.
    pub(crate) fn version(&self) -> Option<TlsVersion> {
        match self {
            Tls::Open(record) if record.suite.is_tls13() => Some(TlsVersion::Tls13),
            Tls::Open(_) => Some(TlsVersion::Tls12),
            Tls::Handshake(_) | Tls::Failed => None,
        }
    }

    /// Our `close_notify`, once; nothing if the connection is not open.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        match self {
            Tls::Open(record) => record.close_notify(out),
            Tls::Handshake(_) | Tls::Failed => Ok(()),
        }
    }
}
