//! Logs in and out over and over: what does a login cost the server?

use crate::Outcome;
use crate::logins::{Then, log_in};
use crate::options::Login;
use crate::worker::Worker;

pub(crate) fn run(worker: &mut Worker, options: &Login) -> Outcome<()> {
    let slots = worker.seat(worker.share.range(options.logins));
    let mut recorder = worker.begin("login", "login", "login")?;
    log_in(worker, &mut recorder, slots, false, Then::Leave, |_, _, _| {})?;
    worker.end(recorder)
}
