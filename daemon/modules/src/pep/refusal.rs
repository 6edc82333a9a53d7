//! Errors of XEP-0060, with their application conditions (§15.4's namespace).
use godwit_wire::{Condition, ErrorType, StanzaError, Writer, ns};

/// A condition with one of pubsub's own.
pub fn refuse(condition: Condition, own: &'static str) -> StanzaError {
    let mut xml = Vec::new();
    Writer::new(&mut xml).empty(own, ns::PUBSUB_ERRORS);
    StanzaError::new(condition).with_application(xml)
}

/// A feature of XEP-0060 that is not offered here.
pub fn unsupported(feature: &str) -> StanzaError {
    let mut xml = Vec::new();
    Writer::new(&mut xml)
        .start("unsupported")
        .attr("xmlns", ns::PUBSUB_ERRORS)
        .attr("feature", feature)
        .end();
    StanzaError::new(Condition::FeatureNotImplemented).with_application(xml)
}

/// The node's configuration is not what the publisher demands.
pub fn precondition(text: String) -> StanzaError {
    refuse(Condition::Conflict, "precondition-not-met").with_text(text)
}

/// There is no such node or item.
pub fn not_found() -> StanzaError {
    StanzaError::new(Condition::ItemNotFound)
}

/// A limit of the account's data.
pub fn full(text: String) -> StanzaError {
    StanzaError::new(Condition::ResourceConstraint).with_type(ErrorType::Cancel).with_text(text)
}

/// The stanza is not one that XEP-0060 knows.
pub fn bad(text: &'static str) -> StanzaError {
    StanzaError::new(Condition::BadRequest).with_text(text)
}
