//! The server dies under load, at random moments and at every fail point; `SEED=` replays a schedule,
//! `KILLS=` changes the number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godwit_crash::{Kind, Plan, find_godwitd, run};

/// For each kill, when there are more than the default's.
const TIME_PER_KILL: Duration = Duration::from_secs(6);

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[allow(clippy::disallowed_methods, reason = "a fresh seed each time is what makes the test search")]
fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs())
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let godwitd = find_godwitd().unwrap_or_else(|error| panic!("{error}"));
    let defaults = Plan::default();
    let seed = from_environment("SEED").unwrap_or_else(fresh_seed);
    let kills = from_environment("KILLS").unwrap_or(defaults.kills);
    let time_max = defaults.time_max.max(TIME_PER_KILL * kills);
    let plan = Plan { seed, kills, time_max, ..defaults };
    println!("SEED={seed}");
    let tally = run(&plan, Kind::Godwit(godwitd)).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    println!("{tally}");
    assert_eq!(tally.kills, plan.kills + 1);
    assert!(tally.acknowledged > u64::from(plan.kills) * 10, "too little traffic to judge by:\n{tally}");
    assert_eq!(tally.violations, 0, "SEED={seed}\n{tally}");
}
