//! Whether the box is alive and ready: `/healthz` and `/readyz`.
use super::facts::Facts;
use godwit_edge::HEARTBEAT_MS_MAX;
use serde::Serialize;

/// A shard that has not turned for so long is stuck: three times what an idle one takes.
const SILENCE_MS_MAX: u64 = 3 * HEARTBEAT_MS_MAX;

/// Why the daemon is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// For programs: `store`, `queue`, `shard`, `thread`, `certificate`, `connections`,
    /// `memory`, `limits`, `descriptors`.
    pub what: &'static str,
    /// For people.
    pub why: String,
}

/// The answer to `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Clients may be sent here.
    pub ready: bool,
    /// Otherwise, why not.
    pub reasons: Vec<Trouble>,
}

impl Readiness {
    /// Judges.
    pub fn of(facts: &Facts) -> Readiness {
        let reasons = troubles(facts);
        Readiness { ready: reasons.is_empty(), reasons }
    }
}

/// Limits that are not in force as they were at the start, and what is used up. 0 is a figure not known.
fn limits(facts: &Facts, add: &mut impl FnMut(&'static str, String)) {
    let (max, now) = (facts.process.descriptors_max, facts.process.descriptors);
    let connections_max = facts.ceiling.connections_max;
    if max == 0 {
        return;
    }
    if max < connections_max {
        let why = format!(
            "{connections_max} connections were promised at the start and only {max} descriptors are allowed \
             now: raise the limit again (prlimit --nofile) or restart the daemon"
        );
        add("limits", why);
    }
    if now >= max {
        add(
            "descriptors",
            format!("all {max} descriptors are in use: no connection is taken, no file opened"),
        );
    }
}

/// Everything that keeps the daemon from serving its clients as it should.
pub(super) fn troubles(facts: &Facts) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let mut add = |what, why| troubles.push(Trouble { what, why });
    let Facts { health, store, .. } = facts;
    if !health.ok {
        let why = if health.full { "no space is left" } else { "writes fail" };
        add("store", format!("{why}: {}", health.last_error.as_deref().unwrap_or("no reason is known")));
    }
    if store.queued >= store.queue_max && store.queue_max > 0 {
        add("queue", format!("all {} places of the writer's queue are taken", store.queue_max));
    }
    for (number, shard) in facts.shards.iter().enumerate() {
        let silence = facts.now_ms.saturating_sub(shard.heartbeat_ms.get());
        if silence > SILENCE_MS_MAX {
            add("shard", format!("shard {number} has not turned for {} s", silence / 1000));
        }
    }
    for thread in &facts.stuck {
        add("thread", format!("{thread} is stuck"));
    }
    let now_s = i64::try_from(facts.now_ms / 1000).unwrap_or(i64::MAX);
    for certificate in &facts.certificates {
        if !(certificate.not_before..=certificate.not_after).contains(&now_s) {
            // Says by how many days, and what to do.
            add("certificate", certificate.warning(now_s).unwrap_or_default());
        }
    }
    if facts.connections >= facts.ceiling.connections_max {
        add("connections", format!("no further connection is taken: {}", facts.ceiling.line()));
    }
    if facts.overload.shut {
        let max = facts.overload.memory_max_bytes >> 20;
        add(
            "memory",
            format!("no further connection is taken: resident memory is at its ceiling of {max} MiB"),
        );
    }
    limits(facts, &mut add);
    troubles
}
