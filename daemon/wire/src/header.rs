//! The stream header `<stream:stream …>` and the XML declaration before it.

use crate::parse::{self, ParseError};
use crate::scope::Prefix;
use crate::{Scope, StreamCondition, StreamError, ns};

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
    /// Parses a `StreamOpen` frame. Checks the root's name and namespaces (`invalid-namespace`, `bad-namespace-prefix`).
    ///
    /// Only the prefix `stream` is accepted for the root, as RFC 6120 §4.8.5 permits, and the default namespace
    /// has to be `jabber:client` or `jabber:server`; which of the two is wanted is the caller's affair.
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
        let mut content = None;
        let mut prefixes: Vec<Prefix> = Vec::new();
        for (prefix, uri) in root.declarations() {
            match prefix {
                "" => content = Some(uri),
                "stream" | "xml" => {}
                _ => prefixes.push((prefix.into(), uri.into())),
            }
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

    /// Checks a `Declaration` frame: version 1.0, and `unsupported-encoding` for anything but UTF-8 (RFC 6120 §11.6).
    pub fn check_declaration(raw: &[u8]) -> Result<(), ParseError> {
        parse::declaration(raw)
    }
}

fn fault(condition: StreamCondition, text: &'static str) -> ParseError {
    ParseError { error: StreamError::new(condition).with_text(text) }
}
