//! XEP-0160 Offline Messages. Which messages are stored is said by the table in `what_is_stored.rs`; reading
//! them back, with XEP-0203 delay, is `feed.rs`.
use crate::module::{Info, Module};
use godwit_session::Spec;
use godwit_wire::ns;

/// The module.
#[derive(Debug)]
pub struct Offline;

/// `feed.rs` adds it.
const DELAY: Spec =
    Spec { id: "XEP-0203", title: "Delayed Delivery", version: "2.0", note: "on stored messages" };

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
}
