//! What the command line takes and refuses.

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, parse_share, parse_source};
use crate::worker::Share;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_scenario_explains_itself() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{} has no about", command.get_name());
        for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn shares_and_sources_are_checked() {
    assert_eq!(parse_share("1/3"), Ok(Share { index: 1, of: 3 }));
    assert!(parse_share("3/3").is_err() && parse_share("x").is_err());
    assert!(parse_source("127.0.0.0/8").is_ok() && parse_source("127.0.0.2").is_ok());
    for bad in ["127.0.0.1/33", "127.0.0", "localhost", "::1/129", "127.0.0.0/x"] {
        assert!(parse_source(bad).is_err(), "{bad}");
    }
}

#[test]
fn accounts_follow_their_patterns() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' ')).expect("good").common;
    let common = parse("godwit-load --user u%d --password p%d --first 5 --domain d chat");
    assert_eq!((common.account(2).user, common.jid(2)), ("u7".into(), "u7@d".into()));
    let common = parse("godwit-load idle --accounts 3");
    assert_eq!(common.account(4).resource.as_deref(), Some("load4"));
    assert_eq!(common.account(4).user, "user1");
    assert!(Cli::try_parse_from(["godwit-load", "--syscalls", "idle"]).is_err());
    let many = parse("godwit-load --processes 3 --server-pid 7,8 idle");
    assert_eq!((many.processes(), many.server_pid.as_slice()), (3, [7, 8].as_slice()));
    assert!(many.settings().expect("good").source.is_some());
}
