//! `one_seed SEED`: plays one seed again and shows the last events if something goes wrong.
use godwit_sim::sim::{run, template::Template};

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok());
    let Some(seed) = seed else {
        eprintln!("usage: one_seed SEED");
        std::process::exit(2);
    };
    let outcome = run(seed, &Template::default(), true);
    for event in &outcome.events {
        println!("{event}");
    }
    println!("seed {seed}: {} moves", outcome.moves);
    if let Some(failure) = outcome.failure {
        println!("seed {seed} FAILED: {failure}");
        std::process::exit(1);
    }
}
