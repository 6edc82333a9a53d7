//! `godwitctl account passwd JID`: gives an account another password; with `--generate` prints it on standard
//! output.
use super::args::{Ctl, WithPassword};
use super::exit::Failed;
use super::way::{self, Way};
use super::{password, said};
use crate::admin::protocol::Request;

pub(super) fn run(ctl: &Ctl, args: &WithPassword) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let password = password::obtain(args)?;
    way.call(Request::AccountPasswd { jid: args.jid.clone(), password: password.clone() })?;
    if args.generate {
        super::print(&format!("{}\n", password.reveal()))?;
    }
    said(&format!("changed the password of {}", args.jid), &way);
    way.close()
}
