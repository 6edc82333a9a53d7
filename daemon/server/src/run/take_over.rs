//! The other side of the in-place upgrade: a binary that finds everything as the one before left it.
use super::daemon::{Daemon, locked, trouble};
use super::upgrade::{become_binary, dump, ms_since};
use crate::admin::protocol::UpgradeStatus;
use crate::config::Config;
use crate::handover::format::{self, Snapshot};
use crate::handover::memory;
use crate::handover::probation::{Identity, PROBATION, Probation, Verdict};
use crate::version::version;
use crossbeam_channel::Receiver;
use godwit_edge::{Adopted, Entry, Listener, listen};
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// For all shards to have taken their connections over.
const ADOPT_WAIT: Duration = Duration::from_secs(60);

/// Which binary this is, and what is known of it.
pub(super) struct Origin {
    /// Where it was started from, and where another one will be.
    pub(super) program: PathBuf,
    pub(super) identity: Option<Identity>,
    /// The binary that crashed, if this one runs in its place.
    pub(super) rejected: Option<Identity>,
    /// What the operator has to know of that.
    pub(super) again: Option<String>,
}

/// What the binary before left, if it did.
pub(super) fn inherited() -> Result<Option<Snapshot>, String> {
    let Some(found) = memory::inherited() else { return Ok(None) };
    dump(false);
    let (file, length) = found.map_err(|e| trouble("hand-over")(&e))?;
    let snapshot = format::read(&mut BufReader::new(file), length).map_err(|e| e.to_string())?;
    Ok(Some(snapshot))
}

/// Finds out which binary this is; becomes the one before if this one crashed on probation.
pub(super) fn origin(config: &Config, takes_over: bool) -> Origin {
    let program = std::env::current_exe().unwrap_or_default();
    let identity = Identity::of(&program).ok();
    let probation = Probation::of(&config.data_dir);
    let mut origin = Origin { program, identity, rejected: None, again: None };
    if takes_over {
        return origin;
    }
    match probation.verdict(&origin.program) {
        Verdict::Go => {}
        Verdict::Become(note) => {
            tracing::error!(
                "godwitd {} crashed within {} s of taking over: godwitd {} is started again",
                note.version,
                PROBATION.as_secs(),
                note.before_version
            );
            let error = become_binary(&note.before, None);
            tracing::error!(%error, "{}: cannot be started; this one goes on", note.before.display());
        }
        Verdict::Again(note) => {
            let why = format!(
                "godwitd {} ({}) crashed within {} s of taking over; {} runs again until another is there",
                note.version,
                note.path.display(),
                PROBATION.as_secs(),
                note.before_version
            );
            tracing::error!("{why}");
            origin.rejected = note.rejected.then_some(note.taker);
            origin.program = note.path;
            origin.again = Some(why);
        }
    }
    origin
}

/// Listeners of the binary before that are still wanted, by shard; the others are closed. `wanted` loses the
/// addresses that are served by them.
pub(super) fn listeners(
    snapshot: &Snapshot,
    wanted: &mut Vec<(Entry, SocketAddr)>,
) -> Result<Vec<Vec<Listener>>, String> {
    let common = &snapshot.common;
    let mut per_shard: Vec<Vec<Listener>> = (0..common.shards).map(|_| Vec::new()).collect();
    let asked = wanted.clone();
    for (shard, entry, fd) in &common.listeners {
        let listener = listen::handed_over(*entry, *fd).map_err(|e| trouble("a listener")(&e))?;
        let at = listener.address().map_err(|e| trouble("a listener")(&e))?;
        let same = |(for_entry, address): &(Entry, SocketAddr)| {
            let port = address.port() == 0 || address.port() == at.port();
            for_entry == entry
                && address.ip().is_unspecified() == at.ip().is_unspecified()
                && port
                && (address.ip() == at.ip() || at.ip().is_unspecified())
        };
        if common.given.contains(entry) || asked.iter().any(same) {
            wanted.retain(|address| !same(address));
            if let Some(place) = per_shard.get_mut(usize::from(*shard)) {
                place.push(listener);
            }
        }
    }
    Ok(per_shard)
}

impl Daemon {
    /// Waits for the shards, and tells everybody how it went.
    pub(super) fn took_over(
        &self,
        common: &crate::handover::Common,
        told: &Receiver<Adopted>,
    ) -> Result<(), String> {
        let mut all = Adopted::default();
        for _ in 0..common.shards {
            let adopted = told.recv_timeout(ADOPT_WAIT).map_err(|_| {
                "a shard could not take its connections over; their clients will resume".to_owned()
            })?;
            all.carried += adopted.carried;
            all.lost += adopted.lost;
        }
        let status = UpgradeStatus {
            at_ms: (self.clock)(),
            ok: true,
            from: common.from.clone(),
            to: Some(version().to_owned()),
            carried: all.carried,
            sessions: self.hub.counters.sessions.load(Ordering::Relaxed),
            closed: common.left + all.lost,
            pause_ms: ms_since(common.stopped_ns),
            message: None,
        };
        dump(true);
        tracing::info!("{}", status.line());
        *locked(&self.up.last) = Some(status);
        self.up.count.store(common.upgrades + 1, Ordering::Relaxed);
        Ok(())
    }
}

/// Forgets the probation once it is over.
pub(super) async fn prove(daemon: Arc<Daemon>) {
    tokio::time::sleep(PROBATION).await;
    daemon.up.probation.clear();
    tracing::info!("this version has run for {} s and is kept", PROBATION.as_secs());
}
