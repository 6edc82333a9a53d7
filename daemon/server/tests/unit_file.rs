//! The unit file is as hard as it says.
use std::path::Path;
use std::process::Command;

/// Highest exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE_TENTHS_MAX: u32 = 12;

fn unit() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/godwit.service").into()
}

#[test]
fn exposure_is_at_most_one_point_two() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    }
    let run = Command::new("/usr/bin/systemd-analyze").args(["security", "--offline=true", &unit()]).output();
    let output = run.expect("systemd-analyze runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("Overall exposure level")).expect("an overall line");
    let figure = line.split_whitespace().find_map(|word| word.parse::<f32>().ok()).expect("a figure");
    assert!((figure * 10.0).round() <= EXPOSURE_TENTHS_MAX as f32, "{line}");
}

#[test]
fn the_unit_says_what_the_daemon_relies_on() {
    let text = std::fs::read_to_string(unit()).expect("unit file");
    for line in ["Type=notify-reload", "WatchdogSec=30s", "CapabilityBoundingSet=", "StateDirectory=godwit"] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
    assert!(text.lines().any(|line| line.starts_with("LimitNOFILE=")));
}
