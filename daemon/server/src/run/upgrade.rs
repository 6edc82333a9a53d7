//! The in-place upgrade, step by step: what can fail comes first, and until `execve` everything can be taken
//! back. After it there is no way back but the store: if the next binary fails, clients resume from there.
use super::daemon::{Daemon, locked};
use super::signals::Signals;
use super::standstill::{TOLD_TO_STOP, monotonic_ns};
use super::take_over::Origin;
use crate::admin::protocol::{Answer, Failure, FailureKind, UpgradeAnswer, UpgradeStatus};
use crate::admin::socket::AdminSocket;
use crate::handover::check::{self, Able};
use crate::handover::format::{self, ShardParts};
use crate::handover::probation::{Identity, Note, Probation};
use crate::handover::room::{self, Room};
use crate::handover::{Common, VARIABLE, memory};
use crate::version::version;
use godwit_edge::{Entry, Exported, sys};
use godwit_session::image::Secret;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// What an upgrade needs to know, and what is known of the last one.
pub(super) struct Upgrading {
    pub(super) origin: Origin,
    pub(super) probation: Probation,
    /// Held by an upgrade, and by the stop.
    pub(super) alone: Mutex<()>,
    pub(super) signals: Arc<Signals>,
    /// Held shared by whatever else uses the store or its sessions for long.
    pub(super) gate: RwLock<()>,
    pub(super) standing: OnceLock<Standing>,
    /// Entries of which the service manager opened the sockets.
    pub(super) given: Vec<Entry>,
    pub(super) last: Mutex<Option<UpgradeStatus>>,
    /// Upgrades that this process has been through.
    pub(super) count: AtomicU64,
}

impl Upgrading {
    pub(super) fn new(
        origin: Origin,
        data_dir: &Path,
        given: Vec<Entry>,
        signals: Arc<Signals>,
    ) -> Upgrading {
        Upgrading {
            origin,
            probation: Probation::of(data_dir),
            alone: Mutex::default(),
            signals,
            gate: RwLock::default(),
            standing: OnceLock::new(),
            given,
            last: Mutex::default(),
            count: AtomicU64::new(0),
        }
    }
}

/// Descriptors of the process that belong to no shard.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) admin: (PathBuf, UnixListener, OwnedFd),
    pub(super) metrics: Option<(SocketAddr, TcpListener)>,
}

impl Standing {
    pub(super) fn of(socket: &AdminSocket, metrics: Option<&TcpListener>) -> io::Result<Standing> {
        let metrics =
            metrics.map(|listener| Ok::<_, io::Error>((listener.local_addr()?, listener.try_clone()?)));
        Ok(Standing { admin: socket.parts()?, metrics: metrics.transpose()? })
    }
}

/// What is closed by `execve` must not be what the next binary goes on with.
fn leave_open(common: &Common, memory: RawFd) -> io::Result<()> {
    let (_, listener, lock) = &common.admin;
    let metrics = common.metrics.map(|(_, fd)| fd);
    let sockets = common.listeners.iter().map(|(_, _, fd)| *fd);
    let all = sockets.chain([*listener, *lock, memory]).chain(metrics);
    all.into_iter().try_for_each(|fd| sys::close_on_exec(fd, false))
}

/// While all keys of all connections lie side by side, no core dump is written of them.
pub(super) fn dump(may: bool) {
    let behavior = if may { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    if let Err(error) = set_dumpable_behavior(behavior) {
        tracing::warn!(%error, "core dumps cannot be switched");
    }
}

fn text(of: &OsStr) -> io::Result<CString> {
    Ok(CString::new(of.as_bytes())?)
}

/// Becomes another program with this program's arguments.
pub(super) fn become_binary(binary: &Path, memory: Option<RawFd>) -> io::Error {
    let prepare = || -> io::Result<_> {
        let program = text(binary.as_os_str())?;
        let mut arguments = vec![program.clone()];
        for argument in std::env::args_os().skip(1) {
            arguments.push(text(&argument)?);
        }
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            // Sockets of the service manager are among the listeners by now.
            let ours = memory.is_some() && name.as_bytes().starts_with(b"LISTEN_");
            if name != VARIABLE && !ours {
                environment.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
            }
        }
        if let Some(memory) = memory {
            environment.push(CString::new(format!("{VARIABLE}={memory}"))?);
        }
        Ok((program, arguments, environment))
    };
    match prepare() {
        Ok((program, arguments, environment)) => sys::become_program(&program, &arguments, &environment),
        Err(error) => error,
    }
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Failed, why)
}

