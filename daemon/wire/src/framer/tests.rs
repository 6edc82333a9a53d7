//! The framer case by case: what each construct is refused with, and where each limit lies.

use super::*;
use crate::StreamCondition;

const OPEN: &str = "<stream:stream to='a'>";

/// Frames of a complete input, or the condition it is refused with.
fn frames_under(input: &[u8], limits: &Limits) -> Result<Vec<(FrameKind, String)>, StreamError> {
    let mut framer = Framer::new();
    let mut frames = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        match framer.scan(rest, limits, limits.stanza_bytes_max)? {
            Scan::More => {
                assert!(!framer.is_idle());
                assert_eq!(framer.frame_bytes() as usize, rest.len());
                return Ok(frames);
            }
            Scan::Frame { kind, end } => {
                assert!(framer.is_idle());
                frames.push((kind, String::from_utf8_lossy(&rest[..end]).into_owned()));
                rest = &rest[end..];
            }
        }
    }
    Ok(frames)
}

fn frames(input: &str) -> Vec<(FrameKind, String)> {
    frames_under(input.as_bytes(), &Limits::default()).expect("acceptable")
}

/// The condition that `stanzas` after a header are refused with.
fn refused(stanzas: &str) -> StreamCondition {
    let input = [OPEN, stanzas].concat();
    frames_under(input.as_bytes(), &Limits::default()).expect_err(stanzas).condition
}

/// Accepted under `good` but refused under `bad`, with a text that names the limit.
fn limit(stanzas: &str, good: &Limits, bad: &Limits, names: &str) {
    let input = [OPEN, stanzas].concat();
    assert_eq!(frames_under(input.as_bytes(), good).expect("within").len(), 2, "{stanzas}");
    let error = frames_under(input.as_bytes(), bad).expect_err("beyond");
    assert_eq!(error.condition, StreamCondition::PolicyViolation);
    let text = error.text.unwrap_or_default();
    assert!(text.starts_with(names), "{text}");
}

#[test]
fn state_is_small() {
    assert!(size_of::<Framer>() <= 32);
}

#[test]
fn a_whole_stream() {
    use FrameKind::*;
    let input = "<?xml version='1.0'?>\n<stream:stream to='a'>  <a/><b c='>' d=\"'/>\"><b>x</b>\
                 <![CDATA[</b>]]]]><c /></b\t>\n</stream:stream > ";
    let expected = [
        (Declaration, "<?xml version='1.0'?>"),
        (Whitespace, "\n"),
        (StreamOpen, "<stream:stream to='a'>"),
        (Whitespace, "  "),
        (Element, "<a/>"),
        (Element, "<b c='>' d=\"'/>\"><b>x</b><![CDATA[</b>]]]]><c /></b\t>"),
        (Whitespace, "\n"),
        (StreamClose, "</stream:stream >"),
        (Whitespace, " "),
    ];
    assert_eq!(frames(input), expected.map(|(kind, text)| (kind, text.to_owned())));
}

#[test]
fn an_empty_input_changes_nothing() {
    let mut framer = Framer::new();
    assert_eq!(framer.scan(b"", &Limits::default(), 10), Ok(Scan::More));
    assert_eq!(framer, Framer::new());
}

#[test]
fn restart_expects_a_header_again() {
    let mut framer = Framer::new();
    let limits = Limits::default();
    let open = Scan::Frame { kind: FrameKind::StreamOpen, end: OPEN.len() };
    assert_eq!(framer.scan(OPEN.as_bytes(), &limits, 100), Ok(open));
    assert_eq!(framer.scan(b"<auth>", &limits, 100), Ok(Scan::More));
    framer.restart();
    assert!(framer.is_idle());
    assert_eq!(framer.scan(OPEN.as_bytes(), &limits, 100), Ok(open));
}

#[test]
fn restricted_xml() {
    for stanzas in
        ["<!-- -->", "<a><!-", "<!DOCTYPE a>", "<a><!ENTITY", "<?pi ?>", "<a><?", "<?xml version='1.0'?>"]
    {
        assert_eq!(refused(stanzas), StreamCondition::RestrictedXml, "{stanzas}");
    }
    for start in ["<!DOCTYPE", "<!--", "<?xml-stylesheet", "<?x ", "\n<?xml "] {
        let error = frames_under(start.as_bytes(), &Limits::default()).expect_err(start);
        assert_eq!(error.condition, StreamCondition::RestrictedXml, "{start}");
    }
}

