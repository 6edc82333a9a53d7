//! What only the machine can tell about a configuration: can the data directory be written, do the
//! certificates load. Looks without touching: `--check` makes no file and opens no port.
use super::check::Config;
use super::problem::Problems;
use rustix::fs::{Access, access};
use std::path::Path;

/// Everything that is wrong on this machine.
pub fn probe(config: &Config, problems: &mut Problems) {
    if !problems.has("server.data_dir") {
        data_dir(&config.data_dir, problems);
    }
    crate::certificates::probe(&config.certificates, problems);
}

/// What is wrong with the data directory, for this user.
pub(crate) fn data_dir(dir: &Path, problems: &mut Problems) {
    let path = "server.data_dir";
    let text = dir.display().to_string();
    match std::fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            problems.string(path, &text, "not a directory; write a directory's path")
        }
        Ok(_) => {
            if access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                let instead = format!("not writable; write another, or: chown -R {} {text}", user());
                problems.string(path, &text, instead);
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // The daemon makes the last component only: a missing parent is a typing mistake or a missing
            // mount.
            let parent = dir.parent().unwrap_or(dir);
            if access(parent, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                let instead = format!(
                    "{} is missing or not writable; write another, or: mkdir -p {text}",
                    parent.display()
                );
                problems.string(path, &text, format!("does not exist, and {instead}"));
            }
        }
        Err(e) => problems.string(path, &text, format!("{e}; write a directory that can be reached")),
    }
}

fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| rustix::process::geteuid().as_raw().to_string())
}
