//! XEP-0199 XMPP Ping, answered for the server and for the sender's own account.
use crate::effects::Effects;
use crate::module::{Cx, Info, Iq, Module, Target};
use godwit_wire::{Condition, StanzaError, ns};

/// The module.
#[derive(Debug)]
pub struct Ping;

impl Module for Ping {
    fn info(&self) -> Info {
        Info {
            name: "ping",
            spec: "XEP-0199",
            title: "XMPP Ping",
            version: "2.0.1",
            features: &[ns::PING],
            account_features: &[ns::PING],
            iq: &[ns::PING],
            ..Info::default()
        }
    }

    fn iq(&self, _cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.set || !matches!(iq.target, Target::Server | Target::Own) {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        iq.result(b"", fx);
        Ok(())
    }
}
