//! What happens if the new binary crashes soon after it took over: the one before is started again.
//!
//! Before a hand-over the running binary is kept in the data directory, and a note says which one takes over.
//! The note is removed when the new one has run for [`PROBATION`], or stops in an orderly way. A start that
//! finds it is a start after a crash: it becomes the kept binary, which says so, and the rejected one is not
//! started again until another file is in its place.
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a binary must run to be trusted.
pub const PROBATION: Duration = Duration::from_secs(30);
/// Binaries kept.
const KEPT_MAX: usize = 2;
const NOTE: &str = "upgrade.json";
const DIRECTORY: &str = "previous";

/// Which file a binary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    modified_s: i64,
    modified_ns: i64,
    length: u64,
}

impl Identity {
    /// Of the file at a path.
    pub fn of(path: &Path) -> io::Result<Identity> {
        let found = fs::metadata(path)?;
        Ok(Identity {
            device: found.dev(),
            inode: found.ino(),
            modified_s: found.mtime(),
            modified_ns: found.mtime_nsec(),
            length: found.len(),
        })
    }
}

/// The note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The binary that takes over.
    pub taker: Identity,
    /// Where that is.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// The binary that ran before, as it is kept.
    pub before: PathBuf,
    /// Its version.
    pub before_version: String,
    /// The taker has crashed.
    pub rejected: bool,
}

/// What a start has to do about the note.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Go,
    /// This binary crashed on probation: become the one before.
    Become(Note),
    /// This is the one before, started again because the taker crashed.
    Again(Note),
}

/// The place of note and binaries.
#[derive(Debug, Clone)]
pub struct Probation(PathBuf);

impl Probation {
    /// In a data directory.
    pub fn of(data_dir: &Path) -> Probation {
        Probation(data_dir.to_owned())
    }

    /// What a start with this binary has to do; not for one that takes over.
    pub fn verdict(&self, own: &Path) -> Verdict {
        let Some(mut note) = self.read() else { return Verdict::Go };
        let Ok(identity) = Identity::of(own) else { return Verdict::Go };
        if Identity::of(&note.before).is_ok_and(|before| before == identity) {
            return Verdict::Again(note);
        }
        if identity != note.taker || !note.before.exists() {
            self.clear(); // another binary was installed
            return Verdict::Go;
        }
        note.rejected = true;
        match self.write(&note) {
            Ok(()) => Verdict::Become(note),
            Err(_) => Verdict::Go,
        }
    }

    /// Notes that a hand-over begins.
    pub fn begin(&self, note: &Note) -> io::Result<()> {
        self.write(note)
    }

    /// The hand-over did not happen, or the binary has proved itself.
    pub fn clear(&self) {
        // Without a note there is nothing to do.
        let _ = fs::remove_file(self.0.join(NOTE));
    }

    /// Keeps the running binary; gives its place. The two newest are kept.
    pub fn keep_running(&self, version: &str) -> io::Result<PathBuf> {
        let directory = self.0.join(DIRECTORY);
        fs::create_dir_all(&directory)?;
        let running = Path::new("/proc/self/exe");
        let real = fs::read_link(running)?;
        if real.parent() == Some(&directory) && real.exists() {
            return Ok(real); // it is a kept one
        }
        let Identity { inode, modified_s, .. } = Identity::of(running)?;
        let kept = directory.join(format!("godwitd-{version}-{inode:x}-{modified_s:x}"));
        if !kept.exists() {
            let new = directory.join("new");
            fs::copy(running, &new)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(0o700))?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &kept)?;
        }
        self.prune(&kept);
        Ok(kept)
    }

    fn prune(&self, newest: &Path) {
        let Ok(entries) = fs::read_dir(self.0.join(DIRECTORY)) else { return };
        let mut others: Vec<(std::time::SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path() != newest)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        others.sort();
        let surplus = (others.len() + 1).saturating_sub(KEPT_MAX);
        for (_, path) in others.into_iter().take(surplus) {
            // What cannot be removed costs room only.
            let _ = fs::remove_file(path);
        }
    }

    fn read(&self) -> Option<Note> {
        serde_json::from_slice(&fs::read(self.0.join(NOTE)).ok()?).ok()
    }

    fn write(&self, note: &Note) -> io::Result<()> {
        let (path, new) = (self.0.join(NOTE), self.0.join("upgrade.json.new"));
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&serde_json::to_vec(note)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;

    #[test]
    fn a_binary_that_crashed_on_probation_is_not_started_again() {
        let dir = TestDir::new("probation");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("new"), "new").expect("written");
        fs::write(path("old"), "old").expect("written");
        let probation = Probation::of(dir.path());
        assert_eq!(probation.verdict(&path("new")), Verdict::Go);
        let taker = Identity::of(&path("new")).expect("there");
        let note = Note {
            taker,
            path: path("new"),
            version: "2".into(),
            before: path("old"),
            before_version: "1".into(),
            rejected: false,
        };
        probation.begin(&note).expect("noted");
        let rejected = Note { rejected: true, ..note };
        assert_eq!(probation.verdict(&path("new")), Verdict::Become(rejected.clone()));
        assert_eq!(probation.verdict(&path("old")), Verdict::Again(rejected.clone()));
        assert_eq!(probation.verdict(&path("new")), Verdict::Become(rejected), "nor the next time");
        fs::write(path("fixed"), "fixed").expect("written");
        fs::rename(path("fixed"), path("new")).expect("installed");
        assert_eq!(probation.verdict(&path("new")), Verdict::Go, "another one is");
        assert_eq!(probation.verdict(&path("old")), Verdict::Go);
    }

    #[test]
    fn the_last_two_are_kept() {
        let dir = TestDir::new("kept");
        let probation = Probation::of(dir.path());
        for version in ["1", "2", "3"] {
            let kept = probation.keep_running(version).expect("kept");
            assert!(kept.exists());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(fs::read_dir(dir.path().join(DIRECTORY)).expect("directory").count(), KEPT_MAX);
    }
}
