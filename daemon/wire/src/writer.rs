//! Writes XML into a byte vector: escaping, attribute quoting, balanced tags.
//!
//! Characters that XML 1.0 forbids are written as U+FFFD, so that what we send is always well-formed.

use smallvec::SmallVec;

/// Elements that a writer keeps open without allocating.
const OPEN_INLINE: usize = 8;

/// A writer over a borrowed vector. Values are escaped; names are static strings of ours.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    open: SmallVec<[&'static str; OPEN_INLINE]>,
    /// The innermost start tag still lacks its `>`.
    in_tag: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out, open: SmallVec::new(), in_tag: false }
    }

    /// `<name` — attributes may follow until the next call that is not an attribute.
    pub fn start(&mut self, name: &'static str) -> &mut Self {
        self.content();
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.open.push(name);
        self.in_tag = true;
        self
    }

    /// ` name='value'`, escaped. Only right after [`Writer::start`] or another attribute.
    pub fn attr(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.in_tag, "attribute {name} outside a start tag");
        write_attr(self.out, name, value);
        self
    }

    /// The attribute if there is a value.
    pub fn attr_opt(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Text content, escaped.
    pub fn text(&mut self, text: &str) -> &mut Self {
        if !text.is_empty() {
            self.content();
            escape_text(self.out, text);
        }
        self
    }

    /// Bytes that are XML already.
    pub fn raw(&mut self, xml: &[u8]) -> &mut Self {
        if !xml.is_empty() {
            self.content();
            self.out.extend_from_slice(xml);
        }
        self
    }

    /// Closes the innermost open element (`/>` if it has no content).
    pub fn end(&mut self) -> &mut Self {
        let name = self.open.pop();
        debug_assert!(name.is_some(), "end without start");
        if std::mem::take(&mut self.in_tag) {
            self.out.extend_from_slice(b"/>");
        } else if let Some(name) = name {
            self.out.extend_from_slice(b"</");
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'>');
        }
        self
    }

    /// `<name xmlns='ns'/>`.
    pub fn empty(&mut self, name: &'static str, ns: &str) -> &mut Self {
        self.start(name).attr("xmlns", ns).end()
    }

    /// Ends the start tag under way with `>` though nothing follows yet: for a stream header, which stays
    /// open.
    pub fn content(&mut self) -> &mut Self {
        if std::mem::take(&mut self.in_tag) {
            self.out.push(b'>');
        }
        self
    }
}

/// Appends ` name='value'`, escaped.
pub fn write_attr(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape(out, value, |byte| match byte {
        b'<' => Some(b"&lt;".as_slice()),
        b'>' => Some(b"&gt;"),
        b'&' => Some(b"&amp;"),
        b'\'' => Some(b"&apos;"),
        b'"' => Some(b"&quot;"),
        // A parser would normalise these to a space: XML 1.0 §3.3.3.
        b'\t' => Some(b"&#9;"),
        b'\n' => Some(b"&#10;"),
        b'\r' => Some(b"&#13;"),
        _ => None,
    });
    out.push(b'\'');
}

/// Appends `text` as character data.
pub fn escape_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |byte| match byte {
        b'<' => Some(b"&lt;".as_slice()),
        b'>' => Some(b"&gt;"),
        b'&' => Some(b"&amp;"),
        // A parser would fold it into a line feed: XML 1.0 §2.11.
        b'\r' => Some(b"&#13;"),
        _ => None,
    });
}

/// Copies runs that need no change, replaces single bytes by `special`, and forbidden characters by U+FFFD.
fn escape(out: &mut Vec<u8>, text: &str, special: impl Fn(u8) -> Option<&'static [u8]>) {
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let (replacement, length) = match special(byte) {
            Some(replacement) => (replacement, 1),
            None if byte < 0x20 && !matches!(byte, b'\t' | b'\n') => (REPLACEMENT, 1),
            // U+FFFE and U+FFFF are the only other forbidden characters that a `str` can hold.
            None if byte == 0xEF && matches!(bytes.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF])) => {
                (REPLACEMENT, 3)
            }
            None => continue,
        };
        out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
        out.extend_from_slice(replacement);
        copied = at + length;
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Element, Scope};
    use proptest::prelude::*;

    fn written(f: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        f(&mut Writer::new(&mut out));
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn nests_closes_and_shortens() {
        let xml = written(|w| {
            w.start("iq").attr("id", "1").attr_opt("to", None).attr_opt("type", Some("get"));
            w.empty("ping", "urn:xmpp:ping")
                .start("a")
                .text("")
                .end()
                .start("b")
                .text("t")
                .raw(b"<c/>")
                .end()
                .end();
        });
        assert_eq!(xml, "<iq id='1' type='get'><ping xmlns='urn:xmpp:ping'/><a/><b>t<c/></b></iq>");
    }

    #[test]
    fn a_header_can_stay_open() {
        assert_eq!(
            written(|w| {
                w.start("stream:stream").attr("id", "x").content();
            }),
            "<stream:stream id='x'>"
        );
    }

    #[test]
    fn forbidden_characters_are_replaced() {
        let xml = written(|w| {
            w.start("a").text("x\0y\u{b}\u{ffff}\u{fffe}z").end();
        });
        assert_eq!(xml, "<a>x\u{fffd}y\u{fffd}\u{fffd}\u{fffd}z</a>");
    }

    fn legal(text: &str) -> String {
        let forbidden = |c: char| (c < ' ' && !"\t\n\r".contains(c)) || c == '\u{fffe}' || c == '\u{ffff}';
        text.chars().map(|c| if forbidden(c) { '\u{fffd}' } else { c }).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_and_value_survive(
            text in any::<String>(),
            value in "[\\t\\n\\r -~\u{0}-\u{10}\u{ffff}äß]*",
        ) {
            let xml = written(|w| {
                w.start("a").attr("v", &value).text(&text).end();
            });
            let element = Element::parse(xml.as_bytes(), &Scope::client()).expect("well-formed");
            let expected = legal(&value);
            prop_assert_eq!(element.root().attr("v"), Some(expected.as_str()));
            prop_assert_eq!(element.root().text(), legal(&text));
        }
    }
}
