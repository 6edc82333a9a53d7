//! Bytes to [`Element`] by rxml: the only file that names it.
//!
//! rxml's raw parser checks well-formedness and hands out each piece with its length in bytes; namespaces are
//! resolved here, because the prefixes as written are needed afterwards to render a stanza without reparsing
//! it.

use crate::element::{AttrData, Element, NodeData, NsId, Str, TextData, declared_prefix};
use crate::{Scope, StreamCondition, StreamError, ns};
use rxml::error::EndOrError;
use rxml::{Options, Parse, RawEvent, RawParser, WithOptions};
use smallvec::SmallVec;
use std::fmt;

/// An empty CDATA section is the one construct that rxml skips without an event.
const EMPTY_CDATA: &str = "<![CDATA[]]>";
/// Attributes that are compared for uniqueness without allocating.
const ATTRIBUTES_INLINE: usize = 8;

/// Why bytes are not one well-formed, namespace-well-formed element. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The stream error to answer with.
    pub error: StreamError,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ParseError {}

impl From<StreamCondition> for ParseError {
    fn from(condition: StreamCondition) -> Self {
        ParseError { error: StreamError::new(condition) }
    }
}

impl From<rxml::Error> for ParseError {
    fn from(error: rxml::Error) -> Self {
        use rxml::Error::*;
        StreamError::new(match error {
            RestrictedXml(_) | UndeclaredEntity => StreamCondition::RestrictedXml,
            UndeclaredNamespacePrefix(_) => StreamCondition::BadNamespacePrefix,
            InvalidUtf8Byte(_) => StreamCondition::UnsupportedEncoding,
            _ => StreamCondition::NotWellFormed,
        })
        .with_text(error.to_string())
        .into()
    }
}

impl From<StreamError> for ParseError {
    fn from(error: StreamError) -> Self {
        ParseError { error }
    }
}

/// Exactly one element, from its `<` to its last `>`.
pub(crate) fn element(raw: &[u8], scope: &Scope) -> Result<Element, ParseError> {
    let mut tree = Tree::new(raw, scope.clone())?;
    let mut parser = tree.parser();
    let mut rest = raw;
    while !tree.complete() {
        match parser.parse(&mut rest, true) {
            Ok(Some(event)) => tree.event(event)?,
            Ok(None) => return Err(StreamCondition::NotWellFormed.into()),
            Err(error) => return Err(reason(&error)),
        }
    }
    tree.finish()
}

/// Exactly one start tag, of an element that stays open.
pub(crate) fn header(raw: &[u8]) -> Result<Element, ParseError> {
    let mut tree = Tree::new(raw, Scope::client())?;
    // Nothing is in force before the header itself.
    tree.bare = true;
    let mut parser = tree.parser();
    let mut rest = raw;
    while !tree.head_done() {
        match parser.parse(&mut rest, false) {
            Ok(Some(event)) => tree.event(event)?,
            Ok(None) => return Err(StreamCondition::NotWellFormed.into()),
            Err(error) => return Err(reason(&error)),
        }
    }
    if raw.ends_with(b"/>") {
        return Err(StreamCondition::BadFormat.into());
    }
    tree.close()?;
    tree.finish()
}

/// Exactly one XML declaration.
pub(crate) fn declaration(raw: &[u8]) -> Result<(), ParseError> {
    let text =
        std::str::from_utf8(raw).map_err(|_| ParseError::from(StreamCondition::UnsupportedEncoding))?;
    if let Some((_, after)) = text.split_once("encoding") {
        let value = after.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '=');
        let named = value.get(1..).and_then(|v| v.split(['\'', '"']).next()).unwrap_or_default();
        if !named.eq_ignore_ascii_case("utf-8") {
            return Err(StreamCondition::UnsupportedEncoding.into());
        }
    }
    let mut rest = raw;
    match RawParser::new().parse(&mut rest, false) {
        Ok(Some(RawEvent::XmlDeclaration(metrics, _))) if metrics.len() == raw.len() => Ok(()),
        Ok(_) => Err(StreamCondition::NotWellFormed.into()),
        Err(error) => Err(reason(&error)),
    }
}

fn reason(error: &EndOrError) -> ParseError {
    match error {
        EndOrError::NeedMoreData => StreamCondition::NotWellFormed.into(),
        EndOrError::Error(error) => (*error).into(),
    }
}

/// Our own bookkeeping and rxml disagree about positions: cannot be, and must not become a wrong element.
fn out_of_step() -> ParseError {
    debug_assert!(false, "the parser's events do not add up to the input");
    StreamCondition::InternalServerError.into()
}

/// A namespace declaration in force.
struct Declaration {
    prefix: Str,
    id: NsId,
}

