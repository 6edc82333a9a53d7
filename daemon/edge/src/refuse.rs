//! Turning a connection away so that its client learns why: a stream error in the clear, where a stream
//! begins so. Behind direct TLS it would take a handshake to say it, which is what there is no room for.
//!
//! Who is turned away costs a write, and a descriptor for a second: closing at once, with the client's words
//! unread, would make the kernel throw away ours. The number of those is bounded.
use crate::Entry;
use godwit_session::Millis;
use godwit_wire::{StreamCondition, StreamError};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::Write;
use std::net::Shutdown;

/// Refused connections of a shard that are kept until their clients have read why.
pub(crate) const REFUSED_MAX: usize = 32;
/// How long they are kept.
const REFUSED_MS: Millis = 1_000;

/// Connections that were refused.
#[derive(Default)]
pub(crate) struct Refused {
    list: VecDeque<(TcpStream, Millis)>,
    text: Vec<u8>,
}

impl Refused {
    /// Says why, if that can be said, and closes our side.
    pub(crate) fn add(&mut self, mut stream: TcpStream, entry: Entry, now: Millis) {
        self.sweep(now);
        if entry == Entry::DirectTls {
            return;
        }
        if self.text.is_empty() {
            self.text = text();
        }
        // The socket is fresh: the kernel takes it all, or the peer is gone.
        let said = stream.write(&self.text).is_ok() && stream.shutdown(Shutdown::Write).is_ok();
        if said && self.list.len() < REFUSED_MAX {
            self.list.push_back((stream, now + REFUSED_MS));
        }
    }

    /// Lets those go whose time is over.
    pub(crate) fn sweep(&mut self, now: Millis) {
        while self.list.front().is_some_and(|(_, until)| *until <= now) {
            self.list.pop_front();
        }
    }

    /// When there is something to sweep.
    pub(crate) fn due(&self) -> Option<Millis> {
        self.list.front().map(|(_, until)| *until)
    }
}

fn text() -> Vec<u8> {
    let mut text = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        .to_vec();
    let why = "no room for another connection now; try again later, with pauses that grow";
    StreamError::new(StreamCondition::ResourceConstraint).with_text(why).write(&mut text);
    text.extend_from_slice(b"</stream:stream>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_client_learns_why_even_if_it_spoke_first_and_the_list_is_bounded() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let mut refused = Refused::default();
        let mut first = None;
        for _ in 0..REFUSED_MAX + 3 {
            let mut client =
                std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("there");
            client.write_all(b"<?xml version='1.0'?><stream:stream").expect("sent");
            let (stream, _) = listener.accept().expect("accepted");
            refused.add(TcpStream::from_std(stream), Entry::StartTls, 0);
            first.get_or_insert(client);
        }
        assert_eq!((refused.list.len(), refused.due()), (REFUSED_MAX, Some(REFUSED_MS)));
        let mut said = String::new();
        first.expect("one").read_to_string(&mut said).expect("all of it");
        assert!(said.contains("<resource-constraint") && said.ends_with("</stream:stream>"), "{said}");
        refused.sweep(REFUSED_MS);
        assert_eq!(refused.due(), None);
    }
}
