//! How the server dies: by `kill -9` at a moment, or on its own at a fail point.
//!
//! The fail points are those of `store/src/points.rs`, in a daemon that was built with the feature
//! `failpoints`. All of them are taken in turn, each time after another number of passings.

use std::time::Duration;

use godwit_testclient::Rng;

/// If a fail point is not passed often enough within this time, a kill replaces it.
pub(crate) const POINT_WAIT_MAX: Duration = Duration::from_secs(4);

/// The place of a plain kill.
pub(crate) const BY_KILL: &str = "by kill -9";

/// The fail points and the passings after which one strikes at most: those of the writer are passed with each
/// round, hundreds of times a second, those of a session's life only with a login.
const POINTS: [(&str, u64); 15] = [
    ("store::before_batch", 300),
    ("store::before_write", 300),
    ("store::before_completions", 300),
    ("store::after_completions", 300),
    ("sm::enabled", 4),
    ("sm::detach", 3),
    ("sm::resume", 6),
    ("sm::take_over", 3),
    ("sm::moved", 5),
    ("sm::before_resumed", 4),
    ("sm::acked", 60),
    ("sm::end", 1),
    ("sm::revive", 7),
    ("sm::record", 40),
    ("sm::written", 40),
];

/// One death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Death {
    /// After this time.
    Kill(Duration),
    /// At this place, when it is passed for the so-many-th time.
    Point(&'static str, u64),
}

impl Death {
    /// The `n`th death of a run. `points`: the daemon has fail points.
    pub(crate) fn draw(n: u32, points: bool, rng: &mut Rng) -> Self {
        // Two in three at a fail point; of the moments every third meets the server and its clients while
        // they still recover from the last.
        let (round, step) = (n / 3, n % 3);
        if points && step > 0 {
            let turn = usize::try_from(round * 2 + step - 1).unwrap_or(0);
            if let Some((place, most)) = POINTS.get(turn % POINTS.len()) {
                return Self::Point(place, rng.between(0, *most));
            }
        }
        let pause = if rng.chance(33) { rng.between(10, 500) } else { rng.between(900, 2_800) };
        Self::Kill(Duration::from_millis(pause))
    }

    /// What the environment variable `FAILPOINTS` says for it.
    pub(crate) fn environment(&self) -> String {
        match self {
            Self::Kill(_) => String::new(),
            Self::Point(place, 0) => format!("{place}=return"),
            Self::Point(place, after) => format!("{place}={after}*off->return"),
        }
    }

    /// For the tally.
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Self::Kill(_) => BY_KILL,
            Self::Point(place, _) => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fail_point_has_its_turn() {
        let mut rng = Rng::new(1);
        let deaths: Vec<Death> = (0..24).map(|n| Death::draw(n, true, &mut rng)).collect();
        for (place, _) in POINTS {
            assert!(deaths.iter().any(|death| death.place() == place), "{place}");
        }
        let kills = deaths.iter().filter(|death| matches!(death, Death::Kill(_))).count();
        assert_eq!(kills, 8);
        assert!((0..9).all(|n| matches!(Death::draw(n, false, &mut rng), Death::Kill(_))));
    }
}
