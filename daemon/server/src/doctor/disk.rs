//! The disk of the data directory: space, inodes, time of a sync.
use super::finding::{Finding, Level, Notes, unseen};
use super::run::monotonic;
use super::site::Site;
use rustix::fs::{Mode, OFlags, StatVfs, open, statvfs};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Syncs that are measured.
const SYNCS: usize = 9;
/// Bytes before each: a small batch of the store's log.
const WRITE: [u8; 4096] = [0x67; 4096];
/// A median from here on is felt by those who wait for `<a/>`.
const SLOW: Duration = Duration::from_millis(20);
const TOO_SLOW: Duration = Duration::from_millis(100);

/// What is left.
#[derive(Debug, Clone, Copy)]
struct Space {
    free: u64,
    size: u64,
    inodes_free: u64,
    inodes: u64,
    /// What the store needs to go on: its memtables, and as much again to compact.
    needed: u64,
}

pub(super) fn space(site: &Site) -> Finding {
    let Some(directory) = site.data_dir() else { return without_configuration() };
    match statvfs(directory) {
        Ok(found) => judge_space(Space::of(&found, 4 * site.derived.store_memtable_bytes)),
        Err(error) => unseen(format!("{}: {error}", directory.display()), super::daemon::AS_ROOT),
    }
}

fn without_configuration() -> Finding {
    unseen("where the data is says the configuration, which cannot be read", super::daemon::AS_ROOT)
}

impl Space {
    fn of(found: &StatVfs, needed: u64) -> Space {
        Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            size: found.f_blocks.saturating_mul(found.f_frsize),
            inodes_free: found.f_favail,
            inodes: found.f_files,
            needed,
        }
    }
}

fn judge_space(facts: Space) -> Finding {
    let Space { free, size, inodes_free, inodes, needed } = facts;
    let percent = |part: u64, of: u64| part.saturating_mul(100) / of.max(1);
    let mut notes = Notes::default();
    let line = format!("{} of {} MiB are free ({} %)", free / MIB, size / MIB, percent(free, size));
    let remedy = "make room: archive.keep_days, a larger disk; see GodwitDiskSpaceLow in the runbook";
    if percent(free, size) < 3 || free < needed {
        notes.red("space", format!("{line}, {} MiB are needed to go on writing", needed / MIB), remedy);
    } else if percent(free, size) < 10 {
        notes.yellow("space", line.clone(), remedy);
    }
    // Some file systems (btrfs) make inodes as they go, and say 0.
    let left = percent(inodes_free, inodes);
    if inodes > 0 && left < 10 {
        let level = if left < 3 { Level::Red } else { Level::Yellow };
        let text = format!("{inodes_free} of {inodes} inodes are free");
        notes.graded(
            level,
            "inodes",
            text,
            "find the directory with the many files: du --inodes -x / | sort -n",
        );
    }
    notes.finish(if inodes > 0 { format!("{line}, {left} % of the inodes") } else { line })
}

pub(super) fn fsync(site: &Site) -> Finding {
    let Some(directory) = site.data_dir() else { return without_configuration() };
    judge_fsync(
        measure(directory).map_err(|error| (error.kind(), format!("{}: {error}", directory.display()))),
    )
}

/// Times of syncs of a file without a name, or, where the file system has no such, of one that is removed at
/// once.
fn measure(directory: &Path) -> io::Result<Vec<Duration>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let nameless = open(directory, flags, Mode::RUSR | Mode::WUSR).map(File::from);
    let mut file = match nameless {
        Ok(file) => file,
        Err(_) => {
            let path = directory.join(format!("doctor.{}.tmp", std::process::id()));
            let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            file
        }
    };
    let one = |file: &mut File| {
        file.write_all(&WRITE)?;
        let begun = monotonic();
        file.sync_data()?;
        Ok(monotonic().saturating_sub(begun))
    };
    // The first one makes the file.
    one(&mut file)?;
    (0..SYNCS).map(|_| one(&mut file)).collect()
}

fn judge_fsync(times: Result<Vec<Duration>, (io::ErrorKind, String)>) -> Finding {
    let mut notes = Notes::default();
    let mut times = match times {
        Ok(times) => times,
        Err((io::ErrorKind::PermissionDenied, why)) => {
            notes.unseen(why, super::daemon::AS_ROOT);
            return notes.finish("");
        }
        Err((_, why)) => {
            notes.red("fails", why, "see the disk's health (dmesg, smartctl) and its space");
            return notes.finish("");
        }
    };
    times.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let line =
        format!("median {:.2} ms, longest {:.2} ms of {}", ms(Some(&median)), ms(times.last()), times.len());
    let remedy = "a faster disk, or one with less other work: each message waits for one; see iostat -x 1";
    if median >= SLOW {
        let level = if median >= TOO_SLOW { Level::Red } else { Level::Yellow };
        notes.graded(level, "slow", line.clone(), remedy);
    }
    notes.finish(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_red() {
        let facts = |free: u64, inodes_free| Space {
            free: free * MIB,
            size: 100_000 * MIB,
            inodes_free,
            inodes: 1_000,
            needed: 256 * MIB,
        };
        assert_eq!(judge_space(facts(50_000, 500)).level, Level::Green);
        assert_eq!(judge_space(facts(9_000, 500)).level, Level::Yellow);
        assert_eq!(judge_space(facts(2_000, 500)).level, Level::Red);
        assert_eq!(judge_space(facts(50_000, 50)).causes, ["inodes"]);
        assert_eq!(judge_space(facts(50_000, 10)).level, Level::Red);
        let small = Space { size: 200 * MIB, needed: 256 * MIB, ..facts(100, 500) };
        assert_eq!(judge_space(small).level, Level::Red, "half is free, and not enough");
    }

    #[test]
    fn a_slow_sync_is_red() {
        let times = |ms: u64| Ok(vec![Duration::from_millis(ms); SYNCS]);
        assert_eq!(judge_fsync(times(4)).level, Level::Green);
        assert_eq!(judge_fsync(times(30)).level, Level::Yellow);
        assert_eq!(judge_fsync(times(300)).level, Level::Red);
        assert_eq!(judge_fsync(Err((io::ErrorKind::Other, "EIO".into()))).causes, ["fails"]);
        let denied = Err((io::ErrorKind::PermissionDenied, "EACCES".into()));
        assert_eq!(judge_fsync(denied).causes, ["unseen"]);
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let dir = crate::testing::TestDir::new("doctor-fsync");
        assert_eq!(measure(dir.path()).expect("measured").len(), SYNCS);
        assert_eq!(std::fs::read_dir(dir.path()).expect("directory").count(), 0);
    }
}
