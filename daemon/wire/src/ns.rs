//! Namespace names, one constant each, grouped by specification.
/// RFC 6120 client content namespace.
pub const CLIENT: &str = "jabber:client";
