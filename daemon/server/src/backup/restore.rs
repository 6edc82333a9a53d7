//! Restoring a backup into a data directory that holds no store.
use super::repository::{counter, private_directory, private_file, sync_directory};
use super::{BackupError, Manifest, Progress, Repository, at, repository};
use crossbeam_channel::{Sender, bounded};
use godwit_store::{Cf, Op, Options, Outcome, Read, Sink, Submit, Tx, schema};
use std::fs;
use std::path::Path;

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
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    let store = data_dir.join("store");
    if fs::read_dir(&store).is_ok_and(|mut entries| entries.next().is_some()) {
        let there = store.display();
        return Err(BackupError::Refused(format!(
            "there is a store at {there}, which is not overwritten: move it away, or name another --into"
        )));
    }
    let partial = data_dir.join(PARTIAL);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(at(&partial))?;
    }
    private_directory(&partial.join("store")).map_err(at(&partial))?;
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
        let (sha256, _) = repository::copy(&object, Some((&mut out, &path)), &mut count)?;
        if sha256 != file.sha256 {
            let (id, object) = (&manifest.id, object.display());
            return Err(BackupError::Damaged(format!(
                "backup {id} is DAMAGED: {object} has not the content it was stored with ({})",
                file.path
            )));
        }
        out.sync_all().map_err(at(&path))?;
    }
    open_once(&partial.join("store"), manifest)?;
    sync_directory(&partial.join("store")).map_err(at(&partial))?;
    if partial.join(super::SECRET).exists() {
        let path = data_dir.join(super::SECRET);
        fs::rename(partial.join(super::SECRET), &path).map_err(at(&path))?;
    }
    // An empty directory of that name may be there.
    let _ = fs::remove_dir(&store);
    fs::rename(partial.join("store"), &store).map_err(at(&store))?;
    fs::remove_dir(&partial).map_err(at(&partial))?;
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
