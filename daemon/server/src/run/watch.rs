//! Looks after the running daemon: the watchdog, the store's health, certificates that run out, ticket keys.
use super::daemon::{Daemon, locked};
use super::quiet::{Quiet, Unused};
use crate::heartbeat::Heartbeats;
use godwit_edge::HEARTBEAT_MS_MAX;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at the store's health and the ticket keys, and two status lines.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks at what was slow: the steps of a message are in memory for some seconds under load.
const SLOW_LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the certificates' dates, in looks.
const CERTIFICATE_LOOKS: u64 = 12 * 720;

/// Pets the watchdog as long as every shard and the writer moves; names those that do not.
pub(super) async fn watchdog(daemon: Arc<Daemon>) {
    let mut beats = Heartbeats::default();
    for (number, stats) in daemon.shard_stats.iter().enumerate() {
        let stats = Arc::clone(stats);
        beats.watch(format!("shard {number}"), Box::new(move || stats.heartbeat_ms.get()));
    }
    let writer = Arc::clone(&daemon.writer);
    beats.watch("store writer", Box::new(move || writer.heartbeat()));
    // An idle shard turns every HEARTBEAT_MS_MAX: to look more often would find it stuck.
    let least = Duration::from_millis(HEARTBEAT_MS_MAX + 1_000);
    let mut looks =
        interval(crate::systemd::watchdog_period().map_or(2 * least, |period| (period / 3).max(least)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when no thread can have moved yet.
    looks.tick().await;
    loop {
        looks.tick().await;
        let stuck: Vec<String> = beats.stuck().into_iter().map(str::to_owned).collect();
        if stuck.is_empty() {
            crate::systemd::pet_watchdog();
        } else {
            tracing::error!("stuck: {}; the watchdog is not petted", stuck.join(", "));
        }
        *locked(&daemon.stuck) = stuck;
    }
}

/// Everything that is looked at now and then.
pub(super) async fn housekeeping(daemon: Arc<Daemon>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writes = true;
    let mut quiet = Quiet::default();
    let mut unused = Unused::default();
    let mut last = String::new();
    for number in 0u64.. {
        looks.tick().await;
        let messages = daemon.hub.counters.messages_stored.load(Ordering::Relaxed);
        locked(&daemon.pacer).look((daemon.clock)(), &daemon.writer.stats(), messages);
        let health = daemon.writer.health();
        // Not while the disk is full: that would only be one more failure.
        if quiet.look(daemon.writer.stats().bytes) && health.ok {
            flush(&daemon).await;
        }
        // An error here is one of the store, which is told elsewhere.
        if let (Ok(memory), Ok(at_work)) = (daemon.store.memory(), daemon.store.background())
            && unused.look(at_work.cache_hits + at_work.cache_misses, memory.block_cache)
        {
            let _ = daemon.store.empty_cache();
        }
        if health.ok != writes {
            writes = health.ok;
            let error = health.last_error.as_deref().unwrap_or("?");
            if writes {
                tracing::info!("the store takes writes again");
            } else {
                tracing::error!(error, "the store takes no writes; nothing is acknowledged until it does");
            }
        }
        if number.is_multiple_of(CERTIFICATE_LOOKS) {
            warn_of_certificates(&daemon);
        }
        rotate_tickets(&daemon);
        let now = status_line(&daemon, writes, health.last_error.as_deref());
        if now != last {
            crate::systemd::status(&now);
            last = now;
        }
    }
}

/// Tells the log of messages that took long.
pub(super) async fn slow_stanzas(daemon: Arc<Daemon>) {
    let mut looks = interval(SLOW_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let daemon = Arc::clone(&daemon);
        let told = tokio::task::spawn_blocking(move || daemon.hub.tell_slow((daemon.clock)()));
        if told.await.is_err() {
            tracing::error!("looking at what was slow panicked");
        }
    }
}

pub(super) async fn flush(daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    let flushed = tokio::task::spawn_blocking(move || daemon.store.flush()).await;
    if let Ok(Err(error)) = flushed {
        tracing::warn!(%error, "cannot write the memtables to table files");
    }
}

fn warn_of_certificates(daemon: &Daemon) {
    let now = i64::try_from((daemon.clock)() / 1000).unwrap_or(i64::MAX);
    for certificate in daemon.certificates.status() {
        if let Some(warning) = certificate.warning(now) {
            tracing::warn!("{warning}");
        }
    }
}

fn rotate_tickets(daemon: &Daemon) {
    match daemon.tickets.rotate((daemon.clock)() / 1000) {
        Ok(false) => {}
        Ok(true) => {
            if let Err(error) = daemon.secrets.keep_tickets(&daemon.tickets) {
                tracing::warn!(%error, "ticket keys cannot be kept: a restart costs full handshakes");
            }
        }
        Err(error) => tracing::error!(%error, "TLS ticket keys cannot be replaced"),
    }
}

fn status_line(daemon: &Daemon, writes: bool, error: Option<&str>) -> String {
    if !writes {
        return format!("NO WRITES: {}", error.unwrap_or("?"));
    }
    let sessions = daemon.hub.counters.sessions.load(Ordering::Relaxed);
    let (now, max) = (daemon.connections.now(), daemon.connections.max());
    format!("{sessions} sessions; {now} connections of {max}")
}
