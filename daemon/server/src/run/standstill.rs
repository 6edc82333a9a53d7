//! Brings the daemon to a standstill for the in-place upgrade, and lets it go again.
//!
//! Nothing comes in from outside: the shards hold ([`Hold::All`]), administration and housekeeping are locked
//! out. Then everything that is still to be done comes from what is being done: notes, transactions, jobs.
//! Each is counted when it is given to its thread and again when all that came of it has been given on. The
//! second counts are read before the first ones: if they are equal then, nothing was under way in between,
//! and nothing can be any more.
use super::daemon::Daemon;
use crossbeam_channel::bounded;
use godwit_edge::{Control, Exported, Hold};
use std::time::{Duration, Instant};

/// For handshakes that have begun to end.
const SHAKING_WAIT: Duration = Duration::from_millis(250);
/// For everything to come to rest. What takes longer is a disk that hangs.
const REST_WAIT: Duration = Duration::from_secs(5);
/// For a shard to give its connections away.
const EXPORT_WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_micros(300);
/// Why there is no upgrade if the daemon ends.
pub(super) const TOLD_TO_STOP: &str = "the daemon was told to stop";

/// A time by a clock that goes on over `execve`, in ns.
pub(super) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let ns = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(ns).unwrap_or(0)
}

#[allow(clippy::disallowed_methods)] // how long is waited
fn until(wait: Duration, done: impl Fn() -> bool) -> bool {
    let end = Instant::now() + wait;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

impl Daemon {
    fn hold(&self, hold: Hold) {
        self.mailboxes.each().for_each(|shard| shard.control(Control::Hold(hold)));
    }

    /// Nobody is accepted any more, and handshakes get a moment to end.
    pub(super) fn close_doors(&self) {
        self.hold(Hold::Doors);
        until(SHAKING_WAIT, || {
            let (tell, told) = bounded(self.shard_stats.len());
            for shard in self.mailboxes.each() {
                let tell = tell.clone();
                shard.control(Control::Shaking(Box::new(move |count| {
                    // Who asked may have given up.
                    let _ = tell.send(count);
                })));
            }
            drop(tell);
            let count: usize = told.iter().sum();
            std::thread::sleep(LOOK * 10);
            count == 0
        });
    }

    /// Stops reading and waits until nothing is under way.
    pub(super) fn come_to_rest(&self) -> Result<(), String> {
        self.hold(Hold::All);
        let told_to_stop = || self.up.signals.told_to_stop();
        if until(REST_WAIT, || told_to_stop() || self.is_at_rest()) {
            return if told_to_stop() { Err(TOLD_TO_STOP.into()) } else { Ok(()) };
        }
        Err(format!(
            "the daemon did not come to rest within {} s; {} transactions wait for the disk",
            REST_WAIT.as_secs(),
            self.writer.stats().queued
        ))
    }

    fn is_at_rest(&self) -> bool {
        let mut notes = 0;
        for shard in self.mailboxes.each() {
            let Some(settled) = shard.settled() else { return false };
            notes += settled;
        }
        let (written, run) = (self.writer.settled(), self.workers.finished());
        let posted: u64 = self.mailboxes.each().map(|shard| shard.posted()).sum();
        notes == posted && written == self.writer.submitted() && run == self.workers.queued()
    }

    /// What all shards give away, by number.
    pub(super) fn export(&self) -> Result<Vec<Exported>, String> {
        let asked: Vec<_> = self
            .mailboxes
            .each()
            .map(|shard| {
                let (tell, told) = bounded(1);
                shard.control(Control::Export(Box::new(move |exported| {
                    // Who asked may have given up.
                    let _ = tell.send(exported);
                })));
                told
            })
            .collect();
        let mut all = Vec::new();
        for told in asked {
            let exported = told.recv_timeout(EXPORT_WAIT).map_err(|_| "a shard gives nothing away")?;
            if let Some(why) = &exported.failed {
                return Err(why.clone());
            }
            all.push(exported);
        }
        Ok(all)
    }

    /// Everything goes on as before.
    pub(super) fn go_on(&self) {
        self.hold(Hold::None);
    }
}
