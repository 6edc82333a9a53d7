//! The simulation itself: a seed is one run and no other.
use godwit_sim::sim::{run, template::Template};

#[test]
fn a_seed_plays_the_same_again() {
    let template = Template::default();
    for seed in [1, 42, 1_234_567] {
        let (first, again) = (run(seed, &template, true), run(seed, &template, true));
        assert_eq!(first.events, again.events, "seed {seed}");
        assert_eq!((first.moves, first.failure), (again.moves, again.failure), "seed {seed}");
        assert!(first.moves > 300 && !first.events.is_empty());
    }
}
