//! Streams: their headers (RFC 6120 §4.7), and the ways in which they end (§4.4, §4.9).

use crate::connection::State;
use crate::negotiation::Step;
use crate::{Bound, Connection, Cx, Request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use godwit_wire::element::Header;
use godwit_wire::{Jid, StreamCondition, StreamError, Writer, ns as wire_ns};

/// Random bytes of a stream id.
const STREAM_ID_BYTES: usize = 15;
/// The end of a stream.
const END: &[u8] = b"</stream:stream>";

/// What becomes of a session when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is over.
    End,
    /// It waits for resumption, if the client asked for that.
    Keep,
}

impl Connection {
    /// A stream header came: check it, answer with ours and with the features.
    pub(crate) fn open(&mut self, raw: &[u8], cx: &mut Cx<'_>) {
        let checked = Header::parse(raw).map_err(|bad| bad.error).and_then(|header| {
            let State::Negotiating(n) = &self.state else { return Err(StreamCondition::BadFormat.into()) };
            let own = n.account.as_ref().map(|account| account.jid.domain());
            let domain = check_header(&header, own, &cx.settings.domains)?;
            Ok((header, domain))
        });
        let (header, domain) = match checked {
            Ok(checked) => checked,
            Err(error) => return self.fail(&error, cx),
        };
        self.scope = header.scope.has_extra_prefixes().then(|| Box::new(header.scope));
        self.write_header(&domain, cx);
        let State::Negotiating(n) = &mut self.state else { return };
        n.domain = domain;
        n.step = match (&n.tls, &n.account) {
            (None, _) => Step::StartTls,
            (Some(_), None) => Step::Auth,
            (Some(_), Some(_)) => Step::Bind,
        };
        crate::features::write(&n.step, n.tls.as_deref(), cx);
    }

    /// The peer's `</stream:stream>`: answered in kind, RFC 6120 §4.4.
    pub(crate) fn closed_by_peer(&mut self, cx: &mut Cx<'_>) {
        cx.out.bytes.extend_from_slice(END);
        self.leave(Fate::End, "closed by the client", cx);
        cx.out.requests.push(Request::Close);
    }

    /// The peer is gone.
    pub(crate) fn eof(&mut self, cx: &mut Cx<'_>) {
        self.leave(Fate::Keep, "connection lost", cx);
    }

    /// The host wants the stream closed. What says nothing against the session leaves it to be resumed.
    pub(crate) fn close(&mut self, error: &StreamError, cx: &mut Cx<'_>) {
        use StreamCondition::{ConnectionTimeout, Reset, SeeOtherHost, SystemShutdown};
        let fate = match error.condition {
            ConnectionTimeout | Reset | SeeOtherHost | SystemShutdown => Fate::Keep,
            _ => Fate::End,
        };
        self.fail_with(error, fate, cx);
    }

    /// Ends the stream with an error, and the session with it.
    pub(crate) fn fail(&mut self, error: &StreamError, cx: &mut Cx<'_>) {
        self.fail_with(error, Fate::End, cx);
    }

    /// Ends the stream with an error.
    pub(crate) fn fail_with(&mut self, error: &StreamError, fate: Fate, cx: &mut Cx<'_>) {
        let mut xml = Vec::new();
        error.write(&mut xml);
        self.end_stream(&xml, fate, error.condition.name(), cx);
    }

    /// Ends the stream with these last bytes. Our header precedes them if it is not out yet (RFC 6120
    /// §4.9.1.2).
    pub(crate) fn end_stream(&mut self, xml: &[u8], fate: Fate, reason: &'static str, cx: &mut Cx<'_>) {
        let silent = match &self.state {
            // In the middle of a handshake there is no stream to write on.
            State::Negotiating(n) => matches!(n.step, Step::Handshake),
            State::Bound(_) => false,
            State::Closed => return,
        };
        if !silent {
            if !self.link.opened {
                let domain = cx.settings.domains.first().cloned().unwrap_or_default();
                self.write_header(&domain, cx);
            }
            cx.out.bytes.extend_from_slice(xml);
            cx.out.bytes.extend_from_slice(END);
        }
        self.leave(fate, reason, cx);
        cx.out.requests.push(Request::Close);
    }

