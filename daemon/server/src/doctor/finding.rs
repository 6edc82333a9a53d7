//! What a check finds: green, or what is wrong with the remedy. A check may find several things; the worst
//! one is its colour.
use serde::{Deserialize, Serialize};

/// A colour, the better one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Green,
    /// Works, and is not as it should be; or could not be seen.
    Yellow,
    /// Broken, or about to be.
    Red,
}

impl Level {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Level::Green => "green",
            Level::Yellow => "yellow",
            Level::Red => "RED",
        }
    }
}

/// What a check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its colour.
    pub level: Level,
    /// What was found, the worst first.
    pub found: String,
    /// What to do about the worst of it; nothing if all is green.
    pub remedy: Option<String>,
    /// What is wrong in words that do not change from day to day, sorted; `unseen` for what could not be
    /// looked at. `--changes` compares these.
    pub causes: Vec<String>,
}

/// Said by a check whose subject cannot be looked at.
pub const UNSEEN: &str = "unseen";

/// Collects what a check finds.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

#[derive(Debug)]
struct Note {
    level: Level,
    cause: &'static str,
    text: String,
    remedy: String,
}

impl Notes {
    /// Broken.
    pub(super) fn red(&mut self, cause: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Note { level: Level::Red, cause, text: text.into(), remedy: remedy.into() });
    }

    /// Not as it should be.
    pub(super) fn yellow(&mut self, cause: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Note { level: Level::Yellow, cause, text: text.into(), remedy: remedy.into() });
    }

    /// Red from one bound on, yellow from another.
    pub(super) fn graded(
        &mut self,
        level: Level,
        cause: &'static str,
        text: String,
        remedy: impl Into<String>,
    ) {
        self.0.push(Note { level, cause, text, remedy: remedy.into() });
    }

    /// Could not be looked at: why, and what would show it.
    pub(super) fn unseen(&mut self, why: impl Into<String>, remedy: impl Into<String>) {
        self.yellow(UNSEEN, why, remedy);
    }

    /// The finding; `good` is said if nothing is wrong.
    pub(super) fn finish(self, good: impl Into<String>) -> Finding {
        let mut notes = self.0;
        // Stable: what was noted first comes first among equals.
        notes.sort_by_key(|note| std::cmp::Reverse(note.level));
        let Some(worst) = notes.first() else {
            return Finding { level: Level::Green, found: good.into(), remedy: None, causes: Vec::new() };
        };
        let (level, remedy) = (worst.level, Some(worst.remedy.clone()).filter(|text| !text.is_empty()));
        let found = notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("; ");
        let mut causes: Vec<String> = notes.iter().map(|note| note.cause.to_owned()).collect();
        causes.sort_unstable();
        causes.dedup();
        Finding { level, found, remedy, causes }
    }
}

/// Only this.
pub(super) fn unseen(why: impl Into<String>, remedy: impl Into<String>) -> Finding {
    let mut notes = Notes::default();
    notes.unseen(why, remedy);
    notes.finish("")
}

/// What a check says that only a running daemon can answer.
pub(super) fn needs_daemon() -> Finding {
    unseen("needs the running daemon", "see the check daemon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_gives_colour_and_remedy_and_all_is_told() {
        let mut notes = Notes::default();
        assert_eq!(Notes::default().finish("well").level, Level::Green);
        notes.yellow("b", "second", "wait");
        notes.red("a", "first", "act");
        notes.yellow("b", "third", "wait");
        let finding = notes.finish("well");
        assert_eq!(finding.level, Level::Red);
        assert_eq!(finding.found, "first; second; third");
        assert_eq!(finding.remedy.as_deref(), Some("act"));
        assert_eq!(finding.causes, ["a", "b"]);
        assert_eq!(needs_daemon().causes, [UNSEEN]);
    }
}
