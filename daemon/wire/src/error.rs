//! Stanza errors (RFC 6120 §8.3.3) and stream errors (RFC 6120 §4.9.3), all conditions.
//!
//! The names are those of the specification: `name()` writes them, `from_name()` reads them back.

use crate::{Node, Writer, ns};
use std::borrow::Cow;
use std::fmt;

/// Declares an enum of conditions together with the element name of each.
macro_rules! conditions {
    ($(#[$doc:meta])* $type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum $type { $($variant),+ }

        impl $type {
            /// All of them, in the order of the specification.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }

            /// Inverse of [`Self::name`].
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($type::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

conditions! {
    /// Stanza error conditions, RFC 6120 §8.3.3.
    Condition {
        BadRequest => "bad-request",
        Conflict => "conflict",
        FeatureNotImplemented => "feature-not-implemented",
        Forbidden => "forbidden",
        Gone => "gone",
        InternalServerError => "internal-server-error",
        ItemNotFound => "item-not-found",
        JidMalformed => "jid-malformed",
        NotAcceptable => "not-acceptable",
        NotAllowed => "not-allowed",
        NotAuthorized => "not-authorized",
        PolicyViolation => "policy-violation",
        RecipientUnavailable => "recipient-unavailable",
        Redirect => "redirect",
        RegistrationRequired => "registration-required",
        RemoteServerNotFound => "remote-server-not-found",
        RemoteServerTimeout => "remote-server-timeout",
        ResourceConstraint => "resource-constraint",
        ServiceUnavailable => "service-unavailable",
        SubscriptionRequired => "subscription-required",
        UndefinedCondition => "undefined-condition",
        UnexpectedRequest => "unexpected-request",
    }
}

conditions! {
    /// RFC 6120 §8.3.2: what the sender may do about a stanza error.
    ErrorType {
        Auth => "auth",
        Cancel => "cancel",
        Continue => "continue",
        Modify => "modify",
        Wait => "wait",
    }
}

conditions! {
    /// Stream error conditions, RFC 6120 §4.9.3.
    StreamCondition {
        BadFormat => "bad-format",
        BadNamespacePrefix => "bad-namespace-prefix",
        Conflict => "conflict",
        ConnectionTimeout => "connection-timeout",
        HostGone => "host-gone",
        HostUnknown => "host-unknown",
        ImproperAddressing => "improper-addressing",
        InternalServerError => "internal-server-error",
        InvalidFrom => "invalid-from",
        InvalidNamespace => "invalid-namespace",
        InvalidXml => "invalid-xml",
        NotAuthorized => "not-authorized",
        NotWellFormed => "not-well-formed",
        PolicyViolation => "policy-violation",
        RemoteConnectionFailed => "remote-connection-failed",
        Reset => "reset",
        ResourceConstraint => "resource-constraint",
        RestrictedXml => "restricted-xml",
        SeeOtherHost => "see-other-host",
        SystemShutdown => "system-shutdown",
        UndefinedCondition => "undefined-condition",
        UnsupportedEncoding => "unsupported-encoding",
        UnsupportedFeature => "unsupported-feature",
        UnsupportedStanzaType => "unsupported-stanza-type",
        UnsupportedVersion => "unsupported-version",
    }
}

impl Condition {
    /// The type that RFC 6120 §8.3.3 gives for the condition (the first one where it gives a choice).
    pub fn default_type(self) -> ErrorType {
        use Condition::*;
        match self {
            BadRequest | JidMalformed | NotAcceptable | PolicyViolation | Redirect => ErrorType::Modify,
            Forbidden | NotAuthorized | RegistrationRequired | SubscriptionRequired => ErrorType::Auth,
            RecipientUnavailable | RemoteServerTimeout | ResourceConstraint | UnexpectedRequest => {
                ErrorType::Wait
            }
            Conflict
            | FeatureNotImplemented
            | Gone
            | InternalServerError
            | ItemNotFound
            | NotAllowed
            | RemoteServerNotFound
            | ServiceUnavailable
            | UndefinedCondition => ErrorType::Cancel,
        }
    }
}

/// A stanza error: condition, type (the usual one for the condition unless told), text, application element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaError {
    /// Condition.
    pub condition: Condition,
    /// What the sender may do.
    pub type_: ErrorType,
    /// Human-readable text, English.
    pub text: Option<Cow<'static, str>>,
    /// Raw XML of an application-specific condition, or empty.
    pub application: Vec<u8>,
}

impl StanzaError {
    /// With the type that RFC 6120 §8.3.3 gives for the condition.
    pub fn new(condition: Condition) -> Self {
        StanzaError { condition, type_: condition.default_type(), text: None, application: Vec::new() }
    }

    /// With a text.
    pub fn with_text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With another type than the usual one.
    pub fn with_type(mut self, type_: ErrorType) -> Self {
        self.type_ = type_;
        self
    }

    /// With an application-specific condition, as raw XML.
    pub fn with_application(mut self, xml: impl Into<Vec<u8>>) -> Self {
        self.application = xml.into();
        self
    }

    /// Appends `<error …>…</error>` to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.start("error").attr("type", self.type_.name()).empty(self.condition.name(), ns::STANZAS);
        if let Some(text) = &self.text {
            w.start("text").attr("xmlns", ns::STANZAS).attr("xml:lang", "en").text(text).end();
        }
        w.raw(&self.application).end();
    }

    /// Reads an `<error/>` element; `None` if it has no defined condition. The first child in another
    /// namespace is the application-specific condition.
    pub fn read(error: Node<'_>) -> Option<StanzaError> {
        let condition = error
            .children()
            .filter(|c| c.ns() == ns::STANZAS)
            .find_map(|c| Condition::from_name(c.name()))?;
        let mut read = StanzaError::new(condition);
        if let Some(type_) = error.attr("type").and_then(ErrorType::from_name) {
            read.type_ = type_;
        }
        read.text = error.child("text", ns::STANZAS).map(|t| Cow::Owned(t.text().into_owned()));
        if let Some(application) = error.children().find(|c| c.ns() != ns::STANZAS) {
            read.application = application.raw().to_vec();
        }
        Some(read)
    }
}

impl From<Condition> for StanzaError {
    fn from(condition: Condition) -> Self {
        StanzaError::new(condition)
    }
}

/// A stream error: always followed by the end of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// Condition.
    pub condition: StreamCondition,
    /// English text.
    pub text: Option<Cow<'static, str>>,
    /// Host for `see-other-host`.
    pub host: Option<Box<str>>,
}

impl StreamError {
    /// Without text.
    pub fn new(condition: StreamCondition) -> Self {
        StreamError { condition, text: None, host: None }
    }

    /// With a text.
    pub fn with_text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// `see-other-host` with the host to go to, `host` or `host:port`.
    pub fn see_other_host(host: &str) -> Self {
        StreamError { condition: StreamCondition::SeeOtherHost, text: None, host: Some(host.into()) }
    }

    /// Appends `<stream:error>…</stream:error>` to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.start("stream:error").start(self.condition.name()).attr("xmlns", ns::STREAM_ERRORS);
        if let Some(host) = &self.host {
            w.text(host);
        }
        w.end();
        if let Some(text) = &self.text {
            w.start("text").attr("xmlns", ns::STREAM_ERRORS).attr("xml:lang", "en").text(text).end();
        }
        w.end();
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        StreamError::new(condition)
    }
}

impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.condition),
            None => write!(f, "{}", self.condition),
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.condition),
            None => write!(f, "{}", self.condition),
        }
    }
}

