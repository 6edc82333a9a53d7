//! Cuts a stream of bytes into the stream header, whole top-level elements and the end of the stream.
//!
//! It keeps nothing while idle: once all input was taken its buffer is given back.

use std::fmt;

/// An element longer than this is taken for a runaway server, bytes.
const ELEMENT_MAX: usize = 4 << 20;

/// What stands at the top level of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The start tag of the stream.
    Open(String),
    /// One whole child of the stream.
    Element(String),
    /// The stream's end tag.
    Close,
}

/// Input that cannot come from an XMPP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanError {
    /// Not UTF-8.
    NotUtf8,
    /// An end tag too many, text outside an element, or a comment or CDATA section.
    Malformed,
    /// More than `ELEMENT_MAX` bytes without an end.
    TooLong,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "server sent bytes that are not UTF-8",
            Self::Malformed => "server sent malformed XML",
            Self::TooLong => "server sent an endless element",
        })
    }
}

/// The scanner's place in the stream.
#[derive(Debug, Default)]
pub struct Scanner {
    buf: Vec<u8>,
    /// Where the next unscanned byte is.
    at: usize,
    /// Where the element being scanned began.
    start: usize,
    /// Where the tag being scanned began; `None` in text.
    tag: Option<usize>,
    quote: Option<u8>,
    depth: u32,
}

impl Scanner {
    /// Adds what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Forgets the stream: the next item is a stream header again.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// The next whole item, if it has arrived.
    ///
    /// # Errors
    /// When the bytes are not those of an XMPP stream.
    pub fn next_item(&mut self) -> Result<Option<Item>, ScanError> {
        while let Some(&byte) = self.buf.get(self.at) {
            self.at += 1;
            let item = match self.tag {
                None => self.text(byte)?,
                Some(tag) => self.inside(tag, byte)?,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
        if self.buf.len() - self.start > ELEMENT_MAX {
            return Err(ScanError::TooLong);
        }
        self.forget_taken();
        Ok(None)
    }

    fn text(&mut self, byte: u8) -> Result<Option<Item>, ScanError> {
        if byte == b'<' {
            self.tag = Some(self.at - 1);
            if self.depth <= 1 {
                self.start = self.at - 1;
            }
        } else if self.depth <= 1 {
            if !byte.is_ascii_whitespace() {
                return Err(ScanError::Malformed);
            }
            self.start = self.at;
        }
        Ok(None)
    }

    fn inside(&mut self, tag: usize, byte: u8) -> Result<Option<Item>, ScanError> {
        match (self.quote, byte) {
            (Some(quote), _) => {
                if byte == quote {
                    self.quote = None;
                }
                Ok(None)
            }
            (None, b'"' | b'\'') => {
                self.quote = Some(byte);
                Ok(None)
            }
            (None, b'>') => {
                self.tag = None;
                self.end_of_tag(tag)
            }
            _ => Ok(None),
        }
    }

    fn end_of_tag(&mut self, tag: usize) -> Result<Option<Item>, ScanError> {
        let text = self.buf.get(tag..self.at).unwrap_or_default();
        let ends = text.ends_with(b"/>");
        match text.get(1) {
            Some(b'?') if self.depth == 0 => {
                self.start = self.at;
                return Ok(None);
            }
            Some(b'!' | b'?') => return Err(ScanError::Malformed),
            Some(b'/') => {
                self.depth = self.depth.checked_sub(1).ok_or(ScanError::Malformed)?;
                if self.depth == 0 {
                    self.start = self.at;
                    return Ok(Some(Item::Close));
                }
            }
            _ if self.depth == 0 => {
                self.depth = 1;
                return Ok(Some(Item::Open(self.take()?)));
            }
            _ if ends => {}
            _ => self.depth += 1,
        }
        if self.depth == 1 { Ok(Some(Item::Element(self.take()?))) } else { Ok(None) }
    }

    fn take(&mut self) -> Result<String, ScanError> {
        let bytes = self.buf.get(self.start..self.at).unwrap_or_default();
        self.start = self.at;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ScanError::NotUtf8)
    }

    fn forget_taken(&mut self) {
        if self.start == self.buf.len() {
            self.buf = Vec::new();
        } else {
            self.buf.drain(..self.start);
        }
        self.at -= self.start;
        self.tag = self.tag.map(|tag| tag - self.start);
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, ScanError, Scanner};

    const STREAM: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' from=\"a>b\">\n\
        <a xmlns='urn:xmpp:sm:3' h='1'/> \
        <message to='x'><body>h\u{e9}&lt;</body><x/></message></stream:stream>";

    fn scan(step: usize) -> Vec<Item> {
        let mut scanner = Scanner::default();
        let mut items = Vec::new();
        for piece in STREAM.as_bytes().chunks(step) {
            scanner.feed(piece);
            while let Some(item) = scanner.next_item().expect("well-formed") {
                items.push(item);
            }
        }
        items
    }

    #[test]
    fn pieces_of_any_size_give_the_same_items() {
        let whole = scan(STREAM.len());
        assert_eq!(whole.len(), 4);
        assert_eq!(whole.get(1), Some(&Item::Element("<a xmlns='urn:xmpp:sm:3' h='1'/>".into())));
        assert!(matches!(whole.get(2), Some(Item::Element(m)) if m.ends_with("<x/></message>")));
        assert_eq!(whole.get(3), Some(&Item::Close));
        for step in 1..40 {
            assert_eq!(scan(step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn text_between_stanzas_is_refused() {
        let mut scanner = Scanner::default();
        scanner.feed(b"<stream:stream>x");
        assert!(matches!(scanner.next_item(), Ok(Some(Item::Open(_)))));
        assert_eq!(scanner.next_item(), Err(ScanError::Malformed));
    }
}
