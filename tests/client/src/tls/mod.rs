//! TLS of the test clients, sans-IO: rustls does the handshake and then gives up its secrets; the record
//! layer is ours, so that an idle connection is 250 bytes of plain data and no buffer.
//!
//! The daemon does the same on its side, with code of its own: a mistake in one shows in the other.

mod config;
mod handshake;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::ClientConfig;

pub use config::{TlsVersions, client_config};
use handshake::{Handshake, Progress};
use record::Record;

/// Bytes of header before a record's body: type, version, length.
const HEADER_LEN: usize = 5;
/// Plaintext bytes in one record.
const FRAGMENT_MAX: usize = 16_384;
/// More than any version allows a record's body to have.
const BODY_MAX: usize = FRAGMENT_MAX + 2_048;

/// A connection's TLS.
pub(crate) enum Tls {
    /// What is to be sent waits for its end.
    Handshake(Box<Handshake>),
    /// Data flows.
    Open(Box<Record>),
    /// It failed or ended.
    Over,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handshake(_) => "Handshake",
            Self::Open(_) => "Open",
            Self::Over => "Over",
        })
    }
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Took {
    /// Bytes of the input that are done with; the others are to be given again with what follows them.
    pub(crate) consumed: usize,
    /// The server said that nothing more comes.
    pub(crate) closed: bool,
}

impl Tls {
    /// Begins; the first flight goes to `out`. With `tickets` the server's tickets are kept.
    pub(crate) fn connect(
        config: &Arc<ClientConfig>,
        name: &str,
        tickets: bool,
        out: &mut Vec<u8>,
    ) -> Result<Self, String> {
        Handshake::begin(config, name, tickets, out).map(|handshake| Self::Handshake(Box::new(handshake)))
    }

    /// Takes all of the unconsumed input, decrypts in place, appends plaintext and what is to be sent.
    pub(crate) fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Took, String> {
        let took = self.take(input, plain, out);
        if took.is_err() {
            *self = Self::Over;
        }
        took
    }

    fn take(&mut self, input: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Took, String> {
        let mut consumed = 0;
        if let Self::Handshake(handshake) = self {
            let (used, progress) = handshake.receive(input, out)?;
            if progress == Progress::Blocked {
                return Ok(Took { consumed: used, closed: false });
            }
            consumed = used;
            let Self::Handshake(handshake) = std::mem::replace(self, Self::Over) else {
                return Err("TLS: no handshake".into());
            };
            let (mut record, waiting) = handshake.finish()?;
            record.seal(&waiting, out)?;
            *self = Self::Open(Box::new(record));
        }
        let Self::Open(record) = self else { return Err("TLS is over".into()) };
        let rest = input.get_mut(consumed..).unwrap_or_default();
        let took = record.receive(rest, plain, out)?;
        Ok(Took { consumed: consumed + took.consumed, closed: took.closed })
    }

    /// Seals `plain`, or keeps it until the handshake is over.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Handshake(handshake) => {
                handshake.waiting.extend_from_slice(plain);
                Ok(())
            }
            Self::Open(record) => record.seal(plain, out),
            Self::Over => Err("TLS is over".into()),
        }
    }

    /// No ticket that comes from now on is kept: the session is up, and memory counts.
    pub(crate) fn settle(&mut self) {
        if let Self::Open(record) = self {
            record.settle();
        }
    }
}

/// The length of the first record in `bytes`, header included, once its header is there.
fn record_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [kind, major, _, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(20..=23).contains(&kind) || major != 3 || length > BODY_MAX {
        return Err("TLS: the server does not speak TLS here".into());
    }
    Ok(Some(HEADER_LEN + length))
}
