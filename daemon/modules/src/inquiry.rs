//! Asks the sessions of an account how they are: a note to each, which its shard answers, also for one that
//! waits to be resumed. Who asks waits on a thread of its own.
use crate::accounts::AccountError;
use crate::archive;
use crate::hub::Hub;
use crate::inspect::{Inspection, Online, Report, Session, inspect};
use crate::note::Poster;
use crate::registry::{Entry, Live};
use godwit_session::{Bound, Event, Millis, SessionId, Unacked};
use godwit_wire::Jid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Positions in the report of one session.
const REPORTED_MAX: usize = 1_024;
/// Inquiries under way at once.
const INQUIRIES_MAX: usize = 64;

/// What a session says of itself.
fn report(bound: &Bound, until: Option<Millis>) -> Report {
    let stored = bound.unacked.iter().filter_map(|sent| match sent {
        Unacked::Stored(seq) => Some(archive::id(*seq)),
        Unacked::Inline(_) => None,
    });
    Report {
        waits_until_ms: until,
        acknowledges: bound.sm.is_some(),
        inactive: bound.held.is_some(),
        unacked: bound.unacked.len() as u64,
        unacked_ids: stored.take(REPORTED_MAX).collect(),
        sent_upto: archive::id(bound.feed.last),
    }
}

/// A session's report.
pub type Told = (SessionId, Report);

/// Inquiries that wait for sessions to report, by number.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, SyncSender<Told>>>,
}

impl Inquiries {
    /// A session reports. Runs on its shard's thread.
    pub(crate) fn answer(&self, inquiry: u64, bound: &Bound, until: Option<Millis>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = waiting.get(&inquiry) {
            // There is room for each session once; who asked may have given up.
            let _ = tell.try_send((bound.id, report(bound, until)));
        }
    }

    fn begin(&self, sessions: usize) -> Option<(u64, Receiver<Told>)> {
        let (tell, told) = sync_channel(sessions.max(1));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= INQUIRIES_MAX {
            return None;
        }
        let inquiry = self.next.fetch_add(1, Ordering::Relaxed);
        waiting.insert(inquiry, tell);
        Some((inquiry, told))
    }

    fn end(&self, inquiry: u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&inquiry);
    }
}

/// An inspection whose sessions were asked.
pub struct Inquiry {
    jid: Jid,
    online: Option<Online>,
    under_way: Option<(u64, Receiver<Told>)>,
}

impl Inquiry {
    /// Waits for reports with `wait`, until all sessions have reported or it returns `None`.
    pub fn collect(&mut self, wait: &dyn Fn(&Receiver<Told>) -> Option<Told>) {
        let (Some(online), Some((_, told))) = (&mut self.online, &self.under_way) else { return };
        for _ in 0..online.sessions.len() {
            let Some((id, report)) = wait(told) else { return };
            if let Some((_, session)) = online.sessions.iter_mut().find(|(asked, _)| *asked == id) {
                session.report = Some(report);
            }
        }
    }
}

impl Hub {
    /// Asks the sessions of an account for their state.
    pub fn inquire(&self, jid: &Jid) -> Inquiry {
        let bare = jid.bare_str();
        let found = self.registry.with(bare, |live| {
            let places: Vec<_> =
                live.sessions.iter().map(|entry| (live.address(entry.id), entry.place)).collect();
            (online(live), places)
        });
        let Some((online, places)) = found else {
            return Inquiry { jid: jid.bare(), online: None, under_way: None };
        };
        let under_way = self.inquiries.begin(places.len());
        if let Some((inquiry, _)) = &under_way {
            let mut post = Poster::new(self.outside.post.shards());
            for (address, place) in places {
                post.event(address, place, Event::Report(*inquiry));
            }
            post.flush(&*self.outside.post);
        }
        Inquiry { jid: jid.bare(), online: Some(online), under_way }
    }

    /// What the inquiry and the store say together.
    pub fn inspect(&self, inquiry: Inquiry) -> Result<Inspection, AccountError> {
        if let Some((number, _)) = &inquiry.under_way {
            self.inquiries.end(*number);
        }
        inspect(&*self.outside.store, &inquiry.jid, inquiry.online)
    }
}

fn online(live: &Live) -> Online {
    let session = |entry: &Entry| Session {
        resource: entry.resource.to_string(),
        peer: entry.peer.map(|peer| peer.to_canonical().to_string()),
        since_ms: entry.since_ms,
        priority: entry.presence.as_ref().map(|_| entry.priority),
        reads: entry.reads(),
        report: None,
    };
    Online {
        delivery: live.delivery.clone(),
        sessions: live.sessions.iter().map(|entry| (entry.id, session(entry))).collect(),
    }
}
