//! Tests of the format: snapshots of released versions are read, and damaged ones are refused.
use super::*;
use proptest::prelude::*;
use std::io::Cursor;

/// Written by a daemon of format 1 (how: `FORMAT.md`): 14 connections of both TLS versions and none, in the
/// middle of a stanza, of a SASL exchange and before the first byte, with stream management, held traffic,
/// directed presence; two sessions wait for their clients.
const FORMAT_1: &[u8] = include_bytes!("../../tests/fixtures/handover-1.bin");

fn examined(bytes: &[u8]) -> Result<(u64, u64), FormatError> {
    examine(&mut Cursor::new(bytes), bytes.len() as u64)
}

/// The table's entries: where each body is.
fn bodies(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let count = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
    let mut at = HEAD + count * ENTRY + SUM;
    (0..count)
        .map(|entry| {
            let place = HEAD + entry * ENTRY + 4;
            let length = u64::from_be_bytes(bytes[place..place + 8].try_into().expect("eight"));
            let start = at;
            at += usize::try_from(length).expect("small");
            start..at
        })
        .collect()
}

/// With right checksums, whatever was done to the bodies.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let bodies = bodies(&bytes);
    for (entry, body) in bodies.iter().enumerate() {
        let own = sum([&bytes[body.clone()]].into_iter());
        let place = HEAD + entry * ENTRY + 12;
        bytes[place..place + SUM].copy_from_slice(&own);
    }
    let table = HEAD + bodies.len() * ENTRY;
    let own = sum([&bytes[..table]].into_iter());
    bytes[table..table + SUM].copy_from_slice(&own);
    bytes
}

#[test]
fn a_snapshot_of_format_1_is_read() {
    let snapshot = read(&mut Cursor::new(FORMAT_1), FORMAT_1.len() as u64).expect("read");
    assert_eq!((snapshot.common.from.as_str(), snapshot.common.shards), ("0.1.0", 2));
    assert_eq!(examined(FORMAT_1).expect("read"), (14, 10));
    let waiting = |shard: &ShardParts<Zeroizing<Vec<u8>>>| {
        godwit_modules::handover::count_waiting(&shard.waiting).expect("read")
    };
    assert_eq!(snapshot.shards.iter().map(waiting).sum::<u64>(), 2);
}

#[test]
fn the_form_of_the_process_is_that_on_file() {
    crate::forms::compare::<Common>(env!("CARGO_MANIFEST_DIR"));
}

/// So that a form cannot be filed as another version's without that being written and read.
#[test]
fn each_version_has_its_forms_on_file_and_its_snapshot() {
    for part in ["", "/../edge", "/../modules"] {
        let (version, file) = crate::forms::newest(&format!("{}{part}", env!("CARGO_MANIFEST_DIR")));
        assert_eq!(version, WRITES, "{}", file.display());
    }
    for version in READS {
        let file = format!("{}/tests/fixtures/handover-{version}.bin", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&file).expect(&file);
        assert_eq!(bytes[16..18], version.to_be_bytes(), "{file}");
        examined(&bytes).expect(&file);
    }
}

#[test]
fn another_version_is_refused_with_its_number() {
    let mut bytes = FORMAT_1.to_vec();
    bytes[17] = 9;
    let error = examined(&bytes).expect_err("refused");
    assert_eq!(error.to_string(), "a hand-over of format 9; this binary reads [1]");
    assert!(matches!(examined(b"godwit-hand").expect_err("refused"), FormatError::Foreign));
    assert!(matches!(examined(&[0; 4096]).expect_err("refused"), FormatError::Foreign));
}

#[test]
fn a_truncated_one_is_refused_wherever_it_ends() {
    for length in (0..FORMAT_1.len()).step_by(37) {
        assert!(examined(&FORMAT_1[..length]).is_err(), "{length}");
    }
    let longer = [FORMAT_1, b"x"].concat();
    assert!(matches!(examined(&longer).expect_err("refused"), FormatError::Damaged(_)));
}

#[test]
fn a_table_that_promises_too_much_allocates_nothing() {
    let mut bytes = FORMAT_1.to_vec();
    bytes[HEAD + 4..HEAD + 12].copy_from_slice(&(u64::MAX / 2).to_be_bytes());
    let count = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
    let table = HEAD + count * ENTRY;
    let own = sum([&bytes[..table]].into_iter());
    bytes[table..table + SUM].copy_from_slice(&own);
    assert!(matches!(examined(&bytes).expect_err("refused"), FormatError::Damaged(_)));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_noticed(at in 0..FORMAT_1.len(), bit in 0..8u8) {
        let mut bytes = FORMAT_1.to_vec();
        bytes[at] ^= 1 << bit;
        prop_assert!(examined(&bytes).is_err());
    }

    /// As if somebody had written nonsense: an error, or another snapshot, but never a panic.
    #[test]
    fn nonsense_with_a_right_checksum_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = FORMAT_1.to_vec();
        let start = bodies(&bytes)[0].start;
        for (at, value) in changes {
            let place = start + at.index(bytes.len() - start);
            bytes[place] = value;
        }
        let _either = examined(&signed(bytes));
    }
}
