//! Runs checks side by side, and waits for each as long as it may take.
use super::{Check, Finding, Level, Site};
use crossbeam_channel::{RecvTimeoutError, unbounded};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub check: &'static str,
    /// Its colour.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What is wrong, in words that do not change from day to day.
    pub causes: Vec<String>,
}

impl Outcome {
    pub(super) fn new(check: &Check, finding: Finding) -> Outcome {
        let Finding { level, found, remedy, causes } = finding;
        Outcome { check: check.name, level, found, remedy, causes }
    }
}

/// Since some moment.
pub(super) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let (s, ns) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(s.unwrap_or(0), ns.unwrap_or(0))
}

/// Runs the checks, in their order. One that does not end in its time is left to itself.
pub fn run(checks: &[&'static Check], site: &Arc<Site>) -> Vec<Outcome> {
    let begun = monotonic();
    let (tell, told) = unbounded();
    for (number, check) in checks.iter().copied().enumerate() {
        let (site, tell) = (Arc::clone(site), tell.clone());
        let work = move || {
            // Nobody waits any more if this is late.
            let _ = tell.send((number, (check.look)(&site)));
        };
        // Without a thread it is found to be late.
        let _ = std::thread::Builder::new().name(check.name.into()).spawn(work);
    }
    drop(tell);
    let mut results: Vec<Option<Outcome>> = checks.iter().map(|_| None).collect();
    loop {
        let spent = monotonic().saturating_sub(begun);
        let open = results.iter().zip(checks).filter(|(result, _)| result.is_none());
        let Some(longest) = open.map(|(_, check)| check.limit.saturating_sub(spent)).max() else { break };
        match told.recv_timeout(longest) {
            Ok((number, finding)) => {
                if let (Some(place), Some(check)) = (results.get_mut(number), checks.get(number)) {
                    *place = Some(Outcome::new(check, finding));
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let late = |(result, check): (Option<Outcome>, &&'static Check)| {
        result.unwrap_or_else(|| Outcome::new(check, check.late()))
    };
    results.into_iter().zip(checks).map(late).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::unseen;
    use super::super::testing::site;
    use super::*;

    #[test]
    fn a_check_that_hangs_or_panics_costs_itself() {
        fn hangs(_: &Site) -> Finding {
            std::thread::sleep(Duration::from_secs(600));
            unseen("never", "")
        }
        fn panics(_: &Site) -> Finding {
            std::panic::resume_unwind(Box::new("quietly"))
        }
        static HANGS: Check = Check::new("hangs", "", hangs).limit_ms(300);
        static PANICS: Check = Check::new("panics", "", panics).limit_ms(100).late_is_red();
        static WORKS: Check = Check::new("works", "", |_| unseen("seen", "nothing")).limit_ms(100);
        let results = run(&[&HANGS, &PANICS, &WORKS], &Arc::new(site()));
        let said: Vec<_> = results.iter().map(|one| (one.check, one.level, one.found.as_str())).collect();
        assert_eq!(said[0].0, "hangs");
        assert!(said[0].1 == Level::Yellow && said[0].2.contains("no result"), "{said:?}");
        assert!(said[1].1 == Level::Red, "{said:?}");
        assert_eq!(said[2].2, "seen");
    }
}
