//! Everything that runs, and the order in which it starts: what cannot be undone comes last, and no port
//! opens before the store is open.
use super::listening::{given, listeners, rows};
use super::pace::Pacer;
use super::secrets::Secrets;
use super::shards::{Mailboxes, Server};
use super::signals::Signals;
use super::take_over::Origin;
use super::upgrade::Upgrading;
use super::workers::Workers;
use crate::admin::protocol::{ListenerRow, ReloadStatus};
use crate::backup::Done;
use crate::certificates;
use crate::config::Config;
use crate::handover::format::Snapshot;
use crate::limits::{self, Ceiling, Derived, Machine, derive, raise_descriptors};
use crate::logging::Logging;
use crate::metrics::facts::{DELIVERY_MS, Deliveries};
use crate::systemd::Inherited;
use crate::verify::Verification;
use crossbeam_channel::unbounded;
use godwit_edge::tls::{Certificates, TicketKeys, TlsConfig};
use godwit_edge::{Clock, EdgeLimits, Listener, Shard, ShardConfig, ShardStats};
use godwit_modules::archive::ArchiveSettings;
use godwit_modules::handover::HubImage;
use godwit_modules::{Completion, HubSink};
use godwit_modules::{Hub, Outside, ShardState};
use godwit_store::{Opened, Rocks, StoreError, Writer};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Tries of a stanza whose data changed meanwhile.
const TRIES_MAX: u32 = 16;
const DAY_MS: u64 = 86_400_000;
/// Addresses to which one session may send directed presence.
const DIRECTED_MAX: usize = 1_000;
/// How often, and after which pause, a store that is in use is tried again: 10 s, more than a godwitctl needs
/// that works on it directly.
const STORE_TRIES_MAX: u32 = 100;
/// Slots of one shard that an upgrade may fill: more than any machine has descriptors.
const SLOTS_MAX: u32 = 1 << 24;
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// A running daemon.
pub(super) struct Daemon {
    pub(super) config_file: PathBuf,
    pub(super) config: Mutex<Arc<Config>>,
    pub(super) logging: Logging,
    pub(super) clock: Clock,
    pub(super) started_ms: u64,
    pub(super) ceiling: Ceiling,
    pub(super) derived: Derived,
    /// What the kernel had counted at the start.
    pub(super) backlog_overflows: u64,
    /// Where clients are listened to, as long as the process lives.
    pub(super) listening: Vec<ListenerRow>,
    pub(super) connections: Arc<godwit_edge::Ceiling>,
    pub(super) secret: [u8; 32],
    pub(super) secrets: Secrets,
    pub(super) certificates: Arc<Certificates>,
    pub(super) tickets: Arc<TicketKeys>,
    pub(super) store: Arc<Rocks>,
    pub(super) writer: Arc<Writer<Completion>>,
    pub(super) hub: Arc<Hub>,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) shard_stats: Vec<Arc<ShardStats>>,
    /// Times of messages to their recipients, by shard.
    pub(super) deliveries: Vec<Arc<Deliveries>>,
    /// Threads that the watchdog found stuck at its last look.
    pub(super) stuck: Mutex<Vec<String>>,
    pub(super) reload: Mutex<Option<ReloadStatus>>,
    pub(super) pacer: Mutex<Pacer>,
    pub(super) verification: Verification,
    /// The last backup; held while a checkpoint is made or removed.
    pub(super) backup: Mutex<Option<Done>>,
    pub(super) workers: Arc<Workers>,
    pub(super) up: Upgrading,
}

/// What the daemon starts from.
pub(super) struct Begin {
    pub(super) config_file: PathBuf,
    pub(super) config: Config,
    pub(super) logging: Logging,
    pub(super) inherited: Inherited,
    pub(super) origin: Origin,
    /// What the binary before left, if this one takes over.
    pub(super) taken: Option<Snapshot>,
    pub(super) signals: Arc<Signals>,
}

/// The shards' threads.
pub(super) type Threads = Vec<JoinHandle<io::Result<Server>>>;

