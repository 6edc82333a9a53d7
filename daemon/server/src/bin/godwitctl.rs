//! Administers Godwit.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    godwit_server::ctl::run(&godwit_server::ctl::args::Ctl::parse())
}
