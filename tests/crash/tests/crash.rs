//! The server dies under load, at random moments and at every fail point; `SEED=` replays a schedule,
//! `KILLS=` changes the number.

mod common;

use godwit_crash::Plan;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let kills = common::kills().unwrap_or(Plan::default().kills);
    let tally = common::tally(&Plan { kills, ..Plan::default() });
    assert!(tally.acknowledged > u64::from(kills) * 10, "too little traffic to judge by:\n{tally}");
    assert_eq!(tally.violations, 0, "{tally}");
}
