//! The stream header `<stream:stream …>` and the XML declaration before it.

use crate::parse::{self, ParseError};
use crate::scope::Prefix;
use crate::{Scope, StreamCondition, StreamError, ns};

/// Most bytes of extra prefixes and their namespace names: the connection holds them as long as it lives, and
/// every stanza that comes over it is sent on with them.
const EXTRA_PREFIXES_BYTES_MAX: usize = 1024;

/// A stream header: the attributes of `<stream:stream>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// `to` as sent.
    pub to: Option<String>,
    /// `from` as sent.
    pub from: Option<String>,
    /// `id` as sent.
    pub id: Option<String>,
    /// `version` as sent.
    pub version: Option<String>,
    /// `xml:lang` as sent.
    pub lang: Option<String>,
    /// Namespaces in scope for the stanzas that follow.
    pub scope: Scope,
}

impl Header {
    /// Parses a `StreamOpen` frame. Checks the root's name and namespaces (`invalid-namespace`,
    /// `bad-namespace-prefix`).
    ///
    /// Only the prefix `stream` is accepted for the root, as RFC 6120 §4.8.5 permits, and the default
    /// namespace has to be `jabber:client` or `jabber:server`; which of the two is wanted is the caller's
    /// affair.
    pub fn parse(raw: &[u8]) -> Result<Header, ParseError> {
        let element = parse::header(raw)?;
        let root = element.root();
        if root.ns() != ns::STREAMS {
            return Err(fault(StreamCondition::InvalidNamespace, "the root is in the streams namespace"));
        }
        if !root.qualified_name().starts_with("stream:") {
            return Err(fault(StreamCondition::BadNamespacePrefix, "the root has the prefix stream"));
        }
        if root.name() != "stream" {
            return Err(fault(StreamCondition::BadFormat, "the root is <stream:stream>"));
        }
        let (mut content, mut extra_bytes) = (None, 0);
        let mut prefixes: Vec<Prefix> = Vec::new();
        for (prefix, uri) in root.declarations() {
            match prefix {
                "" => content = Some(uri),
                "stream" | "xml" => {}
                _ => {
                    extra_bytes += prefix.len() + uri.len();
                    prefixes.push((prefix.into(), uri.into()));
                }
            }
        }
        if extra_bytes > EXTRA_PREFIXES_BYTES_MAX {
            let text = "the header declares too many or too long prefixes";
            return Err(fault(StreamCondition::PolicyViolation, text));
        }
        let scope = match content {
            Some(ns::CLIENT) => Scope::client(),
            Some(ns::SERVER) => Scope::server(),
            _ => return Err(fault(StreamCondition::InvalidNamespace, "unsupported content namespace")),
        };
        let own = |name: &str| root.attr(name).map(str::to_owned);
        Ok(Header {
            to: own("to"),
            from: own("from"),
            id: own("id"),
            version: own("version"),
            lang: own("xml:lang"),
            scope: scope.with_prefixes(prefixes),
        })
    }

    /// Checks a `Declaration` frame: version 1.0, and `unsupported-encoding` for anything but UTF-8 (RFC 6120
    /// §11.6).
    pub fn check_declaration(raw: &[u8]) -> Result<(), ParseError> {
        parse::declaration(raw)
    }
}

