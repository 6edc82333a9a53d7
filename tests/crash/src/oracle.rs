//! The judge: what the server promised against what the clients saw.
//!
//! The promise: a stanza that the server acknowledged survives `kill -9` and reaches each recipient exactly
//! once and in order. Two things blur "exactly once" and are no fault of the server; they are counted apart:
//!
//! * **Resent.** A message that was not acknowledged before its session died is sent again in the next one,
//!   under the same origin-id. The server may have stored the first one; then it holds two copies, with two
//!   stanza-ids. Resending after `<resumed/>` makes no copy: there the server's `h` says what it has.
//! * **Redelivered unconfirmed.** A copy that reached the recipient whose own `<a/>` was lost, or was not yet
//!   durable at the kill, comes again in the recipient's next session, with the *same* stanza-id.
//!
//! So a delivery is identified by its stanza-id, and these are violations, every one:
//!
//! 1. *lost*: an acknowledged message that neither arrived nor bounced, though its recipient stayed until
//!    all was quiet;
//! 2. *too many copies*: more stanza-ids of one message than sessions in which it was sent (for a message
//!    sent in one session: more than one);
//! 3. *twice in one session*: the same stanza-id twice in one SM session of the recipient, across
//!    resumptions;
//! 4. *repeated although confirmed*: the same stanza-id again in another session of the recipient, although
//!    the recipient had acknowledged it at least `CONFIRMED_AFTER` before the connection that carried the
//!    acknowledgement ended (by our cut or by the kill);
//! 5. *out of order*: for each sender and recipient, first arrivals ascend in the order of sending; and
//!    within each session of the recipient, stanza-ids come in the order of their first arrival;
//! 6. *phantom*, *no stanza-id*, *forged*, *bounced*, *absurd h*, *h went back*: seen and written down by the
//!    clients. The last one: within one SM session, also one that was resumed after a kill, the server's `h`
//!    never falls below what it acknowledged before.
//!
//! Rule 3 has no exception for a kill: a session that is resumed on the restarted server is the same session.
//!
//! A client that drops repeated stanza-ids, as real ones do, sees every acknowledged message that was sent in
//! one session exactly once, strictly, and the rest once to as often as sent: rules 1 and 2 judge this view,
//! `Tally::exactly_once` and `Tally::copies` count it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::ledger::{Delivery, Key, Ledger};

/// How long a server may take to make a recipient's acknowledgement durable.
const CONFIRMED_AFTER: Duration = Duration::from_secs(1);

/// The figures of a run.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Times the server was killed.
    pub kills: u32,
    /// Where the server died, and how often.
    pub places: Vec<(String, u32)>,
    /// What power losses took, in words.
    pub power: Option<String>,
    /// Sessions resumed although the server was killed in between.
    pub resumed_over_kill: u64,
    /// Sessions that had to be bound anew for that.
    pub bound_after_kill: u64,
    /// Messages sent at least once.
    pub sent: u64,
    /// Messages that the server acknowledged.
    pub acknowledged: u64,
    /// Deliveries in all.
    pub delivered: u64,
    /// Distinct messages that arrived.
    pub arrived: u64,
    /// Seen without repeated stanza-ids: messages that arrived exactly once.
    pub exactly_once: u64,
    /// Copies beyond the first that stem from resending; permitted.
    pub copies: u64,
    /// Repeated stanza-ids whose acknowledgement was lost with the server; permitted.
    pub redelivered: u64,
    /// Acknowledged messages that never arrived.
    pub lost: u64,
    /// Repetitions that are not permitted.
    pub duplicated: u64,
    /// Arrivals in the wrong order.
    pub out_of_order: u64,
    /// All violations, those above included.
    pub violations: u64,
    /// How many of each kind.
    pub kinds: Vec<String>,
    /// The first violations of each kind in words.
    pub texts: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kills {}, sent {}, acknowledged {}", self.kills, self.sent, self.acknowledged)?;
        let (resumed, bound) = (self.resumed_over_kill, self.bound_after_kill);
        writeln!(f, "sessions over a kill: {resumed} resumed, {bound} bound anew")?;
        writeln!(f, "arrived {} in {} deliveries", self.arrived, self.delivered)?;
        writeln!(f, "after dropping repeated stanza-ids: {} exactly once", self.exactly_once)?;
        writeln!(
            f,
            "permitted: {} copies of resent, {} redelivered unconfirmed",
            self.copies, self.redelivered
        )?;
        let (lost, twice, disorder) = (self.lost, self.duplicated, self.out_of_order);
        write!(f, "forbidden: {lost} lost, {twice} duplicated, {disorder} out of order, ")?;
        write!(f, "{} violations in all", self.violations)?;
        if !self.kinds.is_empty() {
            write!(f, " ({})", self.kinds.join(", "))?;
        }
        let died = self.places.iter().map(|(place, times)| format!("{times} {place}"));
        write!(f, "\ndied: {}", died.collect::<Vec<_>>().join(", "))?;
        self.power.iter().try_for_each(|power| write!(f, "\n{power}"))?;
        self.texts.iter().try_for_each(|text| write!(f, "\n  {text}"))
    }
}

