//! A parsed element that keeps its raw bytes.
//!
//! One arena per element: nodes in document order, their attributes and their pieces of text, all as ranges
//! of the raw bytes. Only what the raw bytes do not show literally (references, CDATA, folded line ends) is
//! kept apart.

pub use crate::header::Header;
pub use crate::parse::ParseError;
pub use crate::scope::Scope;
use crate::{ns, parse};
use std::borrow::Cow;

/// A range of the raw text, or of the decoded text if the top bit of `start` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Str {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Str {
    pub(crate) const DECODED: u32 = 1 << 31;
}

/// Which namespace: a well-known one, or that of a declaration in the element or on the stream header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NsId {
    None,
    Content,
    Xml,
    Streams,
    /// Value of this attribute.
    Declared(u32),
    /// This extra prefix of the scope.
    Scope(u32),
}

#[derive(Debug, Clone)]
pub(crate) struct NodeData {
    /// Name as written, prefix included.
    pub(crate) name: Str,
    /// Bytes of prefix and colon.
    pub(crate) prefix: u32,
    pub(crate) ns: NsId,
    /// First byte of the start tag, first and last + 1 of the content, last + 1 of the end tag.
    pub(crate) start: u32,
    pub(crate) inner: u32,
    pub(crate) inner_end: u32,
    pub(crate) end: u32,
    /// The node after this one's last descendant.
    pub(crate) next: u32,
    pub(crate) attrs: u32,
    pub(crate) attrs_end: u32,
    /// Texts of this node and of its descendants.
    pub(crate) texts: u32,
    pub(crate) texts_end: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct AttrData {
    /// Name as written, prefix included.
    pub(crate) name: Str,
    pub(crate) value: Str,
}

#[derive(Debug, Clone)]
pub(crate) struct TextData {
    pub(crate) owner: u32,
    pub(crate) text: Str,
}

/// One complete element with its raw bytes.
#[derive(Debug, Clone)]
pub struct Element {
    pub(crate) raw: Box<str>,
    pub(crate) decoded: String,
    /// Never empty.
    pub(crate) nodes: Vec<NodeData>,
    pub(crate) attrs: Vec<AttrData>,
    pub(crate) texts: Vec<TextData>,
    pub(crate) scope: Scope,
}

impl Element {
    /// Parses exactly one element; strict (rxml): well-formedness, namespaces, entities, character ranges.
    pub fn parse(raw: &[u8], scope: &Scope) -> Result<Element, ParseError> {
        parse::element(raw, scope)
    }

    /// The element itself.
    pub fn root(&self) -> Node<'_> {
        Node { element: self, index: 0 }
    }

    /// The exact bytes it was parsed from.
    pub fn raw(&self) -> &[u8] {
        self.raw.as_bytes()
    }

    /// Namespaces it was parsed under.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Bytes of heap that it holds, the scope aside (it is shared).
    pub fn heap_bytes(&self) -> usize {
        self.raw.len()
            + self.decoded.capacity()
            + self.nodes.capacity() * size_of::<NodeData>()
            + self.attrs.capacity() * size_of::<AttrData>()
            + self.texts.capacity() * size_of::<TextData>()
    }

    pub(crate) fn str(&self, s: Str) -> &str {
        let (text, start) = match s.start & Str::DECODED {
            0 => (&*self.raw, s.start),
            _ => (self.decoded.as_str(), s.start & !Str::DECODED),
        };
        let start = start as usize;
        text.get(start..start + s.len as usize).unwrap_or_default()
    }

    pub(crate) fn uri(&self, id: NsId) -> &str {
        match id {
            NsId::None => "",
            NsId::Content => self.scope.content(),
            NsId::Xml => ns::XML,
            NsId::Streams => ns::STREAMS,
            NsId::Declared(attr) => self.attrs.get(attr as usize).map_or("", |a| self.str(a.value)),
            NsId::Scope(position) => self.scope.uri_at(position as usize),
        }
    }
}

/// A view of one element inside an [`Element`].
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    element: &'a Element,
    index: u32,
}

