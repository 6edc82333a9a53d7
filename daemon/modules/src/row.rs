//! One archived message: a small header before the rendered stanza.
//!
//! Layout, version 1: version (1) | flags (1) | length of `with` (2, big-endian) | length of `resource` (2) |
//! `with` | `resource` | stanza. The time is the key's; the stanza is complete XML without stanza id and
//! delay, which depend on the reader.

use sha2::{Digest, Sha256};

const VERSION: u8 = 1;
const INCOMING: u8 = 1;
const HIDDEN: u8 = 2;
const COPIED: u8 = 4;
const HEADER: usize = 6;

/// A row, borrowed from its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row<'a> {
    /// Sent to the account (otherwise by it). Only these are delivered.
    pub incoming: bool,
    /// Stored for delivery alone: no part of the history that clients query.
    pub hidden: bool,
    /// The account's other sessions get copies of it (XEP-0280).
    pub copied: bool,
    /// Bare JID of the other side.
    pub with: &'a str,
    /// Resource it was addressed to; empty for the bare JID.
    pub resource: &'a str,
    /// The rendered stanza.
    pub stanza: &'a [u8],
}

impl<'a> Row<'a> {
    /// Its bytes. A JID's parts are at most 1,023 bytes, so that the lengths fit.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.with.len() + self.resource.len() + self.stanza.len());
        out.push(VERSION);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let kind = flag(self.incoming, INCOMING);
        out.push(kind | flag(self.hidden, HIDDEN) | flag(self.copied, COPIED));
        for text in [self.with, self.resource] {
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        }
        out.extend_from_slice(self.with.as_bytes());
        out.extend_from_slice(self.resource.as_bytes());
        out.extend_from_slice(self.stanza);
        out
    }

    /// The hash by which it is found; what is no history is not looked for.
    pub fn index(&self) -> Option<u64> {
        (!self.hidden).then(|| with_hash(self.with))
    }

    /// From its bytes; `None` if they are none (a damaged store, or a newer version).
    pub fn decode(bytes: &'a [u8]) -> Option<Row<'a>> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let &[version, flags, w0, w1, r0, r1] = header else { return None };
        if version != VERSION {
            return None;
        }
        let (with, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([w0, w1])))?;
        let (resource, stanza) = rest.split_at_checked(usize::from(u16::from_be_bytes([r0, r1])))?;
        Some(Row {
            incoming: flags & INCOMING != 0,
            hidden: flags & HIDDEN != 0,
            copied: flags & COPIED != 0,
            with: std::str::from_utf8(with).ok()?,
            resource: std::str::from_utf8(resource).ok()?,
            stanza,
        })
    }
}

/// Hash of a bare JID in the keys of [`godwit_store::Cf::With`]: the first eight bytes of its SHA-256. It is
/// stored, so it never changes; two addresses may share one.
pub fn with_hash(bare: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bare.as_bytes()).into();
    digest.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let row = Row {
            incoming: true,
            hidden: false,
            copied: false,
            with: "a@b",
            resource: "phone",
            stanza: b"<message></message>",
        };
        for (incoming, hidden) in [(false, false), (false, true), (true, false), (true, true)] {
            for copied in [false, true] {
                let row = Row { incoming, hidden, copied, ..row };
                assert_eq!(Row::decode(&row.encode()), Some(row));
            }
        }
        let bytes = row.encode();
        for n in 0..HEADER + 8 {
            assert_eq!(Row::decode(&bytes[..n]), None, "{n} bytes");
        }
    }

    #[test]
    fn hashes_are_those_that_are_stored() {
        assert_eq!(with_hash("bob@example.org"), 0x686b_5e4c_f4f9_63ad);
        let row = Row { incoming: true, hidden: true, with: "bob@example.org", ..Row::default() };
        assert_eq!(row.index(), None);
        assert_eq!(Row { hidden: false, ..row }.index(), Some(0x686b_5e4c_f4f9_63ad));
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Row::default().encode();
        bytes[0] = 2;
        assert_eq!(Row::decode(&bytes), None);
    }
}
