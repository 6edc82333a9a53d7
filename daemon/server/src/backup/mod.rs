//! Backups of the store: a directory that keeps every file once, by checksum, and a manifest for each backup.
//!
//! ```text
//! DIR/objects/SHA256    one file of a store; shared by all backups that hold it
//! DIR/ID.json           a backup: which files, under which names; written last, so it is whole or not there
//! DIR/lock              held while something is written or removed
//! ```
//!
//! Table files never change, so a backup copies those that came since the last one, and the few small files
//! that describe them. A backup holds what the store holds and `secret.key`; not the configuration, not
//! certificates. Everything in it is readable by its owner only, and encrypted if it is told to whom
//! (`seal.rs`): then each object is a file of age under the checksum of what is encrypted, and the manifest,
//! which names files and domains, is not.
//!
//! A backup may also be one stream (`stream.rs`).

pub(crate) mod checkpoint;
pub mod create;
pub mod manifest;
pub mod repository;
pub mod restore;
pub mod seal;
pub mod stream;
pub mod verify;

pub use create::{Created, create};
pub use manifest::{Entry, Manifest};
pub use repository::Repository;
pub use restore::restore;
pub use seal::{Identities, Recipients};
pub use verify::verify;

use std::path::{Path, PathBuf};

/// Where, below the data directory, the daemon makes the checkpoint that is copied from.
pub const CHECKPOINT: &str = "checkpoint";
/// The last backup, in the data directory, as JSON of [`Done`].
pub const LAST: &str = "backup.json";
/// What a stream's place is called in [`Done`].
pub const STREAM: &str = "standard output";
/// The server's secret, which goes with the accounts.
pub const SECRET: &str = "secret.key";

/// Why a backup could not be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system said no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// What is there is not what the manifest says.
    #[error("{0}")]
    Damaged(String),
    /// It is not asked for in the right way; says what to do.
    #[error("{0}")]
    Refused(String),
}

/// To be told how far something is: bytes done, of how many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Blames a file.
fn at(path: &Path) -> impl Fn(std::io::Error) -> BackupError + '_ {
    move |error| BackupError::Io { path: path.to_owned(), error }
}

/// A backup that was made, for the daemon's status.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Done {
    /// Which.
    pub id: String,
    /// The directory, or that it was a stream.
    pub place: String,
    /// When the checkpoint was made; what was acknowledged before is in it.
    pub at_ms: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that were copied; the others were there.
    pub new_bytes: u64,
}

impl Done {
    /// It was a stream: where it went is not known here.
    pub fn is_stream(&self) -> bool {
        self.place == STREAM
    }
}

/// The last backup of a data directory's store.
pub fn last(data_dir: &Path) -> Option<Done> {
    let text = std::fs::read(data_dir.join(LAST)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Notes a backup as the last one.
pub fn note(data_dir: &Path, done: &Done) -> std::io::Result<()> {
    let text = serde_json::to_vec(done)?;
    repository::write_whole(&data_dir.join(LAST), &text)
}
