//! Archives (XEP-0313): a page at each login, then pages one after the other.

use std::time::Duration;

use godwit_testclient::{Event, micros, xml};

use super::chat;
use crate::Outcome;
use crate::data::Recorder;
use crate::mix::{Manner, Mix, page_query};
use crate::options::{Chat, Mam};
use crate::worker::Worker;

/// Without an answer for this long the rest counts as failed, µs.
const STALL_MAX: u64 = 30_000_000;

pub(crate) fn run(worker: &mut Worker, options: &Mam) -> Outcome<()> {
    let pairs = options.sessions.div_ceil(2);
    if options.archive > 0 {
        chat::exchange(worker, &Chat::fill(pairs, options.archive, options.body), "mam.fill")?;
    }
    let share = worker.share.range(pairs);
    let slots = worker.reseat(share.start * 2..share.end * 2);
    let manner = Manner { page: Some(options.page), ..Manner::default() };
    let mut mix = Mix::new(worker, slots.len(), manner);
    mix.log_in(worker, "mam.login")?;
    pages(worker, options, slots.len())?;
    worker.leave(slots)
}

/// Each session asks for the last page, again and again, one query at a time.
fn pages(worker: &mut Worker, options: &Mam, count: usize) -> Outcome<()> {
    let mut recorder = worker.begin("mam.pages", "page", "page")?;
    let mut sessions = vec![(0_u32, 0_u64); count];
    for (slot, session) in sessions.iter_mut().enumerate() {
        ask(worker, slot, options, session)?;
    }
    let total = count as u64 * u64::from(options.queries);
    let (mut progress, mut events) = (micros(), Vec::new());
    while recorder.tally.units + recorder.tally.get("errors") < total && micros() - progress < STALL_MAX {
        worker.turn(Duration::from_millis(5), &mut events)?;
        for (slot, event) in events.drain(..) {
            let Some(session) = sessions.get_mut(slot) else { continue };
            if heard(&mut recorder, event, session.1) {
                progress = micros();
                ask(worker, slot, options, session)?;
            }
        }
        worker.progress(recorder.tally.units, Some(total))?;
    }
    let missing = total.saturating_sub(recorder.tally.units + recorder.tally.get("errors"));
    recorder.tally.count("failed", missing);
    recorder.tally.sessions = count as u64;
    worker.end(recorder)
}

/// True if a query is over.
fn heard(recorder: &mut Recorder, event: Event, asked: u64) -> bool {
    let now = micros();
    match event {
        Event::Stanza(stanza) if xml::attr(&stanza, "id").as_deref() == Some("page") => {
            if xml::attr(&stanza, "type").as_deref() == Some("result") {
                recorder.done(now, now.saturating_sub(asked));
            } else {
                recorder.wrong("errors", now, Some(stanza));
            }
            true
        }
        Event::Stanza(stanza) if xml::has(&stanza, "forwarded") => {
            recorder.tally.count("messages", 1);
            false
        }
        Event::Closed(reason) => {
            recorder.wrong("errors", now, Some(reason));
            false
        }
        _ => false,
    }
}

fn ask(worker: &mut Worker, slot: usize, options: &Mam, session: &mut (u32, u64)) -> Outcome<()> {
    if session.0 < options.queries {
        *session = (session.0 + 1, micros());
        if let Some(client) = worker.client(slot) {
            client.send(&page_query("page", options.page)).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}
