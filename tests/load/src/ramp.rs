//! Logs sessions in at a bounded rate, with a bounded number under way, and sends initial presence.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use godwit_testclient::{Event, Pool, Purpose, now};
use hdrhistogram::Histogram;

use crate::Outcome;
use crate::options::Common;
use crate::report::histogram;

/// Attempts per session before it counts as failed.
const ATTEMPTS_MAX: u32 = 3;
/// Without a login for this long the ramp gives up.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How the logins went.
pub(crate) struct Ramp {
    pub(crate) online: usize,
    pub(crate) failed: usize,
    pub(crate) retried: usize,
    pub(crate) took: Duration,
    /// From connect to bound, microseconds.
    pub(crate) latency: Histogram<u64>,
    /// The last failure's text.
    pub(crate) error: Option<String>,
}

/// What to do with a session once it is up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Initial presence, and stay.
    Stay,
    /// Close the stream at once.
    Leave,
}

struct Run<'a> {
    waiting: VecDeque<(usize, u32)>,
    under_way: BTreeMap<usize, (u32, Instant)>,
    done: Ramp,
    common: &'a Common,
    purpose: Purpose,
    then: Then,
}

/// Logs in the sessions of these slots. Stanzas that arrive meanwhile are handed to `other`.
pub(crate) fn ramp(
    pool: &mut Pool,
    common: &Common,
    slots: Range<usize>,
    sm: bool,
    then: Then,
    mut other: impl FnMut(usize, Event),
) -> Outcome<Ramp> {
    let latency = histogram()?;
    let took = Duration::ZERO;
    let mut run = Run {
        waiting: slots.map(|slot| (slot, 1)).collect(),
        under_way: BTreeMap::new(),
        done: Ramp { online: 0, failed: 0, retried: 0, took, latency, error: None },
        common,
        purpose: Purpose::Session { sm },
        then,
    };
    let begin = now();
    let mut progress = begin;
    let mut begun = 0.0;
    let mut events = Vec::new();
    while !run.waiting.is_empty() || !run.under_way.is_empty() {
        let due = begin.elapsed().as_secs_f64() * common.rate;
        while begun < due && run.under_way.len() < common.in_flight && run.begin(pool) {
            begun += 1.0;
        }
        pool.turn(Duration::from_millis(2), &mut events).map_err(|e| e.to_string())?;
        for (slot, event) in events.drain(..) {
            if run.event(pool, slot, &event)? {
                progress = now();
            } else {
                other(slot, event);
            }
        }
        if progress.elapsed() > STALL_MAX {
            run.done.failed += run.waiting.len() + run.under_way.len();
            run.done.error = Some("no login for 30 s, gave up".into());
            break;
        }
    }
    run.done.took = begin.elapsed();
    Ok(run.done)
}

impl Run<'_> {
    fn begin(&mut self, pool: &mut Pool) -> bool {
        let Some((slot, attempt)) = self.waiting.pop_front() else { return false };
        match pool.open(slot, &self.common.account(slot), self.purpose, None) {
            Ok(()) => drop(self.under_way.insert(slot, (attempt, now()))),
            Err(error) => self.failed(slot, attempt, format!("connecting: {error}")),
        }
        true
    }

    /// True if the event belonged to a login.
    fn event(&mut self, pool: &mut Pool, slot: usize, event: &Event) -> Outcome<bool> {
        match event {
            Event::Online { .. } => {
                if let Some((_, since)) = self.under_way.remove(&slot) {
                    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                    self.done.latency.saturating_record(micros);
                }
                self.done.online += 1;
                if self.then == Then::Leave {
                    pool.close(slot);
                } else if let Some(client) = pool.client(slot) {
                    client.send("<presence/>").map_err(|e| e.to_string())?;
                }
            }
            Event::Closed(reason) => {
                pool.cut(slot);
                match self.under_way.remove(&slot) {
                    Some((attempt, _)) => self.failed(slot, attempt, reason.clone()),
                    None => {
                        self.done.online -= 1;
                        self.done.failed += 1;
                        self.done.error = Some(format!("lost after login: {reason}"));
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn failed(&mut self, slot: usize, attempt: u32, reason: String) {
        self.done.error = Some(reason);
        if attempt < ATTEMPTS_MAX {
            self.done.retried += 1;
            self.waiting.push_back((slot, attempt + 1));
        } else {
            self.done.failed += 1;
        }
    }
}

impl Ramp {
    /// The text of the last error, if any, for the end of a line.
    pub(crate) fn trouble(&self) -> String {
        let error = self.error.as_deref().map(|e| format!(" (last error: {e})"));
        format!("{} failed, {} retried{}", self.failed, self.retried, error.unwrap_or_default())
    }

    /// Logins per second.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn per_second(&self) -> f64 {
        self.online as f64 / self.took.as_secs_f64().max(1e-9)
    }
}