/// What went wrong at the start, with the part of the daemon that it went wrong in.
pub(super) fn trouble(part: impl Display) -> impl FnOnce(&dyn Display) -> String {
    move |error| format!("{part}: {error}")
}

impl Daemon {
    /// Starts everything but the tokio side.
    pub(super) fn start(begin: Begin) -> Result<(Arc<Daemon>, Threads), String> {
        let Begin { config_file, config, logging, inherited, origin, mut taken, signals } = begin;
        let machine = Machine::here();
        let derived = derive(machine);
        let descriptors = raise_descriptors();
        let ceiling = Ceiling::new(&derived, config.raw.limits.connections_max, descriptors);
        tracing::info!("{}", ceiling.line());
        if ceiling.connections_max == 0 {
            return Err(format!("no room for a single connection: {}", ceiling.remedy));
        }
        if let Some(line) = limits::kernel_line(derived.rows()) {
            tracing::info!("{line}");
        }
        let common = taken.as_ref().map(|taken| &taken.common);
        let clock = godwit_edge::clock::system_from(common.map_or(0, |common| common.now_ms));
        let started_ms = clock();
        let shards = common.map_or_else(|| shard_count(&config, &derived), |common| common.shards);

        make_data_dir(&config)?;
        let secrets = Secrets::of(&config.data_dir);
        let last_backup = crate::backup::last(&config.data_dir);
        let secret = secrets.server().map_err(|e| trouble("secret")(&e))?;
        let files = certificates::files(&config.certificates);
        let certificates = Arc::new(Certificates::load(&files).map_err(|errors| lines(&errors))?);
        let handed = common.and_then(|common| TicketKeys::from_bytes(&common.tickets.0));
        let tickets = handed.map_or_else(|| secrets.tickets(started_ms / 1000), Ok);
        let tickets = tickets.map_err(|e| trouble("ticket keys")(&e))?;
        let tickets = Arc::new(tickets);
        let tls = TlsConfig::new(&certificates, &tickets).map_err(|e| trouble("TLS")(&e))?;
        godwit_edge::tls::warm_up().map_err(|e| trouble("TLS")(&e))?;
        // Before the store, which may take a while: a port that is taken is found out at once.
        let given = given(&inherited, taken.as_ref());
        let listeners = listeners(&config, inherited, shards, derived.backlog_max, taken.as_ref())?;

        let mailboxes = Arc::new(Mailboxes::for_shards(shards));
        let workers = Workers::start(machine.cores).map_err(|e| trouble("worker threads")(&e))?;
        let workers = Arc::new(workers);
        let options = store_options(&config, &derived, derived.store_files(descriptors));
        let image = taken.as_mut().and_then(|taken| taken.hub.take());
        let (store, hub, writer) = open_hub(&config, &options, secret, &clock, &mailboxes, &workers, image)?;
        let up = Upgrading::new(origin, &config.data_dir, given, signals);
        let connections =
            godwit_edge::Ceiling::new(usize::try_from(ceiling.connections_max).unwrap_or(usize::MAX));
        let mut daemon = Daemon {
            config_file,
            config: Mutex::new(Arc::new(config)),
            logging,
            clock,
            started_ms,
            ceiling,
            derived,
            backlog_overflows: crate::metrics::process::backlog_overflows(),
            listening: rows(&listeners),
            connections,
            secret,
            secrets,
            certificates,
            tickets,
            store,
            writer,
            hub,
            mailboxes,
            shard_stats: (0..shards).map(|_| Arc::default()).collect(),
            deliveries: (0..shards).map(|_| Arc::new(Deliveries::new(&DELIVERY_MS))).collect(),
            stuck: Mutex::default(),
            reload: Mutex::default(),
            pacer: Mutex::default(),
            verification: Verification::default(),
            backup: Mutex::new(last_backup),
            workers,
            up,
        };
        let threads = daemon.start_shards(&Arc::new(tls), listeners, taken)?;
        Ok((Arc::new(daemon), threads))
    }

