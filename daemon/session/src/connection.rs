//! One connection's XMPP side: framing, and which state hears what. Small while idle: no buffer, no parser.
//!
//! The states are in their own files: `stream` (headers and the end), `tls`, `sasl`, `bind`, then `inbound`,
//! `outbound`, `feed`, `replay`, `sm` and `keepalive` for a bound session.

use crate::negotiation::{Negotiation, Step};
use crate::replay::{Kept, Replay};
use crate::{Bound, Cx, Event, Millis, Request, TlsSummary};
use godwit_wire::element::Header;
use godwit_wire::{Element, FrameKind, Framer, Scan, Scope};
use serde::{Deserialize, Serialize};

/// Where the connection is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum State {
    /// From accept to a bound session; dropped then.
    Negotiating(Box<Negotiation>),
    /// A session is bound.
    Bound(Box<Bound>),
    /// Nothing more is read or written.
    Closed,
}

/// Input that waits; there only while it does.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Buffers {
    /// The frame under way, as far as it has come; scanned already.
    #[serde(with = "crate::image::bytes")]
    partial: Vec<u8>,
    /// What came while paused; not scanned.
    #[serde(with = "crate::image::bytes")]
    stash: Vec<u8>,
}

/// What a bound session keeps about this connection of it. Goes with the connection.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Link {
    /// When bytes last came.
    pub last_seen: Millis,
    /// `<r/>` of the client not answered yet: the count of received stanzas at the oldest and at the newest.
    pub asked: Option<(u32, u32)>,
    /// Unacknowledged stanzas are being sent again.
    pub replay: Option<Replay>,
    /// Our stream header is out.
    pub opened: bool,
    /// The host said [`Event::Hold`].
    pub held: bool,
    /// As many stanzas as allowed are with the host.
    pub full: bool,
    /// The send queue is over its mark.
    pub congested: bool,
    /// Our `<r/>` was not answered yet.
    pub requested: bool,
    /// A ping or its like is out, and nothing has come since.
    pub pinged: bool,
    /// Resumed, but stanzas of the old connection are still with the host: `<resumed/>` waits for them,
    /// because its `h` tells the client which ones to send again.
    pub resuming: bool,
}

/// The machine. Small while idle: no buffer, no parser. Serialised, it is the whole of what the next binary
/// needs to go on (in-place upgrade).
#[derive(Debug, Serialize, Deserialize)]
pub struct Connection {
    pub(crate) state: State,
    #[serde(with = "crate::image::framer")]
    pub(crate) framer: Framer,
    /// Namespaces of the peer's stream header, if it declared any of its own.
    #[serde(with = "crate::image::scope")]
    pub(crate) scope: Option<Box<Scope>>,
    buffers: Option<Box<Buffers>>,
    pub(crate) tls: Option<TlsSummary>,
    /// When [`Event::Tick`] is wanted.
    pub(crate) due: Millis,
    pub(crate) link: Link,
    /// Stored messages that wait for their record, so that they need not be read again. The next binary reads
    /// them again.
    #[serde(skip)]
    pub(crate) kept: Option<Box<Kept>>,
}

impl Connection {
    /// A client connection just accepted. `direct_tls`: TLS comes first (XEP-0368), then [`Event::TlsDone`]
    /// starts it.
    ///
    /// It wants its first [`Event::Tick`] at once, because the bounds it then goes by are in the settings.
    pub fn client(direct_tls: bool, now: Millis) -> Connection {
        Connection {
            state: State::Negotiating(Box::new(Negotiation::new(direct_tls, now))),
            framer: Framer::new(),
            scope: None,
            buffers: None,
            tls: None,
            due: now,
            link: Link::default(),
            kept: None,
        }
    }

