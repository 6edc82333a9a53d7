//! One connection's XMPP side.
use crate::{Bound, Cx, Event, Millis, TlsFacts};

/// The machine. Small while idle: no buffer, no parser.
#[derive(Debug)]
pub struct Connection {
    _todo: (),
}
impl Connection {
    /// A client connection just accepted. `direct_tls`: TLS comes first (XEP-0368), then [`Event::TlsDone`] starts it.
    pub fn client(_direct_tls: bool, _now: Millis) -> Connection {
        unimplemented!()
    }
    /// Reads from `input` up to and including the first frame that makes a request, or all of it; returns the bytes used.
    /// Must not be called while [`Connection::paused`].
    pub fn receive(&mut self, _input: &[u8], _cx: &mut Cx<'_>) -> usize {
        unimplemented!()
    }
    /// Keeps input that cannot be read now (paused).
    pub fn stash(&mut self, _input: &[u8]) {
        unimplemented!()
    }
    /// Takes the kept input.
    pub fn unstash(&mut self) -> Option<Vec<u8>> {
        unimplemented!()
    }
    /// True while an answer is awaited, held, or closing: nothing is read.
    pub fn paused(&self) -> bool {
        unimplemented!()
    }
    /// Tells it something. An event that does not fit (a delivery, but no session here) comes back.
    pub fn event(&mut self, _event: Event, _cx: &mut Cx<'_>) -> Result<(), Event> {
        unimplemented!()
    }
    /// When it wants [`Event::Tick`] (login deadline, ping, ping timeout).
    pub fn deadline(&self) -> Option<Millis> {
        unimplemented!()
    }
    /// The session, if one is bound.
    pub fn bound(&self) -> Option<&Bound> {
        unimplemented!()
    }
    /// Takes the session away (resumed elsewhere): the stream is then closed with `<conflict/>`.
    pub fn take_bound(&mut self, _cx: &mut Cx<'_>) -> Option<Box<Bound>> {
        unimplemented!()
    }
    /// Facts of its TLS, for status, once it is up.
    pub fn tls(&self) -> Option<&TlsFacts> {
        unimplemented!()
    }
    /// Heap and inline bytes held, for the memory account.
    pub fn memory(&self) -> usize {
        unimplemented!()
    }
}