    /// Leaves the connection; the session goes to the host.
    fn leave(&mut self, fate: Fate, reason: &'static str, cx: &mut Cx<'_>) {
        self.forget_input();
        let State::Bound(mut bound) = std::mem::replace(&mut self.state, State::Closed) else { return };
        bound.unplug();
        let resumable = bound.sm.as_ref().filter(|sm| sm.resume && fate == Fate::Keep);
        let request = match resumable.map(|sm| cx.now + u64::from(sm.max_s) * 1000) {
            Some(until) => Request::Detach { bound, until },
            None => Request::End { bound, reason },
        };
        cx.out.requests.push(request);
    }

    /// Takes the session away (resumed elsewhere): the stream is then closed with `<conflict/>`.
    pub fn take_bound(&mut self, cx: &mut Cx<'_>) -> Option<Box<Bound>> {
        if !matches!(self.state, State::Bound(_)) {
            return None;
        }
        let State::Bound(mut bound) = std::mem::replace(&mut self.state, State::Closed) else { return None };
        bound.unplug();
        StreamError::new(StreamCondition::Conflict).write(&mut cx.out.bytes);
        cx.out.bytes.extend_from_slice(END);
        self.forget_input();
        cx.out.requests.push(Request::Close);
        Some(bound)
    }

    fn write_header(&mut self, domain: &str, cx: &mut Cx<'_>) {
        let mut random = [0; STREAM_ID_BYTES];
        (cx.random)(&mut random);
        let mut id = String::new();
        URL_SAFE_NO_PAD.encode_string(random, &mut id);
        let to = match &self.state {
            State::Negotiating(n) => n.account.as_ref().map(|a| a.jid.as_str()),
            _ => None,
        };
        cx.out.bytes.extend_from_slice(b"<?xml version='1.0'?>");
        Writer::new(&mut cx.out.bytes)
            .start("stream:stream")
            .attr("xmlns", wire_ns::CLIENT)
            .attr("xmlns:stream", wire_ns::STREAMS)
            .attr("id", &id)
            .attr("from", domain)
            .attr_opt("to", to)
            .attr("version", "1.0")
            .attr("xml:lang", "en")
            .content();
        self.link.opened = true;
    }
}

/// Checks a client's header; gives the domain that it addresses. `own`: domain of the account that has
/// authenticated.
fn check_header(header: &Header, own: Option<&str>, served: &[Box<str>]) -> Result<Box<str>, StreamError> {
    if header.scope.content() != wire_ns::CLIENT {
        return Err(StreamError::new(StreamCondition::InvalidNamespace).with_text("this port serves clients"));
    }
    let domain = match &header.to {
        None => own.or(served.first().map(AsRef::as_ref)).unwrap_or_default().into(),
        Some(to) => {
            let to = Jid::parse(to).ok().filter(Jid::is_domain).ok_or(StreamCondition::ImproperAddressing)?;
            Box::from(to.domain())
        }
    };
    if !served.contains(&domain) {
        return Err(StreamCondition::HostUnknown.into());
    }
    // A session belongs to the domain at which it authenticated, and to no other one that we happen to serve.
    if own.is_some_and(|own| own != &*domain) {
        return Err(StreamCondition::NotAuthorized.into());
    }
    if !version_supported(header.version.as_deref()) {
        return Err(StreamCondition::UnsupportedVersion.into());
    }
    Ok(domain)
}

/// RFC 6120 §4.7.5: 1.0 or later; without a version it is a stream from before 1.0.
fn version_supported(version: Option<&str>) -> bool {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u16>().ok()).flatten()
    };
    let Some((major, minor)) = version.and_then(|v| v.split_once('.')) else { return false };
    number(major).is_some_and(|major| major >= 1) && number(minor).is_some()
}

#[cfg(test)]
mod tests {
    use super::version_supported;

    #[test]
    fn versions_from_1_0_on() {
        for good in ["1.0", "1.1", "2.0", "01.00"] {
            assert!(version_supported(Some(good)), "{good}");
        }
        for bad in ["0.9", "0.0", "1", "", ".", "1.", "a.b", "+1.0", "99999.0"] {
            assert!(!version_supported(Some(bad)), "{bad}");
        }
        assert!(!version_supported(None));
    }
}
