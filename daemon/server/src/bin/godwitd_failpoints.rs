//! The daemon for crash tests: dies where `FAILPOINTS` says. Built only with the feature `failpoints`, under
//! a name of its own, so that it is never taken for the one that is shipped.
use clap::Parser;
use std::process::ExitCode;

/// As in `godwitd.rs`.
#[global_allocator]
static JEMALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    godwit_store::points::from_environment();
    godwit_server::cli::main(&godwit_server::cli::Cli::parse(), godwit_server::run::run)
}
