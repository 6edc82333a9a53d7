//! The command line of `godwitctl backup`.
use super::args::Json;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Backup commands.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Make a backup of accounts, rosters and messages.
    ///
    /// Holds everything that was acknowledged before it began. The daemon goes on serving; without a daemon
    /// the store is opened. Files that DIR holds already are not copied again, so that each backup costs what
    /// is new, and each is whole by itself. What is written is readable by you only and not encrypted:
    /// encrypt the medium, or what you carry away. Configuration and certificates are not in it.
    Create(Create),
    /// List the backups in a directory, the oldest first.
    List(List),
    /// Read a backup and compare every file with its checksum.
    Verify(Verify),
    /// Restore a backup into a data directory that holds no store.
    ///
    /// The host's name plays no part: accounts belong to the domains that server.domains names. Refused while
    /// a daemon runs, and if there is a store already. Clients log in anew.
    Restore(Restore),
}

/// Where to, and how many are kept.
#[derive(Debug, Args)]
pub struct Create {
    /// Directory of backups; made if it is not there.
    pub dir: PathBuf,
    /// Afterwards remove all but the newest so many.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub keep: Option<u32>,
    /// Form of the output.
    #[command(flatten)]
    pub form: Json,
}

/// Which directory.
#[derive(Debug, Args)]
pub struct List {
    /// Directory of backups.
    pub dir: PathBuf,
    /// Form of the output.
    #[command(flatten)]
    pub form: Json,
}

/// Which backup.
#[derive(Debug, Args)]
pub struct Verify {
    /// Directory of backups.
    pub dir: PathBuf,
    /// Which one; the newest if it is not given.
    #[arg(long)]
    pub id: Option<String>,
    /// Also restore it in a directory beside the backups, read every row, and remove it again. Needs as much
    /// space as the backup has.
    #[arg(long)]
    pub restoring: bool,
}

/// Which backup, and where to.
#[derive(Debug, Args)]
pub struct Restore {
    /// Directory of backups.
    pub dir: PathBuf,
    /// Which one; the newest if it is not given.
    #[arg(long)]
    pub id: Option<String>,
    /// Data directory; the configuration's if it is not given.
    #[arg(long, value_name = "DATA_DIR")]
    pub into: Option<PathBuf>,
}