impl<'a> Node<'a> {
    fn data(self) -> &'a NodeData {
        // A `Node` is made for an index that is in the arena only.
        &self.element.nodes[self.index as usize]
    }

    /// Name as written, prefix included.
    pub fn qualified_name(self) -> &'a str {
        self.element.str(self.data().name)
    }

    /// Local name.
    pub fn name(self) -> &'a str {
        self.qualified_name().get(self.data().prefix as usize..).unwrap_or_default()
    }

    /// Namespace URI ("" for none).
    pub fn ns(self) -> &'a str {
        self.element.uri(self.data().ns)
    }

    /// True if it has this name and namespace.
    pub fn is(self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// All attributes and declarations as written.
    fn all_attrs(self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        let data = self.data();
        let range = data.attrs as usize..data.attrs_end as usize;
        let element = self.element;
        element
            .attrs
            .get(range)
            .unwrap_or_default()
            .iter()
            .map(move |attr| (element.str(attr.name), element.str(attr.value)))
    }

    /// Value of an attribute in no namespace, unescaped; `xml:lang` is had as `"xml:lang"`.
    pub fn attr(self, name: &str) -> Option<&'a str> {
        self.attrs().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Attributes as (prefixed name, value); namespace declarations are not among them.
    pub fn attrs(self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.all_attrs().filter(|(name, _)| declared_prefix(name).is_none())
    }

    /// Namespace declarations on its start tag as (prefix, namespace); the default namespace has prefix "".
    pub fn declarations(self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.all_attrs().filter_map(|(name, value)| declared_prefix(name).map(|prefix| (prefix, value)))
    }

    /// Child elements in order.
    pub fn children(self) -> impl Iterator<Item = Node<'a>> + 'a {
        let element = self.element;
        let mut index = self.index + 1;
        let end = self.data().next;
        std::iter::from_fn(move || {
            if index >= end {
                return None;
            }
            let child = Node { element, index };
            index = child.data().next;
            Some(child)
        })
    }

    /// First child with this name and namespace.
    pub fn child(self, name: &str, ns: &str) -> Option<Node<'a>> {
        self.children().find(|child| child.is(name, ns))
    }

    /// Text directly inside, concatenated, unescaped.
    pub fn text(self) -> Cow<'a, str> {
        let data = self.data();
        let texts = self.element.texts.get(data.texts as usize..data.texts_end as usize).unwrap_or_default();
        let mut own = texts.iter().filter(|t| t.owner == self.index).map(|t| self.element.str(t.text));
        let Some(first) = own.next() else { return Cow::Borrowed("") };
        let Some(second) = own.next() else { return Cow::Borrowed(first) };
        let mut all = [first, second].concat();
        all.extend(own);
        Cow::Owned(all)
    }

    fn slice(self, start: u32, end: u32) -> &'a [u8] {
        self.element.raw().get(start as usize..end as usize).unwrap_or_default()
    }

    /// Its exact bytes, start tag to end tag.
    pub fn raw(self) -> &'a [u8] {
        self.slice(self.data().start, self.data().end)
    }

    /// The bytes between its tags (empty for `<a/>`).
    pub fn inner(self) -> &'a [u8] {
        self.slice(self.data().inner, self.data().inner_end)
    }

    /// The bytes between its tags without those of the children for which `drop` is true.
    pub fn inner_without(self, out: &mut Vec<u8>, drop: &dyn Fn(Node<'_>) -> bool) {
        let mut from = self.data().inner;
        for child in self.children().filter(|child| drop(*child)) {
            out.extend_from_slice(self.slice(from, child.data().start));
            from = child.data().end;
        }
        out.extend_from_slice(self.slice(from, self.data().inner_end));
    }
}

