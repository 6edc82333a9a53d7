//! `godwitctl log [--level LEVEL[,MODULE=LEVEL…] | --reset] [--json]`: JSON is a
//! [`LogLevel`](crate::logging::LogLevel).
use super::args::{Ctl, Log};
use super::exit::Failed;
use super::print;
use crate::admin::protocol::{Answer, Operations, Request};

pub(super) fn run(ctl: &Ctl, args: &Log) -> Result<(), Failed> {
    let daemon = super::way::daemon(ctl)?;
    let request = Request::LogLevel { level: args.level.clone(), reset: args.reset };
    let Answer::LogLevel(level) = daemon.call(request)? else { return Err(super::odd()) };
    print(&if args.form.json { super::json(&level)? } else { level.line() + "\n" })
}
