//! What is wrong with a configuration: every problem names the key, its value, and what to write instead.
use std::collections::BTreeMap;
use std::fmt;

/// Characters of a value shown in a problem, so that a pasted file does not fill the screen.
const VALUE_CHARS_MAX: usize = 80;

/// One problem, one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// TOML path, like `listen.c2s[1]`; empty for a syntax error.
    pub path: String,
    /// Line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// Column in that line, from 1: syntax errors only.
    pub column: Option<usize>,
    /// The value as it stands in the file.
    pub value: Option<String>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: ")?,
            (Some(line), None) => write!(f, "line {line}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.path)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Collects problems, and remembers the line of every path that was read so that later checks can name it.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    lines: BTreeMap<String, usize>,
}

impl Problems {
    /// Remembers where a path stands.
    pub(super) fn at(&mut self, path: &str, line: usize) {
        self.lines.insert(path.to_owned(), line);
    }

    /// A value is wrong.
    pub fn value(&mut self, path: &str, value: &dyn fmt::Display, message: impl Into<String>) {
        self.push(path, Some(shortened(&value.to_string())), message.into());
    }

    /// A string value is wrong.
    pub fn string(&mut self, path: &str, value: &str, message: impl Into<String>) {
        self.value(path, &format_args!("{value:?}"), message);
    }

    /// Something about a key other than its value is wrong: missing, unknown.
    pub fn key(&mut self, path: &str, message: impl Into<String>) {
        self.push(path, None, message.into());
    }

    /// The file is not TOML.
    pub(super) fn syntax(&mut self, line: usize, column: usize, message: &str) {
        let message = message.replace('\n', "; ");
        let path = String::new();
        self.found.push(Problem { path, line: Some(line), column: Some(column), value: None, message });
    }

    /// Whether something is wrong already at a path or within it.
    pub fn has(&self, path: &str) -> bool {
        self.found.iter().any(|p| p.path.starts_with(path))
    }

    /// Whether anything was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the file; what has no line comes last.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|p| (p.line.unwrap_or(usize::MAX), p.column));
        self.found
    }

    fn push(&mut self, path: &str, value: Option<String>, message: String) {
        let line = self.lines.get(path).copied();
        self.found.push(Problem { path: path.to_owned(), line, column: None, value, message });
    }
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        None => value.to_owned(),
        Some((at, _)) => format!("{}…", value.get(..at).unwrap_or_default()),
    }
}
