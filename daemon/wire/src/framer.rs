//! Finds stanza boundaries in a byte stream, resumable at any byte, and enforces `Limits` while it scans.
//!
//! Every byte is looked at once, nothing is allocated, and any split of the input gives the same frames and
//! the same error. (White space between stanzas is reported as it comes, so that no buffer is held for it: a
//! run that arrives in pieces is one frame a piece.)
//!
//! It judges what bounds the work of everybody behind it: sizes, nesting, the constructs that RFC 6120 §11.1
//! forbids, control characters, the shape of tags. It leaves to the parser whether names match, namespaces
//! are declared, references are defined, the bytes are UTF-8. After an error the stream is over and the state
//! void. After `</stream:stream>` only white space may come.

mod lexis;
mod scan;

use crate::{Limits, StreamError};
use lexis::State;
use scan::Step;

/// What one frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// `<?xml … ?>`, only as the first thing on a stream.
    Declaration,
    /// `<stream:stream …>`: the root's start tag.
    StreamOpen,
    /// One complete child of the root.
    Element,
    /// `</stream:stream>`.
    StreamClose,
    /// White space between stanzas (RFC 6120 §4.6.1 keepalive).
    Whitespace,
}

/// Result of one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// All of `input` was scanned and belongs to the frame under way.
    More,
    /// A frame ends at `end` (exclusive) in `input`; call again with `&input[end..]`.
    Frame {
        /// What it is.
        kind: FrameKind,
        /// Exclusive end in this call's input.
        end: usize,
    },
}

/// How far the stream has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Nothing yet: the XML declaration or the header may come.
    #[default]
    Start,
    /// The header has to come.
    Header,
    /// Stanzas.
    Open,
    /// After the root's end tag.
    Closed,
}

/// Levels of a stanza whose namespace declarations are counted apart. Those of deeper elements add up on the
/// last one until its element ends: never too few are counted, and too many only below siblings that deep.
const NAMESPACE_LEVELS: usize = 5;

/// Version of the image made by [`Framer::to_bytes`].
const IMAGE_VERSION: u8 = 1;

/// Scanner state: plain data, at most 32 bytes, so that it can be handed to the next binary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Framer {
    state: State,
    stage: Stage,
    /// Quote of the attribute value under way.
    quote: u8,
    /// Bytes matched of a fixed string (`CDATA[`, `xml`, `xmlns`, `stream:stream`, `]]>`).
    matched: u8,
    /// Elements open, the root not counted.
    depth: u16,
    /// Attributes of the start tag under way.
    attributes: u16,
    /// Bytes of the name under way.
    name_bytes: u16,
    /// Declarations in force on each level of the stanza.
    declarations: [u16; NAMESPACE_LEVELS],
    /// Bytes of the attribute value (or XML declaration) under way.
    value_bytes: u32,
    frame_bytes: u32,
}

impl Framer {
    /// A framer that expects the start of a stream.
    pub fn new() -> Self {
        Framer::default()
    }

    /// Scans new bytes. `bytes_max` is the stanza limit in force now (it is smaller before authentication).
    pub fn scan(&mut self, input: &[u8], limits: &Limits, bytes_max: u32) -> Result<Scan, StreamError> {
        if self.state == State::Between {
            let white = input.iter().take_while(|byte| lexis::is_white(**byte)).count();
            if white > 0 {
                if self.stage == Stage::Start {
                    self.stage = Stage::Header;
                }
                return Ok(Scan::Frame { kind: FrameKind::Whitespace, end: white });
            }
        }
        let allowance = bytes_max.saturating_sub(self.frame_bytes) as usize;
        let window = input.get(..allowance).unwrap_or(input);
        let mut at = 0;
        while let Some(rest @ [_, ..]) = window.get(at..) {
            match self.step(rest, limits).map_err(|fault| fault.into_error(limits))? {
                Step::Go(count) => at += count,
                Step::Done(kind, count) => {
                    self.frame_bytes = 0;
                    self.state = State::Between;
                    return Ok(Scan::Frame { kind, end: at + count });
                }
            }
        }
        if window.len() < input.len() {
            return Err(lexis::too_big(bytes_max));
        }
        // At most `allowance`, so the sum is at most `bytes_max`.
        self.frame_bytes += u32::try_from(at).unwrap_or(u32::MAX - self.frame_bytes);
        Ok(Scan::More)
    }

    /// True when no frame is under way (an idle connection then needs no buffer).
    pub fn is_idle(&self) -> bool {
        self.state == State::Between
    }

    /// Bytes of the frame under way scanned so far.
    pub fn frame_bytes(&self) -> u32 {
        self.frame_bytes
    }

    /// Back to the start of a stream (stream restart after STARTTLS or SASL).
    pub fn restart(&mut self) {
        *self = Framer::default();
    }

    /// Fixed-size image of the state, for the in-place upgrade.
    pub fn to_bytes(&self) -> [u8; 32] {
        let [a, b, c, d, e] = self.declarations.map(u16::to_be_bytes);
        let head = [IMAGE_VERSION, self.state as u8, self.stage as u8, self.quote, self.matched];
        let (depth, attributes) = (self.depth.to_be_bytes(), self.attributes.to_be_bytes());
        let (name, value) = (self.name_bytes.to_be_bytes(), self.value_bytes.to_be_bytes());
        let frame = self.frame_bytes.to_be_bytes();
        let parts: [&[u8]; 11] = [&head, &depth, &attributes, &name, &a, &b, &c, &d, &e, &value, &frame];
        let mut image = [0; 32];
        for (to, from) in image.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        image
    }

    /// Inverse of [`Framer::to_bytes`]; `None` if the image is not one.
    pub fn from_bytes(image: &[u8; 32]) -> Option<Self> {
        let mut bytes = image.iter().copied();
        let mut byte = || bytes.next();
        if byte()? != IMAGE_VERSION {
            return None;
        }
        let state = State::from_image(byte()?)?;
        let stage = match byte()? {
            0 => Stage::Start,
            1 => Stage::Header,
            2 => Stage::Open,
            3 => Stage::Closed,
            _ => return None,
        };
        let (quote, matched) = (byte()?, byte()?);
        let mut short = || Some(u16::from_be_bytes([byte()?, byte()?]));
        let (depth, attributes, name_bytes) = (short()?, short()?, short()?);
        let mut declarations = [0; NAMESPACE_LEVELS];
        for level in &mut declarations {
            *level = short()?;
        }
        let mut long = || Some(u32::from_be_bytes([byte()?, byte()?, byte()?, byte()?]));
        let (value_bytes, frame_bytes) = (long()?, long()?);
        let framer = Framer {
            state,
            stage,
            quote,
            matched,
            depth,
            attributes,
            name_bytes,
            declarations,
            value_bytes,
            frame_bytes,
        };
        let possible = match state {
            State::Between => depth == 0 && frame_bytes == 0,
            _ => frame_bytes > 0 && stage != Stage::Closed && (depth == 0 || stage == Stage::Open),
        };
        (possible && framer.to_bytes() == *image).then_some(framer)
    }
}

#[cfg(test)]
mod tests;
