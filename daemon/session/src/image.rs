//! Forms in which parts of a connection are handed over to the next binary (in-place upgrade).
//!
//! The state itself derives its form; here is what needs one of its own, because it has private invariants or
//! points to static text. Reading checks what was written and gives an error, never a panic; it allocates no
//! more than there are bytes. Any change to a form, or to one that is derived from it, is a new version of
//! the hand-over format: `daemon/server/src/handover/FORMAT.md`.
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Bytes in one piece rather than one by one; for `#[serde(with)]`.
pub mod bytes {
    use super::{Deserializer, Serializer};

    /// As they are.
    pub fn serialize<T: AsRef<[u8]>, S: Serializer>(bytes: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes.as_ref())
    }

    /// The same.
    pub fn deserialize<'de, T: From<Vec<u8>>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        from.deserialize_bytes(super::Bytes).map(T::from)
    }
}

struct Bytes;

impl de::Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// A stanza that is shared; each reader gets a copy of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shared(#[serde(with = "bytes")] pub Arc<[u8]>);

/// Several of them, in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stanzas(pub Vec<Shared>);

/// Key material: wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        from.deserialize_bytes(Bytes).map(|bytes| Secret(Zeroizing::new(bytes)))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// An address as it is written. It has a name, as the two that follow, so that whoever looks at the forms by
/// type alone can be given one that passes the checks.
#[derive(Serialize, Deserialize)]
pub struct Address<'t>(pub &'t str);

/// A framer as it is written.
#[derive(Serialize, Deserialize)]
pub struct FramerBytes(pub [u8; 32]);

/// A cipher suite as it is written.
#[derive(Serialize, Deserialize)]
pub struct SuiteName<'t>(pub &'t str);

/// Addresses, as text; read back with all checks.
pub mod jid {
    use super::{Address, Deserialize, Deserializer, Serialize, Serializer, de};
    use godwit_wire::Jid;

    /// Its text.
    pub fn serialize<S: Serializer>(jid: &Jid, to: S) -> Result<S::Ok, S::Error> {
        Address(jid.as_str()).serialize(to)
    }

    /// From its text.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Jid, D::Error> {
        let Address(text) = Address::deserialize(from)?;
        Jid::parse(text).map_err(|_| de::Error::custom("not an address"))
    }
}

pub(crate) mod framer {
    use super::{Deserialize, Deserializer, FramerBytes, Serialize, Serializer, de};
    use godwit_wire::Framer;

    pub(crate) fn serialize<S: Serializer>(framer: &Framer, to: S) -> Result<S::Ok, S::Error> {
        FramerBytes(framer.to_bytes()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Framer, D::Error> {
        let FramerBytes(bytes) = FramerBytes::deserialize(from)?;
        Framer::from_bytes(&bytes).ok_or_else(|| de::Error::custom("not a framer"))
    }
}

pub(crate) mod scope {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use godwit_wire::Scope;

    type Parts = Option<(String, Vec<(Box<str>, Box<str>)>)>;

    pub(crate) fn serialize<S: Serializer>(scope: &Option<Box<Scope>>, to: S) -> Result<S::Ok, S::Error> {
        let parts: Parts = scope.as_ref().map(|scope| {
            let prefixes = scope.extra_prefixes().map(|(prefix, uri)| (prefix.into(), uri.into()));
            (scope.content().to_owned(), prefixes.collect())
        });
        parts.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<Scope>>, D::Error> {
        let parts = Parts::deserialize(from)?;
        Ok(parts.map(|(content, prefixes)| Box::new(Scope::of(&content, prefixes))))
    }
}

pub(crate) mod suite {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SuiteName, de};

    /// Those that any version of this server has offered.
    const NAMES: [&str; 9] = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ];

    pub(crate) fn serialize<S: Serializer>(name: &&'static str, to: S) -> Result<S::Ok, S::Error> {
        SuiteName(name).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
        let SuiteName(name) = SuiteName::deserialize(from)?;
        let known = NAMES.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| de::Error::custom("a cipher suite that is not known here"))
    }
}

/// Bytes that grow without ever being moved, because they hold secrets: a vector that grows leaves copies
/// behind. Wiped when dropped.
#[derive(Default)]
pub struct Pieces {
    list: Vec<Zeroizing<Vec<u8>>>,
}

/// Bytes of one piece.
const PIECE_BYTES: usize = 64 << 10;

impl Pieces {
    /// In order.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.list.iter().map(|piece| piece.as_slice())
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.list.iter().map(|piece| piece.len() as u64).sum()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them in one piece (tests, and what is small).
    pub fn joined(&self) -> Zeroizing<Vec<u8>> {
        let mut all = Zeroizing::new(Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0)));
        self.each().for_each(|piece| all.extend_from_slice(piece));
        all
    }
}

impl std::io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = |piece: &Zeroizing<Vec<u8>>| PIECE_BYTES.saturating_sub(piece.len());
        if self.list.last().is_none_or(|last| room(last) == 0) {
            self.list.push(Zeroizing::new(Vec::with_capacity(PIECE_BYTES)));
        }
        let Some(last) = self.list.last_mut() else { return Ok(0) };
        let fits = bytes.get(..room(last)).unwrap_or(bytes);
        last.extend_from_slice(fits);
        Ok(fits.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn pieces_never_move_and_keep_order() {
        let mut pieces = Pieces::default();
        let whole: Vec<u8> = (0..300_000u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
        for part in whole.chunks(7_001) {
            pieces.write_all(part).expect("memory");
        }
        assert_eq!(*pieces.joined(), whole);
        assert_eq!(pieces.len(), whole.len() as u64);
        assert!(pieces.list.iter().all(|piece| piece.capacity() == PIECE_BYTES));
    }
}
