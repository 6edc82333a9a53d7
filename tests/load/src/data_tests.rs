//! Histograms and tallies survive the way between processes and add up.

use super::{Latency, Recorder, Tally};

#[test]
fn histograms_survive_the_wire_and_add_up() {
    let (mut a, mut b) = (Latency::default(), Latency::default());
    (1..=1000).for_each(|n| a.record(n * 10));
    (1..=1000).for_each(|n| b.record(n * 1000));
    let text = serde_json::to_string(&a).expect("JSON");
    let mut both: Latency = serde_json::from_str(&text).expect("a histogram");
    assert_eq!(both.quantile(0.5), a.quantile(0.5));
    both.add(&b);
    assert_eq!(both.count(), 2000);
    assert_eq!(both.quantile(1.0), b.quantile(1.0));
    // v/10 of the one and v/1000 of the other make 1000 at v = 9,901; three digits: within a thousandth.
    assert!(both.quantile(0.5).abs_diff(9_901) <= 10, "{}", both.quantile(0.5));
    assert_eq!(Latency::default().quantile(0.99), 0);
}

#[test]
fn a_latency_beyond_the_bounds_is_kept_as_the_bound() {
    let mut latency = Latency::default();
    latency.record(u64::MAX);
    latency.record(0);
    assert_eq!(latency.count(), 2);
    assert!(latency.quantile(1.0) >= super::LATENCY_MAX);
}

/// A server stalls for 5 of 10 s under 100 messages per second. From the moment they were due, the half of
/// all messages waited; from the moment they were sent, a hundredth would have.
#[test]
fn a_stall_counts_for_everything_that_was_due_in_it() {
    let mut recorder = Recorder::new("message", "delivery", 0);
    for n in 0..1000_u64 {
        let due = n * 10_000;
        let done = if due < 5_000_000 { 5_000_000 } else { due } + 1_000;
        recorder.done(done, done - due);
    }
    recorder.stop(10_000_000);
    let tally = recorder.finish();
    let delivery = tally.latency.get("delivery").expect("recorded");
    assert!(delivery.quantile(0.49) <= 1_001);
    assert!(delivery.quantile(0.75).abs_diff(2_500_000) < 30_000, "{}", delivery.quantile(0.75));
    assert_eq!(tally.series.len(), 10);
    let done: Vec<u64> = tally.series.iter().map(|s| s.done).collect();
    assert_eq!(done, [0, 0, 0, 0, 0, 600, 100, 100, 100, 100]);
}

#[test]
fn shares_of_a_phase_add_up() {
    let share = |wrong: u64, seconds: u64| {
        let mut recorder = Recorder::new("login", "login", 1_000_000);
        recorder.done(1_500_000, 500);
        recorder.done(2_500_000, 700);
        (0..wrong).for_each(|_| recorder.wrong("failed", 2_600_000, Some("refused".into())));
        recorder.stop(1_000_000 + seconds * 1_000_000);
        recorder.tally.sessions = 2;
        recorder.finish()
    };
    let mut all = Tally::default();
    all.merge(share(0, 2));
    all.merge(share(3, 4));
    assert_eq!((all.units, all.sessions, all.wrong()), (4, 4, 3));
    assert!((all.seconds - 4.0).abs() < 1e-9 && (all.per_second() - 1.0).abs() < 1e-9);
    assert_eq!(
        all.series.iter().map(|s| (s.done, s.wrong)).collect::<Vec<_>>(),
        [(2, 0), (2, 3), (0, 0), (0, 0)]
    );
    assert_eq!(all.error.as_deref(), Some("refused"));
    assert_eq!(all.latency.get("login").map(Latency::count), Some(4));
}
