//! The newest backup: its age, and whether it could be restored.
use super::finding::{Finding, Notes, unseen};
use super::run::monotonic;
use super::site::Site;
use crate::backup::{BackupError, Done, Entry, Manifest, Repository};
use godwit_store::schema::SCHEMA_VERSION;
use std::io::ErrorKind;
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;
/// As at the alert GodwitBackupOverdue; the night before last.
const LATE_MS: u64 = 26 * HOUR_MS;
const TOO_LATE_MS: u64 = 74 * HOUR_MS;
/// A sample of the files is read: for so long, and so many bytes, in all.
const READ_WAIT: Duration = Duration::from_secs(5);
const READ_BYTES_MAX: u64 = 256 << 20;
/// Files named in a finding.
const SHOWN_MAX: usize = 2;
const MAKE: &str = "systemctl enable --now godwit-backup.timer; at once: systemctl start godwit-backup";

/// Why no manifest could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lack {
    /// There is none.
    None(String),
    /// It may not be read by this user.
    Hidden(String),
    /// It is damaged.
    Bad(String),
}

fn newest(site: &Site) -> Result<(Repository, Manifest), Lack> {
    let directory = site.backups();
    let none = || Lack::None(format!("{} holds no backup", directory.display()));
    let lack = |error: BackupError| match error {
        BackupError::Io { error: ref why, .. } if why.kind() == ErrorKind::PermissionDenied => {
            Lack::Hidden(error.to_string())
        }
        BackupError::Io { error: ref why, .. } if why.kind() == ErrorKind::NotFound => none(),
        BackupError::Refused(_) => none(),
        error => Lack::Bad(error.to_string()),
    };
    let repository = Repository::look(&directory).map_err(lack)?;
    let manifest = repository.manifests().map_err(lack)?.pop().ok_or_else(none)?;
    Ok((repository, manifest))
}

/// The noted backup, if it was a stream and newer than what the directory holds. Who names a directory asks
/// for that one alone.
fn newer_stream(site: &Site, held: Option<&Manifest>) -> Option<Done> {
    let asked_for_another = site.backups.is_some();
    let noted = site.last_backup().filter(|noted| noted.is_stream() && !asked_for_another)?;
    held.is_none_or(|held| held.created_ms < noted.at_ms).then_some(noted)
}

/// What is known of the newest backup without looking into it.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    at_ms: u64,
    is_stream: bool,
}

impl From<Done> for Known {
    fn from(done: Done) -> Known {
        let is_stream = done.is_stream();
        Known { id: done.id, at_ms: done.at_ms, is_stream }
    }
}

pub(super) fn age(site: &Site) -> Finding {
    let found = newest(site).map(|(_, manifest)| manifest);
    let known = match (found, site.last_backup()) {
        // Who may not look at the backups still knows what the daemon noted.
        (Err(Lack::Hidden(_)), Some(noted)) => Ok(noted.into()),
        (Err(Lack::None(why)), _) => newer_stream(site, None).map(Known::from).ok_or(Lack::None(why)),
        (Err(lack), _) => Err(lack),
        (Ok(held), _) => Ok(match newer_stream(site, Some(&held)) {
            Some(stream) => stream.into(),
            None => Known { id: held.id, at_ms: held.created_ms, is_stream: false },
        }),
    };
    judge_age(&known, site.now_ms)
}

fn judge_age(newest: &Result<Known, Lack>, now_ms: u64) -> Finding {
    let mut notes = Notes::default();
    let mut good = String::new();
    match newest {
        Ok(Known { id, at_ms, is_stream }) => {
            let age = now_ms.saturating_sub(*at_ms);
            let stream = if *is_stream { ", a stream" } else { "" };
            let line = format!("{id} is {} hours old{stream}", age / HOUR_MS);
            match age {
                TOO_LATE_MS.. => notes.red("old", line.clone(), MAKE),
                LATE_MS.. => notes.yellow("old", line.clone(), MAKE),
                _ if *at_ms > now_ms + HOUR_MS => {
                    notes.yellow("future", format!("{id} was made in the future"), "see the check clock");
                }
                _ => {}
            }
            good = line;
        }
        Err(Lack::None(why)) => notes.red("none", why.clone(), MAKE),
        Err(Lack::Bad(why)) => notes.red("damaged", why.clone(), MAKE),
        Err(Lack::Hidden(why)) => notes.unseen(why.clone(), super::daemon::AS_ROOT),
    }
    notes.finish(good)
}

