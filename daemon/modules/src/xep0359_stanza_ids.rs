//! XEP-0359 Unique and Stable Stanza IDs: a stored message is known by its position in the archive.
//!
//! The id is put in when the message is sent to a resource (`feed::stanza_id`), under the account's bare JID;
//! what a client claims in a local account's name is taken out by the router (`route::rendered`). Origin ids
//! are the clients' own and pass.
use crate::module::{Info, Module};
use godwit_wire::ns;

/// The module.
#[derive(Debug)]
pub struct StanzaIds;

impl Module for StanzaIds {
    fn info(&self) -> Info {
        Info {
            name: "stanza-ids",
            spec: "XEP-0359",
            title: "Unique and Stable Stanza IDs",
            version: "0.7.0",
            account_features: &[ns::STANZA_IDS],
            ..Info::default()
        }
    }
}