    /// Reads from `input` up to and including the first frame that makes a request, or all of it; returns the
    /// bytes used. Must not be called while [`Connection::paused`].
    pub fn receive(&mut self, input: &[u8], cx: &mut Cx<'_>) -> usize {
        self.heard(cx.now);
        let requests = cx.out.requests.len();
        let mut used = 0;
        while cx.out.requests.len() == requests && !self.paused() {
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.framer.scan(rest, &cx.settings.limits, self.frame_bytes_max(cx)) {
                Err(error) => {
                    self.fail(&error, cx);
                    return input.len();
                }
                Ok(Scan::More) => {
                    self.buffers.get_or_insert_default().partial.extend_from_slice(rest);
                    return input.len();
                }
                Ok(Scan::Frame { kind, end }) => {
                    used += end;
                    let frame = rest.get(..end).unwrap_or_default();
                    let more = used < input.len();
                    match self.take_partial() {
                        Some(mut partial) => {
                            partial.extend_from_slice(frame);
                            self.frame(kind, &partial, more, cx);
                        }
                        None => self.frame(kind, frame, more, cx),
                    }
                }
            }
        }
        used
    }

    /// Keeps input that cannot be read now (paused). Before the TLS handshake and after the end there is
    /// nothing to keep: plaintext must not outlive the start of TLS.
    pub fn stash(&mut self, input: &[u8]) {
        let reads_on = match &self.state {
            State::Negotiating(n) => !matches!(n.step, Step::Handshake),
            State::Bound(_) => true,
            State::Closed => false,
        };
        if reads_on && !input.is_empty() {
            self.buffers.get_or_insert_default().stash.extend_from_slice(input);
        }
    }

    /// Takes the kept input.
    pub fn unstash(&mut self) -> Option<Vec<u8>> {
        self.take_buffer(|b| &mut b.stash)
    }

    /// True while an answer is awaited, held, or closing: nothing is read.
    pub fn paused(&self) -> bool {
        match &self.state {
            State::Negotiating(n) => matches!(n.step, Step::Handshake | Step::Wait(_)),
            State::Bound(_) => self.link.held || self.link.full || self.link.resuming,
            State::Closed => true,
        }
    }

    /// Tells it something. An event that does not fit (a delivery, but no session here) comes back.
    pub fn event(&mut self, event: Event, cx: &mut Cx<'_>) -> Result<(), Event> {
        match event {
            Event::TlsDone(facts) => return self.tls_done(facts, cx),
            Event::Reply(reply) => return self.reply(reply, cx),
            Event::Congested => self.link.congested = true,
            Event::Drained => self.drained(cx),
            Event::Tick => self.tick(cx),
            Event::Eof => self.eof(cx),
            // It is for the session, which may have moved.
            event @ Event::Close(_) if matches!(self.state, State::Closed) => return Err(event),
            Event::Close(error) => self.close(&error, cx),
            event => return self.session_event(event, cx),
        }
        Ok(())
    }

    /// Events that only a session understands, in their order.
    fn session_event(&mut self, event: Event, cx: &mut Cx<'_>) -> Result<(), Event> {
        let State::Bound(bound) = &mut self.state else { return Err(event) };
        match bound.in_turn(event) {
            Some(event) => self.take_event(event, cx),
            None => {
                self.after_handled(cx);
                Ok(())
            }
        }
    }

    /// An event whose turn it is.
    pub(crate) fn take_event(&mut self, event: Event, cx: &mut Cx<'_>) -> Result<(), Event> {
        let State::Bound(bound) = &mut self.state else { return Err(event) };
        match event {
            Event::Deliver(outgoing) => self.deliver(outgoing, cx),
            Event::Copy(seq, _) if seq <= bound.feed.last => {}
            Event::Copy(_, outgoing) => self.deliver(outgoing, cx),
            Event::Feed(page) => self.feed_page(*page, cx),
            Event::FeedFrom { after, new_after, .. } => self.feed_from(after, new_after, cx),
            Event::FeedStop { .. } => bound.feed_stop(),
            Event::Handled(count) => {
                bound.count_handled(count);
                self.after_handled(cx);
            }
            Event::HandledDurably(h) => {
                bound.count_handled(1);
                bound.durable(h);
                self.after_handled(cx);
            }
            Event::Failed => {
                bound.count_handled(1);
                bound.failed();
                self.after_handled(cx);
            }
            Event::Recorded(durable) => {
                bound.recorded(durable);
                self.after_recorded(durable, cx);
            }
            Event::Persisted { h, durable } => {
                bound.persisted(h, durable);
                self.after_persisted(durable, cx);
            }
            Event::Nothing(_) => {}
            Event::Report(inquiry) => cx.out.requests.push(Request::Report(inquiry)),
            Event::Hold => self.link.held = true,
            Event::Release => self.link.held = false,
            event => return Err(event),
        }
        Ok(())
    }

