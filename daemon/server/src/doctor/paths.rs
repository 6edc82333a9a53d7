//! Who can read what the daemon keeps: the data directory, its secrets, the keys of the certificates.
use super::finding::{Finding, Notes, unseen};
use super::site::Site;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file or directory.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    /// It may be missing: it comes with the first start.
    optional: bool,
    /// Mode and owner.
    found: Result<(u32, u32), (io::ErrorKind, String)>,
}

/// All of them, the data directory first.
#[derive(Debug, Clone)]
struct Places {
    places: Vec<Place>,
    /// User of the daemon, if it runs.
    daemon: Option<u32>,
}

pub(super) fn check(site: &Site) -> Finding {
    let Ok(config) = &site.config else {
        return unseen(
            "where the data is says the configuration, which cannot be read",
            super::daemon::AS_ROOT,
        );
    };
    let data = &config.data_dir;
    let mut places = vec![look(data, false)];
    places.extend(
        [crate::backup::SECRET, "tickets.key", "store"].iter().map(|name| look(&data.join(name), true)),
    );
    places.extend(config.certificates.iter().map(|pair| look(&pair.key, false)));
    let status = site.of_process("status").and_then(Result::ok).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    judge(&Places { places, daemon: uid.and_then(|line| line.split_whitespace().next()?.parse().ok()) })
}

fn look(path: &Path, optional: bool) -> Place {
    let found = fs::metadata(path).map(|found| (found.mode() & 0o7777, found.uid()));
    Place { path: path.to_owned(), optional, found: found.map_err(|error| (error.kind(), error.to_string())) }
}

fn judge(facts: &Places) -> Finding {
    let mut notes = Notes::default();
    let mut closed = false;
    for (number, place) in facts.places.iter().enumerate() {
        let path = place.path.display();
        match &place.found {
            Err((io::ErrorKind::NotFound, _)) if place.optional => {}
            Err((io::ErrorKind::PermissionDenied, why)) => {
                notes.unseen(format!("{path}: {why}"), super::daemon::AS_ROOT);
            }
            Err((_, why)) => {
                let remedy =
                    format!("godwitd makes the last part of it; or: install -d -o godwit -m 0700 {path}");
                notes.red("missing", format!("{path}: {why}"), remedy);
            }
            // Behind a closed directory the modes of its files do not matter.
            Ok(_) if closed && place.optional => {}
            Ok((mode, owner)) => {
                let remedy = format!("chmod go= {path}");
                if mode & 0o007 != 0 {
                    notes.red("world", format!("{path} is open to everybody (mode {mode:o})"), remedy);
                } else if mode & 0o020 != 0 || (number == 0 && mode & 0o070 != 0) {
                    notes.yellow("group", format!("{path} is open to its group (mode {mode:o})"), remedy);
                }
                if number == 0 {
                    closed = mode & 0o077 == 0;
                    if let Some(daemon) = facts.daemon.filter(|daemon| daemon != owner) {
                        let text = format!("{path} belongs to user {owner}, the daemon is user {daemon}");
                        notes.red("owner", text, format!("chown -R {daemon} {path}"));
                    }
                }
            }
        }
    }
    notes.finish("data, secrets and keys are the daemon's alone")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn places(modes: &[(u32, bool)], daemon: u32) -> Places {
        let place = |(mode, optional): &(u32, bool)| Place {
            path: format!("/{mode:o}").into(),
            optional: *optional,
            found: Ok((*mode, 900)),
        };
        Places { places: modes.iter().map(place).collect(), daemon: Some(daemon) }
    }

    #[test]
    fn what_everybody_can_read_is_red() {
        assert_eq!(judge(&places(&[(0o700, false), (0o644, true), (0o640, false)], 900)).level, Level::Green);
        let found = judge(&places(&[(0o755, false), (0o600, true), (0o640, false)], 900));
        assert_eq!((found.level, found.remedy.as_deref()), (Level::Red, Some("chmod go= /755")));
        assert_eq!(judge(&places(&[(0o700, false), (0o644, false)], 900)).level, Level::Red, "a key");
        assert_eq!(judge(&places(&[(0o750, false)], 900)).level, Level::Yellow);
        assert_eq!(judge(&places(&[(0o750, false), (0o644, true)], 900)).level, Level::Red);
        assert_eq!(judge(&places(&[(0o700, false)], 0)).causes, ["owner"]);
    }

    #[test]
    fn what_is_missing_is_red_and_what_is_hidden_unseen() {
        let mut missing = places(&[(0o700, false), (0o600, true)], 900);
        let absent = || Err((io::ErrorKind::NotFound, "No such file".to_owned()));
        missing.places[1].found = absent();
        assert_eq!(judge(&missing).level, Level::Green);
        missing.places[0].found = absent();
        assert_eq!(judge(&missing).causes, ["missing"]);
        missing.places[0].found = Err((io::ErrorKind::PermissionDenied, "denied".into()));
        assert_eq!(judge(&missing).causes, ["unseen"]);
    }
}
