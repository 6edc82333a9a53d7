//! What the tests take from the environment, and how they run a plan.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godwit_crash::{Kind, Plan, Tally, find_godwitd, run};

/// For each kill, when there are more than the default's.
const TIME_PER_KILL: Duration = Duration::from_secs(6);

/// `KILLS`, if it is set.
pub(crate) fn kills() -> Option<u32> {
    from_environment("KILLS")
}

/// Runs a plan on the daemon with fail points, with the seed of `SEED` or a fresh one.
pub(crate) fn tally(plan: &Plan) -> Tally {
    let godwitd = find_godwitd().unwrap_or_else(|error| panic!("{error}"));
    let seed = from_environment("SEED").unwrap_or_else(fresh_seed);
    let time_max = plan.time_max.max(TIME_PER_KILL * plan.kills);
    let plan = Plan { seed, time_max, ..plan.clone() };
    println!("SEED={seed}");
    let tally = run(&plan, Kind::Godwit(godwitd)).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    println!("{tally}");
    assert_eq!(tally.kills, plan.kills + 1);
    tally
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[allow(clippy::disallowed_methods, reason = "a fresh seed each time is what makes the test search")]
fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs())
}
