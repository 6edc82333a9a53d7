//! A cheap look at stanzas that this server rendered, without a parse.
//!
//! Relies on what [`crate::Stanza::render`] and [`crate::Writer`] write: attribute values in single quotes,
//! with no raw `'`, `<` or `>` inside.

/// Bytes of a start tag after its name, without the closing `>`.
fn attributes(rendered: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'>', rendered).unwrap_or(rendered.len());
    let tag = rendered.get(..end).unwrap_or_default();
    let name = tag.iter().position(|byte| matches!(byte, b' ' | b'/')).unwrap_or(tag.len());
    tag.get(name..).unwrap_or_default()
}

/// An attribute of the start tag, still escaped.
pub fn attr<'a>(rendered: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = attributes(rendered);
    loop {
        let (written, value) = split(rest.strip_prefix(b" ")?, b"='")?;
        let (value, after) = split(value, b"'")?;
        if written == name.as_bytes() {
            return Some(value);
        }
        rest = after;
    }
}

/// True if the start tag has this attribute with this value.
pub fn has_attr(rendered: &[u8], name: &str, value: &str) -> bool {
    let mut escaped = Vec::with_capacity(value.len() + name.len() + 4);
    crate::writer::write_attr(&mut escaped, name, value);
    let prefix = name.len() + 3; // ` name='`
    let wanted = escaped.get(prefix..escaped.len().saturating_sub(1)).unwrap_or_default();
    attr(rendered, name) == Some(wanted)
}

/// True if the bytes are an element of this name.
pub fn is_named(rendered: &[u8], name: &str) -> bool {
    rendered
        .strip_prefix(b"<")
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'>' | b'/')))
}

/// True if the bytes hold this text anywhere.
pub fn mentions(rendered: &[u8], text: &str) -> bool {
    memchr::memmem::find(rendered, text.as_bytes()).is_some()
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = memchr::memmem::find(bytes, at)?;
    Some((bytes.get(..found)?, bytes.get(found + at.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_the_start_tag_only() {
        let raw =
            b"<message id='x from=' type='chat' from='a@b/it&apos;s'><body from='no' to='no'/></message>";
        assert_eq!(attr(raw, "from"), Some(b"a@b/it&apos;s".as_slice()));
        assert_eq!(attr(raw, "type"), Some(b"chat".as_slice()));
        assert_eq!(attr(raw, "to"), None);
        assert!(has_attr(raw, "from", "a@b/it's") && has_attr(raw, "id", "x from="));
        assert!(!has_attr(raw, "from", "a@b/it") && !has_attr(raw, "to", "no"));
        for odd in [b"".as_slice(), b"<", b"<a", b"<a ", b"<a b", b"<a b='", b"<a/>", b"<a></a>"] {
            assert_eq!(attr(odd, "b"), None, "{odd:?}");
        }
        assert_eq!(attr(b"<a b='1'/>", "b"), Some(b"1".as_slice()));
    }

    #[test]
    fn names() {
        assert!(is_named(b"<presence/>", "presence") && is_named(b"<presence a='b'>", "presence"));
        assert!(is_named(b"<message></message>", "message"));
        for (raw, name) in [("<presences/>", "presence"), ("presence", "presence"), ("<x/>", "presence")] {
            assert!(!is_named(raw.as_bytes(), name), "{raw}");
        }
    }
}
