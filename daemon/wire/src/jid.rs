//! JIDs (RFC 7622), normalised once at the door: PRECIS for local and resource part, IDNA for the domain.

/// A normalised JID, bare or full or a mere domain. One allocation. Eq, Ord and Hash are those of its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid { text: Box<str>, local: u16, domain: u16 }
/// Why a string is no JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JidError { /// Empty or over 1,023 bytes or forbidden characters in the local part.
    Local, /// Not a domain name or address.
    Domain, /// Empty, too long or forbidden characters in the resource part.
    Resource }
impl Jid {
    /// Parses and normalises.
    pub fn parse(_text: &str) -> Result<Jid, JidError> { unimplemented!() }
    /// From parts, each normalised.
    pub fn new(_local: Option<&str>, _domain: &str, _resource: Option<&str>) -> Result<Jid, JidError> { unimplemented!() }
    /// Local part.
    pub fn local(&self) -> Option<&str> { unimplemented!() }
    /// Domain part.
    pub fn domain(&self) -> &str { unimplemented!() }
    /// Resource part.
    pub fn resource(&self) -> Option<&str> { unimplemented!() }
    /// Whole text.
    pub fn as_str(&self) -> &str { &self.text }
    /// `local@domain` (or the domain) as a slice of the text: no allocation.
    pub fn bare_str(&self) -> &str { unimplemented!() }
    /// Without resource.
    pub fn bare(&self) -> Jid { unimplemented!() }
    /// True without resource.
    pub fn is_bare(&self) -> bool { unimplemented!() }
    /// True without local and resource part.
    pub fn is_domain(&self) -> bool { unimplemented!() }
    /// Same local and domain with this resource, which is normalised.
    pub fn with_resource(&self, _resource: &str) -> Result<Jid, JidError> { unimplemented!() }
}
impl std::fmt::Display for Jid { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.text) } }
