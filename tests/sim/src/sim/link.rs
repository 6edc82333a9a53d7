//! One TCP connection between a client and the server: bytes under way, and how it fails.
use godwit_session::ConnId;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Link {
    /// The server's end.
    pub at: ConnId,
    /// The client's end, while it holds it.
    pub client: Option<usize>,
    /// Sent by the client and not read by the server.
    pub up: Vec<u8>,
    /// The client's end of file comes behind that.
    pub up_end: bool,
    /// Taken by the server's kernel and not read by the client.
    pub down: Vec<u8>,
    /// The server's end of file comes behind that.
    pub down_end: bool,
    /// Nothing reaches the server any more, no end of file either.
    pub dark_up: bool,
    /// Nothing reaches the client any more.
    pub dark_down: bool,
    /// Bytes that kernels and network hold towards the client at most.
    pub room: usize,
    /// The server has closed its end.
    pub server_gone: bool,
}

impl Link {
    /// Bytes that the server's kernel would take now.
    pub fn space(&self) -> usize {
        self.room.saturating_sub(self.down.len())
    }

    /// Nobody holds an end of it.
    pub fn is_over(&self) -> bool {
        self.client.is_none() && self.server_gone
    }
}
