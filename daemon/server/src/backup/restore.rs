//! Restoring a backup into a data directory that holds no store.
use super::repository::{counter, private_directory, private_file, sync_directory};
use super::{BackupError, Identities, Manifest, Progress, Repository, at, repository, stream};
use crossbeam_channel::{Sender, bounded};
use godwit_store::{Cf, Op, Options, Outcome, Read, Sink, Submit, Tx, schema};
use std::fs;
use std::path::{Path, PathBuf};

/// While it is not whole.
const PARTIAL: &str = "restore.partial";
/// Caches while the sessions are removed.
const CACHE_BYTES: usize = 8 << 20;

/// Copies a backup's files into a data directory, checks each against its checksum, opens the store once, and
/// only then gives it its name. Refuses a directory with a store in it.
///
/// Sessions are left out: what a client was sent after the backup is not in it, so its count of stanzas means
/// nothing; it logs in anew.
pub fn restore(
    repository: &Repository,
    manifest: &Manifest,
    data_dir: &Path,
    identities: &Identities,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    whole_or_nothing(data_dir, |partial| copy(repository, manifest, partial, identities, progress))?;
    Ok(())
}

fn copy(
    repository: &Repository,
    manifest: &Manifest,
    partial: &Path,
    identities: &Identities,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let (all, mut done) = (manifest.bytes(), 0);
    let mut count = counter(&mut done, all, progress);
    for file in &manifest.files {
        let lacking = || {
            let (id, there) = (&manifest.id, repository.directory().display());
            BackupError::Damaged(format!(
                "backup {id} in {there} is DAMAGED: {} is missing or cut short",
                file.path
            ))
        };
        let object = repository.object(file).ok_or_else(lacking)?;
        let path = partial.join(&file.path);
        let mut out = private_file().create_new(true).open(&path).map_err(at(&path))?;
        let mut from = repository.read(&object, file, identities)?;
        let blame = |error| repository::unreadable(&object, error);
        let (sha256, _) = repository::pour(&mut from, &blame, &mut out, &path, &mut count)?;
        if sha256 != file.sha256 {
            let (id, object) = (&manifest.id, object.display());
            return Err(BackupError::Damaged(format!(
                "backup {id} is DAMAGED: {object} has not the content it was stored with ({})",
                file.path
            )));
        }
        out.sync_all().map_err(at(&path))?;
    }
    Ok(manifest.clone())
}

/// The same from a stream; what it held.
pub fn restore_stream(
    input: &mut dyn std::io::Read,
    data_dir: &Path,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    whole_or_nothing(data_dir, |partial| stream::read(input, Some(partial), progress))
}

/// Nothing of a backup that cannot be restored stays: it may be somebody else's, or decrypted.
fn whole_or_nothing(
    data_dir: &Path,
    fill: impl FnOnce(&Path) -> Result<Manifest, BackupError>,
) -> Result<Manifest, BackupError> {
    let partial = begin(data_dir)?;
    let restored = fill(&partial).and_then(|manifest| end(data_dir, &partial, &manifest).map(|()| manifest));
    if restored.is_err() {
        // The error says why; what cannot be removed goes when it is tried again.
        let _ = fs::remove_dir_all(&partial);
    }
    restored
}

/// Makes the directory for what is not whole yet.
fn begin(data_dir: &Path) -> Result<PathBuf, BackupError> {
    let store = data_dir.join("store");
    if fs::read_dir(&store).is_ok_and(|mut entries| entries.next().is_some()) {
        let there = store.display();
        return Err(BackupError::Refused(format!(
            "there is a store at {there}, which is not overwritten: move it away, or name another --into"
        )));
    }
    let partial = data_dir.join(PARTIAL);
    repository::remove_all(&partial)?;
    private_directory(&partial.join("store")).map_err(at(&partial))?;
    Ok(partial)
}