/// The prefix that an attribute of this name declares, "" for `xmlns` itself.
pub(crate) fn declared_prefix(name: &str) -> Option<&str> {
    match name.strip_prefix("xmlns")? {
        "" => Some(""),
        rest => rest.strip_prefix(':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamCondition;

    fn parse(raw: &str) -> Element {
        Element::parse(raw.as_bytes(), &Scope::client()).expect(raw)
    }

    fn refused(raw: &[u8]) -> StreamCondition {
        Element::parse(raw, &Scope::client()).expect_err("malformed").error.condition
    }

    #[test]
    fn the_view_shows_names_namespaces_attributes_text_and_bytes() {
        let raw = "<message id=\"1\" xml:lang='de' p:id='2' xmlns:p='urn:p' note='&lt;\n&#10;'>\
                   a<b xmlns=''> x<c/>y\r\n</b>&amp;\
                   <![CDATA[<]]><p:d/ ></message>"
            .replace("/ >", " />");
        let element = parse(&raw);
        let root = element.root();
        assert!(root.is("message", ns::CLIENT) && !root.is("message", "") && !root.is("b", ns::CLIENT));
        assert_eq!((root.attr("id"), root.attr("p:id")), (Some("1"), Some("2")));
        assert_eq!((root.attr("xml:lang"), root.attr("note")), (Some("de"), Some("< \n")));
        assert_eq!((root.attr("xmlns:p"), root.attr("missing")), (None, None));
        assert_eq!(
            root.attrs().map(|(name, _)| name).collect::<Vec<_>>(),
            ["id", "xml:lang", "p:id", "note"]
        );
        assert_eq!(root.declarations().collect::<Vec<_>>(), [("p", "urn:p")]);
        assert_eq!(root.text(), "a&<");
        assert_eq!(root.children().map(Node::name).collect::<Vec<_>>(), ["b", "d"]);
        let b = root.child("b", "").expect("b in no namespace");
        assert_eq!(b.text(), " xy\n");
        assert_eq!(b.raw(), b"<b xmlns=''> x<c/>y\r\n</b>");
        assert_eq!(b.inner(), b" x<c/>y\r\n");
        let c = b.children().next().expect("c");
        assert_eq!((c.ns(), c.inner(), c.raw()), ("", b"".as_slice(), b"<c/>".as_slice()));
        assert!(matches!(c.text(), Cow::Borrowed("")));
        let d = root.child("d", "urn:p").expect("d");
        assert_eq!((d.qualified_name(), d.name(), d.raw()), ("p:d", "d", b"<p:d />".as_slice()));
        assert_eq!(element.raw(), raw.as_bytes());
        assert_eq!(element.scope(), &Scope::client());
    }

    #[test]
    fn text_is_borrowed_where_it_stands_literally() {
        assert!(matches!(parse("<a>plain</a>").root().text(), Cow::Borrowed("plain")));
        assert_eq!(parse("<a>x<b>no</b>y<b/>z</a>").root().text(), "xyz");
        assert_eq!(parse("<a>x&#x1F600;</a>").root().text(), "x😀");
    }

    #[test]
    fn a_namespace_named_xmlns_is_one_like_any_other() {
        let element = parse("<a xmlns:p='xmlns' p:q='1' xmlns:q='u'><q:b/></a>");
        assert_eq!(element.root().attr("p:q"), Some("1"));
        assert!(element.root().child("b", "u").is_some());
    }

    #[test]
    fn attributes_stay_unique_however_many_they_are() {
        let many: String = (0..40).map(|n| format!(" a{n}='{n}'")).collect();
        assert_eq!(parse(&format!("<a{many}/>")).root().attr("a39"), Some("39"));
        assert_eq!(refused(format!("<a{many} a7=''/>").as_bytes()), StreamCondition::NotWellFormed);
    }

    #[test]
    fn long_text_and_values_are_not_cut_by_the_parser() {
        let long = "x".repeat(200_000);
        let element = parse(&format!("<a b='{long}'>{long}&amp;</a>"));
        assert_eq!(element.root().attr("b"), Some(long.as_str()));
        assert_eq!(element.root().text().len(), long.len() + 1);
    }

    #[test]
    fn dropping_children_keeps_the_rest_byte_for_byte() {
        let element = parse("<a>1<b>2</b>&#51;<c x='y' /><b/>4</a>");
        let mut out = Vec::new();
        element.root().inner_without(&mut out, &|child| child.name() == "b");
        assert_eq!(out, b"1&#51;<c x='y' />4");
    }

    #[test]
    fn what_is_refused_and_how() {
        use StreamCondition::*;
        let cases: [(&[u8], StreamCondition); 24] = [
            (b"", NotWellFormed),
            (b"<a>", NotWellFormed),
            (b"<a/><b/>", NotWellFormed),
            (b"<a/> ", NotWellFormed),
            (b" <a/>", NotWellFormed),
            (b"<a></b>", NotWellFormed),
            (b"<a b='1' b='2'/>", NotWellFormed),
            (b"<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", NotWellFormed),
            (b"<a xmlns='u' xmlns='u'/>", NotWellFormed),
            (b"<a xmlns:p=''/>", NotWellFormed),
            (b"<a xmlns:xml='u'/>", NotWellFormed),
            (b"<a:b:c/>", NotWellFormed),
            (b"<a>]]></a>", NotWellFormed),
            (b"<a>&#0;</a>", NotWellFormed),
            ("<a>\u{ffff}</a>".as_bytes(), NotWellFormed),
            (b"<a>\0</a>", NotWellFormed),
            (b"<p:a/>", BadNamespacePrefix),
            (b"<a p:b=''/>", BadNamespacePrefix),
            (b"<a>&nbsp;</a>", RestrictedXml),
            (b"<a><!-- --></a>", RestrictedXml),
            (b"<?xml version='1.0'?><a/>", RestrictedXml),
            (b"<a>\xff</a>", UnsupportedEncoding),
            (b"<a>\xed\xa0\x80</a>", UnsupportedEncoding),
            (b"<a>\xc0\x80</a>", UnsupportedEncoding),
        ];
        for (raw, condition) in cases {
            assert_eq!(refused(raw), condition, "{}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn it_can_go_to_another_thread() {
        fn send_and_sync<T: Send + Sync>() {}
        send_and_sync::<Element>();
        send_and_sync::<crate::Stanza>();
        assert!(size_of::<Scope>() <= 16);
    }
}