/// An element whose end tag has not come.
struct Open {
    node: u32,
    /// Declarations that were in force outside it.
    declarations: usize,
}

/// The element under construction.
struct Tree {
    element: Element,
    /// Bytes of the input that the events so far account for.
    at: usize,
    open: SmallVec<[Open; 8]>,
    declarations: SmallVec<[Declaration; 8]>,
    /// Ignore the scope.
    bare: bool,
    /// A start tag is under way.
    in_head: bool,
}

impl Tree {
    fn new(raw: &[u8], scope: Scope) -> Result<Tree, ParseError> {
        let text =
            std::str::from_utf8(raw).map_err(|_| ParseError::from(StreamCondition::UnsupportedEncoding))?;
        if raw.len() >= Str::DECODED as usize {
            return Err(StreamCondition::PolicyViolation.into());
        }
        if !text.starts_with('<') {
            return Err(StreamCondition::NotWellFormed.into());
        }
        if text.starts_with("<?") {
            return Err(StreamCondition::RestrictedXml.into());
        }
        let element = Element {
            raw: text.into(),
            decoded: String::new(),
            nodes: Vec::new(),
            attrs: Vec::new(),
            texts: Vec::new(),
            scope,
        };
        Ok(Tree {
            element,
            at: 0,
            open: SmallVec::new(),
            declarations: SmallVec::new(),
            bare: false,
            in_head: false,
        })
    }

    /// The framer bounds names and values; rxml's own bound must not be the smaller one.
    fn parser(&self) -> RawParser {
        let options = Options { max_token_length: self.element.raw.len(), ..Options::default() };
        <RawParser as WithOptions>::with_options(options)
    }

    fn complete(&self) -> bool {
        self.open.is_empty() && !self.element.nodes.is_empty()
    }

    fn head_done(&self) -> bool {
        !self.in_head && !self.element.nodes.is_empty()
    }

    fn finish(self) -> Result<Element, ParseError> {
        if self.at == self.element.raw.len() {
            Ok(self.element)
        } else {
            Err(StreamError::new(StreamCondition::NotWellFormed).with_text("bytes after the element").into())
        }
    }

    fn event(&mut self, event: RawEvent) -> Result<(), ParseError> {
        let length = event.metrics().len();
        if !self.in_head && length > 0 {
            while self.element.raw.get(self.at..).is_some_and(|rest| rest.starts_with(EMPTY_CDATA)) {
                self.at += EMPTY_CDATA.len();
            }
        }
        let from = self.at;
        self.at += length;
        match event {
            RawEvent::XmlDeclaration(..) => Err(StreamCondition::RestrictedXml.into()),
            RawEvent::ElementHeadOpen(..) => self.head(from),
            RawEvent::Attribute(_, _, value) => self.attribute(from, &value),
            RawEvent::ElementHeadClose(_) => self.head_end(),
            RawEvent::ElementFoot(_) => self.foot(from),
            RawEvent::Text(_, text) => {
                let text = self.keep(from, self.at, &text);
                let owner = self.open.last().map_or(0, |open| open.node);
                self.element.texts.push(TextData { owner, text });
                Ok(())
            }
        }
    }

    /// `value` as a range of the raw text if it stands there literally, or else of the decoded text.
    fn keep(&mut self, from: usize, to: usize, value: &str) -> Str {
        if self.element.raw.get(from..to) == Some(value) {
            return Str { start: narrow(from), len: narrow(to - from) };
        }
        let start = narrow(self.element.decoded.len()) | Str::DECODED;
        self.element.decoded.push_str(value);
        Str { start, len: narrow(value.len()) }
    }

    /// `<name`
    fn head(&mut self, from: usize) -> Result<(), ParseError> {
        let written = self.element.raw.get(from..self.at).and_then(|tag| tag.strip_prefix('<'));
        let Some(name) = written else { return Err(out_of_step()) };
        let prefix = narrow(name.find(':').map_or(0, |colon| colon + 1));
        let name = Str { start: narrow(from + 1), len: narrow(name.len()) };
        let node = narrow(self.element.nodes.len());
        let (attrs, texts) = (narrow(self.element.attrs.len()), narrow(self.element.texts.len()));
        self.element.nodes.push(NodeData {
            name,
            prefix,
            ns: NsId::None,
            start: narrow(from),
            inner: 0,
            inner_end: 0,
            end: 0,
            next: 0,
            attrs,
            attrs_end: attrs,
            texts,
            texts_end: texts,
        });
        self.open.push(Open { node, declarations: self.declarations.len() });
        self.in_head = true;
        Ok(())
    }

