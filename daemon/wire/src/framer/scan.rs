//! The framer's grammar: one method for each place in a tag or text where the input can break off.
//!
//! A method sees the rest of the input, never empty, and consumes at least one byte of it.

use super::lexis::*;
use super::{FrameKind, Framer, NAMESPACE_LEVELS, Stage};
use crate::Limits;

/// The root's name, whose end tag ends the stream (RFC 6120 §4.8.5 lets a server insist on the prefix).
const ROOT: &[u8] = b"stream:stream";
const CDATA: &[u8] = b"CDATA[";
const XML: &[u8] = b"xml";
const XMLNS: &[u8] = b"xmlns";
/// `matched` of an attribute name that declares a namespace prefix, and of one that declares nothing.
const DECLARES: u8 = 6;
const ORDINARY: u8 = 7;

/// What a method made of the bytes.
pub(super) enum Step {
    /// Consumed this many, and the frame goes on.
    Go(usize),
    /// Consumed this many, and the frame ends with them.
    Done(FrameKind, usize),
}

type Result<T> = std::result::Result<T, Fault>;

impl Framer {
    pub(super) fn step(&mut self, rest: &[u8], limits: &Limits) -> Result<Step> {
        let Some(&first) = rest.first() else { return Ok(Step::Go(0)) };
        match self.state {
            State::Text => self.text(rest),
            State::TagOpen => self.tag_open(first, limits),
            State::StartName => self.start_name(rest, limits),
            State::StartSpace => self.start_space(rest, limits),
            State::AttributeName => self.attribute_name(rest, limits),
            State::AfterAttributeName | State::BeforeValue => self.around_equals(rest),
            State::Value => self.value(rest, limits),
            State::AfterValue => self.after_part(first, 0),
            State::EmptyTag => self.empty_tag(first),
            State::EndOpen => self.end_open(first),
            State::EndName => self.end_name(rest, limits),
            State::EndSpace | State::RootSpace => self.end_space(rest),
            State::RootName => self.root_name(first),
            State::Between => self.between(first),
            State::Bang => self.bang(first),
            State::CdataOpen => self.cdata_open(first),
            State::Cdata => self.cdata(rest),
            State::CdataEnd => self.cdata_end(first),
            State::DeclarationOpen => self.declaration_open(first),
            State::Declaration | State::DeclarationEnd => self.declaration(first),
        }
    }

    fn go(&mut self, state: State, count: usize) -> Result<Step> {
        self.state = state;
        Ok(Step::Go(count))
    }

    fn between(&mut self, first: u8) -> Result<Step> {
        match first {
            b'<' if self.stage != Stage::Closed => self.go(State::TagOpen, 1),
            b'<' => Err(Fault::NotWellFormed("markup after the end of the stream")),
            _ => Err(Fault::NotWellFormed("text outside a stanza")),
        }
    }

    fn text(&mut self, rest: &[u8]) -> Result<Step> {
        let end = memchr::memchr(b'<', rest);
        check_characters(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default())?;
        match end {
            Some(end) => self.go(State::TagOpen, end + 1),
            None => Ok(Step::Go(rest.len())),
        }
    }

    fn tag_open(&mut self, first: u8, limits: &Limits) -> Result<Step> {
        self.matched = 0;
        match first {
            b'/' if self.depth > 0 => self.go(State::EndOpen, 1),
            b'/' if self.stage == Stage::Open => self.go(State::RootName, 1),
            b'!' => self.go(State::Bang, 1),
            b'?' if self.stage == Stage::Start => {
                self.value_bytes = 2;
                self.go(State::DeclarationOpen, 1)
            }
            b'?' => Err(Fault::Restricted("a processing instruction")),
            _ if is(first, NAME_START) => {
                if self.stage == Stage::Open {
                    if self.depth >= limits.depth_max {
                        return Err(Fault::Depth);
                    }
                    self.depth += 1;
                }
                self.attributes = 0;
                self.name_bytes = 0;
                self.count_name(1, limits)?;
                self.go(State::StartName, 1)
            }
            _ => Err(Fault::NotWellFormed("no name after <")),
        }
    }

    fn count_name(&mut self, count: usize, limits: &Limits) -> Result<()> {
        let total = usize::from(self.name_bytes) + count;
        match u16::try_from(total) {
            Ok(total) if total <= limits.name_bytes_max => {
                self.name_bytes = total;
                Ok(())
            }
            _ => Err(Fault::Name),
        }
    }

    fn start_name(&mut self, rest: &[u8], limits: &Limits) -> Result<Step> {
        let count = run(rest, NAME);
        self.count_name(count, limits)?;
        match rest.get(count) {
            Some(&next) => self.after_part(next, count),
            None => Ok(Step::Go(count)),
        }
    }

