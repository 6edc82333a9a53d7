//! The hub: store, registry, modules and shards in one place. Takes stanzas, makes transactions of them, and
//! lets their effects happen when they are durable.
use crate::archive::ArchiveSettings;
use crate::effects::Fate;
use crate::ghosts::Ghosts;
use crate::inquiry::Inquiries;
use crate::list::Modules;
use crate::module::Cx;
use crate::note::{Address, Background, Post};
use crate::pending::Completion;
use crate::registry::Registry;
use crate::throttle::Throttle;
use crate::trace::Trace;
use godwit_session::{Millis, Place, SessionId};
use godwit_store::{Read, Submit, Tx};
use godwit_wire::{Jid, Kind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

/// What modules and router need to know of the configuration. Replaced whole at a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The daemon's version.
    pub version: &'static str,
    /// Domains served, normalised.
    pub domains: Vec<Box<str>>,
    /// Bare JIDs of administrators.
    pub admins: Vec<Jid>,
    /// Accounts may be made in-band (XEP-0077).
    pub in_band: bool,
    /// Sessions of one account at once.
    pub sessions_max: usize,
    /// Contacts in one roster.
    pub roster_max: usize,
    /// Messages that wait for one account before further ones are refused.
    pub offline_messages_max: u64,
    /// Their bytes.
    pub offline_bytes_max: u64,
    /// JIDs to which one session may send directed presence.
    pub directed_max: usize,
    /// Tries of a stanza whose data changed meanwhile, before it is answered `resource-constraint`.
    pub tries_max: u32,
    /// Secret from which the made-up keys of unknown users are derived; the same over restarts.
    pub secret: [u8; 32],
    /// Registrations per source address and hour; 0 is no limit.
    pub registrations_per_hour_max: u32,
    /// Failed logins per source address and minute before further ones are refused; 0 is no limit.
    pub failures_per_minute_max: u32,
    /// The two limits above do not count this machine's own addresses.
    pub loopback_exempt: bool,
    /// Archives.
    pub archive: ArchiveSettings,
    /// Personal eventing data of one account.
    pub pep: crate::pep::Limits,
}

/// The session that sent a stanza.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Session and account.
    pub address: Address,
    /// Account number.
    pub owner: u64,
    /// Full JID.
    pub jid: Jid,
    /// Where it was when it sent.
    pub place: Place,
    /// Bytes of stanzas that are stored nowhere which it may still be sent before it acknowledges some.
    pub room: usize,
    /// The stanza's number among those of a session that may be resumed: durable with the stanza (XEP-0198).
    pub h: Option<u32>,
}

impl Origin {
    /// What a session that may be resumed writes is a chain: its count of stanzas may not become durable
    /// behind one that was lost.
    pub(crate) fn chain(&self) -> u64 {
        self.h.map_or(0, |_| self.address.session.0)
    }
}

/// Stanzas taken from clients, by kind.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Stanzas {
    pub messages: AtomicU64,
    pub presences: AtomicU64,
    pub iqs: AtomicU64,
}

impl Stanzas {
    pub(crate) fn of(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Message => &self.messages,
            Kind::Presence => &self.presences,
            Kind::Iq => &self.iqs,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        [&self.messages, &self.presences, &self.iqs].iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }
}

