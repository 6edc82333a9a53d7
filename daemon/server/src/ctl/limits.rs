//! `godwitctl limits`: prints what `limits.rs` derives from memory and cores. Needs neither daemon nor
//! configuration.
use super::args::{Format, Limits};
use super::exit::Failed;
use super::print;
use super::table::{bytes, table};
use crate::limits::{Derived, Machine, Place, derive};
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Json {
    machine: Machine,
    limits: Derived,
}

pub(super) fn run(args: &Limits) -> Result<(), Failed> {
    let here = Machine::here();
    let machine =
        Machine { ram_bytes: args.ram.unwrap_or(here.ram_bytes), cores: args.cores.unwrap_or(here.cores) };
    let limits = derive(machine);
    print(&match args.format {
        Format::Json => super::json(&Json { machine, limits })?,
        Format::Table => people(machine, &limits),
        Format::Sysctl => file("/etc/sysctl.d/60-godwit.conf", "", machine, &limits, Place::Sysctl, " = "),
        Format::Systemd => {
            let head = "[Service]\n";
            file(
                "/etc/systemd/system/godwit.service.d/limits.conf",
                head,
                machine,
                &limits,
                Place::Systemd,
                "=",
            )
        }
    })
}

fn people(machine: Machine, limits: &Derived) -> String {
    let rows: Vec<_> = limits
        .rows()
        .iter()
        .map(|row| {
            let place = match row.place {
                Place::Sysctl => "sysctl",
                Place::Systemd => "unit",
                Place::Daemon => "daemon",
            };
            vec![place.into(), row.name.into(), row.value.to_string(), row.why.into()]
        })
        .collect();
    let head = format!("For {} of memory and {} cores:\n", bytes(machine.ram_bytes), machine.cores);
    head + &table(&["WHERE", "LIMIT", "VALUE", "WHY"], &rows)
}

fn file(path: &str, head: &str, machine: Machine, limits: &Derived, place: Place, equals: &str) -> String {
    let mut text =
        format!("# {path}, for {} of memory and {} cores.\n{head}", bytes(machine.ram_bytes), machine.cores);
    for row in limits.rows().iter().filter(|row| row.place == place) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {}\n{}{equals}{}", row.why, row.name, row.value);
    }
    text
}
