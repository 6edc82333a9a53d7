//! The daemon from start to stop: `daemon.rs` starts the parts, this file waits for signals and stops them.

mod account;
mod checkpoint;
mod daemon;
mod health;
mod listening;
mod load;
mod metrics;
mod operations;
mod pace;
mod pressure;
mod quiet;
mod reload;
mod retention;
mod secrets;
mod shards;
mod signals;
mod standstill;
mod status;
mod take_over;
mod upgrade;
mod watch;
mod workers;

use crate::admin::socket::AdminSocket;
use crate::config::Config;
use crate::logging::Logging;
use crate::metrics::serve;
use crate::systemd::Inherited;
pub(crate) use daemon::hub_settings;
use daemon::{Begin, Daemon, Threads};
use godwit_edge::{Control, sys};
use signals::{Signals, Told};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Threads of the runtime that serves everything but connections.
const RUNTIME_THREADS: usize = 2;
/// How often the shards' threads are looked at.
const SHARD_LOOK: Duration = Duration::from_millis(500);
/// How long a stop waits for the shards beyond the time that they give their clients.
const SHARD_WAIT: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop.
pub fn run(file: &Path, config: Config) -> ExitCode {
    // Before there is any other thread.
    let signals = match Signals::hold_back() {
        Ok(signals) => signals,
        Err(e) => {
            eprintln!("godwitd: no signals: {e}");
            return ExitCode::FAILURE;
        }
    };
    let logging = match Logging::start(&config.raw.log.level, config.raw.log.format) {
        Ok(logging) => logging,
        Err(e) => {
            eprintln!("godwitd: no log: {e}");
            return ExitCode::FAILURE;
        }
    };
    let flush = logging.clone();
    let code = match serve(file, config, logging, signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            message.lines().for_each(|line| tracing::error!("{line}"));
            crate::systemd::stopping(&message);
            ExitCode::FAILURE
        }
    };
    flush.flush();
    code
}

fn serve(file: &Path, config: Config, logging: Logging, signals: Arc<Signals>) -> Result<(), String> {
    tracing::info!(version = crate::version::version(), domains = %config.domains.join(" "), "starting");
    let taken = take_over::inherited()?;
    let origin = take_over::origin(&config, taken.is_some());
    let inherited = match &taken {
        Some(_) => Inherited::default(),
        None => crate::systemd::listeners().map_err(|e| e.to_string())?,
    };
    let socket_path = config.socket.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("tokio")
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    let handed = taken.as_ref().map(|taken| (taken.common.admin.clone(), taken.common.metrics));
    let metrics = bind_metrics(&config, handed.as_ref().and_then(|(_, metrics)| *metrics))?;
    let began = handed.is_some();
    let begin = Begin { config_file: file.to_owned(), config, logging, inherited, origin, taken, signals };
    let (daemon, threads) = Daemon::start(begin)?;
    // After the store, whose lock says that no other daemon uses this data directory.
    let socket = match handed {
        Some(((path, listener, lock), _)) if path == socket_path => {
            AdminSocket::handed_over(path, listener, lock)
        }
        _ => AdminSocket::bind(&socket_path),
    };
    let socket = socket.map_err(|e| format!("admin.socket: {e}"))?;
    let standing =
        upgrade::Standing::of(&socket, metrics.as_ref()).map_err(|e| format!("descriptors: {e}"))?;
    // Set here alone.
    let _ = daemon.up.standing.set(standing);
    if began {
        runtime.spawn(take_over::prove(Arc::clone(&daemon)));
    }
    let stopped = supervise(&runtime, &daemon, threads, &socket, metrics);
    runtime.shutdown_background();
    let closed = daemon.writer.close().and_then(|()| daemon.store.close());
    stopped.and(closed.map_err(|e| format!("closing the store: {e}")))?;
    tracing::info!("stopped");
    Ok(())
}

