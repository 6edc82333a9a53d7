//! The kernel: its version, its random bytes, AppArmor.
use super::finding::{Finding, Notes, unseen};
use super::site::Site;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs;
use std::path::Path;

/// Older ones are maintained by nobody.
const OLDEST: (u32, u32) = (5, 10);
/// Debian 12's: with older ones nothing was tested.
const TESTED: (u32, u32) = (6, 1);

pub(super) fn version(_: &Site) -> Finding {
    judge_version(&rustix::system::uname().release().to_string_lossy())
}

fn judge_version(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return unseen(format!("{release:?} says no version"), "");
    };
    let mut notes = Notes::default();
    let remedy = "upgrade the system: Debian 12 has 6.1, Debian 13 has 6.12";
    if (major, minor) < OLDEST {
        notes.red("old", format!("{release} is older than 5.10: nobody mends its holes"), remedy);
    } else if (major, minor) < TESTED {
        notes.yellow("untested", format!("{release} is older than 6.1, with which Godwit is tested"), remedy);
    }
    notes.finish(release)
}

pub(super) fn entropy(_: &Site) -> Finding {
    let mut bytes = [0; 32];
    let given = getrandom(&mut bytes, GetRandomFlags::NONBLOCK).map(|n| n == bytes.len());
    judge_entropy(given)
}

fn judge_entropy(given: Result<bool, Errno>) -> Finding {
    let mut notes = Notes::default();
    match given {
        Ok(true) => {}
        Err(Errno::NOSYS | Errno::PERM) => notes.unseen("getrandom(2) is not allowed here", ""),
        Ok(false) | Err(_) => notes.red(
            "waits",
            "the kernel's random numbers are not ready: handshakes wait for them",
            "give the machine a source (virtio-rng, haveged); without one it takes some minutes",
        ),
    }
    notes.finish("the kernel's generator is ready")
}

/// What confines the daemon.
#[derive(Debug, Clone)]
struct AppArmor {
    enabled: bool,
    /// There is a profile on the disk.
    profile: bool,
    /// Of the daemon, like `godwitd (enforce)`; nothing while none runs.
    confined: Option<Result<String, String>>,
}

pub(super) fn apparmor(site: &Site) -> Finding {
    let parameter = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    // The second one is the same where AppArmor is the only such module.
    let of_daemon = || {
        site.of_process("attr/apparmor/current")
            .map(|read| read.or_else(|_| site.of_process("attr/current").unwrap_or(Err("?".into()))))
    };
    let enabled = parameter.trim() == "Y";
    let profile =
        ["godwitd", "usr.bin.godwitd"].iter().any(|name| Path::new("/etc/apparmor.d").join(name).exists());
    judge_apparmor(&AppArmor { enabled, profile, confined: if enabled { of_daemon() } else { None } })
}

fn judge_apparmor(facts: &AppArmor) -> Finding {
    let mut notes = Notes::default();
    let mut good = String::new();
    let AppArmor { enabled, profile, confined } = facts;
    let load = "set AppArmorProfile=godwitd in the unit, apparmor_parser -r /etc/apparmor.d/godwitd, restart";
    match confined {
        _ if !enabled => {
            notes.yellow("off", "this kernel runs without AppArmor", "boot with security=apparmor");
        }
        None => notes.unseen("needs the running daemon", "see the check daemon"),
        Some(Err(why)) => notes.unseen(why.clone(), super::daemon::AS_ROOT),
        Some(Ok(current)) => {
            let current = current.trim_end_matches(['\0', '\n']).trim();
            match current.rsplit_once(' ') {
                Some((name, "(enforce)")) => good = format!("{name}, enforced"),
                Some((name, mode)) if *profile => {
                    notes.red("lax", format!("{name} is in the mode {mode}"), load)
                }
                _ if *profile => {
                    notes.red("unconfined", "there is a profile and the daemon runs without it", load);
                }
                _ => notes.yellow(
                    "none",
                    "there is no profile for the daemon; the unit's sandbox confines it",
                    "the disk image has one: image/mkosi.extra/etc/apparmor.d/godwitd",
                ),
            }
        }
    }
    notes.finish(good)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn an_old_kernel_is_red() {
        assert_eq!(judge_version("6.12.43+deb13-amd64").level, Level::Green);
        assert_eq!(judge_version("6.1.0-39-amd64").level, Level::Green);
        assert_eq!(judge_version("5.15.0").level, Level::Yellow);
        assert_eq!(judge_version("4.19.0-27-amd64").level, Level::Red);
        assert_eq!(judge_version("unknown").causes, ["unseen"]);
    }

    #[test]
    fn a_generator_that_is_not_ready_is_red() {
        assert_eq!(judge_entropy(Ok(true)).level, Level::Green);
        assert_eq!(judge_entropy(Err(Errno::AGAIN)).level, Level::Red);
        assert_eq!(judge_entropy(Err(Errno::NOSYS)).causes, ["unseen"]);
    }

    #[test]
    fn a_profile_that_does_not_confine_is_red() {
        let judge = |enabled, profile, confined: Option<&str>| {
            let confined = confined.map(|text| Ok(text.to_owned()));
            judge_apparmor(&AppArmor { enabled, profile, confined })
        };
        assert_eq!(judge(true, true, Some("godwitd (enforce)\n")).found, "godwitd, enforced");
        assert_eq!(judge(true, true, Some("godwitd (complain)\n")).level, Level::Red);
        assert_eq!(judge(true, true, Some("unconfined\n")).causes, ["unconfined"]);
        assert_eq!(judge(true, false, Some("unconfined\n")).level, Level::Yellow);
        assert_eq!(judge(false, false, None).causes, ["off"]);
        assert_eq!(judge(true, true, None).causes, ["unseen"]);
    }
}