#[test]
fn not_well_formed() {
    let cases = [
        "x",
        "&amp;",
        "<a/>x",
        "<![CDATA[x]]>",
        "< a",
        "<1",
        "<>",
        "<a\0",
        "<a b>",
        "<a b=c>",
        "<a b='<'>",
        "<a 'b'>",
        "<a b='1'c='2'>",
        "<a/b",
        "<a//",
        "<a><>",
        "</a>",
        "</stream:streams",
        "</stream:stream/",
        "</stream:stream x",
        "<a></1",
        "<a></a b",
        "<a></a/",
        "<a>\0",
        "<a>\u{1}",
        "<a>x\u{1f}",
        "<a b='\0'",
        "<a b='\u{b}'",
        "<a><![CDATA[\0",
        "<a><![CDATA[]\u{2}",
        "<a><![cdata[",
        "<a=",
        "\u{feff}<a/>",
        "\0",
    ];
    for stanzas in cases {
        assert_eq!(refused(stanzas), StreamCondition::NotWellFormed, "{stanzas:?}");
    }
    for start in
        ["x", "</stream:stream>", "<![CDATA[", "\u{feff}<?xml", "<?xml <", "<?xml ?x", "<?xml >", "<?xml \0"]
    {
        let error = frames_under(start.as_bytes(), &Limits::default()).expect_err(start);
        assert_eq!(error.condition, StreamCondition::NotWellFormed, "{start:?}");
    }
    let empty_header = frames_under(b"<stream:stream/>", &Limits::default()).expect_err("empty header");
    assert_eq!(empty_header.condition, StreamCondition::BadFormat);
}

#[test]
fn after_the_end_of_the_stream_only_white_space_may_come() {
    assert_eq!(refused("</stream:stream>\n<a/>"), StreamCondition::NotWellFormed);
    assert_eq!(refused("</stream:stream>x"), StreamCondition::NotWellFormed);
}

#[test]
fn what_is_the_parsers_business_passes() {
    for stanza in
        ["<a></b>", "<a>&unknown;</a>", "<a>]]></a>", "<p:a/>", "<a b='1' b='2'/>", "<a>\u{fffe}</a>", "<:/>"]
    {
        let input = [OPEN, stanza].concat();
        assert_eq!(frames(&input)[1], (FrameKind::Element, stanza.to_owned()));
    }
    let invalid = [OPEN.as_bytes(), b"<a>\xff</a>"].concat();
    assert_eq!(frames_under(&invalid, &Limits::default()).expect("passes").len(), 2);
}

#[test]
fn limits_lie_where_they_are_said_to_lie() {
    let limits = Limits::default;
    let with = |stanza_bytes_max| Limits { stanza_bytes_max, ..limits() };
    limit("<a>123456789012345678901</a>", &with(28), &with(27), "bytes in a stanza: more than 27");
    let with = |depth_max| Limits { depth_max, ..limits() };
    limit("<a><b><c/><c></c></b></a>", &with(3), &with(2), "elements nested deeper than 2");
    let with = |attributes_max| Limits { attributes_max, ..limits() };
    limit("<a b='' c='' xmlns=''/>", &with(3), &with(2), "attributes on one element: more than 2");
    limit("<a b='' c=''><d e='' f=''/></a>", &with(2), &with(1), "attributes on one element: more than 1");
    let with = |name_bytes_max| Limits { name_bytes_max, ..limits() };
    limit("<a long:attribute=''/>", &with(14), &with(13), "bytes in a name: more than 13");
    limit("<long:element12/>", &with(14), &with(13), "bytes in a name: more than 13");
    limit("<a></long:element12>", &with(14), &with(13), "bytes in a name: more than 13");
    let with = |value_bytes_max| Limits { value_bytes_max, ..limits() };
    limit("<a b='&lt;56'/>", &with(6), &with(5), "bytes in an attribute value: more than 5");
    let with = |namespaces_max| Limits { namespaces_max, ..limits() };
    let names = "namespace declarations in force: more than";
    limit("<a xmlns='a'><b xmlns:p='b'><c xmlns='c'/><c xmlns='c'/></b></a>", &with(3), &with(2), names);
    limit("<a xmlns ='a' xmlns:b = 'b'/>", &with(2), &with(1), names);
    let long = ["<?xml version='1.0'", &" ".repeat(236), "?>"].concat();
    assert_eq!(
        frames_under(&long.as_bytes()[1..], &limits()).expect_err("no <").condition,
        StreamCondition::NotWellFormed
    );
    let error = frames_under(long.as_bytes(), &limits()).expect_err("long declaration");
    assert_eq!(error.condition, StreamCondition::PolicyViolation);
}

