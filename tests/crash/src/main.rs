//! `godwit-crash`: the crash test at any length, for instance overnight.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use godwit_crash::{Kind, Loss, Plan, find_godwitd, run};

/// Kills a server at random moments and checks what it promised.
#[derive(Debug, Parser)]
#[command(name = "godwit-crash", version)]
struct Cli {
    /// The server; the others come from the system's packages and show that the oracle can fail.
    #[arg(long, value_enum, default_value = "godwit")]
    server: Which,
    /// The daemon (default: $GODWITD, or godwitd-failpoints beside this program).
    #[arg(long)]
    godwitd: Option<PathBuf>,
    /// The schedule's seed; successive rounds count on from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills in each round.
    #[arg(long, default_value_t = 40)]
    kills: u32,
    /// Rounds, each with a fresh database.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Sending clients.
    #[arg(long, default_value_t = 4)]
    senders: usize,
    /// Messages per second of each.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seconds that a round may take.
    #[arg(long, default_value_t = 600)]
    time_max: u64,
    /// With each kill the power goes too, and takes what was not synced: all of it, the end of it, or pages.
    #[arg(long, value_enum)]
    power: Option<Power>,
    /// Godwit acknowledges without syncing, to see the run fail.
    #[arg(long)]
    unsynced: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Power {
    All,
    Tail,
    Pages,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Godwit,
    Prosody,
    Ejabberd,
}

fn rounds(cli: &Cli) -> Result<bool, String> {
    let kind = match (cli.server, &cli.godwitd) {
        (Which::Prosody, _) => Kind::Prosody,
        (Which::Ejabberd, _) => Kind::Ejabberd,
        (Which::Godwit, Some(path)) => Kind::Godwit(path.clone()),
        (Which::Godwit, None) => Kind::Godwit(find_godwitd()?),
    };
    let mut kept = true;
    for seed in cli.seed..cli.seed.saturating_add(cli.rounds) {
        let time_max = Duration::from_secs(cli.time_max);
        let power = cli.power.map(|power| match power {
            Power::All => Loss::All,
            Power::Tail => Loss::Tail,
            Power::Pages => Loss::Pages,
        });
        let (kills, senders, rate, unsynced) = (cli.kills, cli.senders, cli.rate, cli.unsynced);
        let plan = Plan { seed, kills, senders, rate, time_max, power, unsynced };
        println!("SEED={seed}");
        let tally = run(&plan, kind.clone())?;
        println!("{tally}");
        kept &= tally.violations == 0;
    }
    Ok(kept)
}

fn main() -> ExitCode {
    match rounds(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("godwit-crash: {error}");
            ExitCode::FAILURE
        }
    }
}
