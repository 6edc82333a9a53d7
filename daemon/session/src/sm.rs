//! Stream management, XEP-0198 1.6: `<enable/>`, `<r/>`, `<a/>`, `<resume/>`.
//!
//! The `h` that we send counts stanzas that are handled and durable, never ones that are merely received, and
//! is itself in the store (`ledger`): an `<r/>` that comes earlier is answered then.

use crate::bound::Sm;
use crate::connection::State;
use crate::negotiation::Awaited;
use crate::outbound::report_acked;
use crate::replay::Replay;
use crate::stream::Fate;
use crate::{Bound, Connection, Cx, Ledger, Request, ResumeFailure, SessionId, ns};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use godwit_wire::{Condition, Node, StreamCondition, StreamError, Writer, ns as wire_ns};

/// Bytes of a resumption id: session number and secret.
const ID_BYTES: usize = 24;

impl Connection {
    /// An element of stream management on a bound stream.
    pub(crate) fn stream_management(&mut self, element: Node<'_>, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        match (element.name(), bound.sm.is_some()) {
            ("enable", false) => self.enable(element, cx),
            // XEP-0198 §3: at most one attempt.
            ("enable", true) => {
                unexpected(cx);
                self.fail(&StreamCondition::PolicyViolation.into(), cx);
            }
            ("r", true) => self.asked(cx),
            ("a", true) => match element.attr("h").and_then(number) {
                Some(h) => self.ack(h, cx),
                None => {
                    self.fail(&StreamError::new(StreamCondition::BadFormat).with_text("<a/> needs h"), cx)
                }
            },
            ("r" | "a" | "resume", _) => unexpected(cx),
            _ => self.fail(&StreamCondition::UnsupportedStanzaType.into(), cx),
        }
    }

    fn enable(&mut self, enable: Node<'_>, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let wish = enable.attr("max").and_then(number).unwrap_or(u32::MAX);
        let max_s = wish.min(cx.settings.resume_s_max);
        let resume = matches!(enable.attr("resume"), Some("true" | "1")) && max_s > 0;
        let mut secret = [0; 16];
        (cx.random)(&mut secret);
        bound.restart_counts();
        // Stored messages sent before this still wait to be reported. Counting from so many below zero lets
        // the client's first `h`, which cannot come before it has read them, cover them too.
        let acked = 0u32.wrapping_sub(bound.unacked_len());
        let ledger = resume.then(|| Ledger::new(bound.unacked_len(), 0));
        bound.sm = Some(Box::new(Sm::new(secret, resume, max_s, acked, ledger)));
        let mut w = Writer::new(&mut cx.out.bytes);
        w.start("enabled").attr("xmlns", ns::SM);
        if resume {
            w.attr("id", &encode_id(bound.id, &secret))
                .attr("resume", "true")
                .attr("max", &max_s.to_string());
        }
        w.end();
        cx.out.requests.push(Request::SmEnabled);
        self.record(cx);
    }

    /// `<r/>` came.
    fn asked(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        let oldest = self.link.asked.map_or(bound.received, |(oldest, _)| oldest);
        self.link.asked = Some((oldest, bound.received));
        self.answer_asked(cx);
    }

    /// Sends the `<a/>` that is due once everything before the oldest unanswered `<r/>` is handled. Later
    /// ones wait for theirs; one answer covers all that have come so far.
    pub(crate) fn answer_asked(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        let Some((oldest, newest)) = self.link.asked else { return };
        // An error that says "this was not taken" must not come behind the count that says "it was handled".
        if self.waits_for_record() {
            return self.record(cx);
        }
        let (durable, handled) = (bound.durable_h(), bound.handled);
        let reached =
            |h: u32, target: u32| bound.received.wrapping_sub(h) <= bound.received.wrapping_sub(target);
        if !reached(durable, oldest) {
            if reached(handled, oldest) {
                self.persist_h(cx);
            }
            return;
        }
        let covered = reached(durable, newest);
        let h = durable.to_string();
        Writer::new(&mut cx.out.bytes).start("a").attr("xmlns", ns::SM).attr("h", &h).end();
        if covered {
            self.link.asked = None;
        } else {
            self.link.asked = Some((newest, newest));
            self.answer_asked(cx);
        }
    }

    /// `<a h='…'/>` came.
    fn ack(&mut self, h: u32, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &mut self.state else { return };
        let Some(sm) = &bound.sm else { return };
        let count = h.wrapping_sub(sm.acked);
        let sent = self.link.replay.map_or(bound.unacked_len(), |replay| replay.next);
        if count > sent {
            let sent = sm.acked.wrapping_add(sent);
            return self.too_high(h, sent, cx);
        }
        let stored = bound.forget_oldest(count);
        if let Some(replay) = &mut self.link.replay {
            replay.next -= count;
        }
        let left = !bound.unacked.is_empty();
        self.link.requested = false;
        // Only after progress, or a client that never gets further would be asked for ever.
        if left && count > 0 && self.link.replay.is_none() {
            self.request_ack_once(cx);
        }
        self.acked(stored, cx);
    }

    fn too_high(&mut self, h: u32, sent: u32, cx: &mut Cx<'_>) {
        let mut xml = Vec::new();
        let mut w = Writer::new(&mut xml);
        w.start("stream:error").empty("undefined-condition", wire_ns::STREAM_ERRORS);
        w.start("handled-count-too-high").attr("xmlns", ns::SM);
        w.attr("h", &h.to_string()).attr("send-count", &sent.to_string()).end().end();
        self.end_stream(&xml, Fate::End, "handled-count-too-high", cx);
    }

    /// A stanza was sent: `<r/>` if none is out and the batch ends here, and after each so many in any case.
    pub(crate) fn request_ack(&mut self, batch_ends: bool, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        let full = bound.unacked_len().checked_rem(cx.settings.request_ack_every) == Some(0);
        if bound.sm.is_some() && (full || (batch_ends && !self.link.requested)) {
            self.write_request(cx);
        }
    }

    /// `<r/>` if something is unacknowledged and none is out.
    pub(crate) fn request_ack_once(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        if bound.sm.is_some() && !bound.unacked.is_empty() && !self.link.requested {
            self.write_request(cx);
        }
    }

    /// `<r/>`.
    pub(crate) fn write_request(&mut self, cx: &mut Cx<'_>) {
        Writer::new(&mut cx.out.bytes).empty("r", ns::SM);
        self.link.requested = true;
    }

    /// `<resume/>` in place of a bind request.
    pub(crate) fn resume(&mut self, resume: Node<'_>, cx: &mut Cx<'_>) {
        let State::Negotiating(n) = &self.state else { return };
        let Some(account) = n.account.clone() else { return };
        let Some(h) = resume.attr("h").and_then(number) else {
            return write_failed(cx, Condition::BadRequest, None);
        };
        let Some((session, secret)) = resume.attr("previd").and_then(decode_id) else {
            return write_failed(cx, Condition::ItemNotFound, None);
        };
        self.wait(Awaited::Resume(h));
        cx.out.requests.push(Request::Resume { account, session, secret, h });
    }

    /// The host's answer to a resumption.
    pub(crate) fn resume_reply(
        &mut self,
        h: u32,
        result: Result<Box<Bound>, ResumeFailure>,
        cx: &mut Cx<'_>,
    ) {
        let mut bound = match result {
            Ok(bound) => bound,
            Err(failure) => return write_failed(cx, Condition::ItemNotFound, failure.h),
        };
        let Some(acked) = bound.sm.as_ref().map(|sm| sm.acked) else {
            self.become_bound(bound, cx);
            return self.fail(&StreamCondition::InternalServerError.into(), cx);
        };
        let (count, sent) = (h.wrapping_sub(acked), bound.unacked_len());
        if count > sent {
            self.become_bound(bound, cx);
            return self.too_high(h, acked.wrapping_add(sent), cx);
        }
        #[cfg(feature = "planted")]
        let count = crate::planted::once_more(&bound, count);
        report_acked(bound.forget_oldest(count), cx);
        bound.unplug();
        bound.feed_again();
        self.become_bound(bound, cx);
        self.link.resuming = true;
        self.link.replay = Some(Replay::default());
        self.after_handled(cx);
    }

    /// `<resumed/>`, and then what the client has not seen.
    pub(crate) fn finish_resumption(&mut self, cx: &mut Cx<'_>) {
        let State::Bound(bound) = &self.state else { return };
        let Some(sm) = &bound.sm else { return };
        let mut w = Writer::new(&mut cx.out.bytes);
        w.start("resumed").attr("xmlns", ns::SM).attr("previd", &encode_id(bound.id, &sm.secret));
        w.attr("h", &bound.handled.to_string()).end();
        self.link.resuming = false;
        let State::Bound(bound) = &mut self.state else { return };
        let waited = bound.caught_up();
        self.replay_on(cx);
        for event in waited {
            let _ = self.take_event(event, cx); // of no use once the session is over
        }
    }
}