    /// After a name or a value in a start tag, `count` bytes of which come before `next`.
    fn after_part(&mut self, next: u8, count: usize) -> Result<Step> {
        match next {
            b'>' => Ok(self.start_tag_end(count + 1)),
            b'/' => self.go(State::EmptyTag, count + 1),
            _ if is_white(next) => self.go(State::StartSpace, count + 1),
            _ => Err(Fault::NotWellFormed("a start tag is malformed")),
        }
    }

    fn start_space(&mut self, rest: &[u8], limits: &Limits) -> Result<Step> {
        let white = run(rest, WHITE);
        let Some(&next) = rest.get(white) else { return Ok(Step::Go(white)) };
        if !is(next, NAME_START) {
            return self.after_part(next, white);
        }
        if self.attributes >= limits.attributes_max {
            return Err(Fault::Attributes);
        }
        self.attributes += 1;
        self.name_bytes = 0;
        self.matched = 0;
        self.state = State::AttributeName;
        // The name's first byte is counted with the rest of it, so white space alone must be consumed here.
        if white == 0 { self.attribute_name(rest, limits) } else { Ok(Step::Go(white)) }
    }

    fn attribute_name(&mut self, rest: &[u8], limits: &Limits) -> Result<Step> {
        let count = run(rest, NAME);
        self.count_name(count, limits)?;
        let mut bytes = rest.get(..count).unwrap_or_default().iter();
        while self.matched < DECLARES
            && let Some(&byte) = bytes.next()
        {
            let expected = XMLNS.get(usize::from(self.matched)).unwrap_or(&b':');
            self.matched = if byte == *expected { self.matched + 1 } else { ORDINARY };
        }
        let Some(&next) = rest.get(count) else { return Ok(Step::Go(count)) };
        let state = match next {
            b'=' => State::BeforeValue,
            _ if is_white(next) => State::AfterAttributeName,
            _ => return Err(Fault::NotWellFormed("an attribute has no value")),
        };
        if usize::from(self.matched) == XMLNS.len() || self.matched == DECLARES {
            self.count_declaration(limits)?;
        }
        self.go(state, count + 1)
    }

    fn level(&self) -> usize {
        usize::from(self.depth.max(1)).min(NAMESPACE_LEVELS) - 1
    }

    fn count_declaration(&mut self, limits: &Limits) -> Result<()> {
        let in_force = self.declarations.iter().fold(0, |sum: u16, level| sum.saturating_add(*level));
        if in_force >= limits.namespaces_max {
            return Err(Fault::Declarations);
        }
        let level = self.level();
        if let Some(count) = self.declarations.get_mut(level) {
            *count += 1;
        }
        Ok(())
    }

    fn around_equals(&mut self, rest: &[u8]) -> Result<Step> {
        let white = run(rest, WHITE);
        let Some(&next) = rest.get(white) else { return Ok(Step::Go(white)) };
        match (self.state, next) {
            (State::AfterAttributeName, b'=') => self.go(State::BeforeValue, white + 1),
            (State::BeforeValue, b'\'' | b'"') => {
                self.quote = next;
                self.value_bytes = 0;
                self.go(State::Value, white + 1)
            }
            _ => Err(Fault::NotWellFormed("an attribute has no quoted value")),
        }
    }

    fn value(&mut self, rest: &[u8], limits: &Limits) -> Result<Step> {
        let end = memchr::memchr2(self.quote, b'<', rest);
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let allowance = limits.value_bytes_max.saturating_sub(self.value_bytes) as usize;
        if let Some(allowed) = part.get(..allowance).filter(|allowed| allowed.len() < part.len()) {
            check_characters(allowed)?;
            return Err(Fault::Value);
        }
        check_characters(part)?;
        self.value_bytes = self.value_bytes.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
        match end.and_then(|end| rest.get(end)) {
            None => Ok(Step::Go(rest.len())),
            Some(b'<') => Err(Fault::NotWellFormed("< in an attribute value")),
            Some(_) => self.go(State::AfterValue, part.len() + 1),
        }
    }

    /// `>` of a start tag.
    fn start_tag_end(&mut self, count: usize) -> Step {
        if self.stage == Stage::Open {
            self.state = State::Text;
            return Step::Go(count);
        }
        self.stage = Stage::Open;
        // What the header declared is not the stanzas' fault.
        self.declarations = Default::default();
        Step::Done(FrameKind::StreamOpen, count)
    }

    fn empty_tag(&mut self, first: u8) -> Result<Step> {
        match first {
            b'>' if self.stage == Stage::Open => self.element_end(1),
            b'>' => Err(Fault::EmptyHeader),
            _ => Err(Fault::NotWellFormed("a start tag is malformed")),
        }
    }

