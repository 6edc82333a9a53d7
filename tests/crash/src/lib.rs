//! The crash test: a real daemon, clients with XEP-0198, `kill -9` at seeded moments, an oracle.
//!
//! With `power.rs` the power goes with each kill: what was not synced is lost.
//!
//! `oracle.rs` says at its head what is promised and what is checked. `run.rs` drives the schedule,
//! `sender.rs` and `recipient.rs` behave like clients do, `ledger.rs` writes down what they saw.

mod death;
mod ledger;
mod oracle;
mod peers;
mod power;
mod recipient;
mod run;
mod sender;
mod server;

pub use oracle::Tally;
pub use power::Loss;
pub use run::{Plan, run};
pub use server::{Kind, find_godwitd};
