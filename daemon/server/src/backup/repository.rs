//! The directory of backups: objects by checksum, manifests by id. Everything is written under another name,
//! synced, and then renamed.
use super::{BackupError, Entry, Manifest, Progress, at};
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, flock};
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest manifest read, in bytes: a million files.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// An open directory of backups, locked against others that write unless it is only looked at.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    _lock: Option<File>,
}

impl Repository {
    /// Opens it; with `create` it is made if it is not there.
    pub fn open(directory: &Path, create: bool) -> Result<Repository, BackupError> {
        if create {
            private_directory(&directory.join("objects")).map_err(at(directory))?;
        } else if !directory.join("objects").is_dir() {
            let there = directory.display();
            return Err(BackupError::Refused(format!(
                "{there} holds no backups: name the directory that was given to create"
            )));
        }
        let path = directory.join("lock");
        let lock = private_file().create(true).truncate(false).open(&path).map_err(at(&path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            BackupError::Refused(format!("another godwitctl works on {}: wait for it", directory.display()))
        })?;
        Ok(Repository { directory: directory.to_owned(), _lock: Some(lock) })
    }

    /// Opens it only to look, beside others that write: a backup that is being removed may be seen in part.
    pub fn look(directory: &Path) -> Result<Repository, BackupError> {
        fs::metadata(directory.join("objects")).map_err(at(directory))?;
        Ok(Repository { directory: directory.to_owned(), _lock: None })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All backups, the oldest first.
    pub fn manifests(&self) -> Result<Vec<Manifest>, BackupError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(at(&self.directory))? {
            let path = entry.map_err(at(&self.directory))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let mut text = Vec::new();
                let file = File::open(&path).map_err(at(&path))?;
                file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(at(&path))?;
                found.push(Manifest::read(&text, &path.display().to_string())?);
            }
        }
        found.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        Ok(found)
    }

    /// The one with this id, or the newest.
    pub fn manifest(&self, id: Option<&str>) -> Result<Manifest, BackupError> {
        let mut all = self.manifests()?;
        let there = self.directory.display();
        match id {
            None => all.pop().ok_or_else(|| BackupError::Refused(format!("{there} holds no backup yet"))),
            Some(id) => all.into_iter().find(|one| one.id == id).ok_or_else(|| {
                BackupError::Refused(format!("{there} holds no backup {id}: see `godwitctl backup list`"))
            }),
        }
    }

    /// Where an object is, if it is there in full length.
    pub fn object(&self, file: &Entry) -> Option<PathBuf> {
        let path = self.directory.join("objects").join(&file.sha256);
        let found = fs::metadata(&path).ok()?;
        (found.is_file() && found.len() == file.bytes).then_some(path)
    }

    /// Takes a file in; returns its checksum and whether it had to be copied.
    pub fn add(&self, from: &Path, copied: &mut dyn FnMut(u64)) -> Result<(String, u64, bool), BackupError> {
        let objects = self.directory.join("objects");
        let partial = objects.join("partial");
        let mut out = private_file().create(true).truncate(true).open(&partial).map_err(at(&partial))?;
        let (sha256, bytes) = copy(from, Some((&mut out, &partial)), copied)?;
        let object = objects.join(&sha256);
        let known = fs::metadata(&object).is_ok_and(|found| found.len() == bytes);
        if known {
            fs::remove_file(&partial).map_err(at(&partial))?;
        } else {
            out.sync_all().map_err(at(&partial))?;
            fs::rename(&partial, &object).map_err(at(&object))?;
        }
        Ok((sha256, bytes, !known))
    }

    /// Makes a backup known, once all its objects are there.
    pub fn publish(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let objects = self.directory.join("objects");
        sync_directory(&objects).map_err(at(&objects))?;
        let path = self.directory.join(format!("{}.json", manifest.id));
        let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other).map_err(at(&path))?;
        write_whole(&path, &text).map_err(at(&path))
    }

    /// Removes all but the newest `keep` backups, and the objects that no other one holds. Returns how many
    /// backups went.
    pub fn prune(&self, keep: usize) -> Result<usize, BackupError> {
        let all = self.manifests()?;
        let old = all.len().saturating_sub(keep.max(1));
        let (gone, kept) = all.split_at(old);
        for manifest in gone {
            let path = self.directory.join(format!("{}.json", manifest.id));
            fs::remove_file(&path).map_err(at(&path))?;
        }
        // Before any object goes: a backup that is known is whole.
        sync_directory(&self.directory).map_err(at(&self.directory))?;
        let held: HashSet<&str> =
            kept.iter().flat_map(|one| &one.files).map(|file| file.sha256.as_str()).collect();
        let objects = self.directory.join("objects");
        for entry in fs::read_dir(&objects).map_err(at(&objects))? {
            let entry = entry.map_err(at(&objects))?;
            if !entry.file_name().to_str().is_some_and(|name| held.contains(name)) {
                fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        Ok(old)
    }
}

/// Reads a file through, into another one if told; returns its SHA-256 in hexadecimal and its length.
pub(super) fn copy(
    from: &Path,
    into: Option<(&mut File, &Path)>,
    copied: &mut dyn FnMut(u64),
) -> Result<(String, u64), BackupError> {
    let mut file = File::open(from).map_err(at(from))?;
    let mut into = into;
    let (mut digest, mut bytes, mut chunk) = (Context::new(&SHA256), 0, vec![0; CHUNK_BYTES]);
    loop {
        let n = file.read(&mut chunk).map_err(at(from))?;
        let Some(part) = chunk.get(..n).filter(|part| !part.is_empty()) else { break };
        digest.update(part);
        if let Some((out, path)) = &mut into {
            out.write_all(part).map_err(at(path))?;
        }
        bytes += n as u64;
        copied(n as u64);
    }
    let hex = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((hex, bytes))
}

/// A file's SHA-256 in hexadecimal.
pub(crate) fn checksum(path: &Path) -> Result<String, BackupError> {
    copy(path, None, &mut |_| {}).map(|(sum, _)| sum)
}

/// Writes a file so that it is there as a whole or not at all, also after a power loss.
pub(super) fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = private_file().create(true).truncate(true).open(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Counts bytes up for [`Progress`].
pub(super) fn counter<'a>(done: &'a mut u64, of: u64, progress: Progress<'a>) -> impl FnMut(u64) + 'a {
    move |bytes| {
        *done += bytes;
        progress(*done, of);
    }
}
