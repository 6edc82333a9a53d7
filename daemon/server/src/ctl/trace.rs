//! `godwitctl trace ID [--account JID] [--json]`: what became of a message. JSON is an array of [`Traced`].
use super::args::{Ctl, Trace};
use super::exit::Failed;
use super::table::{bytes, table, time_ms};
use super::way::{self, Way};
use super::{print, said};
use crate::admin::protocol::{Answer, Request};
use godwit_modules::traced::{Stored, Taken, Traced};

pub(super) fn run(ctl: &Ctl, args: &Trace) -> Result<(), Failed> {
    let way = way::any(ctl)?;
    if let Way::Done(code) = way {
        return super::done(code);
    }
    let request = Request::Trace { id: args.id.clone(), account: args.account.clone() };
    let Answer::Traced(found) = way.call(request)? else { return Err(super::odd()) };
    if found.is_empty() {
        let hint = match args.account {
            None => "; an older one is found by its sender's id with --account",
            Some(_) => "",
        };
        way.close()?;
        return Err(Failed::because(format!("no message with the id {} is known{hint}", args.id)));
    }
    if args.form.json {
        print(&super::json(&found)?)?;
    } else {
        print(&found.iter().map(text).collect::<Vec<_>>().join("\n"))?;
        said(&format!("looked for {}", args.id), &way);
    }
    way.close()
}

fn text(traced: &Traced) -> String {
    let mut text = format!("stanza {}", traced.stanza_id);
    match &traced.stored {
        Some(stored) => text.push_str(&of_stored(stored)),
        None => text.push_str("\nit is not in the store (any more)\n"),
    }
    if traced.steps.is_empty() {
        text.push_str("its steps are not in memory: it is too old, or from before the daemon's start\n");
    } else {
        let rows: Vec<_> = traced.steps.iter().map(of_step).collect();
        text.push_str(&table(&["TIME", "STEP"], &rows));
    }
    text
}

fn of_stored(stored: &Stored) -> String {
    let Stored { id, from, to, at_ms, bytes: size, pending } = stored;
    let id = id.as_ref().map(|id| format!(", by its sender called {id}")).unwrap_or_default();
    let state = match pending {
        true => "it waits: no client of the recipient has acknowledged it",
        false => "a client of the recipient has it",
    };
    let at = time_ms(*at_ms);
    format!("{id}\nfrom {from} to {to}, committed {at}, {} in the archive\n{state}\n", bytes(*size))
}

fn of_step(step: &Taken) -> Vec<String> {
    let session = step.session.as_deref().unwrap_or_default();
    let words = match step.step.as_str() {
        "received" => format!("received from {session}"),
        "committed" => "on the disk".into(),
        "posted" => format!("posted to {session}"),
        "written" => format!("written to {session}"),
        "acknowledged" => format!("acknowledged by {session}"),
        "taken" => format!("taken by the kernel for {session}"),
        other => format!("{other} {session}"),
    };
    vec![time_ms(step.at_ms), words]
}
