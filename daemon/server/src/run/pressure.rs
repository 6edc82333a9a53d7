//! The ceiling of resident memory: at it connections are turned away, with a reason, until there is room
//! again. What is there already goes on.
use super::daemon::Daemon;
use crate::metrics::process;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks. In this time a machine's cores let in some thousand sessions of 2 KB: a few MiB.
const LOOK: Duration = Duration::from_secs(1);
/// Below this part of the ceiling connections are taken again, in hundredths.
const OPEN_AGAIN_PERCENT: u64 = 97;

impl Daemon {
    /// Bytes of resident memory above which no connection is taken.
    pub(super) fn resident_max(&self) -> u64 {
        match self.config().raw.limits.memory_mb {
            0 => self.derived.resident_max,
            configured => configured << 20,
        }
    }
}

/// Whether to turn connections away, given whether they are now.
fn shut(resident: u64, max: u64, is_shut: bool) -> bool {
    resident >= if is_shut { max / 100 * OPEN_AGAIN_PERCENT } else { max }
}

/// Looks for as long as the daemon runs.
pub(super) async fn look_after(daemon: Arc<Daemon>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (resident, max) = (process::resident().all, daemon.resident_max());
        let was = daemon.connections.is_shut();
        let now = shut(resident, max, was);
        if now == was {
            continue;
        }
        daemon.connections.shut(now);
        let (resident_mb, memory_mb) = (resident >> 20, max >> 20);
        if now {
            tracing::error!(
                resident_mb,
                memory_mb,
                "memory is at its ceiling: no further connection is taken"
            );
            // Memtables are the largest part that can be given back at once.
            super::watch::flush(&daemon).await;
        } else {
            tracing::info!(resident_mb, memory_mb, "connections are taken again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_again_only_with_some_room() {
        assert!(!shut(999, 1_000, false) && shut(1_000, 1_000, false));
        assert!(shut(980, 1_000, true) && !shut(960, 1_000, true));
        assert!(!shut(980, 1_000, false));
    }
}