/// The newest one, looked at.
#[derive(Debug, Clone)]
struct Content {
    id: String,
    schema: u32,
    domains: Vec<String>,
    served: Vec<String>,
    files: usize,
    /// Files that are missing or cut short.
    missing: Vec<String>,
    /// Files with another content than they had.
    wrong: Vec<String>,
    /// Files whose checksum was compared.
    read: usize,
    /// To how many keys it is encrypted.
    recipients: usize,
}

pub(super) fn content(site: &Site) -> Finding {
    let found = newest(site);
    let held = found.as_ref().map(|(_, manifest)| manifest);
    let is_hidden_or_bad = matches!(held, Err(Lack::Hidden(_) | Lack::Bad(_)));
    if let Some(stream) = newer_stream(site, held.ok()).filter(|_| !is_hidden_or_bad) {
        return elsewhere(&stream.id);
    }
    let (repository, manifest) = match found {
        Ok(found) => found,
        Err(Lack::Hidden(why)) => return unseen(why, super::daemon::AS_ROOT),
        Err(Lack::None(_) | Lack::Bad(_)) => {
            return unseen("there is none to look at", "see the check backup");
        }
    };
    let mut random = [0; 8];
    crate::random::fill(&mut random);
    let config = site.config.as_ref();
    let served = config.map(|config| config.domains.iter().map(ToString::to_string).collect());
    judge_content(&look(&repository, &manifest, served.unwrap_or_default(), u64::from_le_bytes(random)))
}

/// A stream cannot be looked at from here.
fn elsewhere(id: &str) -> Finding {
    let found = format!("{id} was a stream: whether it arrived whole cannot be seen here");
    unseen(found, "where it arrived: godwitctl backup verify - < FILE")
}

/// All files are looked for; from a random one on, some are read.
fn look(repository: &Repository, manifest: &Manifest, served: Vec<String>, random: u64) -> Content {
    let (mut missing, mut wrong, mut read) = (Vec::new(), Vec::new(), 0);
    for file in &manifest.files {
        if repository.object(file).is_none() {
            missing.push(file.path.clone());
        }
    }
    let count = manifest.files.len();
    let first = usize::try_from(random % (count.max(1) as u64)).unwrap_or(0);
    let end = monotonic() + READ_WAIT;
    let mut bytes = 0;
    for file in manifest.files.iter().cycle().skip(first).take(count) {
        let Some(right) = is_right(repository, file, READ_BYTES_MAX.saturating_sub(bytes)) else { continue };
        bytes += file.object().1;
        read += 1;
        if !right {
            wrong.push(file.path.clone());
        }
        if monotonic() >= end {
            break;
        }
    }
    Content {
        id: manifest.id.clone(),
        schema: manifest.schema,
        domains: manifest.domains.clone(),
        served,
        files: count,
        missing,
        wrong,
        read,
        recipients: manifest.recipients.len(),
    }
}

/// Compares a file's checksum; nothing if the file is not there, or too large for this.
fn is_right(repository: &Repository, file: &Entry, bytes_max: u64) -> Option<bool> {
    let (name, bytes) = file.object();
    let object = repository.object(file).filter(|_| bytes <= bytes_max)?;
    // One that cannot be read cannot be restored.
    Some(crate::backup::repository::checksum(&object).is_ok_and(|sum| sum == name))
}

