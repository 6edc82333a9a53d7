//! What happened: every transmission, acknowledgement and delivery, in the order in which clients saw it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// Violations of each kind kept as text at most; all are counted.
const TEXTS_MAX: u64 = 5;

/// A message's name: its sender, its recipient and its number between the two. Also its origin-id and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) sender: usize,
    pub(crate) recipient: usize,
    pub(crate) n: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}-r{}-{}", self.sender, self.recipient, self.n)
    }
}

impl Key {
    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let sender = fields.next()?.strip_prefix('s')?.parse().ok()?;
        let recipient = fields.next()?.strip_prefix('r')?.parse().ok()?;
        let n = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(Self { sender, recipient, n })
    }
}

/// What the sender did with a message.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sent {
    /// Stream management sessions in which it was sent: the server may hold that many copies.
    pub(crate) sessions: u32,
    pub(crate) acked: bool,
    /// Came back as an error: a violation, but the sender knows, so it is not lost too.
    pub(crate) bounced: bool,
}

/// A message as a recipient got it.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) key: Key,
    /// The server's name for this copy (XEP-0359).
    pub(crate) stanza_id: String,
    /// The recipient's SM session, which may span several connections.
    pub(crate) lineage: usize,
    /// Its number in that session, as counted for `h`.
    pub(crate) number: u32,
}

/// An `<a/>` (or the `h` of a `<resume/>`) that a recipient sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecipientAck {
    pub(crate) at: Instant,
    pub(crate) h: u32,
    /// When the connection that carried it ended.
    pub(crate) ended: Option<Instant>,
}

/// A recipient's SM session.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    pub(crate) acks: Vec<RecipientAck>,
}

/// The whole record.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sent: BTreeMap<Key, Sent>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) lineages: Vec<Lineage>,
    /// Distinct messages that arrived.
    pub(crate) arrived: BTreeMap<Key, u32>,
    /// Violations by kind.
    pub(crate) violations: BTreeMap<&'static str, u64>,
    pub(crate) texts: Vec<String>,
    /// Kills so far; a session knows by it whether it came over one.
    pub(crate) epoch: u32,
    /// Sessions resumed on a server that was killed in between, and those that had to be bound anew.
    pub(crate) resumed_over_kill: u64,
    pub(crate) bound_after_kill: u64,
}

impl Ledger {
    /// Writes down something that must not happen.
    pub(crate) fn violation(&mut self, kind: &'static str, what: impl fmt::Display) {
        let count = self.violations.entry(kind).or_insert(0);
        *count += 1;
        if *count <= TEXTS_MAX {
            self.texts.push(format!("{kind}: {what}"));
        }
    }

    /// A client is online again; returns the epoch that it is to remember. `before`: that of its session
    /// until now, if it had one.
    pub(crate) fn online(&mut self, before: Option<u32>, resumed: bool) -> Option<u32> {
        if before.is_some_and(|before| before != self.epoch) {
            let count = if resumed { &mut self.resumed_over_kill } else { &mut self.bound_after_kill };
            *count += 1;
        }
        Some(self.epoch)
    }

    pub(crate) fn new_lineage(&mut self) -> usize {
        self.lineages.push(Lineage::default());
        self.lineages.len() - 1
    }

    pub(crate) fn delivered(&mut self, delivery: Delivery) {
        *self.arrived.entry(delivery.key).or_insert(0) += 1;
        self.deliveries.push(delivery);
    }

    pub(crate) fn recipient_acked(&mut self, lineage: usize, at: Instant, h: u32) {
        if let Some(lineage) = self.lineages.get_mut(lineage) {
            lineage.acks.push(RecipientAck { at, h, ended: None });
        }
    }

    /// The connection that carried this lineage's latest acknowledgements is gone.
    pub(crate) fn connection_ended(&mut self, lineage: usize, at: Instant) {
        if let Some(lineage) = self.lineages.get_mut(lineage) {
            lineage.acks.iter_mut().rev().take_while(|a| a.ended.is_none()).for_each(|a| a.ended = Some(at));
        }
    }

    /// Acknowledged messages that have not arrived anywhere yet.
    pub(crate) fn missing(&self) -> usize {
        self.sent
            .iter()
            .filter(|(key, sent)| sent.acked && !sent.bounced && !self.arrived.contains_key(key))
            .count()
    }
}
