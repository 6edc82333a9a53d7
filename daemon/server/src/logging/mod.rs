//! The log: text on a terminal, fields under systemd; one thread writes it, and nobody waits for that thread.
//!
//! Never logged: passwords, keys, bodies of messages. A line about a session names `account`, `resource`,
//! `peer` and `conn` as fields. A peer's text is a field, never part of the format, and is escaped by the
//! formatter.
mod journal;
mod level;
mod queue;

use crate::config::LogFormat;
use journal::{Journal, JournalLayer};
pub use level::{LogLevel, filter};
use queue::{Lines, Stderr};
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The environment variable that goes before `log.level`.
const LEVEL_VARIABLE: &str = "GODWIT_LOG";

/// A running log; clones are the same log.
#[derive(Clone)]
pub struct Logging {
    lines: Lines,
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<LogLevel>>,
}

/// The variable's level, if it has one.
fn from_environment() -> Option<String> {
    std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty())
}

fn configured(level: &str) -> LogLevel {
    let (configured, from_environment) = match from_environment() {
        Some(level) => (level, true),
        None => (level.to_owned(), false),
    };
    LogLevel { level: configured.clone(), configured, from_environment, set_ms: None }
}

impl Logging {
    /// Starts the log thread and takes over all of the process's tracing. Once per process.
    pub fn start(level: &str, format: LogFormat) -> io::Result<Logging> {
        let told = configured(level);
        let (level, filter) = reload::Layer::new(filter(&told.level).map_err(io::Error::other)?);
        let to_journal = match format {
            LogFormat::Human => false,
            LogFormat::Journal => true,
            LogFormat::Auto => stderr_is_journal(),
        };
        let (lines, layer): (Lines, Box<dyn Layer<_> + Send + Sync>) = if to_journal {
            let lines = Lines::start(Journal::connect()?)?;
            (lines.clone(), JournalLayer(lines).boxed())
        } else {
            let lines = Lines::start(Stderr::default())?;
            let text = tracing_subscriber::fmt::layer()
                .with_ansi(io::stderr().is_terminal())
                .with_writer(lines.clone())
                .boxed();
            (lines, text)
        };
        let subscriber = tracing_subscriber::registry().with(level).with(layer);
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(Logging { lines, filter, level: Arc::new(Mutex::new(told)) })
    }

    /// The configuration's level from now on (a reload); what [`Logging::set_level`] set is over.
    pub fn configure(&self, level: &str) -> Result<(), String> {
        self.apply(configured(level))
    }

    /// Another level until the next reload or start. The error says what is wrong with it.
    pub fn set_level(&self, level: &str, now_ms: u64) -> Result<(), String> {
        if let Some(wrong) = level::wrong(level) {
            return Err(wrong);
        }
        self.apply(LogLevel { level: level.to_owned(), set_ms: Some(now_ms), ..self.level() })
    }

    /// What is in force.
    pub fn level(&self) -> LogLevel {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn apply(&self, told: LogLevel) -> Result<(), String> {
        // Held over both: two callers leave what one of them wanted.
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter(&told.level)?).map_err(|e| e.to_string())?;
        *level = told;
        Ok(())
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