impl Daemon {
    /// `godwitctl upgrade`. Returns only if there was no upgrade.
    pub(super) fn upgrade(&self, binary: Option<&Path>, dry_run: bool) -> Result<Answer, Failure> {
        let Ok(_alone) = self.up.alone.try_lock() else {
            return Err(failed("another upgrade, or the stop, is under way"));
        };
        if binary.is_none() && self.is_rejected() {
            let why = "crashed within 30 s of taking over: install another one, or name it with --binary";
            return Err(failed(format!("{} {why}", self.up.origin.program.display())));
        }
        let binary = binary.unwrap_or(&self.up.origin.program);
        let able = self.check(binary).map_err(|why| self.refused(why))?;
        let needed = self.memory_needed();
        if let Some(room) = Room::here() {
            room.has(needed).map_err(|why| self.refused(why))?;
        }
        if dry_run {
            return Ok(Answer::Upgrade(UpgradeAnswer {
                binary: binary.to_owned(),
                from: version().to_owned(),
                to: able.godwitd,
                connections: self.connections.now() as u64,
            }));
        }
        tracing::info!(bytes = needed, "memory that the hand-over needs at most");
        let why = self.hand_over(binary, &able);
        Err(self.refused(why))
    }

    /// The binary that crashed is still there.
    fn is_rejected(&self) -> bool {
        self.up
            .origin
            .rejected
            .is_some_and(|rejected| Identity::of(&self.up.origin.program).is_ok_and(|now| now == rejected))
    }

    /// Another binary is where this one was started from, and has not crashed before.
    pub(super) fn has_new_binary(&self) -> bool {
        let Ok(installed) = Identity::of(&self.up.origin.program) else { return false };
        Some(installed) != self.up.origin.identity && Some(installed) != self.up.origin.rejected
    }

    fn check(&self, binary: &Path) -> Result<Able, String> {
        check::ask(binary, &self.config_file, &self.config().store_dir())
    }

    /// Bytes, for all that is held now.
    fn memory_needed(&self) -> u64 {
        let owners = self.owners();
        room::needed(owners.tls + owners.sessions + owners.queues)
    }

    /// Says so everywhere; all is as it was before.
    fn refused(&self, why: String) -> Failure {
        tracing::error!("no upgrade, all is as before: {why}");
        let status = UpgradeStatus {
            at_ms: (self.clock)(),
            ok: false,
            from: version().to_owned(),
            to: None,
            carried: 0,
            sessions: 0,
            closed: 0,
            pause_ms: 0.0,
            message: Some(why.clone()),
        };
        *locked(&self.up.last) = Some(status);
        crate::systemd::status(&format!("no upgrade, all is as before: {why}"));
        failed(why)
    }

    /// Everything from the first step to `execve`; returns with the reason why it did not come to that.
    fn hand_over(&self, binary: &Path, able: &Able) -> String {
        tracing::info!(from = version(), to = able.godwitd, binary = %binary.display(), "upgrade begins");
        if let Err(why) = self.prepare(binary, able) {
            return why;
        }
        crate::systemd::reloading();
        // From here on nothing is administered, and no account's archive is cut.
        let gate = self.up.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.close_doors();
        let stopped_ns = monotonic_ns();
        let why = self.at_rest(binary, stopped_ns);
        self.go_on();
        dump(true);
        drop(gate);
        self.up.probation.clear();
        crate::systemd::ready("no upgrade, all is as before");
        why
    }

