//! Reading a backup to see whether it is whole.
use super::repository::counter;
use super::{BackupError, Identities, Manifest, Progress, Repository, repository, restore};
use godwit_store::{Options, Rocks, Seq};
use std::io;

/// Caches for the reading.
const CACHE_BYTES: usize = 32 << 20;

/// What is wrong with a backup, one line each; empty if it is whole. Every file is read and compared with its
/// checksum: what is encrypted without identities as it is, with them decrypted.
pub fn verify(
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
    progress: Progress<'_>,
) -> Result<Vec<String>, BackupError> {
    let (all, mut done) = (manifest.bytes(), 0);
    let mut count = counter(&mut done, all, progress);
    let mut wrong = Vec::new();
    for file in &manifest.files {
        let Some(object) = repository.object(file) else {
            wrong.push(format!("{}: its object {} is missing or cut short", file.path, file.object().0));
            continue;
        };
        let as_it_is = identities.are_none();
        let wanted = if as_it_is { file.object().0 } else { &file.sha256 };
        let read = if as_it_is {
            repository::copy(&object, &mut io::sink(), &object, &mut count)
        } else {
            let blame = |error| repository::unreadable(&object, error);
            repository.read(&object, file, identities).and_then(|mut from| {
                repository::pour(&mut from, &blame, &mut io::sink(), &object, &mut count)
            })
        };
        match read {
            Ok((sha256, _)) if sha256 == wanted => {}
            Ok(_) | Err(BackupError::Damaged(_)) => {
                wrong.push(format!("{}: its object {} has another content", file.path, file.object().0));
            }
            Err(error) => return Err(error),
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
    identities: &Identities,
    progress: Progress<'_>,
) -> Result<Vec<String>, BackupError> {
    let scratch = repository.directory().join(repository::SCRATCH);
    let wrong = restore(repository, manifest, &scratch, identities, progress).and_then(|()| {
        let options =
            Options { block_cache_bytes: CACHE_BYTES, memtable_bytes: CACHE_BYTES, ..Options::default() };
        let store = Rocks::open_to_examine(&scratch.join("store"), &options, false)
            .map_err(|error| BackupError::Damaged(error.to_string()))?;
        let verified = crate::verify::verify(&store, oldest, &mut |_| {});
        Ok(verified.lines().collect())
    });
    let removed = repository::remove_all(&scratch);
    let wrong = wrong?;
    removed.map(|()| wrong)
}
