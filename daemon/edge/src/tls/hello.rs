//! The one thing that must be known of a ClientHello (RFC 8446, section 4.1.2) before the TLS library sees
//! it: whether the client prefers ChaCha20, as those do whose processor has no instructions for AES.

use super::protect::{HANDSHAKE, HEADER_LEN};

const CLIENT_HELLO: u8 = 1;
/// Type and length of a handshake message.
const MESSAGE_HEADER_LEN: usize = 4;
/// legacy_version and random.
const VERSION_AND_RANDOM_LEN: usize = 2 + 32;
/// All suites with ChaCha20 and an ECDHE or TLS 1.3 key exchange.
const CHACHA20: [[u8; 2]; 4] = [[0x13, 0x03], [0xcc, 0xa8], [0xcc, 0xa9], [0xcc, 0xaa]];

/// True if the first suite of a record that begins with a ClientHello is one with ChaCha20. What is no
/// ClientHello, or is cut before its suites end, prefers nothing: the library will find out.
pub(super) fn prefers_chacha20(record: &[u8]) -> bool {
    suites(record).is_some_and(|suites| {
        let (suites, _) = suites.as_chunks::<2>();
        suites.iter().find(|suite| !is_grease(**suite)).is_some_and(|first| CHACHA20.contains(first))
    })
}

fn suites(record: &[u8]) -> Option<&[u8]> {
    let (header, message) = record.split_at_checked(HEADER_LEN)?;
    let (message_header, hello) = message.split_at_checked(MESSAGE_HEADER_LEN)?;
    if (header.first(), message_header.first()) != (Some(&HANDSHAKE), Some(&CLIENT_HELLO)) {
        return None;
    }
    let (_, session) = hello.split_at_checked(VERSION_AND_RANDOM_LEN)?;
    let (length, session) = session.split_first()?;
    let (_, suites) = session.split_at_checked(usize::from(*length))?;
    let (length, suites) = suites.split_first_chunk::<2>()?;
    suites.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Values that mean nothing: clients send them so that servers stay used to what they do not know (RFC 8701).
fn is_grease([high, low]: [u8; 2]) -> bool {
    high == low && high & 0x0f == 0x0a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(suites: &[u8]) -> Vec<u8> {
        let mut hello = [[3u8; VERSION_AND_RANDOM_LEN].as_slice(), &[2, 7, 7]].concat();
        hello.extend([0, u8::try_from(suites.len()).expect("short")]);
        hello.extend(suites);
        hello.extend([1, 0, 0, 0]);
        let length = u8::try_from(hello.len()).expect("short");
        [&[HANDSHAKE, 3, 1, 0, length + 4, CLIENT_HELLO, 0, 0, length], hello.as_slice()].concat()
    }

    #[test]
    fn the_first_suite_that_means_something_decides() {
        assert!(prefers_chacha20(&record(&[0x13, 0x03, 0x13, 0x01])));
        assert!(prefers_chacha20(&record(&[0x6a, 0x6a, 0xcc, 0xa9, 0x13, 0x01])), "GREASE is passed over");
        assert!(!prefers_chacha20(&record(&[0x13, 0x01, 0x13, 0x03])));
        assert!(!prefers_chacha20(&record(&[])));
    }

    #[test]
    fn what_is_cut_or_something_else_prefers_nothing() {
        let whole = record(&[0x13, 0x03]);
        let suites_end = whole.len() - 4;
        for end in 0..suites_end {
            assert!(!prefers_chacha20(&whole[..end]), "{end}");
        }
        assert!(prefers_chacha20(&whole[..suites_end]));
        for (at, byte) in [(0, 23), (HEADER_LEN, 2)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert!(!prefers_chacha20(&other));
        }
    }
}
