//! Every bound that the framer and the parser enforce, in one struct.

/// Bounds on one stream, enforced before anything is allocated for the stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest stanza, in bytes, start tag to end tag inclusive (default 262,144).
    pub stanza_bytes_max: u32,
    /// Deepest nesting inside a stanza, the stanza itself being 1 (default 64).
    pub depth_max: u16,
    /// Most attributes on one element, namespace declarations included (default 32).
    pub attributes_max: u16,
    /// Longest element or attribute name, prefix included, in bytes (default 256).
    pub name_bytes_max: u16,
    /// Longest attribute value, in bytes as sent (default 8,192).
    pub value_bytes_max: u32,
    /// Most namespace declarations in force at once on any path of a stanza (default 64).
    pub namespaces_max: u16,
    /// Largest stanza before the peer has authenticated, in bytes (default 16,384).
    pub unauthenticated_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            stanza_bytes_max: 262_144,
            depth_max: 64,
            attributes_max: 32,
            name_bytes_max: 256,
            value_bytes_max: 8_192,
            namespaces_max: 64,
            unauthenticated_bytes_max: 16_384,
        }
    }
}
