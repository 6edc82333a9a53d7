//! A whole server in one thread: connections, shards, hub and the store in memory, under a virtual clock.
//!
//! What the sockets do in the daemon a [`Server`] does with byte strings; everything else is the real code.
//! Nothing happens by itself. A [`World`] is a server with scripted clients, for tests that say what happens;
//! [`World::settle`] moves notes, jobs and commits until nothing is left to move.
#![forbid(unsafe_code)]

pub mod client;
pub mod scram;
pub mod seams;
pub mod server;
pub mod sim;
pub mod socket;
pub mod world;

pub use client::Client;
pub use server::Server;
pub use world::{ClientId, World};
