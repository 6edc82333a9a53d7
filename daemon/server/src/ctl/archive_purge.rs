//! `godwitctl archive purge JID [--before DATE]`: removes an account's stored messages, the undelivered ones
//! among them.
use super::args::{Ctl, Purge};
use super::exit::Failed;
use super::said;
use super::way::{self, Way};
use crate::admin::protocol::{Answer, Request};

pub(super) fn run(ctl: &Ctl, args: &Purge) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let request = Request::ArchivePurge { jid: args.jid.clone(), before_ms: args.before };
    let Answer::Purged { messages } = way.call(request)? else { return Err(super::odd()) };
    said(&format!("removed {messages} messages of {}", args.jid), &way);
    way.close()
}
