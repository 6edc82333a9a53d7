//! What a connection asks of its shard.
use crate::feed::Wanted;
use crate::hub::{Counters, Hub, Origin};
use crate::note::Note;
use crate::pending::Progress;
use crate::revive::Wish;
use crate::shard::{ShardState, address_of};
use crate::trace::Step;
use godwit_session::{
    Bound, ConnId, Connection, Cx, Event, Host, Millis, Place, Reply, Request, ResumeFailure,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What counts as a stanza of a session.
enum Input {
    Stanza(Box<godwit_wire::Stanza>),
    /// The error to a message that is none.
    Refused(Vec<u8>),
}

impl ShardState {
    fn stanza(&mut self, at: ConnId, input: Input, conn: &mut Connection, cx: &mut Cx<'_>) {
        let Some(bound) = conn.bound() else { return };
        let idle = bound.inflight() == 1;
        let origin = Origin {
            address: address_of(bound),
            owner: bound.owner,
            jid: bound.jid.clone(),
            place: self.here(at),
            room: bound.room(cx.settings),
            h: bound.sm.as_ref().filter(|sm| sm.resume).map(|_| bound.received),
        };
        let (before, all) = (self.post.count(self.shard), self.post.len());
        self.hurry(origin.address.session);
        let progress = match input {
            Input::Stanza(stanza) => self.hub.stanza(&origin, stanza, idle, cx.now, &mut self.post),
            Input::Refused(answer) => self.hub.refused(&origin, answer, idle, cx.now, &mut self.post),
        };
        if progress == Progress::Done {
            // Answers need no way through the mailbox; those to earlier stanzas are out, as all of them are
            // handled.
            for event in self.post.take_events(self.shard, before, at) {
                let _ = conn.event(event, cx); // it has a session, as was just seen
            }
            if self.post.len() > all {
                self.direct.insert(origin.address.session);
            }
        }
        let event = match progress {
            Progress::Done => Event::Handled(1),
            Progress::Held => Event::Hold,
            Progress::Queued => return,
        };
        let _ = conn.event(event, cx); // it has a session, as was just seen
    }

    fn resume(&mut self, wish: Wish, now: Millis) -> Option<Reply> {
        match self.hub.find_resumable(&wish.account, wish.session, &wish.secret) {
            Some((session, place)) if place != wish.to => {
                Counters::up(&self.hub.counters.resumed);
                let Wish { to, secret, .. } = wish;
                self.post.push(place.shard, Note::TakeOver { session, at: place.conn, to, secret });
                None
            }
            Some(_) => Some(self.not_resumed()),
            None => {
                let hub = Arc::clone(&self.hub);
                let queued = self.hub.outside.background.run(Box::new(move || hub.revive(&wish, now)));
                // No time to look: the client logs in anew.
                if queued { None } else { Some(self.not_resumed()) }
            }
        }
    }

    fn not_resumed(&self) -> Reply {
        Counters::up(&self.hub.counters.resumptions_failed);
        Reply::Resumed(Err(ResumeFailure { h: None }))
    }

    fn in_background(
        &mut self,
        at: ConnId,
        job: impl FnOnce(&Hub) -> Reply + Send + 'static,
    ) -> Option<Reply> {
        let (hub, to) = (Arc::clone(&self.hub), self.here(at));
        let queued = self.hub.outside.background.run(Box::new(move || {
            let event = Event::Reply(Box::new(job(&hub)));
            hub.outside.post.post(to.shard, &mut vec![Note::Event { session: None, at: to.conn, event }]);
        }));
        if queued { None } else { Some(Reply::Unavailable) }
    }

    /// What only a bound session asks; it is not paused for the answers.
    fn of_session(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        let here = self.here(at);
        match (request, conn.bound()) {
            (Request::Stanza(stanza), _) => self.stanza(at, Input::Stanza(stanza), conn, cx),
            (Request::Refused(answer), _) => self.stanza(at, Input::Refused(answer), conn, cx),
            (Request::Acked(seqs), Some(bound)) => {
                let step = if bound.sm.is_some() { Step::Acknowledged } else { Step::Taken };
                if bound.sm.is_some() {
                    self.hub.counters.acked.fetch_add(seqs.len() as u64, Ordering::Relaxed);
                }
                self.hub.trace.at_shard(here.shard, step, bound.id, &seqs, cx.now);
                self.hub.acked(&bound.jid.bare_str().into(), &seqs);
            }
            (Request::Fetch { after, rows_max, fetch }, Some(bound)) => {
                self.hub.fetch(wanted(bound, here), (after, fetch), rows_max, &mut self.post);
            }
            (Request::Replay(seqs), Some(bound)) => {
                self.hub.replay(wanted(bound, here), seqs, &mut self.post);
            }
            (Request::Record(record), Some(bound)) => {
                self.hub.record(bound, *record, here, &mut self.post);
            }
            (Request::Persist(h), Some(bound)) => self.hub.persist(bound, h, here, &mut self.post),
            (Request::Mend, Some(bound)) => self.hub.mend(bound.id),
            (Request::Report(inquiry), Some(bound)) => self.hub.inquiries.answer(inquiry, bound, None),
            (Request::SmEnabled, Some(bound)) => self.hub.resumable(bound),
            (Request::Shed, _) => Counters::up(&self.hub.counters.shed),
            (Request::ClientState, Some(bound)) => self.hub.client_state(bound),
            (Request::Detach { bound, until }, _) => {
                tracing::info!(jid = %bound.jid, "connection lost; session waits for resumption");
                self.detach(bound, until);
            }
            (Request::End { bound, reason }, _) => {
                tracing::info!(jid = %bound.jid, reason, "session ended");
                self.hurry(bound.id);
                self.hub.end(&bound, false, here, cx.now, &mut self.post);
            }
            // The edge does the last two itself, and the others were asked by a session that is gone.
            _ => {}
        }
    }
}

fn wanted(bound: &Bound, place: Place) -> Wanted {
    Wanted { bare: bound.jid.bare_str().into(), owner: bound.owner, session: bound.id, place }
}

impl Host for ShardState {
    fn sent(&mut self, at: ConnId, seqs: &[u64], conn: &Connection, now: Millis) {
        if let Some(bound) = conn.bound() {
            self.hub.trace.at_shard(self.here(at).shard, Step::Written, bound.id, seqs, now);
        }
    }

    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        let reply = match request {
            Request::Credentials { .. } | Request::VerifyPlain { .. }
                if self.hub.is_shut_out(self.peer(at), cx.now) =>
            {
                Some(Reply::Unavailable)
            }
            Request::Credentials { user, hash } => Some(self.hub.credentials(&user, hash)),
            Request::VerifyPlain { user, password } => {
                self.in_background(at, move |hub| hub.verify_plain(&user, &password))
            }
            Request::AuthResult { user, mechanism, failure } => {
                self.hub.auth_result(user.as_ref(), mechanism, failure, self.peer(at), cx.now);
                None
            }
            Request::Unauthenticated(stanza) => {
                self.hub.unauthenticated(stanza, self.here(at), self.peer(at), cx.now)
            }
            Request::Bind { account, resource } => {
                let (here, peer) = (self.here(at), self.peer(at));
                let bound = self.hub.bind(&account, resource.as_deref(), here, peer, cx.now, &mut self.post);
                Some(Reply::Bound(bound))
            }
            Request::Resume { account, session, secret, h } => {
                let (to, peer) = (self.here(at), self.peer(at));
                self.resume(Wish { account, session, secret, h, to, peer }, cx.now)
            }
            request => {
                self.of_session(at, request, conn, cx);
                None
            }
        };
        if let Some(reply) = reply {
            let _ = conn.event(Event::Reply(Box::new(reply)), cx); // it asked, so it is paused for this
        }
    }
}
