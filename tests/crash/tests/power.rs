//! Power loss: with each kill, what was not synced is gone too. `KILLS=` is the number for all three kinds.

mod common;

use godwit_crash::{Loss, Plan};

/// Power losses of each kind in a short run.
const KILLS: u32 = 10;
/// So many are enough to see that a daemon does not sync.
const KILLS_UNSYNCED: u32 = 3;

#[test]
fn what_was_acknowledged_survives_power_loss() {
    for loss in [Loss::All, Loss::Tail, Loss::Pages] {
        let kills = common::kills().map_or(KILLS, |kills| kills.div_ceil(3));
        let tally = common::tally(&Plan { kills, power: Some(loss), ..Plan::default() });
        assert!(tally.acknowledged > u64::from(kills) * 10, "too little traffic to judge by:\n{tally}");
        assert_eq!(tally.violations, 0, "{loss:?}\n{tally}");
    }
}

/// The layer can fail: the same daemon without its syncs loses messages on it.
#[test]
fn a_daemon_that_does_not_sync_is_found_out() {
    let plan = Plan { kills: KILLS_UNSYNCED, power: Some(Loss::All), unsynced: true, ..Plan::default() };
    assert!(common::tally(&plan).lost > 0);
}