    /// The innermost element ended: it and its declarations are gone.
    fn element_end(&mut self, count: usize) -> Result<Step> {
        if usize::from(self.depth) <= NAMESPACE_LEVELS {
            let level = self.level();
            self.declarations.iter_mut().skip(level).for_each(|count| *count = 0);
        }
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            return Ok(Step::Done(FrameKind::Element, count));
        }
        self.go(State::Text, count)
    }

    fn end_open(&mut self, first: u8) -> Result<Step> {
        if !is(first, NAME_START) {
            return Err(Fault::NotWellFormed("no name after </"));
        }
        self.name_bytes = 1;
        self.go(State::EndName, 1)
    }

    fn end_name(&mut self, rest: &[u8], limits: &Limits) -> Result<Step> {
        let count = run(rest, NAME);
        self.count_name(count, limits)?;
        match rest.get(count) {
            None => Ok(Step::Go(count)),
            Some(b'>') => self.element_end(count + 1),
            Some(&next) if is_white(next) => self.go(State::EndSpace, count + 1),
            Some(_) => Err(Fault::NotWellFormed("an end tag is malformed")),
        }
    }

    fn end_space(&mut self, rest: &[u8]) -> Result<Step> {
        let white = run(rest, WHITE);
        match rest.get(white) {
            None => Ok(Step::Go(white)),
            Some(b'>') if self.state == State::EndSpace => self.element_end(white + 1),
            Some(b'>') => Ok(self.root_end(white + 1)),
            Some(_) => Err(Fault::NotWellFormed("an end tag is malformed")),
        }
    }

    fn root_end(&mut self, count: usize) -> Step {
        self.stage = Stage::Closed;
        Step::Done(FrameKind::StreamClose, count)
    }

    fn root_name(&mut self, first: u8) -> Result<Step> {
        match ROOT.get(usize::from(self.matched)) {
            Some(expected) if *expected == first => {
                self.matched += 1;
                Ok(Step::Go(1))
            }
            None if first == b'>' => Ok(self.root_end(1)),
            None if is_white(first) => self.go(State::RootSpace, 1),
            _ => Err(Fault::NotWellFormed("the end tag is not the stream's")),
        }
    }

    fn bang(&mut self, first: u8) -> Result<Step> {
        match first {
            b'[' if self.depth > 0 => self.go(State::CdataOpen, 1),
            b'[' => Err(Fault::NotWellFormed("text outside a stanza")),
            b'-' => Err(Fault::Restricted("a comment")),
            _ => Err(Fault::Restricted("a document type or other declaration")),
        }
    }

    fn cdata_open(&mut self, first: u8) -> Result<Step> {
        if CDATA.get(usize::from(self.matched)) != Some(&first) {
            return Err(Fault::NotWellFormed("a CDATA section is malformed"));
        }
        self.matched += 1;
        let done = usize::from(self.matched) == CDATA.len();
        self.go(if done { State::Cdata } else { State::CdataOpen }, 1)
    }

    fn cdata(&mut self, rest: &[u8]) -> Result<Step> {
        let end = memchr::memchr(b']', rest);
        check_characters(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default())?;
        match end {
            Some(end) => {
                self.matched = 1;
                self.go(State::CdataEnd, end + 1)
            }
            None => Ok(Step::Go(rest.len())),
        }
    }

    fn cdata_end(&mut self, first: u8) -> Result<Step> {
        match first {
            b']' => {
                self.matched = 2;
                Ok(Step::Go(1))
            }
            b'>' if self.matched == 2 => self.go(State::Text, 1),
            _ => {
                check_characters(&[first])?;
                self.go(State::Cdata, 1)
            }
        }
    }

    fn declaration_open(&mut self, first: u8) -> Result<Step> {
        self.value_bytes += 1;
        match XML.get(usize::from(self.matched)) {
            Some(expected) if *expected == first => {
                self.matched += 1;
                Ok(Step::Go(1))
            }
            None if is_white(first) => self.go(State::Declaration, 1),
            _ => Err(Fault::Restricted("a processing instruction")),
        }
    }

    fn declaration(&mut self, first: u8) -> Result<Step> {
        self.value_bytes += 1;
        if self.value_bytes > DECLARATION_BYTES_MAX {
            return Err(Fault::XmlDeclaration);
        }
        check_characters(&[first])?;
        match (self.state, first) {
            (State::DeclarationEnd, b'>') => {
                self.stage = Stage::Header;
                Ok(Step::Done(FrameKind::Declaration, 1))
            }
            (State::DeclarationEnd, _) | (_, b'<' | b'>') => {
                Err(Fault::NotWellFormed("the XML declaration is malformed"))
            }
            (_, b'?') => self.go(State::DeclarationEnd, 1),
            _ => Ok(Step::Go(1)),
        }
    }
}
