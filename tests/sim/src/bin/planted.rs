//! `planted [SEEDS]`: plants each of the bugs in turn and plays seeds until one of them finds it. Exit status
//! 0 only if all were found.
use godwit_session::planted::{Planted, plant};
use godwit_sim::sim::report;

/// A bug, its name, and words of the failures that tell of it and of no other.
type Bug = (Planted, &'static str, &'static [&'static str]);

const BUGS: [Bug; 3] = [
    (
        Planted::AcknowledgedBeforeFsync,
        "acknowledged before fsync",
        &["was acknowledged and never arrived", " got h="],
    ),
    (Planted::CursorOnSend, "cursor advanced on send", &["counts as handed over", "nobody acknowledged it"]),
    (Planted::DuplicateAfterResume, "duplicate after resume", &["twice in session"]),
];

fn main() {
    let seeds = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse::<u64>());
    let Ok(seeds) = seeds else {
        eprintln!("usage: planted [SEEDS]");
        std::process::exit(2);
    };
    let mut missed = 0;
    for (bug, name, words) in BUGS {
        plant(Some(bug));
        let tells = |failure: &str| words.iter().any(|words| failure.contains(words));
        let report = report::many_until(1, seeds, &tells, &mut |line| println!("{line}"));
        match report.failures.iter().find(|(_, failure)| tells(failure)) {
            Some((seed, failure)) => {
                println!("{name}: found by seed {seed}, {} seeds played: {failure}", report.seeds);
            }
            None => {
                missed += 1;
                println!("{name}: NOT found by {} seeds", report.seeds);
            }
        }
    }
    println!("{} passed, {missed} failed", BUGS.len() - missed);
    std::process::exit(i32::from(missed > 0));
}
