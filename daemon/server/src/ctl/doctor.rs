//! `godwitctl doctor`: runs the checks of `doctor/` and prints what they found, the worst first.
use super::args::Ctl;
use super::doctor_args::Doctor;
use super::exit::Failed;
use super::print;
use crate::doctor::changes::{Change, STATE, State};
use crate::doctor::{CHECKS, Check, Level, Outcome, Site};
use serde::Serialize;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;

/// The doctor itself failed: its findings use 1 and 2.
const FAILED: u8 = 3;
/// Width of a colour's word and of a check's name.
const LEVEL_WIDTH: usize = 6;
const NAME_WIDTH: usize = 17;

#[derive(Serialize)]
struct Report<'a, T: Serialize> {
    at_ms: u64,
    level: Level,
    checks: &'a [T],
}

pub(super) fn run(ctl: &Ctl, args: &Doctor) -> Result<(), Failed> {
    let clock = godwit_edge::clock::system();
    let site = Site::new(&ctl.config, ctl.socket.as_deref(), args.backups.as_deref(), &clock);
    let wanted = |check: &&Check| args.only.is_empty() || args.only.iter().any(|name| name == check.name);
    let checks: Vec<&'static Check> = CHECKS.iter().filter(wanted).collect();
    let site = Arc::new(site);
    let results = crate::doctor::run(&checks, &site);
    let worst = results.iter().map(|one| one.level).max().unwrap_or(Level::Green);
    let told = match args.changes {
        false => tell(args, &results, site.now_ms, worst),
        true => tell_changes(args, &site, &results, worst),
    };
    told.map_err(|failed| Failed { code: FAILED, ..failed })?;
    match worst {
        Level::Green => Ok(()),
        Level::Yellow => super::done(1),
        Level::Red => super::done(2),
    }
}

fn tell(args: &Doctor, results: &[Outcome], at_ms: u64, level: Level) -> Result<(), Failed> {
    if args.json {
        return print(&super::json(&Report { at_ms, level, checks: results })?);
    }
    let count = |level| results.iter().filter(|one| one.level == level).count();
    let (green, yellow, red) = (count(Level::Green), count(Level::Yellow), count(Level::Red));
    let mut text = String::new();
    let mut sorted: Vec<&Outcome> = results.iter().collect();
    // Stable: within a colour they stay in the order of the list.
    sorted.sort_by_key(|one| std::cmp::Reverse(one.level));
    sorted.iter().for_each(|one| row(&mut text, one, None));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{green} green, {yellow} yellow, {red} red");
    print(&text)
}

fn tell_changes(args: &Doctor, site: &Site, results: &[Outcome], level: Level) -> Result<(), Failed> {
    let path = match (&args.state, site.data_dir()) {
        (Some(path), _) => path.clone(),
        (None, Some(directory)) => directory.join(STATE),
        (None, None) => return Err(Failed::because("without a configuration --changes needs --state FILE")),
    };
    let named = |error: io::Error| Failed::because(format!("{}: {error}", shown(&path)));
    let before = State::read(&path).map_err(named)?;
    let changes = before.changes(results);
    if args.json {
        print(&super::json(&Report { at_ms: site.now_ms, level, checks: &changes })?)?;
    } else {
        let mut text = String::new();
        changes.iter().for_each(|Change { was, now }| row(&mut text, now, *was));
        print(&text)?;
    }
    // Last: what could not be told is told again.
    State::of(results, site.now_ms).write(&path).map_err(named)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A line, and one with the remedy.
fn row(text: &mut String, one: &Outcome, was: Option<Level>) {
    let (start, end) = match (one.level, is_colourful()) {
        (Level::Red, true) => ("\x1b[1;31m", "\x1b[0m"),
        (Level::Yellow, true) => ("\x1b[33m", "\x1b[0m"),
        (Level::Green, true) => ("\x1b[32m", "\x1b[0m"),
        (_, false) => ("", ""),
    };
    let was = was.map(|level| format!("(was {}) ", level.word())).unwrap_or_default();
    let (level, name, found) = (one.level.word(), one.check, &one.found);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{start}{level:<LEVEL_WIDTH$}{end}  {name:<NAME_WIDTH$}  {was}{found}");
    if let Some(remedy) = &one.remedy {
        let indent = LEVEL_WIDTH + NAME_WIDTH + 4;
        let _ = writeln!(text, "{:indent$}→ {remedy}", "");
    }
}

fn is_colourful() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
