//! What metrics and health are made of: everything that is counted or known, at one moment.
use super::process::Process;
use crate::admin::protocol::{OverloadStatus, ReloadStatus};
use crate::alloc::Memory;
use crate::backup::Done;
use crate::limits::Ceiling;
use crate::memory::Owners;
use godwit_edge::ShardStats;
use godwit_edge::stats::Count;
use godwit_edge::tls::CertificateStatus;
use godwit_modules::backlog::Backlog;
use godwit_modules::hub::Counters;
use godwit_store::histogram::{Histogram, Recorder};
use godwit_store::{Cf, Health, Stats};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of the time that a message takes to its recipient's connection, in milliseconds: the shards' clock
/// has no finer ones.
pub const DELIVERY_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// One shard's part of these times.
pub type Deliveries = Recorder<{ DELIVERY_MS.len() }>;

/// Gathered for one answer.
#[derive(Debug)]
pub struct Facts {
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// When the daemon started.
    pub started_ms: u64,
    /// What the kernel says of the process.
    pub process: Process,
    /// What the allocator says.
    pub memory: Memory,
    /// Who holds the memory.
    pub owners: Owners,
    /// What router and modules count.
    pub hub: Arc<Counters>,
    /// What each shard counts.
    pub shards: Vec<Arc<ShardStats>>,
    /// Milliseconds that messages took to their recipients, by shard.
    pub deliveries: Vec<Arc<Deliveries>>,
    /// What waits for accounts that are offline.
    pub backlog: Backlog,
    /// Connections now.
    pub connections: u64,
    /// How many there may be.
    pub ceiling: Ceiling,
    /// Limits that were reached.
    pub overload: OverloadStatus,
    /// What the store's writer counts.
    pub store: Stats,
    /// Whether it can write.
    pub health: Health,
    /// Memory of the store; `None` while it cannot be asked.
    pub store_memory: Option<godwit_store::Memory>,
    /// What it does in the background; likewise.
    pub store_background: Option<godwit_store::Background>,
    /// Bytes in table files, by family.
    pub store_bytes: Vec<(Cf, u64)>,
    /// Rows, by family, estimated.
    pub store_rows: Vec<(Cf, u64)>,
    /// Bytes free on the device that holds the data, for this user, and all of its bytes.
    pub disk_bytes: Option<(u64, u64)>,
    /// Certificates in use.
    pub certificates: Vec<CertificateStatus>,
    /// Lines that the log dropped.
    pub log_lines_dropped: u64,
    /// Threads that the watchdog found stuck.
    pub stuck: Vec<String>,
    /// The last backup.
    pub backup: Option<Done>,
    /// In-place upgrades of this process, and the pause of the last one.
    pub upgrades: u64,
    /// In seconds.
    pub upgrade_pause_s: f64,
    /// The last reload.
    pub reload: Option<ReloadStatus>,
}

impl Facts {
    /// The times of all shards' messages.
    pub(crate) fn deliveries(&self) -> Histogram<{ DELIVERY_MS.len() }> {
        let mut all = Deliveries::new(&DELIVERY_MS).read();
        self.deliveries.iter().for_each(|shard| all += shard.read());
        all
    }

    /// Sessions that have a connection.
    pub(crate) fn attached(&self) -> u64 {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        get(&self.hub.sessions).saturating_sub(get(&self.hub.detached))
    }

    /// A count of the shards, added up.
    pub(crate) fn shards(&self, count: fn(&ShardStats) -> &Count) -> u64 {
        self.shards.iter().map(|shard| count(shard).get()).sum()
    }
}