/// Counters for status and metrics.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Counters {
    pub stanzas: Stanzas,
    pub handled: Stanzas,
    pub refused: Stanzas,
    pub failed: Stanzas,
    pub messages_stored: AtomicU64,
    pub messages_unstored: AtomicU64,
    pub delivered: AtomicU64,
    /// Messages that were slow (`slow.rs`), by their last step.
    pub slow_committed: AtomicU64,
    pub slow_written: AtomicU64,
    pub errors_sent: AtomicU64,
    pub conflicts: AtomicU64,
    pub writes_failed: AtomicU64,
    pub logins: AtomicU64,
    pub logins_failed: crate::login::Failures,
    /// Stored messages that clients acknowledged (XEP-0198).
    pub acked: AtomicU64,
    pub resumed: AtomicU64,
    pub resumptions_failed: AtomicU64,
    /// Sessions that ended because their client did not come back in time.
    pub expired: AtomicU64,
    pub revived: AtomicU64,
    pub shed: AtomicU64,
    pub sessions: AtomicU64,
    pub detached: AtomicU64,
    pub panics: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn up(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    /// What became of a stanza.
    pub(crate) fn fate(&self, kind: Kind, fate: Fate) {
        let stanzas = match fate {
            Fate::Handled => &self.handled,
            Fate::Refused => &self.refused,
            Fate::Failed => &self.failed,
        };
        Counters::up(stanzas.of(kind));
    }
    /// Takes one away.
    pub fn down(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Random source.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;
/// Clock, ms since 1970.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The seams to the outside, given at start.
pub struct Outside {
    /// Reading side of the store.
    pub store: Arc<dyn Read>,
    /// Shards' mailboxes.
    pub post: Arc<dyn Post>,
    /// Threads for slow work.
    pub background: Arc<dyn Background>,
    /// Clock, for what no shard triggers.
    pub clock: Clock,
    /// Random source.
    pub random: Random,
}

/// See the module's documentation.
pub struct Hub {
    pub(crate) outside: Outside,
    pub(crate) writer: OnceLock<Arc<dyn Submit<Completion>>>,
    pub(crate) settings: RwLock<Arc<Settings>>,
    pub(crate) next_session: AtomicU64,
    /// Who is online.
    pub registry: Registry,
    /// The modules.
    pub modules: Modules,
    /// What clients can do, by the hash that they announce.
    pub caps: crate::xep0115_caps::Cache,
    /// Counters.
    pub counters: Arc<Counters>,
    /// Sessions from before the start.
    pub(crate) ghosts: Ghosts,
    /// The store's newest position at the start.
    pub(crate) began: u64,
    /// Inquiries that wait for sessions to report.
    pub(crate) inquiries: Inquiries,
    /// The last steps of messages.
    pub(crate) trace: Trace,
    /// Accounts nobody is online of whose delivery record waits to be written.
    pub(crate) unsaved: crate::unsaved::Unsaved,
    /// Chains that were broken in the process before this one.
    pub(crate) inherited: Vec<u64>,
    /// Messages that took long.
    pub slow: crate::slow::Slow,
    /// Failed logins by source.
    pub(crate) failures: Throttle,
    /// Registrations by source.
    pub(crate) registrations: Throttle,
}

impl Hub {
    /// A hub without a writer yet: give it one with [`Hub::attach`].
    pub fn new(outside: Outside, settings: Settings) -> Arc<Hub> {
        Arc::new(Hub::bare(outside, settings))
    }

    pub(crate) fn bare(outside: Outside, settings: Settings) -> Hub {
        // Session numbers must not come again after a restart: milliseconds of the start, then a counter.
        let first = ((outside.clock)() << 22).max(1);
        let began = outside.store.head().0;
        let trace = Trace::new(outside.post.shards());
        Hub {
            outside,
            trace,
            ghosts: Ghosts::new(first),
            began,
            writer: OnceLock::new(),
            settings: RwLock::new(Arc::new(settings)),
            next_session: AtomicU64::new(first),
            registry: Registry::default(),
            modules: Modules::all(),
            caps: crate::xep0115_caps::Cache::default(),
            counters: Arc::default(),
            inquiries: Inquiries::default(),
            unsaved: crate::unsaved::Unsaved::default(),
            inherited: Vec::new(),
            slow: crate::slow::Slow::default(),
            failures: Throttle::new(60_000),
            registrations: Throttle::new(3_600_000),
        }
    }

    /// The writing side of the store. Only the first call counts.
    pub fn attach(&self, writer: Arc<dyn Submit<Completion>>) {
        self.inherited.iter().for_each(|chain| writer.break_chain(*chain));
        let _ = self.writer.set(writer);
    }

    /// Settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The first position that has not expired.
    pub(crate) fn oldest(&self) -> u64 {
        self.settings().archive.oldest((self.outside.clock)())
    }

    /// Replaces the settings.
    pub fn reload(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(settings);
    }

    pub(crate) fn submit(&self, tx: Tx, completion: Completion) -> Result<(), (Tx, Completion)> {
        match self.writer.get() {
            Some(writer) => writer.submit(tx, completion),
            None => Err((tx, completion)),
        }
    }

    /// So much is under way to the store that nothing more should be read from clients for the moment.
    pub fn is_crowded(&self) -> bool {
        self.writer.get().is_some_and(|writer| writer.is_crowded())
    }

    /// Lets what a session writes be written again: its client knows what was not, or is gone.
    pub(crate) fn mend(&self, session: SessionId) {
        if let Some(writer) = self.writer.get() {
            writer.mend(session.0);
        }
    }

    pub(crate) fn cx<'a>(&'a self, settings: &'a Settings, origin: &'a Origin, now: Millis) -> Cx<'a> {
        Cx {
            settings,
            store: &*self.outside.store,
            registry: &self.registry,
            modules: &self.modules,
            caps: &self.caps,
            now,
            origin,
            random: &*self.outside.random,
        }
    }

    /// A new session number.
    pub(crate) fn session_id(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }
}
