//! The hand-over as bytes: a table of sections with checksums, then the sections. See `FORMAT.md`.
//!
//! Reading gives an error for whatever is not as it was written, looks at no byte before its checksum fits,
//! and allocates no more than the file has bytes.
use super::Common;
use aws_lc_rs::digest::{Context, SHA256};
use godwit_modules::handover::HubImage;
use godwit_session::image::Pieces;
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// Version that this binary writes.
pub const WRITES: u16 = 1;
/// Versions that it reads: its own and the one before.
pub const READS: &[u16] = &[1];

const MAGIC: &[u8; 16] = b"godwit-handover\n";
const SUM: usize = 32;
const HEAD: usize = MAGIC.len() + 2 + 2;
const ENTRY: usize = 2 + 2 + 8 + SUM;
/// Sections: two for each of at most so many shards, and two more.
const SECTIONS_MAX: usize = 2 * 4_096 + 2;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Common = 1,
    Hub = 2,
    Connections = 3,
    Waiting = 4,
}

/// Why a hand-over cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It is something else.
    #[error("not a hand-over")]
    Foreign,
    /// Another version of the format.
    #[error("a hand-over of format {0}; this binary reads {READS:?}")]
    Version(u16),
    /// Bytes are missing, or there are too many, or a checksum is wrong.
    #[error("the hand-over is damaged: {0}")]
    Damaged(&'static str),
    /// A section has its checksum and makes no sense.
    #[error("the hand-over makes no sense: {0}")]
    Nonsense(String),
    /// It could not be read.
    #[error("the hand-over could not be read: {0}")]
    Io(#[from] io::Error),
}

/// One shard's two sections.
pub struct ShardParts<B> {
    /// Connections, `godwit_edge::handover`.
    pub connections: B,
    /// Sessions that wait, `godwit_modules::handover`.
    pub waiting: B,
}

/// A hand-over that was read. Sections of shards are read further by their shards.
pub struct Snapshot {
    /// The process.
    pub common: Common,
    /// The hub, until it is taken.
    pub hub: Option<HubImage>,
    /// By number.
    pub shards: Vec<ShardParts<Zeroizing<Vec<u8>>>>,
}

fn pieces(value: &impl serde::Serialize) -> io::Result<Pieces> {
    let mut pieces = Pieces::default();
    postcard::to_io(value, &mut pieces).map_err(io::Error::other)?;
    Ok(pieces)
}

fn sum<'a>(bytes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    bytes.for_each(|piece| context.update(piece));
    context.finish().as_ref().to_vec()
}

/// Writes a hand-over; gives its length.
pub fn write(
    to: &mut impl Write,
    common: &Common,
    hub: &HubImage,
    shards: &[ShardParts<Pieces>],
) -> io::Result<u64> {
    let (common, hub) = (pieces(common)?, pieces(hub)?);
    let mut sections = vec![(Kind::Common, 0u16, &common), (Kind::Hub, 0, &hub)];
    for (number, shard) in (0u16..).zip(shards) {
        sections.push((Kind::Connections, number, &shard.connections));
        sections.push((Kind::Waiting, number, &shard.waiting));
    }
    // Checksums are most of the work: each on a thread of its own.
    let sums: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let each = sections.iter().map(|(_, _, body)| scope.spawn(|| sum(body.each())));
        each.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let count = u16::try_from(sections.len()).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(HEAD + sections.len() * ENTRY + SUM);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&WRITES.to_be_bytes());
    head.extend_from_slice(&count.to_be_bytes());
    for ((kind, number, body), sum) in sections.iter().zip(&sums) {
        head.extend_from_slice(&(*kind as u16).to_be_bytes());
        head.extend_from_slice(&number.to_be_bytes());
        head.extend_from_slice(&body.len().to_be_bytes());
        head.extend_from_slice(sum);
    }
    let own = sum([head.as_slice()].into_iter());
    head.extend_from_slice(&own);
    to.write_all(&head)?;
    let mut length = head.len() as u64;
    for (_, _, body) in sections {
        body.each().try_for_each(|piece| to.write_all(piece))?;
        length += body.len();
    }
    Ok(length)
}

struct Section {
    kind: u16,
    number: u16,
    body: Zeroizing<Vec<u8>>,
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FormatError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(FormatError::Damaged("it ends in its table"))?;
    *bytes = rest;
    Ok(*taken)
}