/// `<failed><unexpected-request/></failed>`: out of the order that XEP-0198 §3 prescribes.
pub(crate) fn unexpected(cx: &mut Cx<'_>) {
    write_failed(cx, Condition::UnexpectedRequest, None);
}

/// `<failed/>`, with `h` if the count of a lost session is still known.
pub(crate) fn write_failed(cx: &mut Cx<'_>, condition: Condition, h: Option<u32>) {
    let h = h.map(|h| h.to_string());
    let mut w = Writer::new(&mut cx.out.bytes);
    w.start("failed").attr("xmlns", ns::SM).attr_opt("h", h.as_deref());
    w.empty(condition.name(), wire_ns::STANZAS).end();
}

/// An xs:unsignedInt; nothing but digits.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The resumption id: of fixed width, opaque to the client.
fn encode_id(session: SessionId, secret: &[u8; 16]) -> String {
    let mut raw = [0; ID_BYTES];
    let (number, rest) = raw.split_at_mut(8);
    number.copy_from_slice(&session.0.to_be_bytes());
    rest.copy_from_slice(secret);
    URL_SAFE_NO_PAD.encode(raw)
}

/// Inverse of [`encode_id`].
fn decode_id(text: &str) -> Option<(SessionId, [u8; 16])> {
    let raw = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (number, secret) = raw.split_first_chunk::<8>()?;
    let session = SessionId(u64::from_be_bytes(*number));
    let secret = <[u8; 16]>::try_from(secret).ok()?;
    (session.0 != 0).then_some((session, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resumption_ids_are_of_one_width_and_only_ours_are_read() {
        let id = encode_id(SessionId(7), &[9; 16]);
        assert_eq!(id.len(), 32);
        assert_eq!(id.len(), encode_id(SessionId(u64::MAX), &[0; 16]).len());
        assert_eq!(decode_id(&id), Some((SessionId(7), [9; 16])));
        let zero = encode_id(SessionId(0), &[9; 16]);
        for bad in ["", "x", &id[1..], &format!("{id}A"), &id.replace('C', "+"), &zero] {
            assert_eq!(decode_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number("4294967295"), Some(u32::MAX));
        for bad in ["", "+1", "-1", " 1", "4294967296", "0x1"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
