//! The search for the knee against servers that are formulas.

use super::{Conductor, Search, Stage};
use crate::data::Recorder;
use crate::link::Order;
use crate::options::{Cli, Scenario};
use crate::output::Phase;
use clap::Parser as _;

fn search(line: &str) -> Search {
    match Cli::try_parse_from(line.split(' ')).expect("good").scenario {
        Scenario::Ramp(options) => Search::new(&options),
        other => panic!("{other:?}"),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
/// A phase as a server that can do `capacity` per second would have it.
fn phase(name: Option<String>, rate: f64, seconds: f64, capacity: f64) -> Phase {
    let mut recorder = Recorder::new("message", "delivery", 0);
    let share = (capacity / rate).min(1.0);
    for n in 0..1000_u32 {
        let done = f64::from(n) / 1000.0 < share;
        // Beyond its capacity the queue grows for as long as the step takes.
        let micros =
            if share < 1.0 { (1.0 - share) * seconds * 1e6 * f64::from(n) / 1000.0 } else { 2_000.0 };
        if done {
            recorder.done(0, micros as u64);
        } else {
            recorder.latency("delivery", micros as u64);
        }
    }
    recorder.stop((seconds * 1e6) as u64);
    let mut tally = recorder.finish();
    tally.units = (rate * seconds * share) as u64;
    Phase { name: name.unwrap_or_default(), offered: Some(rate), tally, ..Phase::default() }
}

fn run(search: &mut Search, capacity: f64) -> Vec<f64> {
    let mut rates = Vec::new();
    for _ in 0..100 {
        let (Order::Load { rate, seconds }, name) = search.order() else { return rates };
        rates.push(rate);
        search.judge(&mut phase(name, rate, seconds, capacity));
    }
    panic!("it never ends: {rates:?}");
}

#[test]
fn the_knee_is_found_between_the_last_good_and_the_first_bad_step() {
    let mut search = search("godwit-load ramp --from 100 --factor 2 --refine 4");
    run(&mut search, 1_000.0);
    let knee = search.knee().rate;
    assert!((900.0..=1_060.0).contains(&knee), "{knee}");
    assert!(search.bad.is_some_and(|bad| bad > knee && bad < knee * 1.1));
    let mut end = Phase { name: "ramp.settle".into(), ..Phase::default() };
    search.judge(&mut end);
    assert_eq!(end.extra["ramp"]["found"], true);
}

#[test]
fn a_server_that_never_breaks_ends_the_search_too() {
    let mut search = search("godwit-load ramp --from 100 --factor 2 --steps-max 6 --overload 2");
    let rates = run(&mut search, 1e9);
    assert_eq!(rates.first(), Some(&100.0));
    // Six steps up to 3,200, then twice that, then half.
    assert_eq!(rates.get(5..), Some([3_200.0, 6_400.0, 1_600.0].as_slice()));
    assert_eq!(search.stage, Stage::Settle);
}

#[test]
fn a_known_knee_is_not_searched() {
    let mut search = search("godwit-load ramp --knee 500 --overload 3");
    assert_eq!(run(&mut search, 600.0), [500.0, 1_500.0, 250.0]);
    assert_eq!(search.overload["recovered"], true);
}

#[test]
fn a_server_that_is_too_slow_for_the_first_step_has_no_knee() {
    let mut search = search("godwit-load ramp --from 1000");
    assert_eq!(run(&mut search, 10.0), [1000.0]);
    let mut end = Phase { name: "ramp.settle".into(), ..Phase::default() };
    search.judge(&mut end);
    assert!(end.extra["ramp"]["knee_per_second"].is_null());
}

#[test]
fn other_scenarios_simply_go() {
    let cli = Cli::try_parse_from(["godwit-load", "idle"]).expect("good");
    assert_eq!(Conductor::new(&cli.scenario).order("idle.login"), (Order::Go, None));
}
