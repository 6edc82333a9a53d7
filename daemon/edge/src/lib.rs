//! Sockets, TLS and the mio loop: one shard per core, each connection owned by one thread.

pub mod host;
pub mod tls;

pub use host::{Ended, Entry, ShardHost};
