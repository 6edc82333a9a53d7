//! Which level is in force, and who said so; what is accepted as one.
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::EnvFilter;

/// Crates whose events reach the log: a module of anything else never says a word.
const CRATES: [&str; 6] =
    ["godwit_edge", "godwit_modules", "godwit_server", "godwit_session", "godwit_store", "godwit_wire"];

/// What was said of the level.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogLevel {
    /// In force: a level, or a list of levels by module.
    pub level: String,
    /// What the configuration says, or the environment variable `GODWIT_LOG` that goes before it.
    pub configured: String,
    /// It is the variable that says so.
    pub from_environment: bool,
    /// When `godwitctl log` set it to something else; `None`: it is what is configured.
    pub set_ms: Option<u64>,
}

impl LogLevel {
    /// For people.
    pub fn line(&self) -> String {
        let source = if self.from_environment { "the environment (GODWIT_LOG)" } else { "the configuration" };
        match self.set_ms {
            None => format!("{}, by {source}", self.level),
            Some(_) => format!(
                "{}, set by godwitctl; {source} says {}: godwitctl log --reset",
                self.level, self.configured
            ),
        }
    }
}

/// A level or a list of levels by module.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    // A word alone would count as a module's name, and everything else would be silent.
    let directives: Vec<&str> = level.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    for directive in &directives {
        let word = directive.rsplit_once('=').map_or(*directive, |(_, level)| level);
        // Nothing at all would count as error.
        let word = if word.is_empty() { directive } else { word };
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!("{word} is no level: there are off, error, warn, info, debug and trace"));
        }
    }
    EnvFilter::builder().with_regex(false).parse(directives.join(",")).map_err(|error| error.to_string())
}

/// What is wrong with a level that somebody asks for now: besides what [`filter`] finds, modules that do not
/// exist, whose directives would do nothing.
pub(super) fn wrong(level: &str) -> Option<String> {
    if level.trim().is_empty() {
        return Some("say a level, like debug, or info,godwit_edge=debug".into());
    }
    if let Err(error) = filter(level) {
        return Some(error);
    }
    let mut modules = level.split(',').filter_map(|directive| Some(directive.split_once('=')?.0.trim()));
    let unknown = modules.find(|module| {
        let of = module.split("::").next().unwrap_or_default();
        !CRATES.contains(&of)
    })?;
    Some(format!("no module is called {unknown}: there are {} and what is below them", CRATES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_level_is_named() {
        for good in ["info", "off", "DEBUG", "warn,godwit_edge=debug", "info, godwit_store::writer=trace"] {
            assert!(filter(good).is_ok() && wrong(good).is_none(), "{good}: {:?}", wrong(good));
        }
        for bad in ["inof", "info,godwit_edge=loud", "godwit_edge", "godwit_edge="] {
            let why = filter(bad).expect_err(bad);
            assert!(why.contains("is no level: there are off, error"), "{bad}: {why}");
        }
        assert!(wrong(" ").is_some_and(|why| why.starts_with("say a level")));
    }

    #[test]
    fn a_module_that_does_not_exist_is_refused_only_where_somebody_waits_for_its_lines() {
        assert!(filter("info,store=debug").is_ok(), "a configuration that started yesterday starts today");
        let why = wrong("info,store=debug").expect("nothing is called store");
        assert!(why.contains("no module is called store") && why.contains("godwit_store"), "{why}");
    }

    #[test]
    fn the_line_says_who_set_it() {
        let mut level = LogLevel { level: "info".into(), configured: "info".into(), ..LogLevel::default() };
        assert_eq!(level.line(), "info, by the configuration");
        (level.level, level.set_ms) = ("trace".into(), Some(7));
        assert_eq!(
            level.line(),
            "trace, set by godwitctl; the configuration says info: godwitctl log --reset"
        );
    }
}
