//! Reading and writing of single elements as text: enough for what the test tools look at.

use std::borrow::Cow;

/// Where a name ends inside a tag.
const AFTER_NAME: [char; 6] = [' ', '\t', '\n', '\r', '/', '>'];

/// The element's name with its prefix, as written.
#[must_use]
pub fn name(element: &str) -> &str {
    let rest = element.strip_prefix('<').unwrap_or(element);
    rest.split(AFTER_NAME).next().unwrap_or_default()
}

/// An attribute of the element's start tag, unescaped.
#[must_use]
pub fn attr<'a>(element: &'a str, wanted: &str) -> Option<Cow<'a, str>> {
    let mut rest = element.get(1 + name(element).len()..)?;
    loop {
        rest = rest.trim_start();
        if rest.starts_with(['>', '/']) {
            return None;
        }
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, tail) = after.get(1..)?.split_once(quote)?;
        if key.trim_end() == wanted {
            return Some(unescape(value));
        }
        rest = tail;
    }
}

/// Each piece of `element` that begins with a start tag of this name (the piece runs to the element's end).
pub fn tags<'a>(element: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    element.match_indices('<').filter_map(move |(at, _)| element.get(at..)).filter(move |e| name(e) == wanted)
}

/// True if a tag of this name stands anywhere in the element.
#[must_use]
pub fn has(element: &str, wanted: &str) -> bool {
    tags(element, wanted).next().is_some()
}

/// The text of the first descendant of this name, unescaped.
#[must_use]
pub fn text<'a>(element: &'a str, wanted: &'a str) -> Option<Cow<'a, str>> {
    let (_, inner) = tags(element, wanted).next()?.split_once('>')?;
    Some(unescape(inner.split('<').next()?))
}

/// Escapes text for an attribute or an element.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&apos;", "'").replace("&#39;", "'");
    Cow::Owned(plain.replace("&quot;", "\"").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::{attr, escape, has, name, tags, text};

    const MESSAGE: &str = "<message from='a@b/c' id=\"it&apos;s\"><body>1 &lt; 2</body>\
        <stanza-id xmlns='urn:xmpp:sid:0' id='x1' by='b'/><stanza-id id='x2' by='c'/></message>";

    #[test]
    fn reads_names_attributes_and_text() {
        assert_eq!(name(MESSAGE), "message");
        assert_eq!(name("<r/>"), "r");
        assert_eq!(attr(MESSAGE, "id").as_deref(), Some("it's"));
        assert_eq!(attr(MESSAGE, "type"), None);
        assert_eq!(text(MESSAGE, "body").as_deref(), Some("1 < 2"));
        let ids: Vec<_> = tags(MESSAGE, "stanza-id").filter_map(|t| attr(t, "id")).collect();
        assert_eq!(ids, ["x1", "x2"]);
        assert!(has(MESSAGE, "body") && !has(MESSAGE, "bod"));
        assert_eq!(escape("a<'b'&"), "a&lt;&apos;b&apos;&amp;");
    }
}
