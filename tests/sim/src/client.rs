//! One connection of the world and what it has been sent.
use godwit_session::{ConnId, Connection};

/// A client's connection, from the server's side, and its output.
#[derive(Debug)]
pub struct Client {
    /// Shard that owns it.
    pub shard: usize,
    /// Its connection number there.
    pub at: ConnId,
    /// The machine; `None` when the connection is gone.
    pub conn: Option<Connection>,
    /// What it was sent and has not been taken.
    pub inbox: String,
    /// The server has closed it.
    pub closed: bool,
    /// The client reads nothing: output stays where it is.
    pub stalled: bool,
}

impl Client {
    /// What was sent since the last call.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.inbox)
    }
}
