//! JIDs (RFC 7622), normalised once at the door: PRECIS for local and resource part, IDNA for the domain.
//!
//! Equal text means equal JID, because only normalised text gets in. ASCII parts take a path without tables.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use precis_core::profile::Profile;
use precis_profiles::{OpaqueString, UsernameCaseMapped};
use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Most bytes in each part, RFC 7622 §3.
const PART_BYTES_MAX: usize = 1023;
/// Most bytes in a part before normalisation, which can shrink it (full-width characters are three bytes
/// each).
const PART_BYTES_RAW_MAX: usize = 3 * PART_BYTES_MAX;
/// Most bytes in a label and in a whole domain name, RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
const DOMAIN_BYTES_MAX: usize = 253;
/// RFC 8265 §3.3 is not idempotent for a few strings; what does not settle in this many rounds is refused.
const PRECIS_ROUNDS_MAX: usize = 4;

/// A normalised JID, bare or full or a mere domain. One allocation. Eq, Ord and Hash are those of its text.
#[derive(Debug, Clone)]
pub struct Jid {
    text: Box<str>,
    /// Bytes of the local part; 0 if there is none.
    local: u16,
    /// Bytes of the domain part.
    domain: u16,
}

/// Why a string is no JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JidError {
    /// Empty or over 1,023 bytes or forbidden characters in the local part.
    Local,
    /// Not a domain name or address.
    Domain,
    /// Empty, too long or forbidden characters in the resource part.
    Resource,
}

impl Jid {
    /// Parses and normalises.
    pub fn parse(text: &str) -> Result<Jid, JidError> {
        let (rest, resource) = match text.split_once('/') {
            Some((rest, resource)) => (rest, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match rest.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, rest),
        };
        Jid::new(local, domain, resource)
    }

    /// From parts, each normalised.
    pub fn new(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Jid, JidError> {
        let local = local.map(normalise_local).transpose()?;
        let domain = normalise_domain(domain)?;
        let resource = resource.map(normalise_resource).transpose()?;
        Ok(Jid::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// From parts that are normalised already, none longer than `PART_BYTES_MAX`.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Jid {
        let length = |part: Option<&str>| part.map_or(0, |p| p.len() + 1);
        let mut text = String::with_capacity(length(local) + domain.len() + length(resource));
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Jid { text: text.into(), local: short(local.map_or(0, str::len)), domain: short(domain.len()) }
    }

    /// Where the domain starts in the text.
    fn domain_at(&self) -> usize {
        if self.local == 0 { 0 } else { usize::from(self.local) + 1 }
    }

    /// Where the bare JID ends in the text.
    fn bare_end(&self) -> usize {
        self.domain_at() + usize::from(self.domain)
    }

    /// Local part.
    pub fn local(&self) -> Option<&str> {
        if self.local == 0 { None } else { self.text.get(..usize::from(self.local)) }
    }

    /// Domain part.
    pub fn domain(&self) -> &str {
        self.text.get(self.domain_at()..self.bare_end()).unwrap_or_default()
    }

    /// Resource part.
    pub fn resource(&self) -> Option<&str> {
        self.text.get(self.bare_end() + 1..)
    }

    /// Whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `local@domain` (or the domain) as a slice of the text: no allocation.
    pub fn bare_str(&self) -> &str {
        self.text.get(..self.bare_end()).unwrap_or_default()
    }

    /// Without resource.
    pub fn bare(&self) -> Jid {
        Jid { text: self.bare_str().into(), local: self.local, domain: self.domain }
    }

    /// True without resource.
    pub fn is_bare(&self) -> bool {
        self.bare_end() == self.text.len()
    }

    /// True without local and resource part.
    pub fn is_domain(&self) -> bool {
        self.local == 0 && self.is_bare()
    }

    /// Same local and domain with this resource, which is normalised.
    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        let resource = normalise_resource(resource)?;
        Ok(Jid::join(self.local(), self.domain(), Some(&resource)))
    }
}

/// A local part by PRECIS UsernameCaseMapped, without the characters that RFC 7622 §3.3.1 excludes.
pub fn normalise_local(part: &str) -> Result<Cow<'_, str>, JidError> {
    let normal = if part.bytes().all(|b| b.is_ascii_graphic()) {
        lower_ascii(part)
    } else {
        settle(part, |s| UsernameCaseMapped::new().enforce(s).ok().map(Cow::into_owned))
            .ok_or(JidError::Local)?
    };
    if normal.contains(['"', '&', '\'', '/', ':', '<', '>', '@']) {
        return Err(JidError::Local);
    }
    check_length(normal, JidError::Local)
}

