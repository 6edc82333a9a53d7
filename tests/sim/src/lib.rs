//! A whole server in one thread: connections, shards, hub and the store in memory, under a virtual clock.
//!
//! What the sockets do in the daemon a [`World`] does with byte strings; everything else is the real code.
//! Nothing happens by itself: [`World::settle`] moves notes, jobs and commits until nothing is left to move.
#![forbid(unsafe_code)]

pub mod client;
pub mod seams;
pub mod world;

pub use client::Client;
pub use world::{ClientId, World};
