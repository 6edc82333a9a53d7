//! The command line of `godwitd`, and what it does besides running the daemon.
use crate::certificates;
use crate::config::{Config, Problem, example};
use clap::Parser;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
The daemon runs in the foreground and logs to standard error, or to the journal under systemd.

EXIT STATUS
  0  stopped as it was told to; with --check: the configuration is fine
  1  the configuration is wrong, or the daemon could not start or had to give up; the message says why
  2  usage: a wrong option

SIGNALS
  SIGTERM, SIGINT  stop: every stream is closed with <system-shutdown/>, the store is flushed. The second one
                   stops at once; nothing that was acknowledged is lost by that
  SIGHUP           let a binary that was newly installed take over, without disconnecting anybody (in-place
                   upgrade); if there is none, read configuration and certificates again. A wrong one
                   changes nothing; the log and systemctl status say what is wrong

ENVIRONMENT
  GODWIT_LOG       goes before log.level, like info,godwit_edge=debug
  MALLOC_CONF      settings of the allocator (jemalloc)
  NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS, LISTEN_FDNAMES, JOURNAL_STREAM
                   from systemd: readiness, watchdog, sockets named c2s and c2s_tls, the journal

FILES
  /etc/godwit/godwit.toml   the configuration; --example-config prints one with every key explained
  /var/lib/godwit           data: store, admin.sock, keys";

/// Godwit, an XMPP messaging daemon.
#[derive(Debug, Parser)]
#[command(name = "godwitd", version = crate::version::version())]
#[command(about, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/godwit/godwit.toml")]
    pub config: PathBuf,
    /// Check the configuration, the certificates and the data directory, print every problem on a line of its
    /// own, and exit.
    #[arg(long, conflicts_with = "example_config")]
    pub check: bool,
    /// Print a configuration with every key, its default and its documentation, and exit.
    #[arg(long)]
    pub example_config: bool,
    /// Say whether this binary could take over from a running one (in-place upgrade), and exit.
    #[arg(long, hide = true, conflicts_with_all = ["check", "example_config"])]
    pub handover_check: bool,
}

/// Does what the command line says; `run` is the daemon.
pub fn main(cli: &Cli, run: impl FnOnce(&Path, Config) -> ExitCode) -> ExitCode {
    // Whatever the daemon makes is for its own user only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if cli.example_config {
        return print(&example());
    }
    let load = if cli.check || cli.handover_check { Config::examine } else { Config::load };
    let config = match load(&cli.config) {
        Ok(config) => config,
        Err(problems) => return refuse(&cli.config, &problems),
    };
    if cli.handover_check {
        return match serde_json::to_string(&crate::handover::check::Able::here(&config)) {
            Ok(able) => print(&(able + "\n")),
            Err(_) => ExitCode::FAILURE,
        };
    }
    if !cli.check {
        return run(&cli.config, config);
    }
    let metrics = config.metrics.and_then(crate::metrics::serve::warning);
    let now_s = i64::try_from((godwit_edge::clock::system())() / 1000).unwrap_or(i64::MAX);
    for warning in certificates::warnings(&config.certificates, now_s).into_iter().chain(metrics) {
        // Standard error may be closed; a warning does not change the exit code.
        let _ = writeln!(io::stderr(), "{}: warning: {warning}", cli.config.display());
    }
    print(&format!("{}: configuration is fine\n", cli.config.display()))
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints every problem on a line of its own.
fn refuse(file: &Path, problems: &[Problem]) -> ExitCode {
    for problem in problems {
        // Standard error may be closed; the exit code still says it.
        let _ = writeln!(io::stderr(), "{}: {problem}", file.display());
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
