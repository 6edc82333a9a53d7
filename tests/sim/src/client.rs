//! One scripted client of the world: its connection and what it has been sent.
use godwit_session::ConnId;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Client {
    /// Its connection at the server.
    pub at: ConnId,
    /// What it was sent and has not been taken.
    pub inbox: String,
    /// The connection is over.
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
