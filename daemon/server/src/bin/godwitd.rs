//! The daemon.
use clap::Parser;
use std::process::ExitCode;

/// Replaces malloc in the whole process; see `alloc.rs` for its settings.
#[global_allocator]
static JEMALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    godwit_server::cli::main(&godwit_server::cli::Cli::parse(), godwit_server::run::run)
}
