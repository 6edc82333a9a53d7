//! `godwitctl account list [--json]`: JSON is an array of `{"jid", "created_ms"}`.
use super::args::{Ctl, Json};
use super::exit::Failed;
use super::table::{table, time};
use super::way::{self, Way};
use super::{print, said};
use crate::admin::protocol::{Answer, Request};

pub(super) fn run(ctl: &Ctl, args: &Json) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let mut accounts = Vec::new();
    loop {
        let after = accounts.last().map(|row: &crate::admin::protocol::AccountRow| row.jid.clone());
        let Answer::Accounts(page) = way.call(Request::AccountList { after })? else {
            return Err(super::odd());
        };
        let empty = page.accounts.is_empty();
        accounts.extend(page.accounts);
        if !page.more || empty {
            break;
        }
    }
    if args.json {
        print(&super::json(&accounts)?)?;
    } else {
        let rows: Vec<_> = accounts.iter().map(|row| vec![row.jid.clone(), time(row.created_ms)]).collect();
        print(&table(&["ADDRESS", "CREATED"], &rows))?;
        said(&format!("{} accounts, read", accounts.len()), &way);
    }
    way.close()
}
