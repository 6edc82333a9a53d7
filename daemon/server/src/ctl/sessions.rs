//! `godwitctl sessions [--json]`: JSON is an array of [`SessionRow`].
use super::args::{Ctl, Json};
use super::exit::Failed;
use super::print;
use super::table::{table, time};
use crate::admin::protocol::{Answer, Operations, Request, SessionRow};

pub(super) fn run(ctl: &Ctl, args: &Json) -> Result<(), Failed> {
    let daemon = super::way::daemon(ctl)?;
    let mut sessions: Vec<SessionRow> = Vec::new();
    loop {
        let after = sessions.last().map(|row| row.jid.clone());
        let Answer::Sessions(page) = daemon.call(Request::Sessions { after })? else {
            return Err(super::odd());
        };
        let empty = page.sessions.is_empty();
        sessions.extend(page.sessions);
        if !page.more || empty {
            break;
        }
    }
    if args.json {
        return print(&super::json(&sessions)?);
    }
    let rows: Vec<_> = sessions.iter().map(row).collect();
    print(&table(&["SESSION", "SINCE", "PEER", "STATE", "SHARD"], &rows))
}

fn row(session: &SessionRow) -> Vec<String> {
    let mut state = match (session.detached, session.priority) {
        (true, _) => "waits for resumption".into(),
        (false, None) => "unavailable".into(),
        (false, Some(priority)) => format!("available, priority {priority}"),
    };
    if session.inactive {
        state.push_str(", inactive");
    }
    let peer = session.peer.clone().unwrap_or_else(|| "?".into());
    vec![session.jid.clone(), time(session.since_ms), peer, state, session.shard.to_string()]
}
