//! XEP-0160 Offline Messages: which messages are stored. Reading them back, with XEP-0203 delay, is
//! `feed.rs`.
use crate::module::{Cx, Info, Keep, Module};
use godwit_session::Spec;
use godwit_wire::{MessageType, Stanza, ns};

/// The module.
#[derive(Debug)]
pub struct Offline;

/// `feed.rs` adds it.
const DELAY: Spec =
    Spec { id: "XEP-0203", title: "Delayed Delivery", version: "2.0", note: "on stored messages" };

/// Children that are of no use later: who is typing (XEP-0085), and the addressing around a message.
fn is_passing(namespace: &str) -> bool {
    matches!(namespace, ns::CHAT_STATES | ns::HINTS | ns::STANZA_IDS | ns::DELAY | ns::MDS)
}

impl Module for Offline {
    fn info(&self) -> Info {
        Info {
            name: "offline",
            spec: "XEP-0160",
            title: "Best Practices for Handling Offline Messages",
            version: "1.0.1",
            also: &[DELAY],
            features: &[ns::OFFLINE],
            ..Info::default()
        }
    }

    /// §3: normal and chat messages are stored if they hold anything but passing signals; the other types
    /// never.
    fn store(&self, _cx: &Cx<'_>, message: &Stanza) -> Option<Keep> {
        let lasting = match message.message_type() {
            MessageType::Normal | MessageType::Chat => message
                .root()
                .children()
                .any(|child| !is_passing(child.ns()) && !child.is("thread", ns::CLIENT)),
            MessageType::Groupchat | MessageType::Headline | MessageType::Error => false,
        };
        Some(if lasting { Keep::Archive } else { Keep::No })
    }
}
