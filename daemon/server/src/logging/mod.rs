//! The log: text on a terminal, fields under systemd; one thread writes it, and nobody waits for that thread.
//!
//! Never logged: passwords, keys, bodies of messages. A line about a session names `account`, `resource`,
//! `peer` and `conn` as fields. A peer's text is a field, never part of the format, and is escaped by the
//! formatter.
mod journal;
mod queue;

use crate::config::LogFormat;
use journal::{Journal, JournalLayer};
use queue::{Lines, Stderr};
use std::io::{self, IsTerminal};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The environment variable that goes before `log.level`.
const LEVEL_VARIABLE: &str = "GODWIT_LOG";

/// A running log; clones are the same log.
#[derive(Clone)]
pub struct Logging {
    lines: Lines,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// A level or a list of levels by module.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_regex(false).parse(level)
}

fn filter_in_force(level: &str) -> Result<EnvFilter, ParseError> {
    match std::env::var(LEVEL_VARIABLE) {
        Ok(from_environment) if !from_environment.is_empty() => filter(&from_environment),
        _ => filter(level),
    }
}

impl Logging {
    /// Starts the log thread and takes over all of the process's tracing. Once per process.
    pub fn start(level: &str, format: LogFormat) -> io::Result<Logging> {
        let level = filter_in_force(level).map_err(io::Error::other)?;
        let (level, filter) = reload::Layer::new(level);
        let to_journal = match format {
            LogFormat::Human => false,
            LogFormat::Journal => true,
            LogFormat::Auto => stderr_is_journal(),
        };
        let (lines, layer): (Lines, Box<dyn Layer<_> + Send + Sync>) = if to_journal {
            let lines = Lines::start(Journal::connect()?)?;
            (lines.clone(), JournalLayer(lines).boxed())
        } else {
            let lines = Lines::start(Stderr)?;
            let text = tracing_subscriber::fmt::layer()
                .with_ansi(io::stderr().is_terminal())
                .with_writer(lines.clone())
                .boxed();
            (lines, text)
        };
        let subscriber = tracing_subscriber::registry().with(level).with(layer);
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(Logging { lines, filter })
    }

    /// Another level from now on (a reload).
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let level = filter_in_force(level).map_err(|e| e.to_string())?;
        self.filter.reload(level).map_err(|e| e.to_string())
    }

    /// Lines dropped since the start because the log was too slow.
    pub fn dropped(&self) -> u64 {
        self.lines.dropped()
    }

    /// Waits, for a bounded time, until everything is written.
    pub fn flush(&self) {
        self.lines.flush();
    }
}

/// Whether standard error is journald's stream: the variable alone is inherited by shells whose output goes
/// elsewhere.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let Ok(found) = rustix::fs::fstat(rustix::stdio::stderr()) else { return false };
    device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino)
}