#[test]
fn declarations_of_siblings_do_not_add_up() {
    let limits = Limits { namespaces_max: 3, ..Limits::default() };
    let items = "<item xmlns='i'><x xmlns='x'/></item>".repeat(50);
    let deep = format!("<a xmlns='a'><b><c><d>{items}</d></c></b></a>");
    let flat = format!("<a xmlns='a'>{items}</a>");
    // Only what declares nothing: `xmlnsx` and `x:xmlns` are attributes like any other.
    let ordinary = format!("<a>{}</a>", "<b xmlnsx='' x:xmlns='' xml:n='' xmlns-=''/>".repeat(9));
    for stanza in [flat, deep, ordinary] {
        let input = [OPEN, &stanza, &stanza].concat();
        assert_eq!(frames_under(input.as_bytes(), &limits).expect("within").len(), 3);
    }
    // The header's declarations are not counted against the stanzas.
    let header = "<stream:stream xmlns='a' xmlns:b='b' xmlns:c='c'>";
    let input = format!("{header}<a xmlns='1' xmlns:b='2' xmlns:c='3'/>");
    assert_eq!(frames_under(input.as_bytes(), &limits).expect("within").len(), 2);
}

#[test]
fn a_smaller_stanza_limit_holds_from_the_next_scan_on() {
    let mut framer = Framer::new();
    let limits = Limits::default();
    assert_eq!(framer.scan(b"<stream:stream", &limits, 1000), Ok(Scan::More));
    let error = framer.scan(b" ", &limits, 5).expect_err("too big");
    assert_eq!(error.condition, StreamCondition::PolicyViolation);
}

#[test]
fn images_that_are_none_are_refused() {
    let mut framer = Framer::new();
    let limits = Limits::default();
    framer.scan(OPEN.as_bytes(), &limits, 1000).expect("header");
    framer.scan(b"<a xmlns='x'><b c='d", &limits, 1000).expect("part");
    let image = framer.to_bytes();
    assert_eq!(Framer::from_bytes(&image), Some(framer));
    assert_eq!(Framer::from_bytes(&[0; 32]), None);
    for (at, value) in [(0, 9), (1, 99), (1, 0), (2, 4), (2, 0), (2, 3), (31, 1)] {
        let mut bad = image;
        bad[at] = value;
        assert_eq!(Framer::from_bytes(&bad), None, "byte {at} = {value}");
    }
}

/// The numbers of states are in the image too: all of them are met here, byte by byte. Another sum is another
/// version of the image, and of what an upgrade hands over.
#[test]
fn images_are_those_of_version_1() {
    const STREAM: &str = "<?xml version='1.0'?><stream:stream to=\"e\" xmlns='jabber:client' \
        xmlns:stream = 'http://etherx.jabber.org/streams'>\n<message a='1'><b xmlns:x='y' x:c='d'/>t&amp;\
        <e:f xmlns:e='g' ><![CDATA[h]]> ] ]] </e:f ></message> <r xmlns='urn:xmpp:sm:3'/></stream:stream>";
    let (limits, mut framer) = (Limits::default(), Framer::new());
    // FNV-1a.
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in STREAM.bytes() {
        framer.scan(&[byte], &limits, 1000).expect("well-formed");
        for byte in framer.to_bytes() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    assert_eq!(sum, 10_903_416_064_475_077_381);
}
