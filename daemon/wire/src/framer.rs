//! Finds stanza boundaries in a byte stream, resumable at any byte, and enforces `Limits` while it scans.
use crate::{Limits, StreamError};

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
/// Scanner state: plain data, at most 32 bytes, so that it can be handed to the next binary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Framer {
    _todo: u8,
}
impl Framer {
    /// A framer that expects the start of a stream.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// Scans new bytes. `bytes_max` is the stanza limit in force now (it is smaller before authentication).
    pub fn scan(&mut self, _input: &[u8], _limits: &Limits, _bytes_max: u32) -> Result<Scan, StreamError> {
        unimplemented!()
    }
    /// True when no frame is under way (an idle connection then needs no buffer).
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }
    /// Bytes of the frame under way scanned so far.
    pub fn frame_bytes(&self) -> u32 {
        unimplemented!()
    }
    /// Back to the start of a stream (stream restart after STARTTLS or SASL).
    pub fn restart(&mut self) {
        unimplemented!()
    }
    /// Fixed-size image of the state, for the in-place upgrade.
    pub fn to_bytes(&self) -> [u8; 32] {
        unimplemented!()
    }
    /// Inverse of [`Framer::to_bytes`]; `None` if the image is not one.
    pub fn from_bytes(_image: &[u8; 32]) -> Option<Self> {
        unimplemented!()
    }
}