fn judge_content(facts: &Content) -> Finding {
    let mut notes = Notes::default();
    let Content { id, schema, domains, served, files, missing, wrong, read, recipients } = facts;
    let remedy = "make another: systemctl start godwit-backup; godwitctl backup verify DIR reads all of one";
    let shown = |files: &[String]| files.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if !missing.is_empty() {
        let text =
            format!("{id}: {} of {files} files are missing or cut short: {}", missing.len(), shown(missing));
        notes.red("missing", text, remedy);
    }
    if !wrong.is_empty() {
        let text = format!("{id}: {} have another content than they had: {}", wrong.len(), shown(wrong));
        notes.red("damaged", text, remedy);
    }
    if *schema > SCHEMA_VERSION {
        let text = format!("{id} has stores of version {schema}, this one reads {SCHEMA_VERSION}");
        notes.red("version", text, "install the version that made it to restore it");
    }
    let strange: Vec<_> = domains.iter().filter(|domain| !served.contains(domain)).cloned().collect();
    if !strange.is_empty() && !served.is_empty() {
        let text = format!("{id} is of {}, which is not served here", strange.join(", "));
        notes.yellow("domain", text, "name the directory of this box's backups: --backups DIR");
    }
    let sealed = match recipients {
        0 => String::new(),
        count => {
            format!("; encrypted to {count} keys, which only godwitctl backup verify --identity can try")
        }
    };
    notes.finish(format!("{id}: all {files} files are there, {read} with the right checksum{sealed}"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn no_backup_and_an_old_one_are_red() {
        let known = |is_stream| Ok(Known { id: "x".into(), at_ms: 100 * HOUR_MS, is_stream });
        let judge = |hours: u64| judge_age(&known(false), (100 + hours) * HOUR_MS).level;
        assert_eq!(judge(3), Level::Green);
        let stream = judge_age(&known(true), 103 * HOUR_MS);
        assert_eq!((stream.level, stream.found.as_str()), (Level::Green, "x is 3 hours old, a stream"));
        assert_eq!(judge_age(&known(true), 180 * HOUR_MS).causes, ["old"]);
        assert_eq!(judge(30), Level::Yellow);
        assert_eq!(judge(80), Level::Red);
        assert_eq!(judge_age(&known(false), HOUR_MS).causes, ["future"]);
        assert_eq!(judge_age(&Err(Lack::None("none".into())), 0).level, Level::Red);
        assert_eq!(judge_age(&Err(Lack::Bad("bad".into())), 0).level, Level::Red);
        assert_eq!(judge_age(&Err(Lack::Hidden("denied".into())), 0).causes, ["unseen"]);
    }

    #[test]
    fn one_that_could_not_be_restored_is_red() {
        let good = Content {
            id: "x".into(),
            schema: SCHEMA_VERSION,
            domains: vec!["example.org".into()],
            served: vec!["example.org".into()],
            files: 3,
            missing: Vec::new(),
            wrong: Vec::new(),
            read: 3,
            recipients: 0,
        };
        assert_eq!(judge_content(&good).level, Level::Green);
        let sealed = judge_content(&Content { recipients: 2, ..good.clone() });
        assert_eq!(sealed.level, Level::Green);
        assert!(sealed.found.ends_with("to 2 keys, which only godwitctl backup verify --identity can try"));
        assert_eq!(elsewhere("x").causes, ["unseen"]);
        let missing = Content { missing: vec!["store/CURRENT".into()], ..good.clone() };
        assert_eq!(judge_content(&missing).causes, ["missing"]);
        let wrong = Content { wrong: vec!["store/000009.sst".into()], ..good.clone() };
        assert_eq!(judge_content(&wrong).level, Level::Red);
        assert_eq!(judge_content(&Content { schema: SCHEMA_VERSION + 1, ..good.clone() }).level, Level::Red);
        let strange = Content { domains: vec!["example.com".into()], ..good };
        assert_eq!(judge_content(&strange).level, Level::Yellow);
    }
}
