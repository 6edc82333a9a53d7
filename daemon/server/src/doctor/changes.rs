//! What the last run with `--changes` found, and what has changed since.
use super::{Level, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// The state's name in the data directory.
pub const STATE: &str = "doctor.json";
/// Longest state that is read, in bytes.
const STATE_BYTES_MAX: u64 = 1 << 20;

/// A check as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Its colour.
    pub level: Level,
    /// What was wrong.
    pub causes: Vec<String>,
}

/// All checks as they were, by name. Figures are not kept: one that moves is no change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// By name.
    pub checks: BTreeMap<String, Was>,
}

/// A check that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<'a> {
    /// What it was; nothing for one that the last run did not have.
    pub was: Option<Level>,
    /// What it is.
    #[serde(flatten)]
    pub now: &'a Outcome,
}

impl State {
    /// From what was found.
    pub fn of(results: &[Outcome], at_ms: u64) -> State {
        let was =
            |one: &Outcome| (one.check.to_owned(), Was { level: one.level, causes: one.causes.clone() });
        State { at_ms, checks: results.iter().map(was).collect() }
    }

    /// What has changed. Of checks that were not there before, only those that are not green.
    pub fn changes<'a>(&self, results: &'a [Outcome]) -> Vec<Change<'a>> {
        let change = |now: &'a Outcome| {
            let was = self.checks.get(now.check);
            let changed = match was {
                Some(was) => was.level != now.level || was.causes != now.causes,
                None => now.level != Level::Green,
            };
            changed.then_some(Change { was: was.map(|was| was.level), now })
        };
        results.iter().filter_map(change).collect()
    }

    /// Reads it; the first run, and one after a state that makes no sense, begin with nothing.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(path: &Path) -> io::Result<State> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(STATE_BYTES_MAX).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(error),
        };
        Ok(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// Writes it, whole or not at all. Made by root it belongs to the directory's owner, whose next run is to
    /// be able to replace it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partial = partial(path);
        // Left by one that was ended.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A new file, so that root follows no link that somebody has put there.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        if rustix::process::geteuid().is_root() {
            let owner = fs::metadata(directory)?;
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        File::open(directory)?.sync_all()
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;

    fn result(check: &'static str, level: Level, causes: &[&str]) -> Outcome {
        let causes = causes.iter().map(ToString::to_string).collect();
        Outcome { check, level, found: "7 days".into(), remedy: None, causes }
    }

    #[test]
    fn only_colours_and_causes_are_changes() {
        let before = [
            result("disk", Level::Green, &[]),
            result("store", Level::Red, &["damaged"]),
            result("backup", Level::Red, &["old"]),
        ];
        let state = State::of(&before, 1);
        let mut now = before.clone();
        now[0].found = "6 days".into();
        assert_eq!(state.changes(&now), []);
        now[0] = result("disk", Level::Yellow, &["space"]);
        now[1] = result("store", Level::Green, &[]);
        now[2] = result("backup", Level::Red, &["none"]);
        let changed: Vec<_> =
            state.changes(&now).iter().map(|one| (one.now.check, one.was, one.now.level)).collect();
        assert_eq!(
            changed,
            [
                ("disk", Some(Level::Green), Level::Yellow),
                ("store", Some(Level::Red), Level::Green),
                ("backup", Some(Level::Red), Level::Red),
            ]
        );
    }

    #[test]
    fn the_first_run_tells_what_is_not_green() {
        let now = [result("disk", Level::Green, &[]), result("store", Level::Red, &["damaged"])];
        let first = State::default();
        let changed = first.changes(&now);
        assert_eq!(changed.iter().map(|one| (one.now.check, one.was)).collect::<Vec<_>>(), [("store", None)]);
    }

    #[test]
    fn it_is_written_whole_and_follows_no_link() {
        let dir = TestDir::new("doctor-state");
        let path = dir.path().join(STATE);
        assert_eq!(State::read(&path).expect("none"), State::default());
        let state = State::of(&[result("disk", Level::Yellow, &["space"])], 5);
        let precious = dir.path().join("precious");
        fs::write(&precious, "kept").expect("written");
        std::os::unix::fs::symlink(&precious, partial(&path)).expect("link");
        state.write(&path).expect("written");
        assert_eq!(State::read(&path).expect("read"), state);
        assert_eq!(fs::read_to_string(&precious).expect("there"), "kept");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        fs::write(&path, "half a st").expect("written");
        assert_eq!(State::read(&path).expect("read"), State::default());
    }
}
