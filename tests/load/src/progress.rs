//! How far a phase is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;

use godwit_testclient::micros;
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal: a line that often, µs.
const LINE_EVERY: u64 = 10_000_000;

/// Where progress goes.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    bar: Option<ProgressBar>,
    phase: String,
    said: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, bar: None, phase: String::new(), said: 0 }
    }

    /// A phase begins.
    pub(crate) fn begin(&mut self, phase: &str) {
        self.phase = phase.to_owned();
        self.said = micros();
        if self.terminal {
            let bar = ProgressBar::new_spinner().with_message(self.phase.clone());
            self.bar = Some(bar);
        }
    }

    /// So much is done.
    pub(crate) fn at(&mut self, done: u64, total: Option<u64>) {
        if self.phase.is_empty() {
            return;
        }
        if let Some(bar) = &self.bar {
            if let Some(total) = total.filter(|total| bar.length() != Some(*total)) {
                bar.set_length(total);
                let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            }
            bar.set_position(done);
        } else if micros().saturating_sub(self.said) > LINE_EVERY {
            self.said = micros();
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            println!("{}: {done}{of} ...", self.phase);
        }
    }

    /// The phase is over.
    pub(crate) fn end(&mut self) {
        self.phase.clear();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Says something without disturbing the bar.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }
}
