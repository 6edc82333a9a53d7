//! `godwitctl account inspect JID [--json]`: where an account's messages are. JSON is an [`Inspection`].
use super::args::{Ctl, Inspect};
use super::exit::Failed;
use super::table::{bytes, table, time};
use super::way::{self, Way};
use super::{print, said};
use crate::admin::protocol::{Answer, Request};
use godwit_modules::inspect::{Displayed, Inspection, Message, Pending, Resumable, Session, Size};
use std::fmt::Write;

pub(super) fn run(ctl: &Ctl, args: &Inspect) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let Answer::Inspection(found) = way.call(Request::AccountInspect { jid: args.jid.clone() })? else {
        return Err(super::odd());
    };
    if args.form.json {
        print(&super::json(&found)?)?;
    } else {
        print(&text(&found))?;
        said(&format!("looked at {}", found.jid), &way);
    }
    way.close()
}

fn text(found: &Inspection) -> String {
    let mut text = format!("{}, made {}\n", found.jid, time(found.created_ms));
    match found.sessions.as_deref() {
        None => text.push_str("\nno daemon is running, so nobody is online\n"),
        Some([]) => text.push_str("\nnobody is online\n"),
        Some(sessions) => {
            for session in sessions {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "\n{}", of_session(session));
            }
        }
    }
    for session in &found.resumable {
        let _ = writeln!(text, "\n{}", of_resumable(session));
    }
    text.push_str(&of_pending(&found.pending));
    let _ = writeln!(text, "\narchive: {}", of_archive(&found.archive));
    if !found.displayed.is_empty() {
        let rows: Vec<_> = found.displayed.iter().map(of_displayed).collect();
        let _ = write!(text, "\n{}", table(&["READ, WITH", "UP TO", "SAID"], &rows));
    }
    text
}

fn of_session(session: &Session) -> String {
    let Session { resource, peer, since_ms, priority, reads, report } = session;
    let mut text = format!("{resource}: since {}", time(*since_ms));
    if let Some(peer) = peer {
        let _ = write!(text, ", from {peer}");
    }
    match priority {
        None => text.push_str(", unavailable"),
        Some(priority) => {
            let _ = write!(text, ", available with priority {priority}");
        }
    }
    if !reads {
        text.push_str(", gets no messages to the account");
    }
    let Some(report) = report else {
        text.push_str("\n  its shard did not answer in time");
        return text;
    };
    if let Some(until) = report.waits_until_ms {
        let _ = write!(text, "\n  its connection broke; it waits until {} to be resumed", time(until));
    }
    if report.inactive {
        text.push_str("\n  its client is inactive: what can wait is held");
    }
    let how = if report.acknowledges { "acknowledged" } else { "taken by the kernel" };
    let messages = report.unacked_ids.len();
    let _ = match report.unacked {
        0 => write!(text, "\n  all that was sent was {how}"),
        sent => write!(text, "\n  {sent} stanzas sent and not {how}, {messages} of them stored messages"),
    };
    text
}

fn of_resumable(session: &Resumable) -> String {
    let Resumable { resource, resume_s_max, unacked, unacked_ids } = session;
    format!(
        "{resource}: from before the daemon's start, to be resumed within {resume_s_max} s of it\n  \
         {unacked} stanzas written down as sent and not acknowledged, {} of them stored messages",
        unacked_ids.len()
    )
}

fn of_pending(pending: &Pending) -> String {
    if pending.messages == 0 {
        return "\nno message waits\n".into();
    }
    let at_least = if pending.more { "at least " } else { "" };
    let size = bytes(pending.bytes);
    let mut text = format!("\n{at_least}{} messages wait, {size}", pending.messages);
    if let (Some(oldest), Some(newest)) = (pending.oldest_ms, pending.newest_ms) {
        let _ = write!(text, ", the oldest since {}, the newest since {}", time(oldest), time(newest));
    }
    text.push('\n');
    let rows: Vec<_> = pending.first.iter().map(of_message).collect();
    text.push_str(&table(&["STANZA ID", "SINCE", "FROM", "FOR", "ID", "STATE"], &rows));
    if pending.messages > rows.len() as u64 {
        text.push_str("and so on\n");
    }
    text
}

fn of_message(message: &Message) -> Vec<String> {
    let state = match message.sent_to.as_slice() {
        [] => "not sent".into(),
        resources => format!("sent to {}, not acknowledged", resources.join(", ")),
    };
    vec![
        message.stanza_id.clone(),
        time(message.at_ms),
        message.from.clone(),
        message.resource.clone().unwrap_or_else(|| "any client".into()),
        message.id.clone().unwrap_or_else(|| "-".into()),
        state,
    ]
}

fn of_archive(size: &Size) -> String {
    let (Some(oldest), Some(newest)) = (size.oldest_ms, size.newest_ms) else { return "empty".into() };
    let at_least = if size.more { "at least " } else { "" };
    let bytes = bytes(size.bytes);
    format!("{at_least}{} messages, {bytes}, from {} to {}", size.rows, time(oldest), time(newest))
}

fn of_displayed(displayed: &Displayed) -> Vec<String> {
    vec![displayed.with.clone(), displayed.id.clone(), time(displayed.at_ms)]
}
