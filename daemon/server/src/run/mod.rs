//! The daemon from start to stop: `daemon.rs` starts the parts, this file waits for signals and stops them.

mod account;
mod checkpoint;
mod daemon;
mod metrics;
mod operations;
mod pace;
mod pressure;
mod quiet;
mod reload;
mod retention;
mod secrets;
mod shards;
mod status;
mod watch;
mod workers;

use crate::admin::socket::AdminSocket;
use crate::config::Config;
use crate::logging::Logging;
use crate::metrics::serve;
pub(crate) use daemon::hub_settings;
use daemon::{Daemon, Threads};
use godwit_edge::Control;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// Threads of the runtime that serves everything but connections.
const RUNTIME_THREADS: usize = 2;
/// How often the shards' threads are looked at.
const SHARD_LOOK: Duration = Duration::from_millis(500);
/// How long a stop waits for the shards beyond the time that they give their clients.
const SHARD_WAIT: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop.
pub fn run(file: &Path, config: Config) -> ExitCode {
    let logging = match Logging::start(&config.raw.log.level, config.raw.log.format) {
        Ok(logging) => logging,
        Err(e) => {
            eprintln!("godwitd: no log: {e}");
            return ExitCode::FAILURE;
        }
    };
    let flush = logging.clone();
    let code = match serve(file, config, logging) {
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

fn serve(file: &Path, config: Config, logging: Logging) -> Result<(), String> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), domains = %config.domains.join(" "), "starting");
    let inherited = crate::systemd::listeners().map_err(|e| e.to_string())?;
    let socket_path = config.socket.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("tokio")
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    // Before everything else: a SIGHUP that comes during the start must wait and not kill.
    let told = runtime.block_on(async { Told::new() }).map_err(|e| format!("no signals: {e}"))?;
    let metrics = bind_metrics(&config)?;
    let (daemon, threads) = Daemon::start(file.to_owned(), config, logging, inherited)?;
    // After the store, whose lock says that no other daemon uses this data directory.
    let socket = AdminSocket::bind(&socket_path).map_err(|e| format!("admin.socket: {e}"))?;
    let stopped = supervise(&runtime, &daemon, threads, &socket, metrics, told);
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
    mut told: Told,
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
        tokio::spawn(pressure::look_after(Arc::clone(daemon)));
        tokio::spawn(retention::look_after(Arc::clone(daemon)));
        crate::systemd::ready("running");
        tracing::info!("ready");
        loop {
            let Told { terminate, interrupt, hangup } = &mut told;
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    let daemon = Arc::clone(daemon);
                    // Reading files and certificates blocks.
                    if tokio::task::spawn_blocking(move || daemon.reload()).await.is_err() {
                        tracing::error!("the reload panicked");
                    }
                }
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

fn bind_metrics(config: &Config) -> Result<Option<TcpListener>, String> {
    let Some(address) = config.metrics else { return Ok(None) };
    let listener = serve::bind(address).map_err(|e| format!("listen.metrics: {address}: {e}"))?;
    tracing::info!(%address, "serving metrics");
    if let Some(warning) = serve::warning(address) {
        tracing::warn!("{warning}");
    }
    Ok(Some(listener))
}

/// Closes all streams and waits for the shards; a second signal ends the process at once.
async fn stop(daemon: &Arc<Daemon>, threads: Threads, told: &mut Told) {
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
        () = told.stop_signal() => {
            tracing::warn!("told twice: stopping at once");
            daemon.logging.flush();
            // What was acknowledged is durable.
            std::process::exit(0);
        }
    }
}

/// The signals that the daemon listens to.
struct Told {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Told {
    fn new() -> std::io::Result<Told> {
        Ok(Told {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn stop_signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
