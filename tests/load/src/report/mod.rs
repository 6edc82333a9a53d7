//! The page of a run: what was measured as tables and plots, one file that needs no network.

mod page;
mod plots;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Outcome;

/// Writes `index.html` into this directory, from the JSON lines of the run's phases, and returns its path.
pub(crate) fn write(dir: &Path, lines: &[Value]) -> Outcome<PathBuf> {
    let text = page::html(lines)?;
    let path = dir.join("index.html");
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(&path, text));
    written.map_err(|e| format!("--report {}: {e}", dir.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::data::Recorder;
    use crate::output::{Phase, Reading};
    use crate::server::Sample;

    fn phase(name: &str) -> Phase {
        let mut recorder = Recorder::new("login", "login", 0);
        (0..5_000_u64).for_each(|n| recorder.done(n * 1_000, 700 + n % 977));
        recorder.stop(5_000_000);
        recorder.tally.sessions = 100;
        let at = |n: u64| Sample {
            at: n * 1_000_000,
            rss: 50_000_000 + n * 1_000_000,
            cpu_fine: n * 400_000,
            switches: n * n * 100,
            ..Sample::default()
        };
        let reading = |n: u64| Reading { sample: at(n), syscalls: Some(n * 5_000) };
        Phase {
            scenario: "idle".into(),
            name: name.into(),
            label: Some("<b>".into()),
            tally: recorder.finish(),
            start: Some(at(0)),
            readings: (0..6).map(reading).collect(),
            ..Phase::default()
        }
    }

    #[test]
    fn a_page_has_its_plots_and_needs_no_network() {
        let dir = tempfile::tempdir().expect("a directory");
        let lines = [phase("idle.login").json(&["idle".into()]), phase("idle.held").json(&[])];
        let page = write(&dir.path().join("new"), &lines).expect("a page");
        let text = std::fs::read_to_string(page).expect("it is there");
        for title in
            ["throughput", "latency", "CPU", "resident", "context switches", "system calls", "per session"]
        {
            assert!(text.contains(title), "{title}");
        }
        assert!(text.matches("<svg").count() >= 14, "{}", text.matches("<svg").count());
        assert!(text.contains("&lt;b&gt;") && !text.contains("<b>"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_page_without_figures_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let page = write(dir.path(), &[]).expect("a page");
        assert!(std::fs::read_to_string(page).expect("it is there").contains("No phase was finished"));
    }
}
