//! Files that are made from the code are as the code makes them. `make generate` writes them anew.
use godwit_modules::list::Modules;
use godwit_modules::module::Module;
use godwit_session::{Spec, specs};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Set by `make generate`: what differs is written instead of reported.
const WRITE: &str = "GODWIT_GENERATE";

/// Compares a file, or the part of it between two marks, with what it should be.
fn compare(file: &str, part: Option<&str>, wanted: &str) {
    let path = Path::new(ROOT).join(file);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let new = match part {
        None => wanted.to_owned(),
        Some(name) => {
            let (begin, end) =
                (format!("<!-- {name}: made by `make generate` -->\n"), format!("<!-- /{name} -->"));
            let (head, rest) = old.split_once(&begin).unwrap_or_else(|| panic!("{file}: no line {begin}"));
            let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("{file}: no line {end}"));
            format!("{head}{begin}{wanted}{end}{tail}")
        }
    };
    if old == new {
        return;
    }
    assert!(std::env::var_os(WRITE).is_some(), "{file} is not what the code makes of it. Run: make generate");
    std::fs::write(&path, new).unwrap_or_else(|e| panic!("{file}: {e}"));
}

/// Every specification once, in order; what several places say of one stands in one line.
fn all_specs() -> Vec<Spec> {
    let of_modules = Modules::all();
    let of_modules = of_modules.each().map(Module::info);
    let mut all: Vec<Spec> = specs::STREAMS.to_vec();
    all.extend(of_modules.flat_map(|info| info.specs().collect::<Vec<_>>()));
    all
}

fn table_of_specs() -> String {
    let mut rows: BTreeMap<&str, (Spec, Vec<&str>)> = BTreeMap::new();
    for spec in all_specs() {
        let (first, notes) = rows.entry(spec.id).or_insert((spec, Vec::new()));
        assert_eq!((first.title, first.version), (spec.title, spec.version), "{} is said twice", spec.id);
        notes.extend((!spec.note.is_empty()).then_some(spec.note));
    }
    let mut text = String::from("| specification | title | version | which part |\n|---|---|---|---|\n");
    for (id, (spec, notes)) in rows {
        writeln!(text, "| {id} | {} | {} | {} |", spec.title, spec.version, notes.join("; ")).expect("text");
    }
    text
}

#[test]
fn the_table_of_specifications_is_the_codes() {
    compare("README.md", Some("specifications"), &table_of_specs());
}

#[test]
fn every_specification_is_named_in_full() {
    for spec in all_specs() {
        let number = spec.id.strip_prefix("XEP-").or(spec.id.strip_prefix("RFC "));
        let number = number.unwrap_or_else(|| panic!("{spec:?}: write XEP-NNNN or RFC NNNN"));
        assert!(number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()), "{spec:?}");
        assert!(!spec.title.is_empty(), "{spec:?}");
        assert_eq!(spec.version.is_empty(), spec.id.starts_with("RFC"), "{spec:?}: XEPs have versions");
        assert!(![spec.title, spec.version, spec.note].iter().any(|text| text.contains('|')), "{spec:?}");
    }
}

/// A file `xepNNNN_name.rs` whose module was not put into the list would be served to nobody.
#[test]
fn every_file_of_a_xep_has_its_row() {
    let specs = all_specs();
    for directory in ["daemon/modules/src", "daemon/session/src"] {
        for entry in std::fs::read_dir(Path::new(ROOT).join(directory)).expect(directory) {
            let name = entry.expect(directory).file_name().to_string_lossy().into_owned();
            let Some(number) = name.strip_prefix("xep").and_then(|rest| rest.get(..4)) else { continue };
            let id = format!("XEP-{number}");
            assert!(
                specs.iter().any(|spec| spec.id == id),
                "{directory}/{name}: no module's info names {id}"
            );
        }
    }
}

#[test]
fn the_table_of_metrics_is_the_lists() {
    compare("daemon/METRICS.md", Some("metrics"), &godwit_server::metrics::table());
}

#[test]
fn the_example_configuration_is_the_one_printed() {
    compare("daemon/server/godwit.example.toml", None, &godwit_server::config::example());
}