    fn start_shards(
        &mut self,
        tls: &Arc<TlsConfig>,
        listeners: Vec<Vec<Listener>>,
        taken: Option<Snapshot>,
    ) -> Result<Threads, String> {
        let settings = Arc::new(self.session_settings());
        let (mut shards, mut boxes) = (Vec::new(), Vec::new());
        let (tell, told) = unbounded();
        let (common, parts) = taken.map(|taken| (taken.common, taken.shards)).unzip();
        let mut parts = parts.unwrap_or_default().into_iter();
        let counted = self.shard_stats.iter().zip(&self.deliveries);
        for ((number, (stats, deliveries)), listeners) in (0u16..).zip(counted).zip(listeners) {
            let mut state = ShardState::new(Arc::clone(&self.hub), number, Arc::clone(&settings));
            let part = parts.next();
            if let Some(part) = &part {
                state.take_waiting_over(&part.waiting).map_err(|e| trouble("sessions that wait")(&e))?;
            }
            let host = Server::new(state, self.clock.clone(), Arc::clone(deliveries));
            let shard = ShardConfig {
                number,
                settings: Arc::clone(&settings),
                clock: self.clock.clone(),
                random: Box::new(crate::random::fill),
                limits: edge_limits(&self.config()),
                ceiling: Arc::clone(&self.connections),
            };
            let made = Shard::new(shard, listeners, host, Arc::clone(tls), Arc::clone(stats));
            let (mut shard, mailbox) = made.map_err(|e| trouble(format!("shard {number}"))(&e))?;
            if let Some(part) = part {
                let tell = tell.clone();
                // The daemon may have given up waiting.
                shard.adopt(part.connections, SLOTS_MAX, move |adopted| {
                    let _ = tell.send(adopted);
                });
            }
            shards.push(shard);
            boxes.push(mailbox);
        }
        self.mailboxes.fill(boxes);
        drop(tell);
        let threads = shards.into_iter().map(|shard| shard.spawn().map_err(|e| trouble("shard")(&e)));
        let threads: Threads = threads.collect::<Result<_, _>>()?;
        if let Some(common) = common {
            self.took_over(&common, &told)?;
        }
        Ok(threads)
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&locked(&self.config))
    }

    /// What the session machines get of the configuration in force.
    pub(super) fn session_settings(&self) -> godwit_session::Settings {
        self.config().settings(self.hub.modules.stream_features().into_bytes())
    }
}

/// What the hub gets of a configuration.
pub(crate) fn hub_settings(config: &Config, secret: [u8; 32]) -> godwit_modules::Settings {
    let limits = &config.raw.limits;
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    godwit_modules::Settings {
        version: crate::version::version(),
        domains: config.domains.clone(),
        admins: config.admins.clone(),
        in_band: config.raw.registration.in_band,
        sessions_max: size(limits.sessions_per_account_max),
        roster_max: size(limits.roster_items_per_account_max),
        offline_messages_max: limits.offline_messages_per_account_max,
        offline_bytes_max: limits.offline_bytes_per_account_max,
        directed_max: DIRECTED_MAX,
        tries_max: TRIES_MAX,
        secret,
        registrations_per_hour_max: count(config.raw.registration.per_address_per_hour_max),
        failures_per_minute_max: count(limits.failed_logins_per_address_per_minute_max),
        loopback_exempt: limits.loopback_exempt,
        archive: ArchiveSettings {
            page_rows_max: size(config.raw.archive.page_messages_max),
            page_bytes_max: size(config.raw.archive.page_bytes_max),
            keep_ms: keep_ms(config),
            default: config.raw.archive.default,
        },
        pep: godwit_modules::pep::Limits {
            nodes_max: size(limits.pep_nodes_per_account_max),
            items_per_node_max: count(limits.pep_items_per_node_max),
            bytes_max: limits.pep_bytes_per_account_max,
        },
    }
}

/// A lock whose data is whole after every statement, so that a panic elsewhere does no harm to it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn lines<E: Display>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn shard_count(config: &Config, derived: &Derived) -> u16 {
    let wanted = match config.raw.server.shards {
        0 => u64::from(derived.shards),
        configured => configured,
    };
    u16::try_from(wanted).unwrap_or(u16::MAX).max(1)
}