/// Judges a finished run.
pub(crate) fn judge(mut ledger: Ledger) -> Tally {
    let mut tally = Tally {
        kills: ledger.epoch,
        resumed_over_kill: ledger.resumed_over_kill,
        bound_after_kill: ledger.bound_after_kill,
        sent: ledger.sent.len() as u64,
        acknowledged: ledger.sent.values().filter(|s| s.acked).count() as u64,
        delivered: ledger.deliveries.len() as u64,
        arrived: ledger.arrived.len() as u64,
        ..Tally::default()
    };
    let deliveries = std::mem::take(&mut ledger.deliveries);
    let first = repetitions(&mut ledger, &deliveries, &mut tally);
    copies(&mut ledger, &first, &mut tally);
    order(&mut ledger, &deliveries, &mut tally);
    tally.violations = ledger.violations.values().sum();
    tally.kinds = ledger.violations.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    tally.texts = ledger.texts;
    tally
}

/// Rules 3 and 4. Returns the first delivery of each stanza-id in the order of arrival.
fn repetitions<'a>(ledger: &mut Ledger, deliveries: &'a [Delivery], tally: &mut Tally) -> Vec<&'a Delivery> {
    let mut seen: BTreeMap<(usize, &str), Vec<&Delivery>> = BTreeMap::new();
    let mut first = Vec::new();
    for delivery in deliveries {
        let id = delivery.stanza_id.as_str();
        let earlier = seen.entry((delivery.key.recipient, id)).or_default();
        let Some(last) = earlier.last() else {
            first.push(delivery);
            earlier.push(delivery);
            continue;
        };
        let key = delivery.key;
        if last.key != key {
            ledger.violation("ambiguous", format!("stanza-id {id} names both {} and {key}", last.key));
        } else if earlier.iter().any(|e| e.lineage == delivery.lineage) {
            tally.duplicated += 1;
            ledger.violation("twice in one session", format!("{key} (stanza-id {id})"));
        } else if earlier.iter().any(|e| confirmed(ledger, e)) {
            tally.duplicated += 1;
            ledger.violation("repeated although confirmed", format!("{key} (stanza-id {id})"));
        } else {
            tally.redelivered += 1;
        }
        earlier.push(delivery);
    }
    first
}

/// True if the recipient acknowledged this delivery long enough before its connection ended.
fn confirmed(ledger: &Ledger, delivery: &Delivery) -> bool {
    let lineage = ledger.lineages.get(delivery.lineage);
    lineage.is_some_and(|lineage| {
        lineage.acks.iter().any(|ack| {
            ack.h >= delivery.number
                && ack.ended.is_none_or(|end| end.duration_since(ack.at) >= CONFIRMED_AFTER)
        })
    })
}

/// Rules 1 and 2, on deliveries without repeated stanza-ids.
fn copies(ledger: &mut Ledger, first: &[&Delivery], tally: &mut Tally) {
    let mut copies: BTreeMap<Key, u32> = BTreeMap::new();
    for delivery in first {
        *copies.entry(delivery.key).or_insert(0) += 1;
    }
    for (key, sent) in ledger.sent.clone() {
        let arrived = copies.remove(&key).unwrap_or(0);
        match arrived {
            0 if sent.acked && !sent.bounced => {
                tally.lost += 1;
                ledger.violation("lost", format!("{key} was acknowledged and never arrived"));
            }
            0 => {}
            1 => tally.exactly_once += 1,
            _ => tally.copies += u64::from(arrived - 1),
        }
        if arrived > sent.sessions {
            tally.duplicated += u64::from(arrived - sent.sessions);
            let sessions = sent.sessions;
            ledger.violation("too many copies", format!("{key}: {arrived}, sent in {sessions} sessions"));
        }
    }
    for key in copies.keys() {
        ledger.violation("phantom", format!("{key} was never sent"));
    }
}

/// Rule 5.
fn order(ledger: &mut Ledger, deliveries: &[Delivery], tally: &mut Tally) {
    let mut high: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let mut arrived: BTreeMap<Key, ()> = BTreeMap::new();
    let mut ranks: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    let mut last: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (at, delivery) in deliveries.iter().enumerate() {
        let key = delivery.key;
        if arrived.insert(key, ()).is_none() {
            let before = high.insert((key.sender, key.recipient), key.n);
            if before.is_some_and(|before| before > key.n) {
                tally.out_of_order += 1;
                ledger.violation("out of order", format!("{key} after number {}", before.unwrap_or(0)));
            }
        }
        let rank = *ranks.entry((key.recipient, &delivery.stanza_id)).or_insert(at);
        let before = last.insert((delivery.lineage, key.sender), rank);
        if before.is_some_and(|before| before > rank) {
            tally.out_of_order += 1;
            ledger.violation("out of order within a session", key);
        }
    }
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
