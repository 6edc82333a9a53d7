//! What happens to one connection: its machine is driven, its phases change, its deadlines come.
//!
//! [`Core`] is the shard without sockets to poll and without the table: everything that a connection's turn
//! needs besides the connection. Reading is in `input.rs`, writing and removing in `output.rs`.
use crate::config::{EdgeLimits, Random};
use crate::conn::{Conn, Link, Phase};
use crate::logs::Named;
use crate::stage::Stage;
use crate::stats::ShardStats;
use crate::timer::{Tick, Wheel};
use crate::tls::{Tls, TlsConfig};
use crate::turn::Outputs;
use crate::{Ended, Entry, ShardHost};
use godwit_session::{ConnId, Connection, Cx, Event, Host, Millis, Out, Request, Settings, drive};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;

/// Output of one connection within a turn beyond which it is written at once.
const OUTPUT_TURN_MAX: usize = 64 << 10;

/// Input that the machine is given at once.
const PIECE_BYTES: usize = 4 << 10;

/// What the machine asked of the edge.
#[derive(Default, Clone, Copy)]
struct Asked {
    starttls: bool,
    close: bool,
}

/// The host as the machine sees it: two requests are the edge's own.
struct Intercept<'a, H> {
    host: &'a mut H,
    asked: Asked,
}
impl<H: ShardHost> Host for Intercept<'_, H> {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        match request {
            Request::StartTls => self.asked.starttls = true,
            Request::Close => self.asked.close = true,
            other => self.host.request(at, other, conn, cx),
        }
    }
    fn sent(&mut self, at: ConnId, seqs: &[u64], conn: &Connection, now: Millis) {
        self.host.sent(at, seqs, conn, now);
    }
}

/// A shard's state around its connections.
pub(crate) struct Core<H> {
    pub(crate) host: H,
    pub(crate) number: u16,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: EdgeLimits,
    pub(crate) tls: Arc<TlsConfig>,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) random: Random,
    /// The shard comes to rest: a machine that learns that all is sent would go on. It is told later.
    pub(crate) held: bool,
    /// The time of this turn.
    pub(crate) now: Millis,
    pub(crate) wheel: Wheel,
    pub(crate) outputs: Outputs,
    pub(crate) stage: Stage,
    /// Open connections to read from.
    pub(crate) ready: VecDeque<ConnId>,
    /// Connections in the handshake to read from: they cost far more each, so they wait in a line of their
    /// own.
    pub(crate) shaking: VecDeque<ConnId>,
    /// Scratch: what is read, what was in it, what TLS answers by itself, what is sealed.
    pub(crate) input: Box<[u8]>,
    pub(crate) plain: Vec<u8>,
    pub(crate) raw: Vec<u8>,
    pub(crate) cipher: Vec<u8>,
    pub(crate) out: Out,
}
impl<H: ShardHost> Core<H> {
    /// Lets the machine act, then does what it asked for. All its output of a turn comes together in one
    /// buffer.
    fn drive<R>(
        &mut self,
        at: ConnId,
        conn: &mut Conn,
        act: impl FnOnce(&mut Connection, &mut Intercept<'_, H>, &mut Cx<'_>) -> R,
    ) -> R {
        if let Some(output) = self.outputs.get(conn.turn) {
            std::mem::swap(&mut output.plain, &mut self.out.bytes);
        }
        let mut host = Intercept { host: &mut self.host, asked: Asked::default() };
        let mut cx =
            Cx { settings: &self.settings, now: self.now, random: &mut *self.random, out: &mut self.out };
        let result = act(&mut conn.machine, &mut host, &mut cx);
        let asked = host.asked;
        if conn.turn != 0 || !self.out.bytes.is_empty() {
            // A new output gives its empty buffer for the next machine's.
            std::mem::swap(&mut self.outputs.of(at, &mut conn.turn).plain, &mut self.out.bytes);
        }
        if asked.starttls {
            self.start_tls(at, conn);
        }
        if asked.close {
            self.close(at, conn, Ended::ByUs);
        }
        self.look_again(at, conn);
        result
    }

    /// After a machine acted: it may want input again, wait for something else, or have said very much.
    fn look_again(&mut self, at: ConnId, conn: &mut Conn) {
        if conn.stranger && conn.machine.bound().is_some() {
            conn.stranger = false;
            self.stage.done();
        }
        self.queue(at, conn);
        self.arm(at, conn);
        let said = self.outputs.get(conn.turn).map_or(0, |output| output.plain.len());
        if said > OUTPUT_TURN_MAX {
            self.write_now(at, conn);
        }
    }

    /// Puts a connection in line if there is something to read and it may be read.
    pub(crate) fn queue(&mut self, at: ConnId, conn: &mut Conn) {
        let something = conn.readable || conn.has_plain() || conn.peer_closed;
        if something && !conn.queued && conn.wants_input(self.limits.queue_low) {
            conn.queued = true;
            let line = if conn.link.handshaking() { &mut self.shaking } else { &mut self.ready };
            line.push_back(at);
        }
    }

