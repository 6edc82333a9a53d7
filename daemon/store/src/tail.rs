//! The end of a write-ahead log after a power loss: tells a torn last round from damage.
//!
//! RocksDB opens a log that ends too early, but refuses one whose last record has its full length with holes
//! in it. That is what a disk leaves that wrote the pages of a large round out of order before the power
//! went. Never more than one round is unsynced (`writer.rs`), and nobody was told that this one is durable,
//! so the log may be cut before it, if all of this is so:
//!
//! * no record begins behind the first damage: what was synced later would be lost with it;
//! * every damaged part shows a sector of zeros, which is what a file system gives for what was not written,
//!   or is a record that the file's end cuts short. A flipped bit is neither, and stays a reason to refuse;
//! * not more is cut than one round can be.
//!
//! The format: blocks of 32 KiB; in them records of checksum (4), length (2), type (1) and content; a round
//! is one record of type `FULL`, or several, `FIRST`, any number of `MIDDLE`, `LAST`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
const SECTOR: usize = 512;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// More than a round can be: twice what it takes before its last transaction, and a large one.
const CUT_BYTES_MAX: usize = 32 << 20;
/// Logs that are looked at; RocksDB's are cut long before.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// One record of a block.
struct Record {
    kind: u8,
    end: usize,
    good: bool,
}

/// Where the torn last round of a log begins; `None` if the log is whole, or damaged in another way.
pub(crate) fn torn_at(log: &[u8]) -> Option<usize> {
    // The end of the last whole round before anything that is not right.
    let mut sound = 0;
    let mut damaged = None;
    let mut at = 0;
    while at < log.len() {
        match record(log, at) {
            Some(record) if record.good => {
                // Also what RocksDB writes at the head of a log, of other types.
                if record.kind != FIRST && record.kind != LAST - 1 {
                    sound = record.end;
                }
                at = record.end;
            }
            // The rest of the block is too short for a header, and filled with zeros.
            None if block_end(log, at) - at < HEADER => at = block_end(log, at),
            _ => {
                damaged = Some(at);
                break;
            }
        }
    }
    let damaged = damaged?;
    let begins_later = (damaged + 1..log.len()).any(|at| begins_round(log, at));
    (log.len() - sound <= CUT_BYTES_MAX && !begins_later && holes_only(log, damaged)).then_some(sound)
}

/// Cuts a torn last round off the newest log of a directory and keeps what was cut beside it. True if there
/// was one.
pub(crate) fn cut_torn_round(directory: &Path) -> io::Result<bool> {
    let names = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let Some(path) = names.filter(|path| path.extension().is_some_and(|e| e == "log")).max() else {
        return Ok(false);
    };
    if fs::metadata(&path)?.len() > LOG_BYTES_MAX {
        return Ok(false);
    }
    let log = fs::read(&path)?;
    let Some(sound) = torn_at(&log) else { return Ok(false) };
    let kept = path.with_extension("log.torn");
    fs::write(&kept, log.get(sound..).unwrap_or_default())?;
    File::open(&kept)?.sync_all()?;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(sound as u64)?;
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(true)
}

fn block_end(log: &[u8], at: usize) -> usize {
    ((at / BLOCK + 1) * BLOCK).min(log.len())
}

/// The record at a place; `None` if none fits there.
fn record(log: &[u8], at: usize) -> Option<Record> {
    let block = log.get(at..block_end(log, at))?;
    let (header, rest) = block.split_first_chunk::<HEADER>()?;
    let &[c0, c1, c2, c3, l0, l1, kind] = header;
    let content = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    let good = kind != 0 && u32::from_le_bytes([c0, c1, c2, c3]) == checksum(kind, content);
    Some(Record { kind, end: at + HEADER + content.len(), good })
}

fn begins_round(log: &[u8], at: usize) -> bool {
    let kind = log.get(at + HEADER - 1);
    kind.is_some_and(|kind| *kind == FULL || *kind == FIRST)
        && record(log, at).is_some_and(|record| record.good)
}

/// Whether every damaged part from here on shows zeros.
fn holes_only(log: &[u8], mut at: usize) -> bool {
    while at < log.len() {
        let end = block_end(log, at);
        match record(log, at) {
            Some(record) if record.good => at = record.end,
            _ if end - at < HEADER => at = end,
            Some(record) if record.kind != 0 => {
                if !shows_zeros(log, at, record.end) {
                    return false;
                }
                at = record.end;
            }
            // No header: nothing says where the next record of this block is.
            _ => {
                if !shows_zeros(log, at, end) && !is_cut_short(log, at) {
                    return false;
                }
                at = end;
            }
        }
    }
    true
}

