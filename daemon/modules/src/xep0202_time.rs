//! XEP-0202 Entity Time: the server's, in UTC.
use crate::effects::Effects;
use crate::feed::timestamp;
use crate::module::{Cx, Info, Iq, Module, Target};
use godwit_wire::{Condition, StanzaError, Writer, ns};

/// The module.
#[derive(Debug)]
pub struct Time;

impl Module for Time {
    fn info(&self) -> Info {
        Info {
            name: "time",
            spec: "XEP-0202",
            title: "Entity Time",
            version: "2.0",
            features: &[ns::TIME],
            iq: &[ns::TIME],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        if iq.set || iq.target != Target::Server {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.start("time").attr("xmlns", ns::TIME);
        writer.start("tzo").text("+00:00").end();
        writer.start("utc").text(&timestamp(cx.now)).end();
        writer.end();
        iq.result(&out, fx);
        Ok(())
    }
}
