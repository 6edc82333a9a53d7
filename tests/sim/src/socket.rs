//! The server's end of one socket: what the edge keeps of a connection, without TLS.
use crate::server::AckSeen;
use godwit_modules::ShardState;
use godwit_session::{ConnId, Connection, Cx, Host, Request};

/// See the module's documentation. A slot is used again, with another generation.
#[derive(Debug, Default)]
pub struct Socket {
    /// Slot and generation; generation 0 in a slot that is free from the start.
    pub at: ConnId,
    /// Shard that owns it.
    pub shard: usize,
    /// When it was opened.
    pub since: u64,
    /// The machine; `None`: the slot is free.
    pub conn: Option<Connection>,
    /// What was said and the kernel has not taken.
    pub out: Vec<u8>,
    pub(crate) wrote: bool,
    pub(crate) congested: bool,
    /// It closes once all is taken.
    pub closing: bool,
}

impl Socket {
    pub(crate) fn is(&self, at: ConnId) -> bool {
        self.at == at && !self.is_free()
    }

    pub(crate) fn is_free(&self) -> bool {
        self.conn.is_none()
    }

    pub(crate) fn open(&mut self, slot: u32, shard: usize, conn: Connection, since: u64) -> ConnId {
        let at = ConnId { slot, generation: self.at.generation + 1 };
        *self = Socket { at, shard, since, conn: Some(conn), ..Socket::default() };
        at
    }

    pub(crate) fn close(&mut self) {
        *self = Socket { at: self.at, ..Socket::default() };
    }

    /// May it be read from? Who waits for an answer, or has much to send, is not.
    pub fn wants_input(&self, queue_low: usize) -> bool {
        self.closing || self.out.len() <= queue_low && self.conn.as_ref().is_some_and(|conn| !conn.paused())
    }

    /// When its machine wants a tick.
    pub fn deadline(&self) -> Option<u64> {
        self.conn.as_ref().and_then(Connection::deadline)
    }
}

/// The host as a machine sees it: what is the socket's business is noted here.
pub(crate) struct Adapter<'a> {
    pub(crate) shard: &'a mut ShardState,
    pub(crate) close: bool,
    pub(crate) acks: &'a mut Vec<AckSeen>,
}

impl Host for Adapter<'_> {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        match &request {
            Request::Close => self.close = true,
            Request::Acked(seqs) => {
                if let Some(bound) = conn.bound() {
                    let sm = bound.sm.is_some();
                    let seen = |&seq: &u64| AckSeen { jid: bound.jid.as_str().into(), seq, sm };
                    self.acks.extend(seqs.iter().map(seen));
                }
            }
            _ => {}
        }
        self.shard.request(at, request, conn, cx);
    }

    fn sent(&mut self, at: ConnId, seqs: &[u64], conn: &Connection, now: u64) {
        self.shard.sent(at, seqs, conn, now);
    }
}
