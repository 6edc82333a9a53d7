//! A sample of the store: the daemon reads it itself; without one it is opened for reading.
use super::finding::{Finding, Notes};
use super::site::{Daemon, Site, call};
use crate::admin::protocol::{Answer, Request, Verified};
use crate::verify::sample;
use godwit_store::{Options, Rocks, StoreError};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::time::Duration;

/// For the daemon's answer.
const WAIT: Duration = Duration::from_secs(15);
/// Block cache and memtables of our own, in bytes.
const CACHE_BYTES: usize = 8 << 20;
/// Lines of damage shown.
const SHOWN_MAX: usize = 2;

/// What came of reading it.
#[derive(Debug, Clone)]
enum Read {
    /// This, and by whom.
    Done(Verified, &'static str),
    /// It cannot be opened because it is damaged.
    Damaged(String),
    /// There is none yet.
    None,
    /// It could not be read: why.
    Unseen(String),
}

pub(super) fn check(site: &Site) -> Finding {
    judge(&match site.daemon {
        Daemon::Up { .. } => ask(site),
        Daemon::Down => open(site),
        Daemon::Silent(_) | Daemon::Forbidden(_) => {
            Read::Unseen("the daemon has it and cannot be asked".into())
        }
    })
}

fn ask(site: &Site) -> Read {
    match call(site, Request::StoreSample, WAIT) {
        Ok(Answer::Verifying(verifying)) => match verifying.done {
            Some(verified) => Read::Done(verified, "by the running daemon"),
            None => Read::Unseen("the daemon answered something else".into()),
        },
        Ok(_) => Read::Unseen("the daemon answered something else".into()),
        Err(why) => Read::Unseen(why),
    }
}

/// Nothing in it is changed. A daemon that starts meanwhile waits for the lock.
fn open(site: &Site) -> Read {
    let Ok(config) = &site.config else { return Read::Unseen("the configuration cannot be read".into()) };
    let directory = config.store_dir();
    let lock = directory.join("LOCK");
    let denied = OpenOptions::new().read(true).write(true).open(&lock).err();
    match denied.map(|error| (error.kind(), error)) {
        None => {}
        Some((ErrorKind::NotFound, _)) => return Read::None,
        Some((_, error)) => return Read::Unseen(format!("{}: {error}", lock.display())),
    }
    let options =
        Options { block_cache_bytes: CACHE_BYTES, memtable_bytes: CACHE_BYTES, ..Options::default() };
    let _lock = match crate::verify::lock(&lock) {
        Ok(lock) => lock,
        Err(why) => return Read::Unseen(why),
    };
    match Rocks::open_to_examine(&directory, &options, false) {
        Ok(store) => Read::Done(sample(&store), "from the disk"),
        Err(StoreError::Corrupt(why)) => Read::Damaged(why),
        Err(error) => Read::Unseen(error.to_string()),
    }
}

fn judge(read: &Read) -> Finding {
    let mut notes = Notes::default();
    let mut good = String::new();
    let remedy = "godwitctl store verify reads all of it; restore a backup: godwitctl backup restore --help";
    match read {
        Read::Done(verified, by) if verified.is_good() => {
            good = format!("{} rows read {by}, at random places", verified.count());
        }
        Read::Done(verified, _) => {
            let lines: Vec<_> = verified.lines().take(SHOWN_MAX).collect();
            notes.red("damaged", format!("DAMAGED: {}", lines.join("; ")), remedy);
        }
        Read::Damaged(why) => notes.red("damaged", format!("DAMAGED: {why}"), remedy),
        Read::None => good = "there is none yet: the first start makes it".into(),
        Read::Unseen(why) => notes.unseen(why.clone(), super::daemon::AS_ROOT),
    }
    notes.finish(good)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn damage_is_red() {
        let mut verified = Verified::default();
        assert_eq!(judge(&Read::Done(verified.clone(), "")).level, Level::Green);
        verified.found = 1;
        verified.findings.push("archive: a row of ann cannot be read".into());
        let found = judge(&Read::Done(verified, ""));
        assert!(found.level == Level::Red && found.found.contains("a row of ann"), "{found:?}");
        assert_eq!(judge(&Read::Damaged("000012.sst".into())).level, Level::Red);
        assert_eq!(judge(&Read::None).level, Level::Green);
        assert_eq!(judge(&Read::Unseen("denied".into())).causes, ["unseen"]);
    }
}
