//! The form of what is handed over to the next binary, as text: every type with its fields and variants, as
//! serde sees them. Used by the crates whose types are handed over, each for its own (`#[path]`).
//!
//! The text of each version of the hand-over's format lies in `tests/fixtures/handover-VERSION.json` of the
//! crate. Any change to a type, or to one within it, is another version (`server/src/handover/FORMAT.md`);
//! so that of the newest must be what the code says.
use godwit_session::image::{Address, FramerBytes, SuiteName};
use serde::Deserialize;
use serde_reflection::{Error, Registry, Samples, Tracer, TracerConfig};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is handed over has checks of its own: these pass them.
fn samples(tracer: &mut Tracer) -> Samples {
    let mut samples = Samples::new();
    let framer = godwit_wire::Framer::new().to_bytes();
    tracer.trace_value(&mut samples, &Address("alice@example.org/phone")).expect("an address");
    tracer.trace_value(&mut samples, &FramerBytes(framer)).expect("a framer");
    tracer.trace_value(&mut samples, &SuiteName("TLS_AES_128_GCM_SHA256")).expect("a suite");
    samples
}

/// The newest version whose form is on file.
pub(crate) fn newest(crate_dir: &str) -> (u16, PathBuf) {
    let number = |path: &Path| -> Option<u16> {
        path.file_name()?.to_str()?.strip_prefix("handover-")?.strip_suffix(".json")?.parse().ok()
    };
    let files = fs::read_dir(Path::new(crate_dir).join("tests/fixtures")).expect("fixtures");
    let files = files.map(|file| file.expect("a file").path());
    files.filter_map(|path| Some((number(&path)?, path))).max().expect("a form on file")
}

/// Every type within `T`. Of an enum one pass sees some variants, and of one that is not the outermost none
/// says so before the end: what was missing is asked for by name the next time.
fn form_of<T: for<'de> Deserialize<'de>>() -> Registry {
    let mut enums = BTreeSet::new();
    loop {
        let mut tracer = Tracer::new(TracerConfig::default());
        let samples = samples(&mut tracer);
        loop {
            tracer.trace_type_once::<T>(&samples).unwrap_or_else(|e| panic!("{}", e.explanation()));
            if enums.iter().filter(|name: &&String| tracer.check_incomplete_enum(name).is_some()).count() == 0
            {
                break;
            }
        }
        match tracer.registry() {
            Ok(registry) => return registry,
            Err(Error::MissingVariants(names)) => {
                let known = enums.len();
                enums.extend(names);
                assert!(enums.len() > known, "{enums:?}");
            }
            Err(error) => panic!("{}", error.explanation()),
        }
    }
}

/// Fails if the form of `T` is another than that on file. A file that is empty is filled: that of a new
/// version.
pub(crate) fn compare<T: for<'de> Deserialize<'de>>(crate_dir: &str) {
    let registry = form_of::<T>();
    let form = serde_json::to_string_pretty(&registry).expect("text") + "\n";
    let (version, file) = newest(crate_dir);
    let on_file = fs::read_to_string(&file).expect("text");
    if on_file.is_empty() {
        fs::write(&file, form).expect("written");
    } else if on_file != form {
        let actual = std::env::temp_dir().join(format!("handover-{}.json", std::process::id()));
        fs::write(&actual, form).expect("written");
        panic!(
            "{}: what is handed over has another form than that of version {version} on file; the new one is \
             {}. Raise the format's version as FORMAT.md says, and make an empty handover-{}.json beside it",
            file.display(),
            actual.display(),
            version + 1
        );
    }
}
