//! Sections and keys as data: one declaration gives the struct, its reader, its defaults and its part of the
//! example.
//!
//! `section!` takes a struct whose doc comments are the documentation of the configuration. A default is
//! written once, as TOML text, and read by the same reader as the file. Every key says whether a reload
//! applies it.
use super::problem::Problems;
use super::value::{Kind, Lines};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a key has if the file does not name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This TOML text.
    Is(&'static str),
    /// Nothing: the file must name this list. The text is an example.
    Required(&'static str),
    /// An empty list of tables; the keys of one table.
    Tables(&'static [Key]),
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// At a reload (SIGHUP).
    Live,
    /// At the next start.
    Restart,
}

/// One key of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Name within its section.
    pub name: &'static str,
    /// Lines of documentation.
    pub doc: &'static [&'static str],
    /// What it has if the file does not name it.
    pub default: Default,
    /// When a change takes effect.
    pub applies: Applies,
}

/// A section: its name, its documentation and its keys.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Name, as in `[name]`.
    pub name: &'static str,
    /// Lines of documentation.
    pub doc: &'static [&'static str],
    /// Keys, in the order of the example.
    pub keys: &'static [Key],
}

/// Reads one table and reports the keys that nobody asked for.
pub(super) struct Reader<'a> {
    path: String,
    table: Option<&'a DeTable<'a>>,
    keys: &'static [Key],
    lines: &'a Lines,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        path: &str,
        table: Option<&'a DeTable<'a>>,
        keys: &'static [Key],
        lines: &'a Lines,
        problems: &mut Problems,
    ) -> Reader<'a> {
        let names: Vec<_> = keys.iter().map(|key| key.name).collect();
        for (name, value) in table.into_iter().flatten() {
            let full = format!("{path}.{}", name.get_ref());
            problems.at(&full, lines.line(name.span().start));
            if !names.contains(&name.get_ref().as_ref()) {
                let near = nearest(name.get_ref(), &names);
                problems.value(&full, &super::value::Shown(value.get_ref()), format!("unknown key; {near}"));
            }
        }
        Reader { path: path.to_owned(), table, keys, lines }
    }

    /// The value of a key, or its default; a value that does not read is reported, and stands in as the
    /// default.
    pub(super) fn take<T: Kind>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        let key = self.keys.iter().find(|key| key.name == name)?;
        if let Some(value) = self.table.and_then(|table| table.get(name)) {
            let path = format!("{}.{name}", self.path);
            if let Some(read) = T::read(&path, value, problems, self.lines) {
                return Some(read);
            }
        } else if let Default::Required(example) = key.default {
            let path = format!("{}.{name}", self.path);
            problems.key(&path, format!("missing; write for example {name} = {example}"));
        }
        match key.default {
            Default::Is(text) => parse(text),
            Default::Required(_) | Default::Tables(_) => parse("[]"),
        }
    }
}

/// A value from TOML text written in this program.
fn parse<T: Kind>(text: &str) -> Option<T> {
    let value = DeValue::parse(text).ok()?;
    T::of(value.get_ref())
}

/// Names the known key nearest to an unknown one.
pub(super) fn nearest(unknown: &str, known: &[&'static str]) -> String {
    let best = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)));
    match best {
        Some(best) if strsim::jaro_winkler(unknown, best) > 0.75 => format!("did you mean {best}?"),
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// The table at a key of the root, or a problem if it is something else.
pub(super) fn subtable<'a>(
    root: &'a DeTable<'a>,
    name: &str,
    problems: &mut Problems,
) -> Option<&'a DeTable<'a>> {
    let value: &Spanned<DeValue<'_>> = root.get(name)?;
    let table = value.get_ref().as_table();
    if table.is_none() {
        problems.value(name, &super::value::Shown(value.get_ref()), format!("write a section: [{name}]"));
    }
    table
}

/// Declares a section; see the head of this file.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        struct $name:ident = $section:literal {
            $( $(#[doc = $doc:literal])* $key:ident: $kind:ty = $default:expr, $applies:ident; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: $kind, )*
        }
        impl $name {
            /// Name, documentation and keys.
            pub const SECTION: crate::config::key::Section = crate::config::key::Section {
                name: $section,
                doc: &[$($about),*],
                keys: &[$( crate::config::key::Key {
                    name: stringify!($key),
                    doc: &[$($doc),*],
                    default: $default,
                    applies: crate::config::key::Applies::$applies,
                } ),*],
            };
            /// Reads a table, wrong and missing keys standing in as their defaults; `None` only if a default
            /// is no value of its kind, which a test rules out.
            pub(super) fn read(
                path: &str,
                table: Option<&toml::de::DeTable<'_>>,
                lines: &crate::config::value::Lines,
                problems: &mut crate::config::problem::Problems,
            ) -> Option<$name> {
                let keys = Self::SECTION.keys;
                let reader = crate::config::key::Reader::new(path, table, keys, lines, problems);
                $( let $key = reader.take(stringify!($key), problems); )*
                Some($name { $( $key: $key?, )* })
            }
            /// Takes from `old` the values that only a restart may change.
            pub fn keep_until_restart(&mut self, old: &$name) {
                $( if crate::config::key::Applies::$applies == crate::config::key::Applies::Restart {
                    self.$key.clone_from(&old.$key);
                } )*
            }
            /// The keys whose values differ.
            pub fn changed(&self, other: &$name) -> Vec<&'static crate::config::key::Key> {
                let differs = [$( self.$key != other.$key ),*];
                let keys = Self::SECTION.keys.iter().zip(differs);
                keys.filter_map(|(key, differs)| differs.then_some(key)).collect()
            }
        }
    };
}
pub(super) use section;