/// A resource part by PRECIS OpaqueString.
pub fn normalise_resource(part: &str) -> Result<Cow<'_, str>, JidError> {
    let normal = if part.bytes().all(|b| matches!(b, b' '..=b'~')) {
        Cow::Borrowed(part)
    } else {
        settle(part, |s| OpaqueString::new().enforce(s).ok().map(Cow::into_owned))
            .ok_or(JidError::Resource)?
    };
    check_length(normal, JidError::Resource)
}

/// A domain part: an IPv6 address in brackets, or a domain name as lower-case U-labels (an IPv4 address
/// has the form of one). A final dot is dropped, RFC 7622 §3.2.
pub fn normalise_domain(part: &str) -> Result<Cow<'_, str>, JidError> {
    if let Some(literal) = part.strip_prefix('[') {
        let address = literal.strip_suffix(']').and_then(|a| a.parse::<Ipv6Addr>().ok());
        return address.map(|a| Cow::Owned(format!("[{a}]"))).ok_or(JidError::Domain);
    }
    let part = part.strip_suffix(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']).unwrap_or(part);
    if part.len() > PART_BYTES_RAW_MAX {
        return Err(JidError::Domain);
    }
    if is_plain_domain(part) {
        return Ok(lower_ascii(part));
    }
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(part.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
        .map_err(|_| JidError::Domain)?;
    let (unicode, valid) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    valid.map_err(|_| JidError::Domain)?;
    check_length(Cow::Owned(unicode.into_owned()), JidError::Domain)
}

/// True for letters, digits and hyphens in labels of legal length, none of them an A-label or the like.
fn is_plain_domain(part: &str) -> bool {
    part.len() <= DOMAIN_BYTES_MAX
        && part.split('.').all(|label| {
            let bytes = label.as_bytes();
            (1..=LABEL_BYTES_MAX).contains(&bytes.len())
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && bytes.first() != Some(&b'-')
                && bytes.last() != Some(&b'-')
                && bytes.get(2..4) != Some(b"--")
        })
}

fn lower_ascii(part: &str) -> Cow<'_, str> {
    if part.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(part.to_ascii_lowercase())
    } else {
        Cow::Borrowed(part)
    }
}

/// Applies a PRECIS profile until the string no longer changes.
fn settle(part: &str, enforce: impl Fn(&str) -> Option<String>) -> Option<Cow<'_, str>> {
    if part.len() > PART_BYTES_RAW_MAX {
        return None;
    }
    let mut current = enforce(part)?;
    for _ in 1..PRECIS_ROUNDS_MAX {
        let next = enforce(&current)?;
        if next == current {
            return Some(Cow::Owned(current));
        }
        current = next;
    }
    None
}

fn check_length(part: Cow<'_, str>, error: JidError) -> Result<Cow<'_, str>, JidError> {
    if (1..=PART_BYTES_MAX).contains(&part.len()) { Ok(part) } else { Err(error) }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Jid {
    type Err = JidError;
    fn from_str(text: &str) -> Result<Jid, JidError> {
        Jid::parse(text)
    }
}

impl PartialEq for Jid {
    fn eq(&self, other: &Jid) -> bool {
        self.text == other.text
    }
}

impl Eq for Jid {}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Jid) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Jid) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl AsRef<str> for Jid {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Borrow<str> for Jid {
    // Sound for maps: Hash, Eq and Ord above are those of the text.
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JidError::Local => "the local part is empty, too long or has forbidden characters",
            JidError::Domain => "the domain part is not a domain name or address",
            JidError::Resource => "the resource part is empty, too long or has forbidden characters",
        })
    }
}