fn fault(condition: StreamCondition, text: &'static str) -> ParseError {
    ParseError { error: StreamError::new(condition).with_text(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    const CLIENT: &str = "xmlns='jabber:client'";
    const STREAM: &str = "xmlns:stream='http://etherx.jabber.org/streams'";

    fn refused(raw: &str) -> StreamCondition {
        Header::parse(raw.as_bytes()).expect_err(raw).error.condition
    }

    #[test]
    fn the_ordinary_header() {
        let raw = format!(
            "<stream:stream to='example.org' from=\"a@example.org\" version='1.0' xml:lang='de' id='&lt;' \
             {CLIENT} {STREAM}>"
        );
        let header = Header::parse(raw.as_bytes()).expect("a header");
        let expected = Header {
            to: Some("example.org".into()),
            from: Some("a@example.org".into()),
            id: Some("<".into()),
            version: Some("1.0".into()),
            lang: Some("de".into()),
            scope: Scope::client(),
        };
        assert_eq!(header, expected);
        assert!(!header.scope.has_extra_prefixes());
    }

    #[test]
    fn extra_prefixes_are_in_force_for_stanzas() {
        let raw = format!("<stream:stream {CLIENT} {STREAM} xmlns:x='urn:x' xmlns:c='jabber:client'>");
        let scope = Header::parse(raw.as_bytes()).expect("a header").scope;
        assert!(scope.has_extra_prefixes());
        let element =
            Element::parse(b"<c:message x:a='1'><x:b/><stream:c/></c:message>", &scope).expect("declared");
        assert!(element.root().is("message", ns::CLIENT));
        assert!(element.root().child("b", "urn:x").is_some());
        assert!(element.root().child("c", ns::STREAMS).is_some());
        assert!(Element::parse(b"<x:b/>", &Scope::client()).is_err());
        let server = format!("<stream:stream xmlns='jabber:server' {STREAM}>");
        assert_eq!(Header::parse(server.as_bytes()).expect("a header").scope, Scope::server());
    }

    #[test]
    fn wrong_headers() {
        use StreamCondition::*;
        let stream = |inside: &str| format!("<stream:stream {inside}>");
        let cases = [
            (stream(STREAM), InvalidNamespace),
            (stream(&format!("xmlns='urn:x' {STREAM}")), InvalidNamespace),
            (stream(&format!("xmlns='' {STREAM}")), InvalidNamespace),
            (stream(&format!("{CLIENT} xmlns:stream='urn:x'")), InvalidNamespace),
            (stream(CLIENT), BadNamespacePrefix),
            (format!("<stream {CLIENT}>"), InvalidNamespace),
            ("<stream xmlns='http://etherx.jabber.org/streams'>".to_owned(), BadNamespacePrefix),
            (format!("<s:stream {CLIENT} xmlns:s='http://etherx.jabber.org/streams'>"), BadNamespacePrefix),
            (format!("<stream:features {CLIENT} {STREAM}>"), BadFormat),
            (format!("<stream:stream {CLIENT} {STREAM}/>"), BadFormat),
            (stream(&format!("{CLIENT} {STREAM} y:z=''")), BadNamespacePrefix),
            (stream(&format!("{CLIENT} {STREAM} xmlns:x='{}'", "y".repeat(1024))), PolicyViolation),
            (stream(&format!("{CLIENT} {CLIENT} {STREAM}")), NotWellFormed),
            (stream(&format!("to='' to='' {CLIENT} {STREAM}")), NotWellFormed),
            (format!("<stream:stream {CLIENT} {STREAM}><a>x</a>"), NotWellFormed),
            (format!(" <stream:stream {CLIENT} {STREAM}>"), NotWellFormed),
            (format!("<stream:stream {CLIENT} {STREAM}"), NotWellFormed),
            ("<?xml version='1.0'?>".to_owned(), RestrictedXml),
            (String::new(), NotWellFormed),
        ];
        for (raw, condition) in cases {
            assert_eq!(refused(&raw), condition, "{raw}");
        }
        assert_eq!(
            Header::parse(b"<stream:stream a='\xff'>").expect_err("not UTF-8").error.condition,
            UnsupportedEncoding
        );
    }

    #[test]
    fn declarations() {
        use StreamCondition::*;
        for good in [
            "<?xml version='1.0'?>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
            "<?xml version='1.0' encoding = 'utf-8' standalone='yes' ?>",
        ] {
            assert_eq!(Header::check_declaration(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, condition) in [
            ("<?xml version='1.0' encoding='ISO-8859-1'?>", UnsupportedEncoding),
            ("<?xml version='1.0' encoding='utf-16'?>", UnsupportedEncoding),
            ("<?xml version='1.0' encoding=?>", UnsupportedEncoding),
            ("<?xml encoding='utf-8'?>", NotWellFormed),
            ("<?xml version='1.0'?> ", NotWellFormed),
            ("<?xml version='1.0'", NotWellFormed),
            ("", NotWellFormed),
        ] {
            let error = Header::check_declaration(bad.as_bytes()).expect_err(bad).error;
            assert_eq!(error.condition, condition, "{bad}");
        }
    }
}
