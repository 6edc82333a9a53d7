//! Making a backup: from a checkpoint into the directory of backups.
use super::manifest::{FORMAT, FORMAT_SEALED};
use super::repository::{Added, counter};
use super::{BackupError, Entry, Manifest, Progress, Recipients, Repository, SECRET, at};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// What goes into the manifest besides files.
#[derive(Debug, Clone)]
pub struct About {
    /// When the checkpoint was made.
    pub at_ms: u64,
    /// Domains served.
    pub domains: Vec<String>,
    /// Largest sequence number in it at least.
    pub head: u64,
    /// Layout of the store.
    pub schema: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Created {
    /// The backup.
    pub manifest: Manifest,
    /// Bytes that were not there before.
    pub new_bytes: u64,
}

/// Copies a checkpoint, and the server's secret from the data directory. Files that the newest backup holds
/// already (same name, length and time, for the same recipients) are not read again.
pub fn create(
    repository: &Repository,
    checkpoint: &Path,
    data_dir: &Path,
    about: &About,
    recipients: &Recipients,
    progress: Progress<'_>,
) -> Result<Created, BackupError> {
    let earlier = repository.manifests()?;
    let keys = recipients.keys();
    let known: HashMap<(&str, u64, u64), &Entry> = earlier
        .iter()
        .filter(|one| one.recipients == keys)
        .flat_map(|one| &one.files)
        .map(|file| ((file.path.as_str(), file.bytes, file.written_ns), file))
        .collect();
    let found = files(checkpoint, data_dir)?;
    let (all, mut done) = (found.iter().map(|file| file.bytes).sum(), 0);
    let mut count = counter(&mut done, all, progress);
    let (mut entries, mut new_bytes) = (Vec::new(), 0);
    for file in &found {
        let key = (file.path.as_str(), file.bytes, file.written_ns);
        if let Some(same) = known.get(&key).filter(|same| repository.object(same).is_some()) {
            count(same.bytes);
            entries.push((*same).clone());
            continue;
        }
        let added = repository.add(&file.from, recipients, &mut count)?;
        if added.is_new {
            new_bytes += added.bytes;
        }
        let Added { sha256, bytes, sealed, .. } = added;
        entries.push(Entry { path: file.path.clone(), bytes, sha256, sealed, written_ns: file.written_ns });
    }
    let manifest = about.manifest(free_id(about.at_ms, &earlier), keys, entries);
    repository.publish(&manifest)?;
    Ok(Created { manifest, new_bytes })
}

impl About {
    pub(super) fn manifest(&self, id: String, recipients: Vec<String>, files: Vec<Entry>) -> Manifest {
        Manifest {
            format: if recipients.is_empty() { FORMAT } else { FORMAT_SEALED },
            id,
            created_ms: self.at_ms,
            version: crate::version::version().into(),
            schema: self.schema,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            domains: self.domains.clone(),
            head: self.head,
            recipients,
            files,
        }
    }
}

/// A file of the checkpoint, or the secret.
pub(super) struct Found {
    pub(super) from: PathBuf,
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) written_ns: u64,
}

/// What a backup consists of, in order.
pub(super) fn files(checkpoint: &Path, data_dir: &Path) -> Result<Vec<Found>, BackupError> {
    let mut found = Vec::new();
    let mut take = |from: PathBuf, path: String| {
        let about = fs::metadata(&from).map_err(at(&from))?;
        let nanos = about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        let written_ns = u64::try_from(nanos).unwrap_or(0);
        found.push(Found { from, path, bytes: about.len(), written_ns });
        Ok(())
    };
    for entry in fs::read_dir(checkpoint).map_err(at(checkpoint))? {
        let entry = entry.map_err(at(checkpoint))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        take(entry.path(), format!("store/{name}"))?;
    }
    let secret = data_dir.join(SECRET);
    if secret.exists() {
        take(secret, SECRET.into())?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// `20260131T120000Z`, with a number behind it if there is one of that second.
pub(super) fn free_id(at_ms: u64, earlier: &[Manifest]) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at_ms);
    let id: String =
        humantime::format_rfc3339_seconds(at).to_string().chars().filter(|c| !"-:".contains(*c)).collect();
    let taken = |id: &str| earlier.iter().any(|one| one.id == id);
    let numbered = (2_u32..).map(|n| format!("{id}-{n}"));
    std::iter::once(id.clone()).chain(numbered).find(|id| !taken(id)).unwrap_or(id)
}
