//! The command line of `godwitctl`.
pub use super::backup_args::Backup;
pub use super::doctor_args::Doctor;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = "\
EXIT STATUS
  0  done
  1  failed; the message says why
  2  usage: a wrong option, address or password
  3  no daemon is running (or it cannot be reached), and the command needs one
  4  there is no such account
  5  the account exists already

FILES
  /etc/godwit/godwit.toml   the configuration, for the data directory and the socket
  DATA_DIR/admin.sock       where the daemon listens; only its own user and root may connect

Account commands go through the running daemon. If none is running they open the store in the data directory \
themselves; run by root, they do so as the directory's owner. Standard error says which of\nthe two it was.";

/// Administers Godwit.
#[derive(Debug, Parser)]
#[command(name = "godwitctl", version = crate::version::version())]
#[command(about, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Ctl {
    /// Configuration file of the daemon.
    #[arg(long, value_name = "FILE", default_value = "/etc/godwit/godwit.toml", global = true)]
    pub config: PathBuf,
    /// Socket of the daemon, if it is not the one that the configuration says.
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, change, remove and list accounts.
    #[command(subcommand)]
    Account(Account),
    /// Remove stored messages.
    #[command(subcommand)]
    Archive(Archive),
    /// Make, list, verify and restore backups.
    #[command(subcommand)]
    Backup(Backup),
    /// Update the machine, where it runs Godwit's image.
    #[command(subcommand)]
    Image(Image),
    /// Show the level of the daemon's log, or change it while the daemon runs.
    ///
    /// What is set here survives nothing: a reload, a restart and an in-place upgrade go back to what the
    /// configuration says (`level` in its section `log`, or the environment variable GODWIT_LOG). Nothing is
    /// written to the configuration.
    Log(Log),
    /// Examine the box: daemon, limits, disk, certificates, DNS, ports, backups. Says what to do.
    ///
    /// About thirty checks run at the same time, each for some seconds at most. Each is green, yellow (it
    /// works and is not as it should be, or could not be seen) or red (broken, or about to be), and says
    /// what was found and what to do. Nothing is changed.
    ///
    /// Runs with the daemon up or down; a check that needs it says so. Needs no root; what only root or the
    /// daemon's user may see is told as not seen. godwit-doctor.timer runs it each hour with --changes, so
    /// that a mail comes when something changes, and only then.
    Doctor(Doctor),
    /// Show the daemon's state.
    Status(Json),
    /// Show who is online.
    Sessions(Json),
    /// Look after the store.
    #[command(subcommand)]
    Store(Store),
    /// Show load, latency, sessions, store, memory, limits and alerts, again and again.
    ///
    /// Keys: q quits, p pauses, ? explains the figures. Made for 80 columns and 24 rows or more; without
    /// colours if NO_COLOR is set. A daemon that is restarted is found again.
    Top(Top),
    /// Show each step that a message took, with times. Never its text.
    Trace(Trace),
    /// Replace the running daemon's program by another one, without disconnecting anybody.
    ///
    /// The new binary is asked first whether it can take over. Then everything is handed to it within the
    /// same process; clients see a short pause. If anything fails before that, the daemon goes on as it was.
    /// The configuration is read anew, so this also applies keys that a reload cannot.
    Upgrade(Upgrade),
    /// Print the limits that fit a machine (this one, or the one described), or compare this one with them.
    Limits(Limits),
}

/// Account commands.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account. The password is read from standard input: one line, not shown on a terminal.
    Add(WithPassword),
    /// Give an account another password, read like that of `add`.
    Passwd(WithPassword),
    /// Remove an account with its roster and all its messages. Its sessions end.
    Remove(Jid),
    /// Print everything that is held about an account as JSON, messages with their texts included.
    ///
    /// One object: format, jid, created_ms, password_keys (which are held; not the keys), roster,
    /// roster_version, last_activity, archive_preferences, sessions, nodes, items (what was published, as
    /// XML), messages (the archive: stanza_id, at_ms, incoming, with, resource, hidden, stanza as XML). What
    /// others hold, like their side of a conversation, is theirs. Fields are added, never renamed.
    Export(Jid),
    /// List the accounts in the order of their addresses.
    List(Json),
    /// Show where an account's messages are: its sessions, what waits, its archive. Never a message's text.
    Inspect(Inspect),
}

/// Image commands.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Install a new version of the whole machine into its other slot. It runs from the next restart on.
    ///
    /// The files and their signature are what `make image` has made; a version that the image's key has not
    /// signed is refused. Where the new version does not come up, the old one does, by itself.
    Update(ImageUpdate),
}

/// Where an update comes from.
#[derive(Debug, Args)]
pub struct ImageUpdate {
    /// An http or https URL, or the absolute path of a folder, with the files, SHA256SUMS and SHA256SUMS.gpg;
    /// instead of what the machine is configured for (if nothing, /var/lib/godwit-update).
    #[arg(long, value_name = "URL|DIR")]
    pub from: Option<String>,
}

/// Store commands.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Read every row and check that the store is whole.
    ///
    /// Every row is read from the disk and its checksum compared; every record must be readable and belong
    /// to an account, and the index of every archive must have what the archive has. Nothing is changed,
    /// whatever is found. Damage is printed with the name of the file, on standard error; the exit status
    /// is 0 if the store is whole and 1 if it is not.
    ///
    /// A running daemon does it itself, on a thread of low priority, and goes on serving; if godwitctl is
    /// stopped it reads on, and the log says what it found. Without a daemon godwitctl reads the store, and
    /// no daemon can start meanwhile.
    ///
    /// To repair: stop the daemon, move the store away, restore a backup, and start. What can still be read
    /// of a damaged store is not deleted by anything here.
    Verify(Json),
}

