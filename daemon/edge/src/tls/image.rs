//! A [`Record`] as bytes, for the in-place upgrade: a fixed layout that begins with its version.
//!
//! version · TLS version (2 or 3) · cipher · flags (1 peer closed, 2 we closed) · KeyUpdates · empty
//! records · warnings · split KeyUpdate (length, 5 bytes) · sending, then receiving: sequence (big-endian,
//! 8), secret (48), key (32), IV (12). These bytes are secrets: they are kept in memory that is wiped, and
//! never on a disk.

use super::protect::{Cipher, Direction, Suite};
use super::record::{Counts, Partial, Record};
use godwit_session::TlsVersion;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const DIRECTION_LEN: usize = 8 + 48 + 32 + 12;

impl Record {
    /// Bytes of a serialised record layer.
    pub const BYTES: usize = 13 + 2 * DIRECTION_LEN;

    /// The state as bytes. The connection goes on from these or from `self`, not from both.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let Partial { bytes: partial, len } = self.partial;
        let flags = u8::from(self.peer_closed) | u8::from(self.we_closed) << 1;
        let version = match self.suite.version {
            TlsVersion::Tls12 => 2,
            TlsVersion::Tls13 => 3,
        };
        let Counts { key_updates, empty_records, warnings } = self.counts;
        let head =
            [VERSION, version, self.suite.cipher as u8, flags, key_updates, empty_records, warnings, len];
        let [send, receive] = [&self.send, &self.receive];
        let numbers = [send, receive].map(|direction| direction.sequence.to_be_bytes());
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        let mut rest = bytes.as_mut_slice();
        for field in [
            head.as_slice(),
            &partial,
            &numbers[0],
            &send.secret,
            &send.key,
            &send.iv,
            &numbers[1],
            &receive.secret,
            &receive.key,
            &receive.iv,
        ] {
            let (place, behind) = std::mem::take(&mut rest).split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = behind;
        }
        bytes
    }

    /// The state of [`Record::to_bytes`]; `None` for what that cannot have written.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let [version, tls, cipher, flags, key_updates, empty_records, warnings, len] = reader.take()?;
        let partial = Partial { bytes: reader.take()?, len };
        let version_known = version == VERSION && flags <= 3 && usize::from(len) < partial.bytes.len();
        let tls = match tls {
            2 => TlsVersion::Tls12,
            3 => TlsVersion::Tls13,
            _ => return None,
        };
        let suite = Suite { version: tls, cipher: Cipher::from_number(cipher)? };
        let (send, receive) = (reader.direction()?, reader.direction()?);
        version_known.then(|| Record {
            send,
            receive,
            suite,
            counts: Counts { key_updates, empty_records, warnings },
            partial,
            peer_closed: flags & 1 != 0,
            we_closed: flags & 2 != 0,
        })
    }
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn direction(&mut self) -> Option<Direction> {
        let sequence = u64::from_be_bytes(self.take()?);
        Some(Direction { sequence, secret: self.take()?, key: self.take()?, iv: self.take()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand as the module's documentation says. What it does not say any more is another version.
    #[test]
    fn the_layout_is_that_of_version_1() {
        let fields: [&[u8]; 9] = [
            &[1, 3, 2, 1, 4, 5, 3, 2, 24, 0, 0, 0, 0],
            &7u64.to_be_bytes(),
            &[8; 48],
            &[9; 32],
            &[10; 12],
            &(1u64 << 40).to_be_bytes(),
            &[11; 48],
            &[12; 32],
            &[13; 12],
        ];
        let bytes: [u8; Record::BYTES] = fields.concat().try_into().expect("its length");
        let record = Record::from_bytes(&bytes).expect("a record layer");
        assert_eq!(record.suite, Suite { version: TlsVersion::Tls13, cipher: Cipher::Aes256Gcm });
        let Counts { key_updates, empty_records, warnings } = record.counts;
        assert_eq!((key_updates, empty_records, warnings), (4, 5, 3));
        assert_eq!((record.partial.len, record.partial.bytes), (2, [24, 0, 0, 0, 0]));
        assert!(record.peer_closed && !record.we_closed);
        let parts = |of: &Direction| (of.sequence, of.secret, of.key, of.iv);
        assert_eq!(parts(&record.send), (7, [8; 48], [9; 32], [10; 12]));
        assert_eq!(parts(&record.receive), (1 << 40, [11; 48], [12; 32], [13; 12]));
        assert_eq!(*record.to_bytes(), bytes);
    }
}