fn exactly(from: &mut impl Read, length: u64, left: &mut u64) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    *left = left.checked_sub(length).ok_or(FormatError::Damaged("it is too short"))?;
    let size = usize::try_from(length).map_err(|_| FormatError::Damaged("a section is too long"))?;
    // In one allocation, so that no copies are left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    from.by_ref().take(length).read_to_end(&mut bytes)?;
    if bytes.len() == size { Ok(bytes) } else { Err(FormatError::Damaged("it is too short")) }
}

fn sections(from: &mut impl Read, length: u64) -> Result<Vec<Section>, FormatError> {
    let mut left = length;
    let head = exactly(from, HEAD as u64, &mut left).map_err(|_| FormatError::Foreign)?;
    let mut fields = head.as_slice();
    if take::<16>(&mut fields)? != *MAGIC {
        return Err(FormatError::Foreign);
    }
    let version = u16::from_be_bytes(take(&mut fields)?);
    if !READS.contains(&version) {
        return Err(FormatError::Version(version));
    }
    let count = usize::from(u16::from_be_bytes(take(&mut fields)?));
    if count > SECTIONS_MAX {
        return Err(FormatError::Damaged("it has too many sections"));
    }
    let table = exactly(from, (count * ENTRY + SUM) as u64, &mut left)?;
    let (entries, own) = table.split_at(count * ENTRY);
    if sum([head.as_slice(), entries].into_iter()) != own {
        return Err(FormatError::Damaged("the checksum of its table is wrong"));
    }
    let mut fields = entries;
    let mut sections = Vec::with_capacity(count);
    for _ in 0..count {
        let (kind, number) = (u16::from_be_bytes(take(&mut fields)?), u16::from_be_bytes(take(&mut fields)?));
        let length = u64::from_be_bytes(take(&mut fields)?);
        let right: [u8; SUM] = take(&mut fields)?;
        let body = exactly(from, length, &mut left)?;
        if sum([body.as_slice()].into_iter()) != right {
            return Err(FormatError::Damaged("the checksum of a section is wrong"));
        }
        sections.push(Section { kind, number, body });
    }
    if left == 0 { Ok(sections) } else { Err(FormatError::Damaged("something is behind its end")) }
}

fn parse<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, FormatError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(FormatError::Nonsense("something is behind the end of a section".into())),
        Err(error) => Err(FormatError::Nonsense(error.to_string())),
    }
}

/// Reads a hand-over of so many bytes.
pub fn read(from: &mut impl Read, length: u64) -> Result<Snapshot, FormatError> {
    let nonsense = |what: &str| FormatError::Nonsense(what.into());
    let mut sections = sections(from, length)?.into_iter();
    let mut next = |kind: Kind, number: u16| match sections.next() {
        Some(section) if section.kind == kind as u16 && section.number == number => Ok(section.body),
        _ => Err(nonsense("a section is missing, or in another's place")),
    };
    let common: Common = parse(&next(Kind::Common, 0)?)?;
    let hub: HubImage = parse(&next(Kind::Hub, 0)?)?;
    let mut shards = Vec::new();
    for number in 0..common.shards {
        let (connections, waiting) = (next(Kind::Connections, number)?, next(Kind::Waiting, number)?);
        shards.push(ShardParts { connections, waiting });
    }
    if sections.next().is_some() {
        return Err(nonsense("there are more sections than shards"));
    }
    Ok(Snapshot { common, hub: Some(hub), shards })
}

/// Reads all of a hand-over, down to the last connection, and takes nothing over: how many connections and
/// sessions it has.
pub fn examine(from: &mut impl Read, length: u64) -> Result<(u64, u64), FormatError> {
    let snapshot = read(from, length)?;
    let nonsense = |error: &dyn std::fmt::Display| FormatError::Nonsense(error.to_string());
    let mut connections = 0;
    for shard in &snapshot.shards {
        connections +=
            godwit_edge::handover::count_connections(&shard.connections).map_err(|e| nonsense(&e))?;
        godwit_modules::handover::count_waiting(&shard.waiting).map_err(|e| nonsense(&e))?;
    }
    Ok((connections, snapshot.hub.as_ref().map_or(0, HubImage::sessions)))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
