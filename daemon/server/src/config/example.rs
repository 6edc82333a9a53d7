//! The example configuration, made from the declarations in `raw.rs`: every key, its documentation, its
//! default.
use super::key::{Applies, Default, Key};
use super::raw::Raw;
use std::fmt::{self, Write};

/// Columns of a comment line.
const WIDTH: usize = 100;

/// The text of the example file.
pub fn example() -> String {
    let mut text = String::from(
        "# Godwit's configuration. Every key is here with its default; only server.domains must be set.\n\
         # Unknown keys are errors. Check a file with: godwitd --config FILE --check\n\
         # A reload (SIGHUP, systemctl reload godwit) applies all keys but those marked [restart].\n",
    );
    // A string takes whatever is written to it.
    let _ = sections(&mut text);
    text
}

fn sections(text: &mut String) -> fmt::Result {
    for section in Raw::SECTIONS {
        writeln!(text)?;
        comment(text, section.doc, "")?;
        writeln!(text, "[{}]", section.name)?;
        // Tables come after the section's plain keys, or TOML would take these for the table's.
        for key in section.keys {
            match key.default {
                Default::Is(value) | Default::Required(value) => {
                    entry(text, key, "")?;
                    writeln!(text, "{} = {value}", key.name)?;
                }
                Default::Tables(keys) => {
                    entry(text, key, "")?;
                    tables(text, &format!("{}.{}", section.name, key.name), keys)?;
                }
            }
        }
    }
    Ok(())
}

/// A list of tables is empty by default, so its example is commented out.
fn tables(text: &mut String, path: &str, keys: &[Key]) -> fmt::Result {
    writeln!(text, "#[[{path}]]")?;
    for key in keys {
        let doc: Vec<_> = key.doc.iter().map(|line| line.trim()).collect();
        writeln!(text, "#{} = \"…\"  # {}", key.name, doc.join(" "))?;
    }
    Ok(())
}

fn entry(text: &mut String, key: &Key, end: &str) -> fmt::Result {
    let mark = if key.applies == Applies::Restart { " [restart]" } else { end };
    comment(text, key.doc, mark)
}

/// Documentation as comment lines, broken anew.
fn comment(text: &mut String, doc: &[&str], end: &str) -> fmt::Result {
    let words = doc.iter().flat_map(|line| line.split_whitespace()).chain(end.split_whitespace());
    let mut column = 0;
    for word in words {
        let length = word.chars().count() + 1;
        if column == 0 || column + length > WIDTH {
            text.write_str(if column == 0 { "#" } else { "\n#" })?;
            column = 1;
        }
        write!(text, " {word}")?;
        column += length;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;

    #[test]
    fn the_example_parses_and_holds_the_defaults() {
        let mut problems = Problems::default();
        let shown = Raw::parse(&example(), &mut problems).expect("TOML");
        let least = Raw::parse("server.domains = [\"example.org\"]", &mut problems).expect("TOML");
        assert_eq!(problems.into_sorted(), []);
        assert_eq!(shown, least);
    }

    #[test]
    fn the_example_names_every_key_with_documentation() {
        let text = example();
        for section in Raw::SECTIONS {
            assert!(!section.doc.is_empty(), "{}", section.name);
            for key in section.keys {
                assert!(!key.doc.is_empty(), "{}.{}", section.name, key.name);
                let written = text.contains(&format!("\n{} = ", key.name))
                    || text.contains(&format!("[[{}.{}]]", section.name, key.name));
                assert!(written, "{}.{}", section.name, key.name);
            }
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 10));
    }
}
