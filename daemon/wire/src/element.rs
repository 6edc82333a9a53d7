//! A parsed element that keeps its raw bytes.
use crate::StreamError;
use std::borrow::Cow;

/// Namespaces that the peer declared on its stream header (default namespace and prefixes); inherited by stanzas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope { _todo: () }
impl Scope {
    /// Default namespace `jabber:client`, prefix `stream`, nothing else.
    pub fn client() -> Self { unimplemented!() }
    /// True if the header declared prefixes besides `stream` and `xml`.
    pub fn has_extra_prefixes(&self) -> bool { unimplemented!() }
}
/// Why bytes are not one well-formed, namespace-well-formed element. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError { /// The stream error to answer with.
    pub error: StreamError }
/// A stream header: the attributes of `<stream:stream>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header { /// `to` as sent.
    pub to: Option<String>, /// `from` as sent.
    pub from: Option<String>, /// `id` as sent.
    pub id: Option<String>, /// `version` as sent.
    pub version: Option<String>, /// `xml:lang` as sent.
    pub lang: Option<String>, /// Namespaces in scope for the stanzas that follow.
    pub scope: Scope }
impl Header {
    /// Parses a `StreamOpen` frame. Checks the root's name and namespaces (`invalid-namespace`, `bad-namespace-prefix`).
    pub fn parse(_raw: &[u8]) -> Result<Header, ParseError> { unimplemented!() }
}
/// One complete element with its raw bytes.
#[derive(Debug, Clone)]
pub struct Element { _todo: () }
impl Element {
    /// Parses exactly one element; strict (rxml): well-formedness, namespaces, entities, character ranges.
    pub fn parse(_raw: &[u8], _scope: &Scope) -> Result<Element, ParseError> { unimplemented!() }
    /// The element itself.
    pub fn root(&self) -> Node<'_> { unimplemented!() }
    /// The exact bytes it was parsed from.
    pub fn raw(&self) -> &[u8] { unimplemented!() }
    /// Namespaces it was parsed under.
    pub fn scope(&self) -> &Scope { unimplemented!() }
}
/// A view of one element inside an [`Element`].
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> { _todo: std::marker::PhantomData<&'a ()> }
impl<'a> Node<'a> {
    /// Local name.
    pub fn name(self) -> &'a str { unimplemented!() }
    /// Namespace URI ("" for none).
    pub fn ns(self) -> &'a str { unimplemented!() }
    /// True if it has this name and namespace.
    pub fn is(self, _name: &str, _ns: &str) -> bool { unimplemented!() }
    /// Value of an attribute in no namespace, unescaped; `xml:lang` is had as `"xml:lang"`.
    pub fn attr(self, _name: &str) -> Option<&'a str> { unimplemented!() }
    /// Attributes as (prefixed name, value); namespace declarations are not among them.
    pub fn attrs(self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a { std::iter::empty() }
    /// Child elements in order.
    pub fn children(self) -> impl Iterator<Item = Node<'a>> + 'a { std::iter::empty() }
    /// First child with this name and namespace.
    pub fn child(self, _name: &str, _ns: &str) -> Option<Node<'a>> { unimplemented!() }
    /// Text directly inside, concatenated, unescaped.
    pub fn text(self) -> Cow<'a, str> { unimplemented!() }
    /// Its exact bytes, start tag to end tag.
    pub fn raw(self) -> &'a [u8] { unimplemented!() }
    /// The bytes between its tags (empty for `<a/>`).
    pub fn inner(self) -> &'a [u8] { unimplemented!() }
}