impl std::error::Error for JidError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        Jid::parse(text).map(|jid| jid.to_string()).unwrap_or_else(|e| format!("{e:?}"))
    }

    #[test]
    fn parts() {
        let jid = Jid::parse("juliet@example.com/foo@bar/baz").expect("RFC 7622 §3.5, example 6");
        assert_eq!(
            (jid.local(), jid.domain(), jid.resource()),
            (Some("juliet"), "example.com", Some("foo@bar/baz"))
        );
        assert_eq!((jid.bare_str(), jid.is_bare(), jid.is_domain()), ("juliet@example.com", false, false));
        assert_eq!(jid.bare(), Jid::parse("juliet@example.com").expect("bare"));
        assert!(jid.bare().is_bare() && !jid.bare().is_domain());
        let domain = Jid::parse("example.com").expect("a domain");
        assert_eq!((domain.local(), domain.resource(), domain.bare_str()), (None, None, "example.com"));
        assert!(domain.is_bare() && domain.is_domain());
        let server = domain.with_resource("x").expect("a resource");
        assert_eq!(
            (server.as_str(), server.bare_str(), server.is_domain()),
            ("example.com/x", "example.com", false)
        );
        assert_eq!(domain.with_resource(""), Err(JidError::Resource));
        let map = std::collections::HashSet::from([jid]);
        assert!(map.contains("juliet@example.com/foo@bar/baz"));
    }

    #[test]
    fn what_the_rfc_allows() {
        for (text, expected) in [
            ("juliet@example.com", "juliet@example.com"),
            ("juliet@example.com/foo bar", "juliet@example.com/foo bar"),
            ("foo\\20bar@example.com", "foo\\20bar@example.com"),
            ("fussball@example.com", "fussball@example.com"),
            ("fußball@example.com", "fußball@example.com"),
            ("π@example.com", "π@example.com"),
            ("Σ@example.com/foo", "σ@example.com/foo"),
            ("king@example.com/♚", "king@example.com/♚"),
            ("Juliet@EXAMPLE.com/Balcony", "juliet@example.com/Balcony"),
            ("JULIÉT@Exämple.COM", "juliét@exämple.com"),
            ("a@xn--exmple-cua.com", "a@exämple.com"),
            ("ａ@example.com", "a@example.com"),
            ("a@example.com.", "a@example.com"),
            ("a@example。com。", "a@example.com"),
            ("a@localhost/r", "a@localhost/r"),
            ("a@192.0.2.1", "a@192.0.2.1"),
            ("a@[2001:DB8::0001]/x", "a@[2001:db8::1]/x"),
            ("a@b/\u{a0}x", "a@b/ x"),
            ("a@b/e\u{301}", "a@b/é"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn what_it_does_not() {
        use JidError::*;
        let long = "x".repeat(1024);
        let label = "x".repeat(64);
        let name = "x.".repeat(130);
        let cases = [
            ("", Domain),
            ("@example.com", Local),
            ("a@", Domain),
            ("a@/b", Domain),
            ("example.com/", Resource),
            ("\"juliet\"@example.com", Local),
            ("foo bar@example.com", Local),
            ("a&b@example.com", Local),
            ("a'b@example.com", Local),
            ("a:b@example.com", Local),
            ("a<b>@example.com", Local),
            ("a\u{7f}@example.com", Local),
            ("henry\u{2163}@example.com", Local),
            ("♚@example.com", Local),
            ("a\u{ff20}b@example.com", Local),
            ("a@b@c", Domain),
            ("a@b..c", Domain),
            ("a@.", Domain),
            ("a@-b", Domain),
            ("a@b-", Domain),
            ("a@b_c", Domain),
            ("a@b c", Domain),
            ("a@xn--", Domain),
            ("a@[::1", Domain),
            ("a@[192.0.2.1]", Domain),
            ("a@b/\u{0}", Resource),
            ("a@b/x\ny", Resource),
        ];
        for (text, error) in cases {
            assert_eq!(Jid::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Jid::new(Some(&long), "b", None), Err(Local));
        assert_eq!(Jid::new(None, "b", Some(&long)), Err(Resource));
        assert_eq!(Jid::new(None, &label, None), Err(Domain));
        assert_eq!(Jid::new(None, &name, None), Err(Domain));
        assert!(Jid::new(Some(&long[1..]), &label[1..], Some(&long[1..])).is_ok());
    }
}