    /// What takes long and can be done while everybody is served.
    fn prepare(&self, binary: &Path, able: &Able) -> Result<(), String> {
        let kept = self.up.probation.keep_running(version());
        let before = kept.map_err(|e| format!("the running binary cannot be kept: {e}"))?;
        // So that the next binary has next to no log to replay.
        self.store.flush().map_err(|e| e.to_string())?;
        let taker = Identity::of(binary).map_err(|e| format!("{}: {e}", binary.display()))?;
        let note = Note {
            taker,
            path: binary.to_owned(),
            version: able.godwitd.clone(),
            before,
            before_version: version().to_owned(),
            rejected: false,
        };
        self.up.probation.begin(&note).map_err(|e| format!("the upgrade cannot be noted: {e}"))
    }

    fn at_rest(&self, binary: &Path, stopped_ns: u64) -> String {
        let memory = match self.leave_all(stopped_ns) {
            Ok(memory) => memory,
            Err(why) => return why,
        };
        if let Err(error) = self.store.suspend() {
            return format!("the store cannot be closed: {error}");
        }
        self.logging.flush();
        let error = match self.up.signals.leave_to_next() {
            None => io::Error::other(TOLD_TO_STOP),
            // From here on a signal is the next binary's.
            Some(_left) => become_binary(binary, Some(memory.as_raw_fd())),
        };
        if let Err(error) = self.store.resume() {
            // The writer tries again; nothing is acknowledged meanwhile.
            tracing::error!(%error, "the store cannot be opened again");
        }
        format!("{}: {error}", binary.display())
    }

    /// All state in sealed memory, and all descriptors left open.
    fn leave_all(&self, stopped_ns: u64) -> Result<File, String> {
        self.come_to_rest()?;
        dump(false);
        let exported = self.export()?;
        let common = self.common(&exported, stopped_ns)?;
        let shards: Vec<_> = exported
            .into_iter()
            .map(|shard| ShardParts { connections: shard.connections, waiting: shard.host })
            .collect();
        let hub = self.hub.image();
        let leave = || -> io::Result<File> {
            let mut memory = memory::create()?;
            let length = format::write(&mut memory, &common, &hub, &shards)?;
            memory::seal(&memory)?;
            leave_open(&common, memory.as_raw_fd())?;
            tracing::info!(
                connections = common.connections,
                sessions = hub.sessions(),
                left = common.left,
                bytes = length,
                ms = ms_since(stopped_ns),
                "everything is at rest and written down"
            );
            Ok(memory)
        };
        leave().map_err(|e| format!("no memory for the hand-over: {e}"))
    }

    fn common(&self, exported: &[Exported], stopped_ns: u64) -> Result<Common, String> {
        let standing = self.up.standing.get().ok_or("the daemon has only just started")?;
        let (path, listener, lock) = &standing.admin;
        let sockets = (0u16..)
            .zip(exported)
            .flat_map(|(number, shard)| shard.listeners.iter().map(move |(entry, fd)| (number, *entry, *fd)));
        Ok(Common {
            from: version().to_owned(),
            stopped_ns,
            now_ms: (self.clock)(),
            shards: u16::try_from(exported.len()).map_err(|e| e.to_string())?,
            store: self.config().store_dir(),
            listeners: sockets.collect(),
            given: self.up.given.clone(),
            admin: (path.clone(), listener.as_raw_fd(), lock.as_raw_fd()),
            metrics: standing.metrics.as_ref().map(|(at, listener)| (*at, listener.as_raw_fd())),
            tickets: Secret(self.tickets.to_bytes()),
            connections: exported.iter().map(|shard| shard.carried).sum(),
            left: exported.iter().map(|shard| shard.left).sum(),
            upgrades: self.up.count.load(Ordering::Relaxed),
            last: locked(&self.up.last).clone(),
        })
    }
}

/// Milliseconds since then.
#[allow(clippy::cast_precision_loss)] // of times below days
pub(super) fn ms_since(ns: u64) -> f64 {
    monotonic_ns().saturating_sub(ns) as f64 / 1e6
}
