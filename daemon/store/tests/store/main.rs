//! Tests of the store on disk, in one program: each program links RocksDB once more.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod chain;
mod common;
mod damage;
mod expiry;
mod full;
mod kill;
mod model;
mod order;
mod recovery;
