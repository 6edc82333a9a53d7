//! What must hold for any input at all: shared by the property tests and the fuzz targets.
//!
//! rxml's own full parser is the oracle. It reads a whole stream; the framer and [`Element::parse`] have to
//! come to the same frames and the same trees, except where they are stricter on purpose, which is spelled
//! out here.

#![allow(dead_code)] // each test binary and fuzz target uses its part

use godwit_wire::element::Header;
use godwit_wire::{Element, FrameKind, Framer, Limits, Node, Scan, Scope, StreamCondition, StreamError};
use rxml::{Event, Parse, Parser, WithOptions};
use std::ops::Range;

/// A header for stanzas to follow.
pub(crate) const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What the framer makes of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Frames in order; neighbouring white space joined.
    pub(crate) frames: Vec<(FrameKind, Range<usize>)>,
    /// Why it stopped, if it did.
    pub(crate) error: Option<StreamError>,
    /// Bytes of an unfinished frame.
    pub(crate) pending: u32,
}

/// Scans `input` handed over in pieces that end at `cuts` (ascending); the state is imaged between the
/// pieces.
pub(crate) fn outcome(input: &[u8], cuts: &[usize], limits: &Limits, bytes_max: u32) -> Outcome {
    let mut framer = Framer::new();
    let mut frames: Vec<(FrameKind, Range<usize>)> = Vec::new();
    let (mut start, mut at) = (0, 0);
    for cut in cuts.iter().copied().chain([input.len()]) {
        while at < cut {
            match framer.scan(&input[at..cut], limits, bytes_max) {
                Err(error) => return Outcome { frames, error: Some(error), pending: 0 },
                Ok(Scan::More) => {
                    assert!(!framer.is_idle());
                    at = cut;
                    assert_eq!(framer.frame_bytes() as usize, at - start);
                    assert!(framer.frame_bytes() <= bytes_max);
                }
                Ok(Scan::Frame { kind, end }) => {
                    assert!(framer.is_idle() && framer.frame_bytes() == 0);
                    assert!((1..=cut - at).contains(&end));
                    at += end;
                    match frames.last_mut() {
                        Some((FrameKind::Whitespace, last)) if kind == FrameKind::Whitespace => last.end = at,
                        _ => frames.push((kind, start..at)),
                    }
                    start = at;
                }
            }
        }
        framer = Framer::from_bytes(&framer.to_bytes()).expect("the image of a state is one");
    }
    Outcome { frames, error: None, pending: framer.frame_bytes() }
}

/// The frames and the error do not depend on how the input is split.
pub(crate) fn split_invariant(input: &[u8], cuts: &[usize], limits: &Limits, bytes_max: u32) {
    let whole = outcome(input, &[], limits, bytes_max);
    assert_eq!(whole, outcome(input, cuts, limits, bytes_max));
    let every: Vec<usize> = (1..input.len()).collect();
    assert_eq!(whole, outcome(input, &every, limits, bytes_max));
    for (kind, range) in &whole.frames {
        assert!(*kind == FrameKind::Whitespace || range.len() <= bytes_max as usize);
    }
}

/// One element as both parsers see it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    name: (String, String),
    attrs: Vec<(String, String)>,
    text: String,
    children: Vec<Seen>,
}

fn options(max: usize) -> rxml::Options {
    rxml::Options { max_token_length: max, ..rxml::Options::default() }
}

/// The first child of the root in `HEADER` + `raw`, if it is all there is, by rxml's full parser.
pub(crate) fn by_rxml(raw: &[u8]) -> Result<Seen, String> {
    let document = [HEADER.as_bytes(), raw].concat();
    let mut parser = Parser::with_options(options(document.len()));
    let mut rest = document.as_slice();
    let mut open: Vec<Seen> = Vec::new();
    let mut started = false;
    loop {
        match parser.parse(&mut rest, false).map_err(|e| format!("{e:?}"))? {
            None => return Err("end".into()),
            Some(Event::XmlDeclaration(..)) => return Err("declaration".into()),
            Some(Event::StartElement(..)) if !std::mem::replace(&mut started, true) => {}
            Some(Event::StartElement(_, (ns, name), attrs)) => {
                let mut attrs: Vec<_> =
                    attrs.into_iter().map(|((_, name), value)| (name.to_string(), value)).collect();
                attrs.sort();
                let name = (ns.to_string(), name.to_string());
                open.push(Seen { name, attrs, text: String::new(), children: Vec::new() });
            }
            Some(Event::Text(_, text)) => match open.last_mut() {
                Some(seen) => seen.text.push_str(&text),
                None => return Err("text outside".into()),
            },
            Some(Event::EndElement(_)) => {
                let Some(seen) = open.pop() else { return Err("root ended".into()) };
                match open.last_mut() {
                    Some(parent) => parent.children.push(seen),
                    None if rest.is_empty() => return Ok(seen),
                    None => return Err("more than one element".into()),
                }
            }
        }
    }
}

