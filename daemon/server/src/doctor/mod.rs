//! `godwitctl doctor`: whether the box is well. Each check gathers facts and judges them; the judgement is a
//! pure function, so that tests can turn each check red and green by facts alone.
//!
//! Nothing is changed: the time of a sync is measured in a file without a name, and only `--changes` writes
//! its state. All checks run at the same time, each with a limit.
mod backup;
mod certificate;
pub mod changes;
mod clock;
mod command;
mod daemon;
mod disk;
mod dns;
mod finding;
mod kernel;
mod limits;
mod list;
mod paths;
mod ports;
mod process;
mod run;
mod site;
mod starttls;
mod store;
#[cfg(test)]
mod testing;
mod unit;

pub use finding::{Finding, Level, UNSEEN};
pub use list::{CHECKS, Check, help, names};
pub use run::{Outcome, run};
pub use site::Site;
