//! The command line of `godwitctl doctor`.
use crate::doctor;
use clap::Args;
use std::path::PathBuf;

/// Which checks, and the form of the output.
#[derive(Debug, Args)]
#[command(after_help = doctor::help())]
pub struct Doctor {
    /// Print JSON: at_ms, level (the worst), checks (check, level, found, remedy, causes), with --changes
    /// also was. Fields are added in later versions, never renamed.
    #[arg(long)]
    pub json: bool,
    /// Print only the checks whose colour or cause is not what it was at the last run with --changes, and
    /// nothing if there are none. The first run prints what is not green. Figures that move are no change.
    #[arg(long)]
    pub changes: bool,
    /// Where --changes keeps what it found, instead of doctor.json in the data directory.
    #[arg(long, value_name = "FILE", requires = "changes")]
    pub state: Option<PathBuf>,
    /// Only this check; may be given several times.
    #[arg(long, value_name = "CHECK", conflicts_with = "changes", value_parser = doctor::names())]
    pub only: Vec<String>,
    /// Directory of backups, instead of that of the last one.
    #[arg(long, value_name = "DIR")]
    pub backups: Option<PathBuf>,
}
