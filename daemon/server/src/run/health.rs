//! What `godwitctl doctor` asks.
use super::daemon::Daemon;
use crate::admin::protocol::{Answer, HealthStatus, TroubleRow, Verifying};
use crate::metrics::health::Readiness;
use crate::metrics::process::Reader;
use godwit_store::Read;

impl Daemon {
    /// The verdict is that of `/readyz`.
    pub(super) fn health(&self) -> HealthStatus {
        let facts = self.facts(&mut Reader::default());
        let troubles = Readiness::of(&facts).reasons.into_iter();
        HealthStatus {
            troubles: troubles.map(|one| TroubleRow { what: one.what.into(), why: one.why }).collect(),
            listeners: self.listening.clone(),
            descriptors: facts.process.descriptors,
            descriptors_max: facts.process.descriptors_max,
            config_file: self.config_file.clone(),
            binary: self.up.origin.program.clone(),
            binary_changed: self.has_new_binary(),
            newest_ms: self.store.head().millis(),
        }
    }

    pub(super) fn store_sample(&self) -> Answer {
        let done = crate::verify::sample(&self.store);
        Answer::Verifying(Verifying { rows: done.count(), done: Some(done) })
    }
}
