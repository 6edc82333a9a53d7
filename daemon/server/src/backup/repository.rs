//! The directory of backups: objects by checksum, manifests by id. Everything is written under another name,
//! synced, and then renamed.
use super::manifest::{BYTES_MAX as MANIFEST_BYTES_MAX, Sealed};
use super::{BackupError, Entry, Identities, Manifest, Progress, Recipients, at};
use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, flock};
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Where a backup is restored to see whether it can be: content that may be encrypted otherwise.
pub(super) const SCRATCH: &str = "verify.partial";

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
        // What a verification that was killed has left, perhaps decrypted. Nobody works on it: it is locked.
        remove_all(&directory.join(SCRATCH))?;
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
        let (name, bytes) = file.object();
        let path = self.directory.join("objects").join(name);
        let found = fs::metadata(&path).ok()?;
        (found.is_file() && found.len() == bytes).then_some(path)
    }

    /// Reads an object: the file that it holds, decrypted.
    pub fn read(
        &self,
        object: &Path,
        file: &Entry,
        identities: &Identities,
    ) -> Result<Box<dyn Read>, BackupError> {
        let opened = BufReader::new(File::open(object).map_err(at(object))?);
        match file.sealed {
            None => Ok(Box::new(opened)),
            Some(_) => Ok(Box::new(identities.open(opened, &object.display().to_string())?)),
        }
    }

    /// Takes a file in, encrypted if there are recipients.
    pub fn add(
        &self,
        from: &Path,
        recipients: &Recipients,
        copied: &mut dyn FnMut(u64),
    ) -> Result<Added, BackupError> {
        let objects = self.directory.join("objects");
        let partial = objects.join("partial");
        let out = private_file().create(true).truncate(true).open(&partial).map_err(at(&partial))?;
        let mut out = Hashing::new(out);
        let (content, sealed) = if recipients.are_none() {
            (copy(from, &mut out, &partial, copied)?, None)
        } else {
            let mut sealing = recipients.seal(&mut out).map_err(at(&partial))?;
            let content = copy(from, &mut sealing, &partial, copied)?;
            sealing.finish().map_err(at(&partial))?;
            (content, Some(out.digest()))
        };
        let (name, length) = sealed.as_ref().unwrap_or(&content);
        let object = objects.join(name);
        let is_new = !fs::metadata(&object).is_ok_and(|found| found.len() == *length);
        if is_new {
            out.into_inner().sync_all().map_err(at(&partial))?;
            fs::rename(&partial, &object).map_err(at(&object))?;
        } else {
            fs::remove_file(&partial).map_err(at(&partial))?;
        }
        let (sha256, bytes) = content;
        Ok(Added { sha256, bytes, sealed: sealed.map(|(sha256, bytes)| Sealed { bytes, sha256 }), is_new })
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
            kept.iter().flat_map(|one| &one.files).map(|file| file.object().0).collect();
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

/// A file that was taken in.
#[derive(Debug)]
pub struct Added {
    /// Its checksum.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// What holds it, if it is encrypted.
    pub sealed: Option<Sealed>,
    /// It was not there before.
    pub is_new: bool,
}

/// Checksum, in hexadecimal, and length.
pub(super) type Digest = (String, u64);

/// Passes on what is written or read, and takes its checksum.
pub(super) struct Hashing<T> {
    inner: T,
    context: Context,
    bytes: u64,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Hashing<T> {
        Hashing { inner, context: Context::new(&SHA256), bytes: 0 }
    }

    pub(super) fn digest(&self) -> Digest {
        let hash = self.context.clone().finish();
        (hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(), self.bytes)
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }

    fn take(&mut self, part: &[u8]) {
        self.context.update(part);
        self.bytes += part.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(part)?;
        self.take(part.get(..n).unwrap_or_default());
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.take(into.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Reads a file through into another one; returns its checksum and length.
pub(super) fn copy(
    from: &Path,
    into: &mut dyn Write,
    into_path: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<Digest, BackupError> {
    pour(&mut File::open(from).map_err(at(from))?, &at(from), into, into_path, copied)
}

/// Reads something through; `blame` says what it is if it cannot be read.
pub(super) fn pour(
    from: &mut dyn Read,
    blame: &dyn Fn(io::Error) -> BackupError,
    into: &mut dyn Write,
    into_path: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<Digest, BackupError> {
    let (mut from, mut chunk) = (Hashing::new(from), vec![0; CHUNK_BYTES]);
    loop {
        let n = from.read(&mut chunk).map_err(blame)?;
        let Some(part) = chunk.get(..n).filter(|part| !part.is_empty()) else { break };
        into.write_all(part).map_err(at(into_path))?;
        copied(n as u64);
    }
    Ok(from.digest())
}

/// An encrypted object that was changed or cut shows it while it is read.
pub(super) fn unreadable(object: &Path, error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            BackupError::Damaged(format!("{} is DAMAGED: {error}", object.display()))
        }
        _ => at(object)(error),
    }
}

/// A file's SHA-256 in hexadecimal.
pub(crate) fn checksum(path: &Path) -> Result<String, BackupError> {
    copy(path, &mut io::sink(), path, &mut |_| {}).map(|(sum, _)| sum)
}

/// Removes a directory with all that is in it, if it is there.
pub(super) fn remove_all(directory: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(directory)(error)),
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;

    fn said<T>(result: Result<T, BackupError>) -> String {
        result.err().expect("refused").to_string()
    }

    #[test]
    fn a_directory_without_backups_is_refused_and_two_do_not_work_on_one() {
        let dir = TestDir::new("repository-refused");
        assert!(said(Repository::open(dir.path(), false)).contains("holds no backups: name the directory"));
        assert!(said(Repository::look(dir.path())).contains("No such file"));
        let open = Repository::open(dir.path(), true).expect("made");
        assert!(said(Repository::open(dir.path(), true)).contains("another godwitctl works on"));
        Repository::look(dir.path()).expect("who only looks disturbs nobody");
        assert!(said(open.manifest(None)).contains("holds no backup yet"));
        assert!(said(open.manifest(Some("x"))).contains("holds no backup x: see"));
        fs::write(dir.path().join("x.json"), "{").expect("file");
        assert!(said(open.manifest(None)).contains("x.json is no manifest"));
    }

    #[test]
    fn an_encrypted_file_is_found_by_the_checksum_of_what_is_encrypted() {
        let dir = TestDir::new("repository-sealed");
        let from = dir.path().join("from");
        fs::write(&from, [3; 70_000]).expect("file");
        let identity = age::x25519::Identity::generate();
        let recipients = Recipients::new(&[identity.to_public().to_string()], &[]).expect("recipients");
        let repository = Repository::open(&dir.path().join("backups"), true).expect("made");
        let added = repository.add(&from, &recipients, &mut |_| {}).expect("added");
        let (sealed, bytes) = (added.sealed.expect("sealed"), added.bytes);
        assert!(bytes == 70_000 && sealed.bytes > bytes && added.sha256 == checksum(&from).expect("sum"));
        let (path, written_ns) = ("secret.key".into(), 0);
        let file = Entry { path, bytes, sha256: added.sha256, sealed: Some(sealed), written_ns };
        let object = repository.object(&file).expect("there");
        assert_eq!(checksum(&object).expect("sum"), file.object().0);
        assert!(said(repository.read(&object, &file, &Identities::default())).contains("is encrypted"));
        let cut = OpenOptions::new().write(true).open(&object).expect("opened");
        cut.set_len(100).expect("cut");
        assert_eq!(repository.object(&file), None, "one that is cut short is none");
    }
}