    /// Bytes for the machine, piece by piece: it may be told little and say very much, and then the peer has
    /// to read before it is told more. What it is not told now is kept.
    pub(crate) fn bytes(&mut self, at: ConnId, conn: &mut Conn, mut bytes: &[u8]) {
        while !bytes.is_empty() && conn.may_go_on(self.limits.queue_low) {
            let (piece, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES));
            self.drive(at, conn, |machine, host, cx| drive::bytes(at, machine, host, piece, cx));
            bytes = rest;
        }
        if conn.phase == Phase::Live {
            conn.keep_plain(bytes, self.now);
        }
    }

    /// An event for the machine; one that does not fit is the host's.
    pub(crate) fn event(&mut self, at: ConnId, conn: &mut Conn, event: Event) {
        if conn.told {
            self.host.missed(at, event);
        } else if matches!(event, Event::TakeOver) {
            self.drive(at, conn, |machine, host, cx| {
                host.host.take_over(at, machine, cx);
                requests(at, machine, host, cx);
            });
        } else {
            let done = self.drive(at, conn, |machine, host, cx| drive::event(at, machine, host, event, cx));
            if let Err(event) = done {
                self.host.missed(at, event);
            }
        }
    }

    /// Tells the machine, once, that nothing more comes.
    pub(crate) fn tell_eof(&mut self, at: ConnId, conn: &mut Conn) {
        if !conn.told {
            self.event(at, conn, Event::Eof);
            conn.told = true;
        }
    }

    /// What is said so far goes out in the clear, then TLS begins. What came in the clear behind the request
    /// was not protected and is thrown away (a command injected there must not be taken for the peer's own).
    fn start_tls(&mut self, at: ConnId, conn: &mut Conn) {
        debug_assert!(matches!(conn.link, Link::Plain), "the machine asked for TLS within TLS");
        drop(conn.machine.unstash());
        drop(conn.take_plain());
        let output = self.outputs.of(at, &mut conn.turn);
        output.raw.append(&mut output.plain);
        match Tls::accept(&self.tls, Entry::StartTls) {
            Ok(tls) => {
                conn.link = Link::Tls(tls);
                self.stats.handshaking.add(1);
            }
            Err(error) => {
                tracing::error!(shard = self.number, conn = %Named(at), %error, "cannot begin TLS");
                self.doom(at, conn, Ended::TlsFailed);
            }
        }
    }

    /// Begins an orderly end: what waits is sent, TLS and TCP are closed, the peer gets some time to do the
    /// same.
    pub(crate) fn close(&mut self, at: ConnId, conn: &mut Conn, why: Ended) {
        if conn.phase == Phase::Live {
            conn.phase = Phase::Closing;
            conn.why = why;
            conn.phase_until = self.wheel.tick(self.now + self.limits.linger_ms_max);
            self.outputs.of(at, &mut conn.turn);
            self.queue(at, conn);
            self.arm(at, conn);
        }
    }

    /// Lets a connection end with this turn.
    pub(crate) fn doom(&mut self, at: ConnId, conn: &mut Conn, why: Ended) {
        if conn.phase == Phase::Live {
            conn.why = why;
        }
        if conn.phase != Phase::Doomed {
            conn.phase = Phase::Doomed;
            self.outputs.of(at, &mut conn.turn);
        }
    }

    /// What goes wrong with one connection is of interest to whoever looks into that one.
    pub(crate) fn log_failure(&self, at: ConnId, conn: &Conn, what: &'static str, error: &dyn Error) {
        let (shard, peer) = (self.number, conn.peer());
        tracing::debug!(shard, conn = %Named(at), %peer, %error, "{what}");
    }

    /// The next tick at which something may be due for it.
    fn next_tick(&self, conn: &Conn) -> Option<Tick> {
        let phase = (conn.phase_until != 0).then_some(conn.phase_until);
        let machine = if conn.told { None } else { conn.machine.deadline() };
        let stalled = self.stalled_at(conn);
        [phase, machine.map(|at| self.wheel.tick(at)), stalled.map(|at| self.wheel.tick(at))]
            .into_iter()
            .flatten()
            .min()
    }

    fn stalled_at(&self, conn: &Conn) -> Option<Millis> {
        let spill = conn.spill.as_ref().filter(|spill| !spill.waiting().is_empty())?;
        Some(spill.progress + self.limits.write_stall_ms_max)
    }

    /// Sees to it that the wheel looks at the connection in time. It looks too early rather than be set
    /// again.
    pub(crate) fn arm(&mut self, at: ConnId, conn: &mut Conn) {
        let Some(next) = self.next_tick(conn) else { return };
        let next = next.max(self.wheel.soonest());
        if conn.armed == 0 || next < conn.armed {
            conn.armed = self.wheel.set(at.slot, next);
        }
    }

    /// The wheel looks at a connection.
    pub(crate) fn fire(&mut self, at: ConnId, conn: &mut Conn, tick: Tick) {
        if conn.armed != tick {
            return;
        }
        conn.armed = 0;
        let now = self.now;
        let overdue = conn.phase_until != 0 && self.wheel.millis(conn.phase_until) <= now;
        if overdue && (conn.phase != Phase::Live || conn.link.handshaking()) {
            self.doom(at, conn, Ended::Deadline);
        } else if self.stalled_at(conn).is_some_and(|stalled| stalled <= now) {
            self.doom(at, conn, Ended::SendQueueFull);
        } else if !conn.told && conn.machine.deadline().is_some_and(|deadline| deadline <= now) {
            let live = conn.phase == Phase::Live;
            self.event(at, conn, Event::Tick);
            if live && conn.phase == Phase::Closing {
                conn.why = Ended::Deadline;
            }
        }
        // Without TLS the machine has a stream on which it can say so; now is the end in any case.
        if overdue && conn.phase == Phase::Live {
            self.close(at, conn, Ended::Deadline);
        }
        self.arm(at, conn);
    }
}

/// Requests made outside of `drive`, of which the answer may bring further ones.
fn requests(at: ConnId, conn: &mut Connection, host: &mut dyn Host, cx: &mut Cx<'_>) {
    let mut at_once = std::mem::take(&mut cx.out.requests);
    while !at_once.is_empty() {
        for request in at_once.drain(..) {
            host.request(at, request, conn, cx);
        }
        std::mem::swap(&mut at_once, &mut cx.out.requests);
    }
    cx.out.requests = at_once;
}
