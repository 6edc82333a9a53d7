//! `godwitctl upgrade [--binary PATH] [--dry-run]`.
use super::args::{Ctl, Upgrade};
use super::exit::Failed;
use super::print;
use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Operations, Request, Status, UpgradeStatus};
use std::time::Duration;

/// How often the daemon is asked whether it is there again, and after which pause: 60 s.
const TRIES_MAX: u32 = 1_200;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn run(ctl: &Ctl, args: &Upgrade) -> Result<(), Failed> {
    let daemon = super::way::daemon(ctl)?;
    let before = status(&daemon)?;
    let binary = args.binary.as_deref().map(std::path::absolute).transpose().map_err(Failed::because)?;
    let request = Request::Upgrade { binary, dry_run: args.dry_run };
    match daemon.call(request) {
        Ok(Answer::Upgrade(answer)) => print(&format!(
            "godwitd {} at {} could take over from {}, with {} connections\n",
            answer.to,
            answer.binary.display(),
            answer.from,
            answer.connections
        )),
        Ok(_) => Err(super::odd()),
        // The connection ends with the old binary; a reason comes in an answer.
        Err(failure) if !failure.message.contains("closed the connection") => Err(failure.into()),
        Err(_) => {
            let done = after(ctl, &before)?;
            print(&if args.form.json { super::json(&done)? } else { done.line() + "\n" })?;
            if done.ok { Ok(()) } else { Err(Failed::because("there was no upgrade")) }
        }
    }
}

fn status(daemon: &Client) -> Result<Status, Failed> {
    match daemon.call(Request::Status)? {
        Answer::Status(status) => Ok(*status),
        _ => Err(super::odd()),
    }
}

/// Asks until the next binary says how it went.
fn after(ctl: &Ctl, before: &Status) -> Result<UpgradeStatus, Failed> {
    for _ in 0..TRIES_MAX {
        // A start from the beginning, after a crash, says something else; so does one that takes long.
        if let Ok(now) = super::way::daemon(ctl).and_then(|daemon| status(&daemon)) {
            if let Some(done) = now.upgrade.filter(|done| Some(done) != before.upgrade.as_ref()) {
                return Ok(done);
            }
            if now.upgrades == 0 && now.started_ms > before.started_ms {
                return Err(Failed::because(format!(
                    "the daemon has started anew, as {}: its log says why the upgrade failed",
                    now.version
                )));
            }
        }
        std::thread::sleep(PAUSE);
    }
    Err(Failed::unreachable("the daemon does not answer after the upgrade: see its log".to_owned()))
}