    /// When it wants [`Event::Tick`] (login deadline, ping, ping timeout).
    pub fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Closed => None,
            _ => Some(self.due),
        }
    }

    /// The session, if one is bound.
    pub fn bound(&self) -> Option<&Bound> {
        match &self.state {
            State::Bound(bound) => Some(bound),
            _ => None,
        }
    }

    /// About its TLS, for status, once it is up. The other facts are kept until a session is bound.
    pub fn tls(&self) -> Option<TlsSummary> {
        self.tls
    }

    /// Heap and inline bytes held, for the memory account.
    pub fn memory(&self) -> usize {
        let buffers = |b: &Buffers| size_of::<Buffers>() + b.partial.capacity() + b.stash.capacity();
        let state = match &self.state {
            State::Negotiating(n) => n.memory(),
            State::Bound(bound) => bound.memory(),
            State::Closed => 0,
        };
        size_of::<Connection>()
            + state
            + self.scope.as_ref().map_or(0, |_| size_of::<Scope>())
            + self.buffers.as_deref().map_or(0, buffers)
            + self.kept.as_deref().map_or(0, Kept::memory)
    }

    /// Drops what only a stream that goes on needs.
    pub(crate) fn forget_input(&mut self) {
        self.buffers = None;
        self.scope = None;
    }

    /// A new stream begins on this connection (after TLS, after SASL): RFC 6120 §4.3.3.
    pub(crate) fn restart_stream(&mut self) {
        self.framer.restart();
        self.scope = None;
        self.link.opened = false;
    }

    fn take_partial(&mut self) -> Option<Vec<u8>> {
        self.take_buffer(|b| &mut b.partial)
    }

    fn take_buffer(&mut self, which: impl FnOnce(&mut Buffers) -> &mut Vec<u8>) -> Option<Vec<u8>> {
        let buffers = self.buffers.as_deref_mut()?;
        let taken = std::mem::take(which(buffers));
        if buffers.partial.is_empty() && buffers.stash.is_empty() {
            self.buffers = None;
        }
        if taken.is_empty() { None } else { Some(taken) }
    }

    fn frame_bytes_max(&self, cx: &Cx<'_>) -> u32 {
        match &self.state {
            State::Negotiating(n) if n.account.is_none() => cx.settings.limits.unauthenticated_bytes_max,
            _ => cx.settings.limits.stanza_bytes_max,
        }
    }

    /// One frame. `more`: bytes behind it came with it.
    fn frame(&mut self, kind: FrameKind, raw: &[u8], more: bool, cx: &mut Cx<'_>) {
        match kind {
            FrameKind::Whitespace => {}
            FrameKind::Declaration => {
                if let Err(bad) = Header::check_declaration(raw) {
                    self.fail(&bad.error, cx);
                }
            }
            FrameKind::StreamOpen => self.open(raw, cx),
            FrameKind::StreamClose => self.closed_by_peer(cx),
            FrameKind::Element => {
                let parsed = match &self.scope {
                    Some(scope) => Element::parse(raw, scope),
                    None => Element::parse(raw, &Scope::client()),
                };
                match (parsed, &self.state) {
                    (Err(bad), _) => self.fail(&bad.error, cx),
                    (Ok(element), State::Negotiating(_)) => self.negotiate(element, more, cx),
                    (Ok(element), State::Bound(_)) => self.inbound(element, cx),
                    (Ok(_), State::Closed) => {}
                }
            }
        }
    }
}
