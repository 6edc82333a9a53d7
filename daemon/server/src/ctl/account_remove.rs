//! `godwitctl account remove JID`: removes an account with its roster and messages, and ends its sessions.
use super::args::{Ctl, Jid};
use super::exit::Failed;
use super::said;
use super::way::{self, Way};
use crate::admin::protocol::Request;

pub(super) fn run(ctl: &Ctl, args: &Jid) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    way.call(Request::AccountRemove { jid: args.jid.clone() })?;
    said(&format!("removed {}", args.jid), &way);
    way.close()
}
