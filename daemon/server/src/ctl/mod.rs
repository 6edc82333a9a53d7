//! `godwitctl`: one small file per command. Answers go to standard output, remarks and errors to standard
//! error.

mod account_add;
mod account_export;
mod account_inspect;
mod account_list;
mod account_passwd;
mod account_remove;
mod archive_purge;
pub mod args;
mod backup;
mod backup_args;
mod backup_stream;
mod doctor;
mod doctor_args;
mod exit;
mod image_update;
mod limits;
mod log;
mod offline;
mod password;
mod sessions;
mod status;
mod store_verify;
mod table;
mod top;
mod trace;
mod upgrade;
mod way;

use args::{Account, Archive, Command, Ctl, Image, Store};
use exit::Failed;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs a command.
pub fn run(ctl: &Ctl) -> ExitCode {
    // Files made in the store are for its owner only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let done = match &ctl.command {
        Command::Account(Account::Add(args)) => account_add::run(ctl, args),
        Command::Account(Account::Passwd(args)) => account_passwd::run(ctl, args),
        Command::Account(Account::Remove(args)) => account_remove::run(ctl, args),
        Command::Account(Account::Export(args)) => account_export::run(ctl, args),
        Command::Account(Account::List(args)) => account_list::run(ctl, args),
        Command::Account(Account::Inspect(args)) => account_inspect::run(ctl, args),
        Command::Archive(Archive::Purge(args)) => archive_purge::run(ctl, args),
        Command::Backup(backup) => backup::run(ctl, backup),
        Command::Image(Image::Update(args)) => image_update::run(args),
        Command::Log(args) => log::run(ctl, args),
        Command::Doctor(args) => doctor::run(ctl, args),
        Command::Status(args) => status::run(ctl, args),
        Command::Store(Store::Verify(args)) => store_verify::run(ctl, args),
        Command::Sessions(args) => sessions::run(ctl, args),
        Command::Top(args) => top::run(ctl, args),
        Command::Trace(args) => trace::run(ctl, args),
        Command::Upgrade(args) => upgrade::run(ctl, args),
        Command::Limits(args) => limits::run(ctl, args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            if !failed.message.is_empty() {
                // Standard error may be closed; the exit code still says it.
                let _ = writeln!(io::stderr(), "godwitctl: {}", failed.message);
            }
            ExitCode::from(failed.code)
        }
    }
}

/// Another process has done it and has said so.
fn done(code: u8) -> Result<(), Failed> {
    if code == 0 { Ok(()) } else { Err(Failed { code, message: String::new() }) }
}

/// To standard output. A closed pipe (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failed> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed::because(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failed> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(Failed::because)
}

/// Says on standard error what was done, and which way.
fn said(what: &str, way: &way::Way) {
    let _ = writeln!(io::stderr(), "godwitctl: {what} {}", way.words());
}

/// The daemon is another version, and answered something else.
fn odd() -> Failed {
    Failed::because("the daemon gave an answer to another question: is it of the same version?")
}