/// The same tree by our view; checks that the ranges are consistent.
pub(crate) fn by_us(node: Node<'_>) -> Seen {
    let raw = std::str::from_utf8(node.raw()).expect("raw UTF-8");
    let name = node.qualified_name();
    assert!(raw.starts_with(&format!("<{name}")), "{raw}");
    let inner = std::str::from_utf8(node.inner()).expect("inner UTF-8");
    if raw.ends_with("/>") {
        assert_eq!(inner, "");
    } else {
        let end_tag = raw.trim_end_matches('>').trim_end();
        let before = end_tag.strip_suffix(&format!("</{name}")).expect("end tag");
        assert!(before.ends_with(inner), "{raw} {inner}");
    }
    let mut rest = inner;
    for child in node.children() {
        let child = std::str::from_utf8(child.raw()).expect("child UTF-8");
        let at = rest.find(child).expect("children are inside, in order");
        rest = &rest[at + child.len()..];
    }
    let mut attrs: Vec<_> = node
        .attrs()
        .map(|(name, value)| (name.rsplit(':').next().unwrap_or(name).to_owned(), value.to_owned()))
        .collect();
    attrs.sort();
    Seen {
        name: (node.ns().to_owned(), node.name().to_owned()),
        attrs,
        text: node.text().into_owned(),
        children: node.children().map(by_us).collect(),
    }
}

/// [`Element::parse`] accepts what rxml accepts as one element, and sees the same in it.
pub(crate) fn same_tree(raw: &[u8]) {
    match (by_rxml(raw), Element::parse(raw, &Scope::client())) {
        (Ok(theirs), Ok(ours)) => {
            assert_eq!(ours.raw(), raw);
            assert_eq!(theirs, by_us(ours.root()));
        }
        (Err(_), Err(_)) => {}
        // rxml lets a second `xmlns` on one element pass, which is no well-formed XML.
        (Ok(_), Err(error)) if error.error.text.as_deref() == Some("duplicate attribute") => {}
        (theirs, ours) => panic!("rxml: {theirs:?}, ours: {ours:?}, of {:?}", String::from_utf8_lossy(raw)),
    }
}

/// Children of the root that rxml completes in `HEADER` + `stanzas`, and whether it ended in an error.
struct Reference {
    elements: usize,
    error: Option<rxml::Error>,
}

fn reference(stanzas: &[u8]) -> Reference {
    let document = [HEADER.as_bytes(), stanzas].concat();
    let mut parser = Parser::with_options(options(document.len()));
    let mut rest = document.as_slice();
    let mut depth = 0;
    let mut seen = Reference { elements: 0, error: None };
    loop {
        match parser.parse(&mut rest, false) {
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return seen,
            Err(rxml::error::EndOrError::Error(error)) => {
                seen.error = Some(error);
                return seen;
            }
            Ok(Some(Event::StartElement(..))) => depth += 1,
            Ok(Some(Event::EndElement(_))) => {
                depth -= 1;
                seen.elements += usize::from(depth == 1);
            }
            Ok(Some(_)) => {}
        }
    }
}

/// Errors that are the parser's to find, in frames that the framer let pass.
fn is_for_the_parser(error: rxml::Error) -> bool {
    use rxml::Error::*;
    !matches!(error, InvalidEof(_) | UnexpectedToken(..))
}

/// The framer frames what rxml accepts, and lets pass only what it leaves to the parser.
pub(crate) fn differential(stanzas: &[u8], limits: &Limits) {
    let input = [HEADER.as_bytes(), stanzas].concat();
    let ours = outcome(&input, &[], limits, limits.stanza_bytes_max);
    let elements: Vec<_> = ours.frames.iter().filter(|(kind, _)| *kind == FrameKind::Element).collect();
    let theirs = reference(stanzas);
    let by_limit = |e: &StreamError| e.condition == StreamCondition::PolicyViolation;
    match (&ours.error, theirs.error) {
        (None, None) => assert_eq!(elements.len(), theirs.elements),
        (None, Some(error)) => {
            assert!(elements.len() >= theirs.elements);
            assert!(is_for_the_parser(error), "{error:?} passed the framer");
        }
        (Some(error), None) => {
            assert!(elements.len() <= theirs.elements);
            // rxml may need more bytes to see what is wrong, but it must not complete what was refused:
            // except that to it, text between stanzas is text like any other.
            let text_outside = error.text.as_deref() == Some("text outside a stanza");
            let may_go_on = by_limit(error) || text_outside;
            assert!(elements.len() == theirs.elements || may_go_on, "{error} of what rxml accepts");
        }
        (Some(_), Some(_)) => {}
    }
    for (_, range) in elements {
        same_tree(&input[range.clone()]);
    }
}

/// The parsers never panic, whatever they get; what they accept is consistent.
pub(crate) fn parsers(raw: &[u8]) {
    same_tree(raw);
    if let Ok(header) = Header::parse(raw)
        && let Ok(element) = Element::parse(b"<message><body>x</body></message>", &header.scope)
    {
        assert_eq!(element.root().ns(), header.scope.content());
    }
    if Header::check_declaration(raw).is_ok() {
        assert!(raw.starts_with(b"<?xml") && raw.ends_with(b"?>"));
    }
}

/// What rendering with other addresses may change: only those.
pub(crate) fn same_but_for_addresses(mut before: Seen, after: Seen) {
    before.attrs.retain(|(name, _)| !matches!(name.as_str(), "from" | "to"));
    // A prefixed `p:to` is not an address and has been kept.
    let kept = after.attrs.iter().filter(|(name, _)| !matches!(name.as_str(), "from" | "to")).count();
    assert_eq!(before.attrs.len(), kept);
    assert_eq!((before.name, before.text, before.children), (after.name, after.text, after.children));
}