    /// White space, name, `=`, quoted value.
    fn attribute(&mut self, from: usize, value: &str) -> Result<(), ParseError> {
        let span = self.element.raw.get(from..self.at).unwrap_or_default();
        let written = span.trim_ascii_start();
        let name_at = from + (span.len() - written.len());
        let (Some(name_len), Some(quote)) =
            (written.find(|c: char| c == '=' || c.is_ascii_whitespace()), written.find(['\'', '"']))
        else {
            return Err(out_of_step());
        };
        let name = Str { start: narrow(name_at), len: narrow(name_len) };
        let value = self.keep(name_at + quote + 1, self.at - 1, value);
        let index = narrow(self.element.attrs.len());
        self.element.attrs.push(AttrData { name, value });
        if let Some(prefix) = declared_prefix(self.element.str(name)) {
            let len = narrow(prefix.len());
            let prefix = Str { start: narrow(name_at + name_len) - len, len };
            self.declarations.push(Declaration { prefix, id: NsId::Declared(index) });
        }
        Ok(())
    }

    /// `>` or `/>` of a start tag: all declarations are known now.
    fn head_end(&mut self) -> Result<(), ParseError> {
        self.in_head = false;
        let Some(node) = self.open.last().map(|open| open.node) else { return Err(out_of_step()) };
        let attrs_end = narrow(self.element.attrs.len());
        let Some(data) = self.element.nodes.get(node as usize) else { return Err(out_of_step()) };
        let name = self.element.str(data.name);
        let prefix = name.get(..data.prefix as usize).unwrap_or_default().trim_end_matches(':');
        let ns = self.resolve(prefix)?;
        self.check_unique(self.element.attrs.get(data.attrs as usize..).unwrap_or_default())?;
        let at = narrow(self.at);
        if let Some(data) = self.element.nodes.get_mut(node as usize) {
            (data.ns, data.attrs_end) = (ns, attrs_end);
            (data.inner, data.inner_end) = (at, at);
        }
        Ok(())
    }

    /// End tag, or nothing after `/>`.
    fn foot(&mut self, from: usize) -> Result<(), ParseError> {
        if from != self.at && !self.element.raw.get(from..self.at).is_some_and(|tag| tag.starts_with("</")) {
            return Err(out_of_step());
        }
        if let Some(data) = self.open.last().and_then(|o| self.element.nodes.get_mut(o.node as usize)) {
            data.inner_end = narrow(from);
        }
        self.close()
    }

    fn close(&mut self) -> Result<(), ParseError> {
        let Some(open) = self.open.pop() else { return Err(out_of_step()) };
        self.declarations.truncate(open.declarations);
        let (end, next, texts_end) =
            (narrow(self.at), narrow(self.element.nodes.len()), narrow(self.element.texts.len()));
        if let Some(data) = self.element.nodes.get_mut(open.node as usize) {
            (data.end, data.next, data.texts_end) = (end, next, texts_end);
        }
        Ok(())
    }

    /// The namespace of an element prefix ("" for none), innermost declaration first.
    fn resolve(&self, prefix: &str) -> Result<NsId, ParseError> {
        let declared = self.declarations.iter().rev().find(|d| self.element.str(d.prefix) == prefix);
        if let Some(declaration) = declared {
            return Ok(declaration.id);
        }
        match prefix {
            "xml" => Ok(NsId::Xml),
            "" if self.bare => Ok(NsId::None),
            "" => Ok(NsId::Content),
            "stream" if !self.bare => Ok(NsId::Streams),
            _ => self
                .element
                .scope
                .position(prefix)
                .map(|position| NsId::Scope(narrow(position)))
                .ok_or_else(|| rxml::Error::UndeclaredNamespacePrefix(None).into()),
        }
    }

    /// No two attributes may have the same name, nor different prefixes for the same namespace and the same
    /// local name.
    fn check_unique(&self, attrs: &[AttrData]) -> Result<(), ParseError> {
        let mut seen: SmallVec<[(&str, &str); ATTRIBUTES_INLINE]> = SmallVec::new();
        for attr in attrs {
            let name = self.element.str(attr.name);
            seen.push(match name.split_once(':') {
                None => ("", name),
                Some(("xmlns", prefix)) => (ns::XMLNS, prefix),
                Some((prefix, local)) => (self.element.uri(self.resolve(prefix)?), local),
            });
        }
        let twice = if seen.len() <= ATTRIBUTES_INLINE {
            // Names mostly differ in length already, so comparing each pair beats sorting a few.
            seen.iter().enumerate().any(|(at, a)| seen.iter().skip(at + 1).any(|b| a.1 == b.1 && a.0 == b.0))
        } else {
            seen.sort_unstable();
            seen.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
        };
        if twice {
            return Err(rxml::Error::DuplicateAttribute.into());
        }
        Ok(())
    }
}

/// Lossless: the input is shorter than 2^31 bytes, and nothing here is longer than it.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
