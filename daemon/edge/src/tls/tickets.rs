//! Session tickets (RFC 8446 §4.6.1, RFC 5077): state sealed under keys that outlive the process.
//!
//! Two keys at a time: tickets are made with the current one and accepted with the previous one too. A key
//! makes tickets for [`LIFETIME_SECONDS`] and accepts them for as long again; then it is wiped, which is
//! what keeps old sessions secret. The keys travel with the in-place upgrade, so that clients go on
//! resuming.

use super::alert::TlsError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How long a key makes tickets, and what a client is told of a ticket's life.
pub const LIFETIME_SECONDS: u32 = 12 * 3600;
const NAME_LEN: usize = 16;
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
/// Of the serialised keys.
const VERSION: u8 = 1;

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct TicketKey {
    name: [u8; NAME_LEN],
    /// Unix seconds.
    made: u64,
    key: [u8; KEY_LEN],
}

impl TicketKey {
    fn random(now: u64) -> Result<TicketKey, TlsError> {
        let mut new = TicketKey { name: [0; NAME_LEN], made: now, key: [0; KEY_LEN] };
        fill(&mut new.name)?;
        fill(&mut new.key)?;
        Ok(new)
    }

    fn aead(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.key).ok().map(LessSafeKey::new)
    }
}

struct Ring {
    current: TicketKey,
    previous: Option<TicketKey>,
}

/// The ticket keys of a server; all shards share one.
pub struct TicketKeys(RwLock<Ring>);

impl TicketKeys {
    /// Fresh keys. `now` is in Unix seconds.
    pub fn new(now: u64) -> Result<TicketKeys, TlsError> {
        Ok(TicketKeys(RwLock::new(Ring { current: TicketKey::random(now)?, previous: None })))
    }

    /// Replaces the current key if it is old enough, and forgets the previous one if its time is over.
    /// To be called every few minutes; true when something changed.
    pub fn rotate(&self, now: u64) -> Result<bool, TlsError> {
        let lifetime = u64::from(LIFETIME_SECONDS);
        let age = |key: &TicketKey| now.saturating_sub(key.made);
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let current_old = age(&ring.current) >= lifetime;
        let previous_over = ring.previous.as_ref().is_some_and(|key| age(key) >= 2 * lifetime);
        if current_old {
            let old = std::mem::replace(&mut ring.current, TicketKey::random(now)?);
            ring.previous = (age(&old) < 2 * lifetime).then_some(old);
        } else if previous_over {
            ring.previous = None;
        }
        Ok(current_old || previous_over)
    }

    /// The keys as bytes: version, then per key its name, when it was made (big-endian), the key.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + 2 * (NAME_LEN + 8 + KEY_LEN)));
        bytes.push(VERSION);
        for key in std::iter::once(&ring.current).chain(&ring.previous) {
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&key.made.to_be_bytes());
            bytes.extend_from_slice(&key.key);
        }
        bytes
    }

    /// The keys of [`TicketKeys::to_bytes`]; `None` for what that cannot have written.
    pub fn from_bytes(bytes: &[u8]) -> Option<TicketKeys> {
        let (VERSION, mut rest) = bytes.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let mut next = || {
            let (name, behind) = rest.split_first_chunk()?;
            let (made, behind) = behind.split_first_chunk()?;
            let (key, behind) = behind.split_first_chunk()?;
            rest = behind;
            Some(TicketKey { name: *name, made: u64::from_be_bytes(*made), key: *key })
        };
        let (current, previous) = (next()?, next());
        rest.is_empty().then(|| TicketKeys(RwLock::new(Ring { current, previous })))
    }

    /// Seals a ticket: key name, nonce, sealed state.
    pub(super) fn seal(&self, state: &[u8]) -> Option<Vec<u8>> {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce).ok()?;
        let name = ring.current.name;
        let mut sealed = [name.as_slice(), &nonce, state].concat();
        let (_, body) = sealed.split_at_mut(NAME_LEN + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = ring.current.aead()?.seal_in_place_separate_tag(nonce, Aad::from(name), body).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    /// Opens a ticket; `None` for one that is not ours or too old.
    pub(super) fn open(&self, ticket: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = std::iter::once(&ring.current).chain(&ring.previous).find(|key| key.name == *name)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = key.aead()?.open_in_place(nonce, Aad::from(*name), &mut body).ok()?.len();
        body.truncate(len);
        Some(body)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), TlsError> {
    rand::fill(bytes).map_err(|_| TlsError::Internal("no random bytes"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HALF_DAY: u64 = LIFETIME_SECONDS as u64;

    #[test]
    fn a_ticket_lives_through_one_rotation() {
        let keys = TicketKeys::new(1000).unwrap();
        let ticket = keys.seal(b"state").unwrap();
        assert!(!keys.rotate(1000 + HALF_DAY - 1).unwrap());
        assert!(keys.rotate(1000 + HALF_DAY).unwrap());
        assert_eq!(keys.open(&ticket).unwrap().as_slice(), b"state");
        assert_ne!(keys.seal(b"state").unwrap()[..NAME_LEN], ticket[..NAME_LEN]);
        assert!(keys.rotate(1000 + 2 * HALF_DAY).unwrap());
        assert!(keys.open(&ticket).is_none());
    }

    #[test]
    fn keys_survive_as_bytes() {
        let keys = TicketKeys::new(0).unwrap();
        let old = keys.seal(b"old").unwrap();
        let fresh = TicketKeys::from_bytes(&keys.to_bytes()).unwrap();
        assert_eq!(fresh.open(&old).unwrap().as_slice(), b"old");
        keys.rotate(HALF_DAY).unwrap();
        let both = TicketKeys::from_bytes(&keys.to_bytes()).unwrap();
        assert_eq!(both.open(&old).unwrap().as_slice(), b"old");
        assert_eq!(both.open(&keys.seal(b"new").unwrap()).unwrap().as_slice(), b"new");
        for bad in
            [&b""[..], b"\x01", b"\x02", &keys.to_bytes()[..60], &[&keys.to_bytes()[..], b"x"].concat()]
        {
            assert!(TicketKeys::from_bytes(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn forged_tickets_are_refused() {
        let keys = TicketKeys::new(0).unwrap();
        let ticket = keys.seal(b"state").unwrap();
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert!(keys.open(&forged).is_none(), "byte {at}");
            assert!(keys.open(&ticket[..at]).is_none(), "length {at}");
        }
    }

    #[test]
    fn a_long_sleep_leaves_no_old_key() {
        let keys = TicketKeys::new(0).unwrap();
        let ticket = keys.seal(b"state").unwrap();
        keys.rotate(10 * HALF_DAY).unwrap();
        assert!(keys.open(&ticket).is_none());
    }
}
