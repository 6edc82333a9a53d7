//! Every transcript of `tests/transcripts/` against the machines, whole and cut into pieces at random.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::test_runner::{RngSeed, TestRng, TestRunner};
use std::path::{Path, PathBuf};

/// Random cuttings of each transcript.
const CUTTINGS: u32 = 12;
/// Longest piece of a cutting, in bytes.
const PIECE_BYTES_MAX: u32 = 40;

fn transcripts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts");
    let mut found = Vec::new();
    for group in ["ordinary", "hostile"] {
        for entry in std::fs::read_dir(root.join(group)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "transcript") {
                found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_transcript_runs_as_written() {
    let mut failures = Vec::new();
    let all = transcripts();
    for (path, text) in &all {
        if let Err(why) = support::script::run(text, None) {
            failures.push(format!("{}: {why}", path.file_name().unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), all.len(), failures.join("\n"));
    let hostile = all.iter().filter(|(path, _)| path.parent().unwrap().ends_with("hostile")).count();
    assert!(hostile >= 40 && all.len() - hostile >= 25, "{hostile} hostile of {}", all.len());
}

#[test]
fn how_the_bytes_are_cut_changes_nothing() {
    for (path, text) in transcripts() {
        if text.lines().any(|line| line == "WHOLE") {
            continue;
        }
        let name = path.file_name().unwrap().display().to_string();
        let whole = support::script::run(&text, None).unwrap();
        for seed in 0..CUTTINGS {
            let config =
                proptest::test_runner::Config { rng_seed: RngSeed::Fixed(seed.into()), ..Default::default() };
            let mut rng: TestRng = TestRunner::new(config).new_rng();
            // The longer the input, the larger the pieces: an oversized stanza byte by byte would take for
            // ever.
            let mut cut = |left: usize| {
                use proptest::prelude::Rng;
                let piece = (rng.next_u32() % PIECE_BYTES_MAX) as usize + 1;
                if left > 4096 { piece * 64 } else { piece }
            };
            let cut = support::script::run(&text, Some(&mut cut));
            let cut = cut.unwrap_or_else(|why| panic!("{name}, seed {seed}: {why}"));
            assert!(cut == whole, "{name}, seed {seed}: the output differs");
        }
    }
}
