//! What the server says, as a client reads it: stanzas cut out of the stream and parsed, whatever the pieces.
use godwit_wire::{Element, FrameKind, Framer, Limits, Scan, Scope};

/// One thing read.
#[derive(Debug)]
pub enum Item {
    /// The stream's header.
    Open,
    /// A stanza, or another element of the stream.
    Element(Element),
    /// The stream's end.
    Close,
}

/// The reading side of one connection.
#[derive(Debug)]
pub struct Incoming {
    framer: Framer,
    partial: Vec<u8>,
    limits: Limits,
}

impl Default for Incoming {
    fn default() -> Incoming {
        // A client takes longer stanzas than it could send: rosters, and what the server adds.
        let limits = Limits { stanza_bytes_max: 1 << 20, ..Limits::default() };
        Incoming { framer: Framer::new(), partial: Vec::new(), limits }
    }
}

impl Incoming {
    /// A new stream begins behind what was read so far.
    pub fn restart(&mut self) {
        self.framer.restart();
    }

    /// Reads up to the end of the next item; says how many bytes that took. `None`: all was read, more is
    /// needed.
    pub fn next(&mut self, mut input: &[u8]) -> Result<(usize, Option<Item>), String> {
        let mut used = 0;
        loop {
            let scan = self.framer.scan(input, &self.limits, self.limits.stanza_bytes_max);
            match scan.map_err(|error| format!("{error:?} in {}", shown(input)))? {
                Scan::More => {
                    self.partial.extend_from_slice(input);
                    return Ok((used + input.len(), None));
                }
                Scan::Frame { kind, end } => {
                    self.partial.extend_from_slice(&input[..end]);
                    let frame = std::mem::take(&mut self.partial);
                    (used, input) = (used + end, &input[end..]);
                    let item = match kind {
                        FrameKind::Whitespace | FrameKind::Declaration => continue,
                        FrameKind::StreamOpen => Item::Open,
                        FrameKind::StreamClose => Item::Close,
                        FrameKind::Element => Item::Element(
                            Element::parse(&frame, &Scope::client())
                                .map_err(|bad| format!("{:?} in {}", bad.error, shown(&frame)))?,
                        ),
                    };
                    return Ok((used, Some(item)));
                }
            }
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(400).collect()
}