/// Opens what was restored, and gives it its name.
fn end(data_dir: &Path, partial: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let store = data_dir.join("store");
    open_once(&partial.join("store"), manifest)?;
    sync_directory(&partial.join("store")).map_err(at(partial))?;
    if partial.join(super::SECRET).exists() {
        let path = data_dir.join(super::SECRET);
        fs::rename(partial.join(super::SECRET), &path).map_err(at(&path))?;
    }
    // An empty directory of that name may be there.
    let _ = fs::remove_dir(&store);
    fs::rename(partial.join("store"), &store).map_err(at(&store))?;
    fs::remove_dir(partial).map_err(at(partial))?;
    sync_directory(data_dir).map_err(at(data_dir))
}

struct Tell;
impl Sink<Sender<Outcome>> for Tell {
    fn committed(&mut self, round: &mut Vec<(Sender<Outcome>, Outcome)>) {
        for (waiting, outcome) in round.drain(..) {
            // The one who waits is below, and waits.
            let _ = waiting.try_send(outcome);
        }
    }
}

/// It opens, holds what the manifest says, and its sessions go.
fn open_once(store: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let damaged = |why: &dyn std::fmt::Display| {
        BackupError::Damaged(format!("backup {} cannot be opened: {why}", manifest.id))
    };
    let options =
        Options { block_cache_bytes: CACHE_BYTES, memtable_bytes: CACHE_BYTES, ..Options::default() };
    let clock = godwit_edge::clock::system();
    let opened = godwit_store::open(store, &options, clock, Box::new(Tell)).map_err(|e| damaged(&e))?;
    let head = opened.store.head().0;
    if head < manifest.head {
        return Err(damaged(&format!("its last message is {head:x}, {:x} was expected", manifest.head)));
    }
    let (start, end) = schema::all_sessions();
    let (tell, told) = bounded(1);
    let mut tx = Tx::default();
    tx.ops.push(Op::DeleteRange { cf: Cf::Sessions, start, end });
    opened.writer.submit(tx, tell).map_err(|_| damaged(&"its writer takes nothing"))?;
    told.recv().map_err(|e| damaged(&e))?.map_err(|e| damaged(&e))?;
    opened.writer.close().map_err(|e| damaged(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;

    #[test]
    fn one_that_fails_leaves_nothing_and_a_store_is_not_overwritten() {
        let dir = TestDir::new("restore-refused");
        let fails = |partial: &Path| {
            fs::write(partial.join("store/CURRENT"), "half").map_err(at(partial))?;
            Err(BackupError::Damaged("cut".into()))
        };
        let why = whole_or_nothing(dir.path(), fails).expect_err("fails").to_string();
        assert!(why == "cut" && !dir.path().join(PARTIAL).exists(), "{why}");
        fs::create_dir(dir.path().join("store")).expect("directory");
        assert_eq!(whole_or_nothing(dir.path(), fails).expect_err("fails").to_string(), "cut", "it is empty");
        fs::write(dir.path().join("store/CURRENT"), "there").expect("file");
        let why = whole_or_nothing(dir.path(), |_| unreachable!("refused before")).expect_err("refused");
        assert!(why.to_string().contains("is not overwritten"), "{why}");
        assert_eq!(fs::read(dir.path().join("store/CURRENT")).expect("file"), b"there");
    }

    #[test]
    fn what_does_not_open_or_holds_less_than_it_says_is_not_given_its_name() {
        let dir = TestDir::new("restore-damaged");
        let manifest = |head| {
            let about = super::super::create::About { at_ms: 0, domains: Vec::new(), head, schema: 1 };
            about.manifest("x".into(), Vec::new(), Vec::new())
        };
        let junk = |partial: &Path| {
            fs::write(partial.join("store/CURRENT"), "MANIFEST-nowhere\n").map_err(at(partial))?;
            Ok(manifest(0))
        };
        let why = whole_or_nothing(dir.path(), junk).expect_err("damaged").to_string();
        assert!(why.contains("backup x cannot be opened"), "{why}");
        let why = whole_or_nothing(dir.path(), |_| Ok(manifest(9))).expect_err("damaged").to_string();
        assert!(why.contains("its last message is 0, 9 was expected"), "{why}");
        assert_eq!(fs::read_dir(dir.path()).expect("directory").count(), 0);
    }
}
