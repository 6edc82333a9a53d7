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
    /// is new, and each is whole by itself. What is written is readable by you only, and encrypted if it is
    /// told to whom. Configuration and certificates are not in it.
    ///
    /// With - the whole backup goes to standard output as one stream, a tar archive (inside a file of age, if
    /// it is encrypted): godwitctl backup create - | ssh elsewhere 'cat > godwit.tar'. Status and metrics
    /// count it as made when it was written; whether it arrived whole, backup verify - says there.
    ///
    /// Encryption is to public keys in the format of age (age-encryption.org): the box that makes backups
    /// cannot read them. A backup without the secret key is lost: keep the key elsewhere, and try it with
    /// backup verify --identity FILE.
    Create(Create),
    /// List the backups in a directory, the oldest first.
    List(List),
    /// Read a backup and compare every file with its checksum.
    ///
    /// One that is encrypted is read as it is, which finds damage, unless there is an --identity: then it is
    /// decrypted as well. A stream (-) that is encrypted needs one.
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
    /// Directory of backups, made if it is not there; - for a stream to standard output.
    pub dir: PathBuf,
    /// Encrypt it to this public key (age1…, as age-keygen prints it).
    ///
    /// May be given several times: the owner of any of the keys can restore alone. In a directory the
    /// manifest stays readable: names and sizes of the store's files, host, domains and recipients. Other
    /// recipients than last time: everything is copied anew.
    #[arg(long, value_name = "RECIPIENT")]
    pub encrypt_to: Vec<String>,
    /// Encrypt it to the public keys in this file, one in each line; # begins a remark. May be given several
    /// times.
    #[arg(long, value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
    /// Afterwards remove all but the newest so many. Not for a stream.
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
    /// Directory of backups; - for a stream on standard input.
    pub dir: PathBuf,
    /// Which one; the newest if it is not given. Not for a stream.
    #[arg(long)]
    pub id: Option<String>,
    /// File with the secret key of a recipient, as age-keygen makes it, if it is encrypted. May be given
    /// several times.
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Also restore it in a directory beside the backups, read every row, and remove it again.
    ///
    /// Needs as much space as the backup has. What is encrypted lies there decrypted meanwhile, readable by
    /// you only; if this command is killed, the next one on that directory removes it.
    #[arg(long)]
    pub restoring: bool,
}

/// Which backup, and where to.
#[derive(Debug, Args)]
pub struct Restore {
    /// Directory of backups; - for a stream on standard input.
    pub dir: PathBuf,
    /// Which one; the newest if it is not given. Not for a stream.
    #[arg(long)]
    pub id: Option<String>,
    /// File with the secret key of a recipient, as age-keygen makes it, if it is encrypted. May be given
    /// several times.
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Data directory; the configuration's if it is not given. If the restoring fails, nothing is left there.
    #[arg(long, value_name = "DATA_DIR")]
    pub into: Option<PathBuf>,
}
