//! Administration over a unix socket: `protocol.rs` is what is said, `socket.rs` where, `server.rs` and
//! `client.rs` the ends.

pub mod answers;
pub mod client;
pub mod health;
pub mod load_status;
pub mod overload;
pub mod protocol;
pub mod server;
pub mod socket;
pub mod status;
pub mod store_status;
#[cfg(test)]
mod tests;
pub mod upgrade_status;
