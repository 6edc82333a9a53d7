//! Which way a command goes: through the running daemon, or, for accounts, directly into the store.
use super::args::Ctl;
use super::exit::Failed;
use super::offline::Offline;
use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Operations, Request};
use crate::config::Config;
use godwit_store::StoreError;
use rustix::process::geteuid;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How often, and after which pause, a store that is in use is tried again: 10 s, more than a daemon's start
/// takes.
const TRIES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// An open way.
pub(super) enum Way {
    /// The daemon.
    Daemon(Client),
    /// The store, at this path.
    Store(Box<Offline>, PathBuf),
    /// A copy of this program, run as the data directory's owner, has done it all; its exit code.
    Done(u8),
}

/// Where the daemon listens.
pub(super) fn socket(ctl: &Ctl) -> Result<PathBuf, Failed> {
    match &ctl.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(config(&ctl.config)?.socket),
    }
}

/// For commands that only the daemon can answer.
pub(super) fn daemon(ctl: &Ctl) -> Result<Client, Failed> {
    let socket = socket(ctl)?;
    let there = socket.display();
    match Client::connect(&socket) {
        Ok(Some(client)) => Ok(client),
        Ok(None) => {
            Err(Failed::unreachable(format!("no daemon is running at {there}: systemctl start godwit")))
        }
        Err(e) => Err(unreachable(&socket, &e)),
    }
}

/// What there is to work with.
pub(super) enum Found {
    /// A running daemon.
    Daemon(Client),
    /// None; the store is where this configuration says.
    Config(Box<Config>),
    /// None, and a copy of this program has done it all; its exit code.
    Done(u8),
}

/// For what must not be done while a daemon runs.
pub(super) fn refuse_running(ctl: &Ctl, config: &Config) -> Result<(), Failed> {
    let socket = ctl.socket.as_ref().unwrap_or(&config.socket);
    match Client::connect(socket).map_err(|e| unreachable(socket, &e))? {
        None => Ok(()),
        Some(_) => Err(Failed::because(
            "a daemon is running on that data directory: stop it first, or name another with --into",
        )),
    }
}

/// For account commands.
pub(super) fn any(ctl: &Ctl) -> Result<Way, Failed> {
    match find(ctl)? {
        Found::Daemon(client) => Ok(Way::Daemon(client)),
        Found::Done(code) => Ok(Way::Done(code)),
        Found::Config(config) => open(ctl, &config),
    }
}

/// A running daemon, or the configuration of one that does not run.
pub(super) fn find(ctl: &Ctl) -> Result<Found, Failed> {
    let config = match &ctl.socket {
        // With the socket given, a running daemon needs no configuration.
        Some(socket) => {
            if let Some(client) = Client::connect(socket).map_err(|e| unreachable(socket, &e))? {
                return Ok(Found::Daemon(client));
            }
            config(&ctl.config)?
        }
        None => {
            let config = config(&ctl.config)?;
            if let Some(client) =
                Client::connect(&config.socket).map_err(|e| unreachable(&config.socket, &e))?
            {
                return Ok(Found::Daemon(client));
            }
            config
        }
    };
    if let Some(code) = as_owner(&config.data_dir)? {
        return Ok(Found::Done(code));
    }
    Ok(Found::Config(Box::new(config)))
}

/// The store itself; if a daemon has it that does not answer yet because it is starting (or stopping), waits
/// for it.
fn open(ctl: &Ctl, config: &Config) -> Result<Way, Failed> {
    let socket = ctl.socket.as_ref().unwrap_or(&config.socket);
    for _ in 0..TRIES_MAX {
        match Offline::open(config) {
            Ok(offline) => return Ok(Way::Store(Box::new(offline), config.store_dir())),
            Err(StoreError::InUse(_)) => std::thread::sleep(PAUSE),
            Err(e) => return Err(Failed::because(e)),
        }
        if let Some(client) = Client::connect(socket).map_err(|e| unreachable(socket, &e))? {
            return Ok(Way::Daemon(client));
        }
    }
    let store = config.store_dir();
    Err(Failed::because(format!(
        "another process has the store at {} open and does not answer at {}: if it is a godwitd with another \
         admin.socket, name that with --socket; if it is another godwitctl, wait for it",
        store.display(),
        socket.display()
    )))
}

impl Way {
    /// Carries a request out and says which way it went.
    pub(super) fn call(&self, request: Request) -> Result<Answer, Failed> {
        match self {
            Way::Daemon(client) => Ok(client.call(request)?),
            Way::Store(offline, _) => Ok(offline.call(request)?),
            Way::Done(code) => Err(Failed { code: *code, message: String::new() }),
        }
    }

    /// For messages: "…, through the running daemon".
    pub(super) fn words(&self) -> String {
        match self {
            Way::Daemon(_) => "through the running daemon".into(),
            Way::Store(_, path) => {
                format!("directly in the store at {} (no daemon is running)", path.display())
            }
            Way::Done(_) => String::new(),
        }
    }

    /// The end of the command.
    pub(super) fn close(&self) -> Result<(), Failed> {
        match self {
            Way::Store(offline, _) => offline.close().map_err(Failed::because),
            Way::Daemon(_) | Way::Done(_) => Ok(()),
        }
    }
}

fn unreachable(socket: &Path, error: &std::io::Error) -> Failed {
    let hint = "run this as root, or as the daemon's user";
    Failed::unreachable(format!(
        "the daemon's socket {} cannot be reached ({error}): {hint}",
        socket.display()
    ))
}

pub(super) fn config(file: &Path) -> Result<Config, Failed> {
    Config::load(file).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failed::because(format!("{}: {}", file.display(), lines.join("\n")))
    })
}

/// Files that root makes in the daemon's directory could not be written by the daemon afterwards. So root
/// runs this program again as the directory's owner, and only hands its exit code on.
fn as_owner(data_dir: &Path) -> Result<Option<u8>, Failed> {
    let Ok(found) = std::fs::metadata(data_dir) else { return Ok(None) };
    if !geteuid().is_root() || found.uid() == 0 {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(Failed::because)?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).uid(found.uid()).gid(found.gid());
    let status =
        again.status().map_err(|e| Failed::because(format!("cannot run as the owner of the data: {e}")))?;
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
