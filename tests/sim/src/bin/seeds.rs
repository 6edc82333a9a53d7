//! `seeds [COUNT] [FIRST]`: plays so many seeds on all cores, shows how fast and what they met. Exit status 1
//! if one failed, or if there were many and something that should happen did not.
use godwit_sim::sim::report;

/// So many seeds meet everything that there is to meet.
const MANY: u64 = 1_000;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (count, first) = (numbers.next().unwrap_or(Ok(1_000)), numbers.next().unwrap_or(Ok(1)));
    let (Ok(count), Ok(first)) = (count, first) else {
        eprintln!("usage: seeds COUNT [FIRST]");
        std::process::exit(2);
    };
    let report = report::many(first, count, &mut |line| println!("{line}"));
    println!("{report}");
    let unmet = if count < MANY { Vec::new() } else { report.unmet() };
    unmet.iter().for_each(|point| println!("never happened: {}", point.text()));
    std::process::exit(i32::from(!report.failures.is_empty() || !unmet.is_empty()));
}