/// Whether the file ends within the record that begins here.
fn is_cut_short(log: &[u8], at: usize) -> bool {
    let Some(&[.., l0, l1, kind]) = log.get(at..at + HEADER) else { return true };
    let end = at + HEADER + usize::from(u16::from_le_bytes([l0, l1]));
    (FULL..=LAST).contains(&kind) && end > log.len() && end <= (at / BLOCK + 1) * BLOCK
}

/// Whether a sector that reaches into these bytes is nothing but zeros.
fn shows_zeros(log: &[u8], from: usize, to: usize) -> bool {
    let sectors = (from / SECTOR * SECTOR..to).step_by(SECTOR);
    let sector = |at: usize| log.get(at..(at + SECTOR).min(log.len())).unwrap_or_default();
    sectors.map(sector).any(|sector| sector.iter().all(|byte| *byte == 0))
}

/// CRC-32C of type and content, masked as RocksDB does.
fn checksum(kind: u8, content: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let at = usize::from(crc.to_le_bytes()[0] ^ byte);
        TABLE.get(at).copied().unwrap_or(0) ^ (crc >> 8)
    };
    let crc = !content.iter().fold(step(u32::MAX, &kind), step);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n: u32 = 0;
    while n < 256 {
        let mut crc = n;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of one round for each length.
    fn log(rounds: &[usize]) -> Vec<u8> {
        let mut log = Vec::new();
        for (n, len) in rounds.iter().enumerate() {
            let content = vec![b'a' + u8::try_from(n).unwrap(); *len];
            let (mut rest, mut first) = (&content[..], true);
            loop {
                let room = BLOCK - log.len() % BLOCK;
                if room < HEADER {
                    log.extend(vec![0; room]);
                    continue;
                }
                let (part, behind) = rest.split_at(rest.len().min(room - HEADER));
                rest = behind;
                let kind = match (first, rest.is_empty()) {
                    (true, true) => FULL,
                    (true, false) => FIRST,
                    (false, false) => LAST - 1,
                    (false, true) => LAST,
                };
                log.extend(checksum(kind, part).to_le_bytes());
                log.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
                log.push(kind);
                log.extend(part);
                first = false;
                if rest.is_empty() {
                    break;
                }
            }
        }
        log
    }

    #[test]
    fn the_checksum_is_the_one_of_rocksdb() {
        // CRC-32C of "123456789" is e3069283.
        assert_eq!(checksum(b'1', b"23456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn holes_in_the_last_round_alone_are_torn() {
        let rounds = [300, 40_000, 200_000];
        let (whole, begin) = (log(&rounds), log(&rounds[..2]).len());
        assert_eq!(torn_at(&whole), None);
        for page in begin / 4_096 + 1..whole.len() / 4_096 {
            let mut torn = whole.clone();
            torn[page * 4_096..(page + 1) * 4_096].fill(0);
            assert_eq!(torn_at(&torn), Some(begin), "page {page}");
        }
        let mut torn = whole.clone();
        torn[begin..].fill(0);
        assert_eq!(torn_at(&torn), Some(begin));
    }

    #[test]
    fn a_hole_and_a_short_end_are_torn() {
        let rounds = [300, 40_000, 200_000];
        let (mut torn, begin) = (log(&rounds), log(&rounds[..2]).len());
        torn.truncate(torn.len() - 700);
        torn[90_112..94_208].fill(0);
        assert_eq!(torn_at(&torn), Some(begin));
    }

    #[test]
    fn a_flipped_bit_is_damage_wherever_it_is() {
        let whole = log(&[300, 40_000, 200_000]);
        for at in (0..whole.len()).step_by(997) {
            let mut bad = whole.clone();
            bad[at] ^= 0x10;
            assert_eq!(torn_at(&bad), None, "at {at}");
        }
    }

    #[test]
    fn holes_before_a_later_round_are_damage() {
        let rounds = [300, 100_000, 20, 20];
        let (whole, end) = (log(&rounds), log(&rounds[..2]).len());
        for page in 0..end / 4_096 {
            let mut bad = whole.clone();
            bad[page * 4_096..(page + 1) * 4_096].fill(0);
            assert_eq!(torn_at(&bad), None, "page {page}");
        }
    }
}
