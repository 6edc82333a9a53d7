//! TOML values as the kinds that keys have. Each kind says in words what it wants.
use super::problem::Problems;
use godwit_modules::xep0441_prefs::Policy;
use std::fmt;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Longest list of anything in the file.
const LIST_MAX: usize = 1024;

/// A kind of value.
pub(super) trait Kind: Sized {
    /// What to write, for problems: follows "write ".
    const WANTS: &'static str;
    /// The value, if it is of this kind.
    fn of(value: &DeValue<'_>) -> Option<Self>;
    /// The value at a path, or a problem.
    fn read(
        path: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
        _lines: &Lines,
    ) -> Option<Self> {
        let read = Self::of(value.get_ref());
        if read.is_none() {
            problems.value(path, &Shown(value.get_ref()), format!("write {}", Self::WANTS));
        }
        read
    }
}

impl Kind for bool {
    const WANTS: &'static str = "true or false";
    fn of(value: &DeValue<'_>) -> Option<bool> {
        value.as_bool()
    }
}

impl Kind for String {
    const WANTS: &'static str = "a string in double quotes";
    fn of(value: &DeValue<'_>) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
}

/// Counts and sizes.
impl Kind for u64 {
    const WANTS: &'static str = "a whole number, 0 or more, without quotes";
    fn of(value: &DeValue<'_>) -> Option<u64> {
        let integer = value.as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| i64::try_from(*n).is_ok())
    }
}

/// A duration as it is written: `"30s"`, `"5m"`, `"1h"`, `"250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// In milliseconds.
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
    /// In seconds, rounded down.
    pub fn s(self) -> u32 {
        u32::try_from(self.0.as_secs()).unwrap_or(u32::MAX)
    }
    fn parse(text: &str) -> Option<Span> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(ms).map(|ms| Span(Duration::from_millis(ms)))
    }
}

impl Kind for Span {
    const WANTS: &'static str = r#"a duration like "30s" (units: ms, s, m, h, d)"#;
    fn of(value: &DeValue<'_>) -> Option<Span> {
        value.as_str().and_then(Span::parse)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.ms();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match units.iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", ms / unit),
            None => write!(f, "{ms}ms"),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// The journal under systemd, text otherwise.
    Auto,
    /// Text lines on standard error.
    Human,
    /// Fields for journald.
    Journal,
}

impl Kind for LogFormat {
    const WANTS: &'static str = r#""auto", "human" or "journal""#;
    fn of(value: &DeValue<'_>) -> Option<LogFormat> {
        match value.as_str()? {
            "auto" => Some(LogFormat::Auto),
            "human" => Some(LogFormat::Human),
            "journal" => Some(LogFormat::Journal),
            _ => None,
        }
    }
}

impl Kind for Policy {
    const WANTS: &'static str = r#""always", "never" or "roster""#;
    fn of(value: &DeValue<'_>) -> Option<Policy> {
        value.as_str().and_then(Policy::from_name)
    }
}

impl<T: Kind> Kind for Vec<T> {
    const WANTS: &'static str = r#"a list in brackets, like ["a", "b"]"#;
    fn of(value: &DeValue<'_>) -> Option<Vec<T>> {
        value.as_array()?.iter().map(|item| T::of(item.get_ref())).collect()
    }
    fn read(
        path: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
        lines: &Lines,
    ) -> Option<Vec<T>> {
        let Some(items) = value.get_ref().as_array() else {
            problems.value(path, &Shown(value.get_ref()), format!("write {}", Self::WANTS));
            return None;
        };
        if items.len() > LIST_MAX {
            problems.key(path, format!("{} entries; write at most {LIST_MAX}", items.len()));
            return None;
        }
        let mut read = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            problems.at(&path, lines.line(item.span().start));
            read.extend(T::read(&path, item, problems, lines));
        }
        // Entries that did not read are reported; the rest is kept so that it can be checked too, but indexes
        // would be wrong, so such a list is not checked further.
        (read.len() == items.len()).then_some(read)
    }
}

/// Where lines of the text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }
    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }
    /// Line and column (in characters) of a byte offset, from 1.
    pub(super) fn column(&self, text: &str, at: usize) -> (usize, usize) {
        let line = self.line(at);
        let start = self.0.get(line.saturating_sub(1)).copied().unwrap_or(0);
        (line, text.get(start..at).map_or(1, |before| before.chars().count() + 1))
    }
}

/// A value as it stands in the file, on one line.
pub(super) struct Shown<'a>(pub(super) &'a DeValue<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeValue::String(text) => write!(f, "{text:?}"),
            DeValue::Integer(number) => f.write_str(number.as_str()),
            DeValue::Float(number) => f.write_str(number.as_str()),
            DeValue::Boolean(value) => write!(f, "{value}"),
            DeValue::Datetime(value) => write!(f, "{value}"),
            DeValue::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, Shown(item.get_ref()))?;
                }
                f.write_str("]")
            }
            DeValue::Table(_) => f.write_str("{…}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in
            [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("2d", 172_800_000)]
        {
            let span = Span::parse(text).expect(text);
            assert_eq!(span.ms(), ms);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!(Span::parse("90s").map(|s| s.to_string()).as_deref(), Some("90s"));
        for bad in ["", "5", "s", "5 m", "-5s", "5w", "99999999999999999999s", "9999999999999999999d", "1.5h"]
        {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let text = "a\nüb\nc";
        let lines = Lines::of(text);
        assert_eq!(lines.line(0), 1);
        assert_eq!(lines.line(2), 2);
        assert_eq!(lines.column(text, 4), (2, 2));
        assert_eq!(lines.column(text, 6), (3, 1));
    }
}