impl std::error::Error for StanzaError {}
impl std::error::Error for StreamError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Element, Scope};

    #[test]
    fn every_condition_round_trips_through_its_name_and_its_element() {
        for &condition in Condition::ALL {
            assert_eq!(Condition::from_name(condition.name()), Some(condition));
            let error = StanzaError::new(condition)
                .with_text("a < b & 'c'")
                .with_application(b"<x xmlns='urn:example'>1</x>".to_vec());
            let mut out = Vec::new();
            error.write(&mut out);
            let element = Element::parse(&out, &Scope::client()).expect("our own error");
            assert_eq!(StanzaError::read(element.root()), Some(error));
        }
        for &condition in StreamCondition::ALL {
            assert_eq!(StreamCondition::from_name(condition.name()), Some(condition));
        }
        assert_eq!(Condition::from_name("no-such-condition"), None);
    }

    #[test]
    fn stream_error_as_on_the_wire() {
        let mut out = Vec::new();
        StreamError::see_other_host("[::1]:5222").write(&mut out);
        StreamError::new(StreamCondition::Reset).with_text("bye").write(&mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            text,
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[::1]:5222\
             </see-other-host></stream:error>\
             <stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>bye</text></stream:error>"
        );
    }

    #[test]
    fn an_error_without_a_defined_condition_is_none() {
        let element = Element::parse(b"<error type='cancel'/>", &Scope::client()).expect("well-formed");
        assert_eq!(StanzaError::read(element.root()), None);
    }
}
