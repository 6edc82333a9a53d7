//! Stanza errors (RFC 6120 §8.3.3) and stream errors (RFC 6120 §4.9.3), all conditions.
use std::borrow::Cow;
/// Stanza error conditions, RFC 6120 §8.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Condition { BadRequest, Conflict, FeatureNotImplemented, Forbidden, Gone, InternalServerError, ItemNotFound, JidMalformed, NotAcceptable, NotAllowed, NotAuthorized, PolicyViolation, RecipientUnavailable, Redirect, RegistrationRequired, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint, ServiceUnavailable, SubscriptionRequired, UndefinedCondition, UnexpectedRequest }
/// RFC 6120 §8.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ErrorType { Auth, Cancel, Continue, Modify, Wait }
/// A stanza error: condition, type (the usual one for the condition unless told), text, application element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaError { /// Condition.
    pub condition: Condition, /// What the sender may do.
    pub type_: ErrorType, /// Human-readable text, English.
    pub text: Option<Cow<'static, str>>, /// Raw XML of an application-specific condition, or empty.
    pub application: Vec<u8> }
impl StanzaError {
    /// With the type that RFC 6120 §8.3.3 gives for the condition.
    pub fn new(_condition: Condition) -> Self { unimplemented!() }
    /// With a text.
    pub fn with_text(self, _text: impl Into<Cow<'static, str>>) -> Self { unimplemented!() }
    /// Appends `<error …>…</error>` to `out`.
    pub fn write(&self, _out: &mut Vec<u8>) { unimplemented!() }
}
impl From<Condition> for StanzaError { fn from(c: Condition) -> Self { StanzaError::new(c) } }
/// Stream error conditions, RFC 6120 §4.9.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum StreamCondition { BadFormat, BadNamespacePrefix, Conflict, ConnectionTimeout, HostGone, HostUnknown, ImproperAddressing, InternalServerError, InvalidFrom, InvalidNamespace, InvalidXml, NotAuthorized, NotWellFormed, PolicyViolation, RemoteConnectionFailed, Reset, ResourceConstraint, RestrictedXml, SeeOtherHost, SystemShutdown, UndefinedCondition, UnsupportedEncoding, UnsupportedFeature, UnsupportedStanzaType, UnsupportedVersion }
/// A stream error: always followed by the end of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError { /// Condition.
    pub condition: StreamCondition, /// English text.
    pub text: Option<Cow<'static, str>>, /// Host for `see-other-host`.
    pub host: Option<Box<str>> }
impl StreamError {
    /// Without text.
    pub fn new(_condition: StreamCondition) -> Self { unimplemented!() }
    /// With a text.
    pub fn with_text(self, _text: impl Into<Cow<'static, str>>) -> Self { unimplemented!() }
    /// Appends `<stream:error>…</stream:error>` to `out`.
    pub fn write(&self, _out: &mut Vec<u8>) { unimplemented!() }
}
