//! Checkpoints of the running daemon's store, from which `godwitctl backup create` copies.
use super::daemon::{Daemon, locked};
use crate::admin::protocol::{Answer, Failure};
use crate::backup::{Done, checkpoint};

impl Daemon {
    pub(super) fn checkpoint(&self) -> Result<Answer, Failure> {
        // One after the other: the directory is the same.
        let _alone = locked(&self.backup);
        let config = self.config();
        let domains: Vec<String> = config.domains.iter().map(ToString::to_string).collect();
        checkpoint::make(&self.store, &config.data_dir, (self.clock)(), &domains)
    }

    pub(super) fn checkpoint_done(&self, backup: Option<Done>) -> Result<Answer, Failure> {
        let mut last = locked(&self.backup);
        let answer = checkpoint::done(&self.config().data_dir, backup.as_ref())?;
        if let Some(done) = backup {
            tracing::info!(
                id = done.id,
                place = done.place,
                bytes = done.bytes,
                new = done.new_bytes,
                "backup made"
            );
            *last = Some(done);
        }
        Ok(answer)
    }
}
