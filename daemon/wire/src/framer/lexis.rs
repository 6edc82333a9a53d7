//! The framer's vocabulary: its states, its faults, the classes of bytes.

use crate::{Limits, StreamCondition, StreamError};

/// Longest XML declaration, in bytes: version, encoding and standalone fit several times.
pub(super) const DECLARATION_BYTES_MAX: u32 = 256;

/// Where the scanner stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// No frame under way.
    #[default]
    Between,
    /// After `<`.
    TagOpen,
    StartName,
    /// In a start tag after white space.
    StartSpace,
    AttributeName,
    AfterAttributeName,
    /// After `=`.
    BeforeValue,
    Value,
    AfterValue,
    /// After the `/` of `/>`.
    EmptyTag,
    /// After `</`.
    EndOpen,
    EndName,
    EndSpace,
    /// In the root's end tag.
    RootName,
    RootSpace,
    /// Character data inside a stanza.
    Text,
    /// After `<!`.
    Bang,
    CdataOpen,
    Cdata,
    /// After `]` in CDATA.
    CdataEnd,
    /// After `<?`.
    DeclarationOpen,
    Declaration,
    /// After `?` in the declaration.
    DeclarationEnd,
}

impl State {
    const ALL: [State; 23] = [
        State::Between,
        State::TagOpen,
        State::StartName,
        State::StartSpace,
        State::AttributeName,
        State::AfterAttributeName,
        State::BeforeValue,
        State::Value,
        State::AfterValue,
        State::EmptyTag,
        State::EndOpen,
        State::EndName,
        State::EndSpace,
        State::RootName,
        State::RootSpace,
        State::Text,
        State::Bang,
        State::CdataOpen,
        State::Cdata,
        State::CdataEnd,
        State::DeclarationOpen,
        State::Declaration,
        State::DeclarationEnd,
    ];

    pub(super) fn from_image(byte: u8) -> Option<State> {
        Self::ALL.into_iter().find(|state| *state as u8 == byte)
    }
}

/// Why the stream ends; small, because it is in every result of the inner loop.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    NotWellFormed(&'static str),
    Restricted(&'static str),
    Depth,
    Attributes,
    Name,
    Value,
    Declarations,
    XmlDeclaration,
    EmptyHeader,
}

impl Fault {
    #[cold]
    pub(super) fn into_error(self, limits: &Limits) -> StreamError {
        let (condition, text) = match self {
            Fault::NotWellFormed(text) => {
                return StreamError::new(StreamCondition::NotWellFormed).with_text(text);
            }
            Fault::Restricted(text) => {
                return StreamError::new(StreamCondition::RestrictedXml).with_text(text);
            }
            Fault::EmptyHeader => {
                return StreamError::new(StreamCondition::BadFormat).with_text("empty stream header");
            }
            Fault::Depth => ("elements nested deeper than", u32::from(limits.depth_max)),
            Fault::Attributes => ("attributes on one element: more than", u32::from(limits.attributes_max)),
            Fault::Name => ("bytes in a name: more than", u32::from(limits.name_bytes_max)),
            Fault::Value => ("bytes in an attribute value: more than", limits.value_bytes_max),
            Fault::Declarations => {
                ("namespace declarations in force: more than", u32::from(limits.namespaces_max))
            }
            Fault::XmlDeclaration => ("bytes in the XML declaration: more than", DECLARATION_BYTES_MAX),
        };
        StreamError::new(StreamCondition::PolicyViolation).with_text(format!("{condition} {text}"))
    }
}

#[cold]
pub(super) fn too_big(bytes_max: u32) -> StreamError {
    StreamError::new(StreamCondition::PolicyViolation)
        .with_text(format!("bytes in a stanza: more than {bytes_max}"))
}

pub(super) const WHITE: u8 = 1;
pub(super) const NAME: u8 = 2;
pub(super) const NAME_START: u8 = 4;
/// What each byte may be. Bytes from 0x80 on may be in names: the parser knows which characters may.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte: u8 = 0;
    loop {
        class[byte as usize] = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => WHITE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' | 0x80..=0xFF => NAME | NAME_START,
            b'0'..=b'9' | b'-' | b'.' => NAME,
            _ => 0,
        };
        if byte == u8::MAX {
            break class;
        }
        byte += 1;
    }
};

pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

pub(super) fn is_white(byte: u8) -> bool {
    is(byte, WHITE)
}

/// Length of the run of bytes of this class.
pub(super) fn run(bytes: &[u8], class: u8) -> usize {
    bytes.iter().position(|byte| !is(*byte, class)).unwrap_or(bytes.len())
}

/// Refuses control characters; written without an early exit so that it is vectorised.
pub(super) fn check_characters(bytes: &[u8]) -> Result<(), Fault> {
    let forbidden = |b: u8| b < 0x20 && b != b'\t' && b != b'\n' && b != b'\r';
    if bytes.iter().fold(false, |bad, byte| bad | forbidden(*byte)) {
        return Err(Fault::NotWellFormed("a control character"));
    }
    Ok(())
}
