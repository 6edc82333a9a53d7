//! `kill -9` at random moments, twenty times; `SEED=` replays a schedule, `KILLS=` changes the number.

use std::time::{SystemTime, UNIX_EPOCH};

use godwit_crash::{Kind, Plan, find_godwitd, run};

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
    let plan = Plan { seed, kills: from_environment("KILLS").unwrap_or(defaults.kills), ..defaults };
    println!("SEED={seed}");
    let tally = run(&plan, Kind::Godwit(godwitd)).unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    println!("{tally}");
    assert_eq!(tally.kills, plan.kills + 1);
    assert!(tally.acknowledged > u64::from(plan.kills) * 10, "too little traffic to judge by:\n{tally}");
    assert_eq!(tally.violations, 0, "SEED={seed}\n{tally}");
}
