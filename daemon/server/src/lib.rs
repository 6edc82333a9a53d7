//! godwitd and godwitctl: configuration, wiring, systemd, administration.

pub mod accounts;
pub mod admin;
pub mod alloc;
pub mod backup;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod ctl;
pub mod doctor;
#[cfg(test)]
#[path = "../../session/tests/forms/mod.rs"]
mod forms;
pub mod handover;
pub mod heartbeat;
pub mod limits;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod random;
pub mod run;
pub mod systemd;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod verify;
pub mod version;
