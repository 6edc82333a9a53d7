//! The checkpoint that a backup is copied from: one directory below the data directory, there only meanwhile.
use super::{CHECKPOINT, Done};
use crate::admin::protocol::{Answer, Checkpoint, Failure, FailureKind};
use godwit_store::Rocks;
use std::io;
use std::path::Path;

/// Makes it, in place of what an earlier backup may have left that was ended.
pub(crate) fn make(
    store: &Rocks,
    data_dir: &Path,
    at_ms: u64,
    domains: &[String],
) -> Result<Answer, Failure> {
    remove(data_dir)?;
    let directory = data_dir.join(CHECKPOINT);
    let head = store.checkpoint(&directory).map_err(|e| Failure::new(FailureKind::Failed, e))?.0;
    let (data_dir, domains) = (data_dir.to_owned(), domains.to_vec());
    Ok(Answer::Checkpoint(Checkpoint { directory, data_dir, at_ms, head, domains }))
}

/// Removes it, and notes the backup.
pub(crate) fn done(data_dir: &Path, backup: Option<&Done>) -> Result<Answer, Failure> {
    remove(data_dir)?;
    if let Some(done) = backup {
        let path = data_dir.join(super::LAST);
        super::note(data_dir, done)
            .map_err(|e| Failure::new(FailureKind::Failed, format!("{}: {e}", path.display())))?;
    }
    Ok(Answer::Done)
}

fn remove(data_dir: &Path) -> Result<(), Failure> {
    let directory = data_dir.join(CHECKPOINT);
    match std::fs::remove_dir_all(&directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Failure::new(FailureKind::Failed, format!("{}: {e}", directory.display())))
        }
        _ => Ok(()),
    }
}
