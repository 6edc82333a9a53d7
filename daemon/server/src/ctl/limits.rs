//! `godwitctl limits`: prints what `limits` derives from memory and cores, or compares this machine with it.
//! Needs neither daemon nor configuration; a running daemon is looked at too.
use super::args::{Ctl, Format, Limits};
use super::exit::Failed;
use super::print;
use super::table::{bytes, table};
use crate::admin::protocol::{Answer, Operations, Request};
use crate::limits::{Derived, Found, Machine, Place, Row, Sources, State, Verdict, derive, verify};
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Json {
    machine: Machine,
    limits: Derived,
    rows: Vec<Row>,
}

pub(super) fn run(ctl: &Ctl, args: &Limits) -> Result<(), Failed> {
    let here = Machine::here();
    let machine =
        Machine { ram_bytes: args.ram.unwrap_or(here.ram_bytes), cores: args.cores.unwrap_or(here.cores) };
    let limits = derive(machine);
    if args.verify {
        return compare(ctl, machine, &limits);
    }
    let rows = limits.rows();
    print(&match args.format {
        Format::Json => super::json(&Json { machine, limits, rows })?,
        Format::Table => people(machine, &rows),
        Format::Sysctl => sysctl(machine, &rows),
        Format::Systemd => {
            let file = "/etc/systemd/system/godwit.service.d/limits.conf";
            let head = heading(file, machine) + "[Service]\n";
            lines(head, &rows, |row| {
                (row.place == Place::Systemd).then(|| format!("{}={}", row.name, row.value))
            })
        }
        Format::Tmpfiles => lines(heading("/etc/tmpfiles.d/godwit.conf", machine), &rows, |row| {
            (row.place == Place::Sysfs).then(|| format!("w /sys/{} - - - - {}", row.name, row.value))
        }),
    })
}

fn people(machine: Machine, rows: &[Row]) -> String {
    let cells = |row: &Row| vec![place(row).into(), row.name.into(), row.value.to_string(), row.why.into()];
    let rows: Vec<_> = rows.iter().map(cells).collect();
    format!("For {}:\n", described(machine)) + &table(&["WHERE", "LIMIT", "VALUE", "WHY"], &rows)
}

fn described(machine: Machine) -> String {
    format!("{} of memory and {} cores", bytes(machine.ram_bytes), machine.cores)
}

fn place(row: &Row) -> &'static str {
    match row.place {
        Place::Sysctl | Place::OptionalSysctl => "sysctl",
        Place::Sysfs => "/sys",
        Place::Systemd => "unit",
        Place::Daemon => "daemon",
    }
}

fn heading(file: &str, machine: Machine) -> String {
    format!("# {file}, for {}: made by godwitctl limits.\n", described(machine))
}

fn sysctl(machine: Machine, rows: &[Row]) -> String {
    lines(heading("/etc/sysctl.d/60-godwit.conf", machine), rows, |row| match row.place {
        Place::Sysctl => Some(format!("{} = {}", row.name, row.value)),
        // The dash: no failure if its module is not loaded.
        Place::OptionalSysctl => Some(format!("-{} = {}", row.name, row.value)),
        _ => None,
    })
}

/// A file: for each row that has a line, its reason and the line.
fn lines(head: String, rows: &[Row], line: impl Fn(&Row) -> Option<String>) -> String {
    let mut text = head;
    for row in rows {
        if let Some(line) = line(row) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {} ({})\n{line}", row.why, row.source);
        }
    }
    text
}

fn compare(ctl: &Ctl, machine: Machine, limits: &Derived) -> Result<(), Failed> {
    let mut sources = Sources::here();
    let mut head = format!("This machine against {}", described(machine));
    // Without a configuration there is nothing to look for; without a daemon, nothing to look at.
    let daemon =
        super::way::daemon(ctl).and_then(|daemon| daemon.call(Request::Status).map_err(Failed::from));
    if let Ok(Answer::Status(status)) = daemon {
        sources = Sources::of_daemon(&status);
        let _ = write!(head, "; godwitd, process {}: {}", status.pid, status.ceiling.line());
    }
    let verdicts = verify(limits.rows(), &sources);
    let text = head + "\n" + &report(&verdicts);
    print(&text)?;
    let wrong = verdicts.iter().filter(|verdict| verdict.state == State::Differs).count();
    if wrong == 0 {
        return Ok(());
    }
    let remedy = "write what --format sysctl, systemd and tmpfiles print to the files named there";
    Err(Failed::because(format!("{wrong} limits are not as derived: {remedy}")))
}

fn report(verdicts: &[Verdict]) -> String {
    let cells = |verdict: &Verdict| {
        let row = &verdict.row;
        let state = match verdict.state {
            State::Good => "ok",
            State::Differs => "DIFFERS",
            State::Unknown => "-",
        };
        let found = match &verdict.found {
            Found::InForce(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Found::Unlimited => "unlimited".into(),
            Found::Absent(why) => (*why).to_owned(),
        };
        vec![state.into(), place(row).into(), row.name.into(), found, row.value.to_string()]
    };
    table(&["", "WHERE", "LIMIT", "IN FORCE", "DERIVED"], &verdicts.iter().map(cells).collect::<Vec<_>>())
}
