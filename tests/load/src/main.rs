//! `godwit-load`: puts load on any XMPP server and measures what it costs there.
//!
//! One process, one mio loop. A client costs 16 to 32 KB here (rustls keeps its buffers); what is measured is
//! the server's cost. Open descriptors and ports bound one process: run several, each with its `--source`.

mod chat;
mod idle;
mod login;
mod offline;
mod options;
mod pair;
mod procstat;
mod ramp;
mod register;
mod report;
mod syscalls;

use std::process::ExitCode;

use clap::Parser as _;
use godwit_testclient::{Pool, raise_descriptor_limit};

use crate::options::{Cli, Scenario};
use crate::report::Report;

/// Any failure of a scenario, as text for the person at the terminal.
type Outcome<T> = Result<T, String>;

fn run(cli: &Cli) -> Outcome<()> {
    let limit = raise_descriptor_limit().map_err(|e| format!("raising the descriptor limit: {e}"))?;
    let mut report = Report::new(cli.common.json.as_deref())?;
    println!("godwit-load: {} over {}; at most {limit} descriptors", cli.common.addr, cli.common.tls_name());
    let mut pool = Pool::new(cli.common.settings()?).map_err(|e| e.to_string())?;
    match &cli.scenario {
        Scenario::Register(o) => register::run(&mut pool, &cli.common, o, &mut report),
        Scenario::Login(o) => login::run(&mut pool, &cli.common, o, &mut report),
        Scenario::Idle(o) => idle::run(&mut pool, &cli.common, o, &mut report),
        Scenario::Chat(o) => chat::run(&mut pool, &cli.common, o, &mut report),
        Scenario::Offline(o) => offline::run(&mut pool, &cli.common, o, &mut report),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("godwit-load: {error}");
            ExitCode::FAILURE
        }
    }
}
