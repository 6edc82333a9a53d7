//! Errors that answer stanzas, and how that of a message survives.
//!
//! A client that is told by a count (XEP-0198 `h`) that its message was handled must also learn when it was
//! not taken. So in a session that may be resumed such an error is a stored message like any other, addressed
//! to the full JID of the sender and durable with the count: after a kill, or when the session has ended, it
//! waits for the account. Where it cannot be stored (nothing can be written, or too much waits for the
//! account itself), nothing else of the session is written either, until its client has acknowledged the
//! error: so no count covers it before ([`godwit_store::Tx::chain`]).
use crate::backlog;
use crate::effects::{Delivery, Effect, Effects, Fate};
use crate::hub::{Counters, Hub, Origin};
use crate::note::Poster;
use crate::pending::{Cause, Progress};
use crate::row::Row;
use godwit_session::Millis;
use godwit_wire::{Condition, Kind, Stanza, StanzaError};
use std::sync::Arc;

/// Why a stanza is not taken.
pub(crate) struct Refused {
    error: StanzaError,
    fate: Fate,
}

impl Refused {
    /// Decided by a rule or a limit, or because something could not be read.
    pub(crate) fn by(error: StanzaError) -> Refused {
        let fate = match error.condition {
            Condition::InternalServerError | Condition::ResourceConstraint => Fate::Failed,
            _ => Fate::Refused,
        };
        Refused { error, fate }
    }

    /// The server could not take it.
    pub(crate) fn failed(condition: Condition, why: &'static str) -> Refused {
        let error = StanzaError::new(condition);
        Refused { error: if why.is_empty() { error } else { error.with_text(why) }, fate: Fate::Failed }
    }
}

impl Hub {
    /// A stanza is not taken: its sender is told, and of a message for certain.
    pub(crate) fn refuse(&self, origin: &Origin, stanza: &Stanza, refused: &Refused, now: Millis) -> Effects {
        let mut fx = self.answer(stanza, refused);
        if stanza.kind != Kind::Message || origin.h.is_none() {
            return fx;
        }
        let Some(Effect::Send(bytes)) = fx.after.pop() else { return fx };
        let with = stanza.to.as_ref().map_or(origin.jid.bare_str(), |to| to.bare_str());
        self.bounce(origin, with, bytes, now, &mut fx);
        fx
    }

    /// A message that is none counts as a stanza; its sender is told.
    pub(crate) fn refused(
        self: &Arc<Self>,
        origin: &Origin,
        answer: Vec<u8>,
        idle: bool,
        now: Millis,
        post: &mut Poster,
    ) -> Progress {
        Counters::up(self.counters.stanzas.of(Kind::Message));
        Counters::up(&self.counters.errors_sent);
        let bytes: Arc<[u8]> = answer.into();
        let mut fx = Effects::default();
        fx.fate = Fate::Refused;
        match origin.h {
            Some(_) => self.bounce(origin, origin.jid.bare_str(), Arc::clone(&bytes), now, &mut fx),
            None => fx.then(Effect::Send(Arc::clone(&bytes))),
        }
        self.finish(origin, Cause::Refused(bytes), fx, idle, post)
    }

    fn bounce(&self, origin: &Origin, with: &str, bytes: Arc<[u8]>, now: Millis, fx: &mut Effects) {
        if self.admits_bounce(origin, now) {
            return store(origin, with, bytes, now, fx);
        }
        fx.unrecorded = true;
        fx.then(Effect::Send(bytes));
    }

    /// The error to a stanza, if it may be answered.
    pub(crate) fn answer(&self, stanza: &Stanza, refused: &Refused) -> Effects {
        let mut fx = Effects::default();
        fx.fate = refused.fate;
        if crate::route::may_be_answered(stanza) {
            Counters::up(&self.counters.errors_sent);
            let mut out = Vec::new();
            stanza.error_reply(&mut out, &refused.error);
            fx.send(out);
        }
        fx
    }

    /// Errors are bounded like all that waits for an account.
    fn admits_bounce(&self, origin: &Origin, now: Millis) -> bool {
        let settings = self.settings();
        let cx = self.cx(&settings, origin, now);
        let bare = origin.jid.bare_str();
        let known = cx.recipient(bare).ok().flatten().filter(|(owner, _)| *owner == origin.owner);
        known.is_some_and(|(owner, waiting)| backlog::admit(&cx, bare, owner, waiting).is_ok())
    }
}

/// Stores the error for the sender's session: for delivery, not as history.
fn store(origin: &Origin, with: &str, bytes: Arc<[u8]>, now: Millis, fx: &mut Effects) {
    let row = Row {
        incoming: true,
        hidden: true,
        copied: false,
        with,
        resource: origin.jid.resource().unwrap_or_default(),
        stanza: &bytes,
    };
    let append = Some(fx.append(origin.owner, &row));
    fx.then(Effect::Message(Box::new(Delivery {
        bare: origin.jid.bare_str().into(),
        owner: origin.owner,
        resource: origin.jid.resource().map(Into::into),
        bytes,
        received: now,
        names: [0; 2],
        append,
        copied: false,
        fall_back: false,
    })));
}
