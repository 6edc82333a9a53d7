//! `godwit-load`: puts load on any XMPP server and measures what it costs there.
//!
//! A coordinator and workers, processes of the same program (`--processes`); each worker is one mio loop
//! with its share of the accounts. Descriptors and ports bound one process: more of them, with `--source`,
//! go past.

mod conduct;
mod coordinator;
mod data;
mod keeper;
mod link;
mod logins;
mod mix;
mod muc;
mod options;
mod outbox;
mod output;
mod progress;
mod report;
mod saturation;
mod scenario;
mod server;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::Cli;

/// Any failure of a scenario, as text for the person at the terminal.
type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.worker {
        Some(share) => worker::run(cli, share),
        None => coordinator::run(&cli),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("godwit-load: {error}");
            ExitCode::FAILURE
        }
    }
}
