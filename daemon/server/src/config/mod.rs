//! The configuration: one TOML file, read whole, checked whole, replaced whole at a reload.
//!
//! `raw.rs` declares sections and keys, `check.rs` says what makes sense, `probe.rs` looks at the machine,
//! `example.rs` prints the example. Unknown keys are errors: a typing mistake must not silently mean a
//! default.

pub mod check;
pub mod example;
pub mod key;
pub mod probe;
pub mod problem;
// Its comments are the example file's text, where brackets are TOML and addresses, not links.
#[allow(rustdoc::broken_intra_doc_links)]
pub mod raw;
#[cfg(test)]
mod tests;
pub mod value;

pub use check::{CertificateFiles, Config};
pub use example::example;
pub use problem::{Problem, Problems};
pub use value::LogFormat;
