//! `godwitctl image update [--from URL|DIR]`: asks the image's own service, which runs as root and takes only
//! what the image's key has signed, and waits for its answer. Two files: the request, and what became of it.
use super::args::ImageUpdate;
use super::exit::Failed;
use super::print;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where it is asked: holds the source, or nothing for the configured one. The service removes it when it
/// begins.
const ASK: &str = "/run/operator/update";
/// What the service says: `running`, `done: …` or `failed: …`.
const STATE: &str = "/run/godwit-update.state";
/// How often the service is looked at, and after which pause: half an hour, and half a minute until it
/// begins.
const TRIES_MAX: u32 = 3_600;
const BEGIN_TRIES_MAX: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);
/// A longer source is none.
const SOURCE_BYTES_MAX: usize = 400;

pub(super) fn run(args: &ImageUpdate) -> Result<(), Failed> {
    let source = args.from.as_deref().unwrap_or_default();
    if !source.is_empty() && !is_source(source) {
        return Err(Failed::usage(
            "--from takes an https URL, an http URL, or the absolute path of a folder",
        ));
    }
    update(Path::new(ASK), Path::new(STATE), source, PAUSE)
}

/// The service refuses the rest too.
fn is_source(text: &str) -> bool {
    let known = ["https://", "http://", "/"].iter().any(|start| text.starts_with(start));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._~:/?=%@+,-[]".contains(c);
    known && text.len() <= SOURCE_BYTES_MAX && text.chars().all(plain)
}

fn update(ask: &Path, state: &Path, source: &str, pause: Duration) -> Result<(), Failed> {
    if !ask.parent().is_some_and(Path::is_dir) {
        return Err(Failed::because(
            "this machine does not run Godwit's image. With Debian's package: install the new one, then \
             `godwitctl upgrade`. For an image elsewhere: ssh godwit@HOST image update",
        ));
    }
    // At once with what it holds: the service begins when it sees the file.
    let whole = ask.with_extension("new");
    fs::write(&whole, source)
        .and_then(|()| fs::rename(&whole, ask))
        .map_err(|e| Failed::because(format!("{}: {e}", ask.display())))?;
    for tries in 0..TRIES_MAX {
        std::thread::sleep(pause);
        if ask.exists() {
            if tries >= BEGIN_TRIES_MAX {
                // Nobody is there who would do it later, to everybody's surprise.
                let _ = fs::remove_file(ask);
                return Err(Failed::because("godwit-operator-update.path does not run: see the journal"));
            }
            continue;
        }
        let said = fs::read_to_string(state).unwrap_or_default();
        match said.split(':').next() {
            Some("done") => return print(&said),
            Some("failed") => return Err(Failed::because(said.trim())),
            _ => {}
        }
    }
    Err(Failed::because(
        "the update takes more than half an hour; `journalctl -u godwit-update` says how it goes",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A service that answers what it is told to; returns what it was asked.
    fn asked(answer: &'static str, source: &str) -> (Result<(), Failed>, String) {
        let folder = tempfile::tempdir().unwrap();
        let (ask, state) = (folder.path().join("ask"), folder.path().join("state"));
        fs::write(&state, "done long ago\n").unwrap();
        let service = {
            let (ask, state) = (ask.clone(), state.clone());
            thread::spawn(move || {
                while !ask.exists() {
                    thread::sleep(Duration::from_millis(1));
                }
                fs::write(&state, "running\n").unwrap();
                let asked = fs::read_to_string(&ask).unwrap();
                fs::remove_file(&ask).unwrap();
                fs::write(&state, answer).unwrap();
                asked
            })
        };
        let result = update(&ask, &state, source, Duration::from_millis(20));
        (result, service.join().unwrap())
    }

    #[test]
    fn what_the_service_says_is_the_result() {
        let (result, asked_for) = asked("done: version 2 is installed\n", "https://updates.example/godwit");
        assert_eq!((result, asked_for.as_str()), (Ok(()), "https://updates.example/godwit"));
        let (result, asked_for) = asked("failed: no signature\n", "");
        assert_eq!((result, asked_for.as_str()), (Err(Failed::because("failed: no signature")), ""));
    }

    #[test]
    fn elsewhere_it_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let ask = folder.path().join("operator/update");
        let failed = update(&ask, &folder.path().join("state"), "", Duration::ZERO).unwrap_err();
        assert!(failed.message.contains("godwitctl upgrade"), "{}", failed.message);
    }

    #[test]
    fn a_request_that_nobody_takes_is_withdrawn() {
        let folder = tempfile::tempdir().unwrap();
        let ask = folder.path().join("update");
        let failed = update(&ask, &folder.path().join("state"), "", Duration::ZERO).unwrap_err();
        assert!(failed.message.contains("godwit-operator-update.path") && !ask.exists());
    }

    #[test]
    fn sources_are_urls_or_folders() {
        assert!(is_source("https://updates.example:8443/a%20b/?c=d") && is_source("/var/lib/godwit-update"));
        for no in ["updates", "ftp://a", "file:///a", "https://a/|b", "/a b", "/a\n", &"/a".repeat(201)] {
            assert!(!is_source(no), "{no}");
        }
    }
}
