//! XEP-0092 Software Version.
use crate::effects::Effects;
use crate::module::{Cx, Info, Iq, Module, Target};
use godwit_wire::{Condition, StanzaError, Writer, ns};

/// The module.
#[derive(Debug)]
pub struct Version;

impl Module for Version {
    fn info(&self) -> Info {
        Info {
            name: "version",
            spec: "XEP-0092",
            title: "Software Version",
            version: "1.1",
            features: &[ns::VERSION],
            iq: &[ns::VERSION],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.set || iq.target != Target::Server {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.start("query").attr("xmlns", ns::VERSION);
        writer.start("name").text("Godwit").end();
        // No operating system: §6 leaves it out where it would only help an attacker.
        writer.start("version").text(cx.settings.version).end();
        writer.end();
        iq.result(&out, fx);
        Ok(())
    }
}
