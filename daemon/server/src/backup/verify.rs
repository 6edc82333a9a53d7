//! Reading a backup to see whether it is whole.
use super::repository::counter;
use super::{BackupError, Manifest, Progress, Repository, repository, restore};
use godwit_store::{Options, Rocks, Seq};
use std::fs;

/// Caches for the reading.
const CACHE_BYTES: usize = 32 << 20;

/// What is wrong with a backup, one line each; empty if it is whole. Every file is read and compared with its
/// checksum.
pub fn verify(
    repository: &Repository,
    manifest: &Manifest,
    progress: Progress<'_>,
) -> Result<Vec<String>, BackupError> {
    let (all, mut done) = (manifest.bytes(), 0);
    let mut count = counter(&mut done, all, progress);
    let mut wrong = Vec::new();
    for file in &manifest.files {
        let Some(object) = repository.object(file) else {
            wrong.push(format!("{}: its object {} is missing or cut short", file.path, file.sha256));
            continue;
        };
        let (sha256, _) = repository::copy(&object, None, &mut count)?;
        if sha256 != file.sha256 {
            wrong.push(format!("{}: its object {} has another content", file.path, file.sha256));
        }
    }
    Ok(wrong)
}

/// Restores a backup beside the others, reads every row of it, and removes it again. Archives are whole from
/// `oldest` on. What is wrong, one line each.
pub fn verify_by_restoring(
    repository: &Repository,
    manifest: &Manifest,
    oldest: Seq,
    progress: Progress<'_>,
) -> Result<Vec<String>, BackupError> {
    let scratch = repository.directory().join("verify.partial");
    // What an earlier one that was ended has left.
    let _ = fs::remove_dir_all(&scratch);
    let wrong = restore(repository, manifest, &scratch, progress).and_then(|()| {
        let options =
            Options { block_cache_bytes: CACHE_BYTES, memtable_bytes: CACHE_BYTES, ..Options::default() };
        let store = Rocks::open_to_examine(&scratch.join("store"), &options, false)
            .map_err(|error| BackupError::Damaged(error.to_string()))?;
        let verified = crate::verify::verify(&store, oldest, &mut |_| {});
        Ok(verified.lines().collect())
    });
    let _ = fs::remove_dir_all(&scratch);
    wrong
}