/// Archive commands.
#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Remove an account's stored messages, also those that were never delivered. Its clients keep what they
    /// have.
    Purge(Purge),
}

/// An account, and how much of its archive.
#[derive(Debug, Args)]
pub struct Purge {
    /// Address of the account, like alice@example.org.
    pub jid: String,
    /// Only messages from before this moment, like 2026-01-31 (its beginning, in UTC) or
    /// 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = moment)]
    pub before: Option<u64>,
}

/// An account.
#[derive(Debug, Args)]
pub struct Jid {
    /// Address of the account, like alice@example.org.
    pub jid: String,
}

/// A message, and the form of the output.
#[derive(Debug, Args)]
pub struct Trace {
    /// Its id in the archive of its sender or recipient (16 hexadecimal digits), or the one that its sender
    /// gave it.
    pub id: String,
    /// Account of its sender or recipient: needed to find an older message by its sender's id, and quicker.
    #[arg(long, value_name = "JID")]
    pub account: Option<String>,
    /// Form of the output.
    #[command(flatten)]
    pub form: Json,
}

/// A level, and the form of the output.
#[derive(Debug, Args)]
pub struct Log {
    /// error, warn, info, debug, trace or off; levels by module may follow: info,godwit_edge=debug. At debug
    /// each connection has lines of its own.
    #[arg(long, value_name = "LEVEL[,MODULE=LEVEL...]")]
    pub level: Option<String>,
    /// Go back to what the configuration says.
    #[arg(long, conflicts_with = "level")]
    pub reset: bool,
    /// Form of the output.
    #[command(flatten)]
    pub form: Json,
}

/// How often, and whether more than once.
#[derive(Debug, Args)]
pub struct Top {
    /// Between two looks at the daemon, like 500ms or 2s.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Print one frame as text and end; its rates are those of one interval. 80 columns and 24 rows, or as
    /// many as the terminal has.
    #[arg(long)]
    pub once: bool,
}

/// An account, and the form of the output.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Address of the account, like alice@example.org.
    pub jid: String,
    /// Form of the output.
    #[command(flatten)]
    pub form: Json,
}

/// An account and where its password comes from.
#[derive(Debug, Args)]
pub struct WithPassword {
    /// Address of the account, like alice@example.org.
    pub jid: String,
    /// Make a password of 100 random bits and print it on standard output, instead of reading one.
    #[arg(long)]
    pub generate: bool,
}

/// Form of the output.
#[derive(Debug, Args)]
pub struct Json {
    /// Print JSON: fields are added in later versions, never renamed. Times in ms since 1970, sizes in bytes.
    #[arg(long)]
    pub json: bool,
}

/// Another binary.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The binary, instead of the one at the path from which the daemon was started.
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Only ask whether it could take over.
    #[arg(long)]
    pub dry_run: bool,
    /// Form of the output.
    #[command(flatten)]
    pub form: Json,
}

/// A machine, and the form of the output.
#[derive(Debug, Args)]
pub struct Limits {
    /// Memory, like 64G or 2048M; this machine's if it is not given.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub ram: Option<u64>,
    /// Cores; this machine's if it is not given.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cores: Option<u32>,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Compare what is in force on this machine, and for a running daemon, with what is derived: a line for
    /// each limit; the exit status is 1 if one is not as it should be.
    #[arg(long, conflicts_with = "format")]
    pub verify: bool,
}

/// Forms of the limits.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// For people, with reasons.
    Table,
    /// A file for /etc/sysctl.d.
    Sysctl,
    /// A drop-in for the service's unit.
    Systemd,
    /// A file for /etc/tmpfiles.d, for what is below /sys.
    Tmpfiles,
    /// For programs.
    Json,
}

/// Milliseconds since 1970 of a day's beginning, or of a date and time.
fn moment(text: &str) -> Result<u64, String> {
    let full = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let moment = godwit_modules::xep0082_time::parse(&full).and_then(|at| u64::try_from(at.ms).ok());
    moment.ok_or_else(|| "write a date like 2026-01-31 or 2026-01-31T12:00:00Z".into())
}

/// Between two looks: from a tenth of a second to an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_secs(3_600);
    let time = humantime::parse_duration(text).ok().filter(|time| range.contains(time));
    time.ok_or_else(|| "write a time from 100ms to 1h, like 2s".into())
}

/// A size with a unit of K, M, G or T (powers of 1,024).
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim_end_matches("iB").trim_end_matches('B');
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("write a number and K, M, G or T, like 64G".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write a number and K, M, G or T, like 64G")?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes >= 256 << 20)
        .ok_or_else(|| "write at least 256M".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Ctl::command().debug_assert();
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(moment("2010-07-10"), Ok(1_278_720_000_000));
        assert_eq!(moment("2010-07-10T23:08:25Z"), Ok(1_278_803_305_000));
        assert!(moment("yesterday").is_err() && moment("1969-01-01").is_err() && moment("").is_err());
    }

    #[test]
    fn intervals_are_read() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("99ms").is_err() && interval("2h").is_err() && interval("soon").is_err());
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("64G"), Ok(64 << 30));
        assert_eq!(size("2048MiB"), Ok(2 << 30));
        assert!(
            size("64").is_err() && size("G").is_err() && size("1M").is_err() && size("99999999999T").is_err()
        );
    }
}