/// Only the last component: a missing parent is a typing mistake or a missing mount.
fn make_data_dir(config: &Config) -> Result<(), String> {
    match std::fs::create_dir(&config.data_dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("server.data_dir: {}: {e}", config.data_dir.display()))
        }
        _ => Ok(()),
    }
}

fn edge_limits(config: &Config) -> EdgeLimits {
    let queue_bytes_max = usize::try_from(config.raw.limits.send_queue_bytes_max).unwrap_or(usize::MAX);
    let usual = EdgeLimits::default();
    EdgeLimits {
        queue_bytes_max,
        // In the proportions of the edge's own defaults.
        queue_high: usual.queue_high.min(queue_bytes_max / 4),
        queue_low: usual.queue_low.min(queue_bytes_max / 16),
        ..usual
    }
}

type Hubs = (Arc<Rocks>, Arc<Hub>, Arc<Writer<Completion>>);

/// The hub needs the store to read, the writer needs the hub to tell it what is durable.
fn open_hub(
    config: &Config,
    options: &godwit_store::Options,
    secret: [u8; 32],
    clock: &Clock,
    mailboxes: &Arc<Mailboxes>,
    workers: &Arc<Workers>,
    image: Option<HubImage>,
) -> Result<Hubs, String> {
    let store = Arc::new(open_store(&config.store_dir(), options).map_err(|e| e.to_string())?);
    let outside = Outside {
        store: Arc::clone(&store) as _,
        post: Arc::clone(mailboxes) as _,
        background: Arc::clone(workers) as _,
        clock: clock.clone(),
        random: Arc::new(crate::random::fill),
    };
    let settings = hub_settings(config, secret);
    let goes_on = image.is_some();
    let hub = match image {
        Some(image) => Hub::taken_over(outside, settings, image).map_err(|e| trouble("hand-over")(&e))?,
        None => Hub::new(outside, settings),
    };
    let sink = Box::new(HubSink::new(Arc::clone(&hub)));
    let writer =
        Writer::start(Arc::clone(&store), options, clock.clone(), sink).map_err(|e| e.to_string())?;
    let opened = Opened { store, writer: Arc::new(writer) };
    hub.attach(Arc::clone(&opened.writer) as _);
    hub.slow.set(config.raw.log.slow_stanza.ms());
    if !goes_on {
        hub.begin(clock());
    }
    Ok((opened.store, hub, opened.writer))
}

/// Opens the store. A godwitctl that found no daemon may have it for a moment: it is waited for.
fn open_store(path: &Path, options: &godwit_store::Options) -> Result<Rocks, StoreError> {
    for _ in 0..STORE_TRIES_MAX {
        match Rocks::open(path, options) {
            Err(StoreError::InUse(why)) => {
                tracing::warn!(%why, "waiting for the store");
                std::thread::sleep(STORE_PAUSE);
            }
            done => return done,
        }
    }
    Rocks::open(path, options)
}

/// How long messages are kept.
fn keep_ms(config: &Config) -> Option<u64> {
    (config.raw.archive.keep_days > 0).then(|| config.raw.archive.keep_days * DAY_MS)
}

fn store_options(config: &Config, derived: &Derived, files_max: u64) -> godwit_store::Options {
    let bytes = |configured_mb: u64, derived: u64| {
        let bytes = if configured_mb == 0 { derived } else { configured_mb << 20 };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    };
    let memtable_bytes = bytes(config.raw.store.memtable_mb, derived.store_memtable_bytes);
    godwit_store::Options {
        block_cache_bytes: bytes(config.raw.store.cache_mb, derived.store_cache_bytes),
        memtable_bytes,
        // Twice the memtables: the log is never what makes them be flushed, and replay stays short.
        wal_bytes_max: 2 * memtable_bytes as u64,
        open_files_max: u32::try_from(files_max).unwrap_or(u32::MAX),
        queue_max: usize::try_from(config.raw.store.queue_max).unwrap_or(usize::MAX),
        keep_ms: keep_ms(config),
        ..godwit_store::Options::default()
    }
}
