//! The simulation: a server, its clients and the network between them, moved by a seed.
//!
//! A run has three parts. First clients do what clients do while faults happen. Then the faults end,
//! everybody comes back, and what there is at rest is checked. At last all leave, and one client of each
//! account looks what is left for it.
pub mod archive;
pub mod checks;
pub mod client;
pub mod coverage;
pub mod faults;
pub mod habits;
pub mod incoming;
pub mod ledger;
pub mod link;
pub mod login;
pub mod moves;
pub mod news;
pub mod notes;
pub mod plan;
mod presence;
pub mod report;
pub mod rest;
pub mod run;
pub mod stanzas;
pub mod template;

pub use run::{Outcome, run};