fn supervise(
    runtime: &Runtime,
    daemon: &Arc<Daemon>,
    threads: Threads,
    socket: &AdminSocket,
    metrics: Option<TcpListener>,
) -> Result<(), String> {
    let listener = socket.listener().map_err(|e| format!("admin.socket: {e}"))?;
    runtime.block_on(async {
        let listener =
            tokio::net::UnixListener::from_std(listener).map_err(|e| format!("admin.socket: {e}"))?;
        tokio::spawn(crate::admin::server::serve(listener, Arc::clone(daemon) as _));
        if let Some(listener) = metrics {
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(|e| format!("listen.metrics: {e}"))?;
            tokio::spawn(serve::serve(listener, metrics::gather(Arc::clone(daemon))));
        }
        tokio::spawn(watch::watchdog(Arc::clone(daemon)));
        tokio::spawn(watch::housekeeping(Arc::clone(daemon)));
        tokio::spawn(watch::slow_stanzas(Arc::clone(daemon)));
        tokio::spawn(pressure::look_after(Arc::clone(daemon)));
        tokio::spawn(retention::look_after(Arc::clone(daemon)));
        let notice = daemon.up.origin.again.as_deref();
        crate::systemd::ready(notice.unwrap_or("running"));
        tracing::info!("ready");
        let mut told = daemon.up.signals.listen().map_err(|e| format!("signals: {e}"))?;
        let mut hanging_up = HangingUp::default();
        loop {
            tokio::select! {
                one = told.recv() => match one {
                    Some(Told::HangUp) => hanging_up.begin(daemon),
                    Some(Told::Stop) | None => break,
                },
                () = hanging_up.done(daemon) => {}
                () = sleep(SHARD_LOOK) => {
                    if let Some(number) = threads.iter().position(|thread| thread.is_finished()) {
                        // Its connections are gone; a restart serves all of them again soonest.
                        return Err(format!("shard {number} ended; the daemon gives up to be restarted"));
                    }
                }
            }
        }
        stop(daemon, threads, &mut told).await;
        Ok(())
    })
}

/// What SIGHUP asks for, one at a time; a signal that comes meanwhile is followed afterwards, once.
#[derive(Default)]
struct HangingUp {
    task: Option<JoinHandle<()>>,
    again: bool,
}

impl HangingUp {
    fn begin(&mut self, daemon: &Arc<Daemon>) {
        self.again = self.task.is_some();
        if !self.again {
            let daemon = Arc::clone(daemon);
            // Reading files and certificates blocks; an order to stop must be heard meanwhile.
            self.task = Some(tokio::task::spawn_blocking(move || daemon.hang_up()));
        }
    }

    /// Returns when one has ended.
    async fn done(&mut self, daemon: &Arc<Daemon>) {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        if task.await.is_err() {
            tracing::error!("the reload panicked");
        }
        self.task = None;
        if std::mem::take(&mut self.again) {
            self.begin(daemon);
        }
    }
}

fn bind_metrics(config: &Config, handed: Option<(SocketAddr, RawFd)>) -> Result<Option<TcpListener>, String> {
    let handed = handed.map(|(at, fd)| Ok::<_, io::Error>((at, TcpListener::from(sys::adopt_socket(fd)?))));
    let handed = handed.transpose().map_err(|e| format!("listen.metrics: {e}"))?;
    let Some(address) = config.metrics else { return Ok(None) };
    let listener = match handed {
        Some((at, listener)) if at == address => Ok(listener),
        _ => serve::bind(address),
    };
    let listener = listener.map_err(|e| format!("listen.metrics: {address}: {e}"))?;
    tracing::info!(%address, "serving metrics");
    if let Some(warning) = serve::warning(address) {
        tracing::warn!("{warning}");
    }
    Ok(Some(listener))
}

/// Closes all streams and waits for the shards; a second signal ends the process at once.
async fn stop(daemon: &Arc<Daemon>, threads: Threads, told: &mut Receiver<Told>) {
    // An upgrade under way sees that the daemon was told to stop, and gives up.
    let (held, told_held) = tokio::sync::oneshot::channel();
    let upgrading = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || {
        let alone = upgrading.up.alone.lock();
        // Nobody else asks for it from here on: it is held until the end.
        std::mem::forget(alone);
        let _ = held.send(());
    });
    let _ = tokio::time::timeout(SHARD_WAIT, told_held).await;
    daemon.up.probation.clear();
    crate::systemd::stopping("closing streams");
    tracing::info!("stopping: closing {} connections", daemon.connections.now());
    let grace = daemon.config().raw.stream.closing_timeout;
    let deadline = (daemon.clock)() + grace.ms();
    daemon.mailboxes.each().for_each(|shard| shard.control(Control::Stop { deadline }));
    let joined = tokio::task::spawn_blocking(move || {
        for (number, thread) in threads.into_iter().enumerate() {
            match thread.join() {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(shard = number, %error, "a shard failed"),
                Err(_) => tracing::error!(shard = number, "a shard panicked"),
            }
        }
    });
    tokio::select! {
        _ = joined => {}
        () = sleep(grace.0 + SHARD_WAIT) => tracing::warn!("a shard does not stop; its connections are cut"),
        Some(()) = signals::stop(told) => {
            tracing::warn!("told twice: stopping at once");
            daemon.logging.flush();
            // What was acknowledged is durable.
            std::process::exit(0);
        }
    }
}
