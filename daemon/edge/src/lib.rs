//! Sockets, TLS and the mio loop: one shard per core, each connection owned by one thread.

mod accept;
pub mod clock;
pub mod config;
mod conn;
mod core;
#[cfg(test)]
#[path = "../../session/tests/forms/mod.rs"]
mod forms;
pub mod handover;
pub mod host;
mod input;
pub mod listen;
mod logs;
pub mod mailbox;
mod measure;
mod output;
mod refuse;
pub mod shard;
mod slots;
mod stage;
pub mod stats;
pub mod sys;
pub mod timer;
pub mod tls;
mod turn;

pub use clock::Clock;
pub use config::{Ceiling, EdgeLimits, Random, ShardConfig};
pub use handover::{Adopted, Exported, Hold};
pub use host::{Ended, Entry, ShardHost};
pub use listen::{Keepalive, ListenOptions, Listener};
pub use mailbox::{Control, Mailbox};
pub use shard::{HEARTBEAT_MS_MAX, Shard};
pub use stats::ShardStats;
