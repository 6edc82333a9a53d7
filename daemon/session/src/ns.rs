//! Namespace names of the negotiation, one constant each.

/// RFC 6120 §5, STARTTLS.
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// RFC 6120 §6, SASL.
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// RFC 6120 §7, resource binding.
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// RFC 3921 §3, session establishment: obsolete, still asked for by old clients.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// XEP-0198, stream management.
pub const SM: &str = "urn:xmpp:sm:3";
/// XEP-0352, client state.
pub const CSI: &str = "urn:xmpp:csi:0";
/// XEP-0440, channel-binding types offered.
pub const CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// XEP-0077, in-band registration.
pub const REGISTER: &str = "jabber:iq:register";
/// XEP-0077, its stream feature.
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// XEP-0199, ping.
pub const PING: &str = "urn:xmpp:ping";
