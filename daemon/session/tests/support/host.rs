//! A small host: accounts, sessions, an archive of messages in memory. It answers later, through [`Due`].

use godwit_session::{
    Account, Bound, ConnId, Connection, Credentials, Cx, Event, FeedPage, FeedRow, Host, Outgoing, Reply,
    Request, ResumeFailure, ScramHash, ScramKeys, SessionId, Settings, Stored, derive_keys, fake_keys,
    verify_plain,
};
use godwit_wire::{IqType, Jid, Kind, Stanza};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

/// Few, because tests log in a lot.
const ITERATIONS: u32 = 4;

/// What is done after the request that caused it.
pub enum Due {
    Event(Event),
    Resume { account: Account, session: SessionId, secret: [u8; 16] },
}

#[derive(Default)]
pub struct TestHost {
    pub accounts: BTreeMap<String, String>,
    pub due: VecDeque<(u32, Due)>,
    pub closed: HashSet<u32>,
    pub shed: u32,
    pub tls: BTreeSet<u32>,
    /// Sessions and the connection of each.
    pub live: BTreeMap<SessionId, (u32, Jid)>,
    pub detached: BTreeMap<SessionId, Box<Bound>>,
    pub ended: Vec<(Jid, &'static str)>,
    pub auth: Vec<(Option<Jid>, &'static str, Option<&'static str>)>,
    pub acked: Vec<u64>,
    /// Stanzas and fetches are only noted, not answered.
    pub mute: bool,
    /// The store cannot be read.
    pub unavailable: bool,
    pub fetches: Vec<u64>,
    /// How often `Mend` was asked for.
    pub mended: u32,
    /// Errors to messages that are none.
    pub refused: Vec<Vec<u8>>,
    /// Counts that were to be written.
    pub persisted: Vec<u32>,
    /// Stored messages: position and bytes, complete.
    pub archive: Vec<(u64, Vec<u8>)>,
    /// The session that each stored message was posted to last before.
    last_posted: BTreeMap<SessionId, u64>,
    sessions: u64,
}

impl TestHost {
    pub fn attached(&self, session: SessionId) -> Option<u32> {
        if self.detached.contains_key(&session) { None } else { self.live.get(&session).map(|(at, _)| *at) }
    }

    pub fn resume(&mut self, slot: u32, account: &Account, session: SessionId, secret: &[u8; 16]) -> Event {
        let right = self.detached.get(&session).is_some_and(|b| {
            b.owner == account.owner && b.sm.as_ref().is_some_and(|sm| sm.resume && sm.secret == *secret)
        });
        let bound = if right { self.detached.remove(&session) } else { None };
        if let Some(bound) = &bound {
            self.live.insert(session, (slot, bound.jid.clone()));
        }
        Event::Reply(Box::new(Reply::Resumed(bound.ok_or(ResumeFailure { h: None }))))
    }

    /// An event that its connection did not take: it goes to the session if that waits for resumption.
    pub fn missed(&mut self, slot: u32, event: Event, settings: &Settings) {
        let session = self.live.iter().find(|(_, (at, _))| *at == slot).map(|(id, _)| *id);
        if let Some(bound) = session.and_then(|id| self.detached.get_mut(&id)) {
            bound.deliver_detached(event, settings);
        }
    }

    fn account(&self, user: &Jid) -> Option<Account> {
        let owner = self.accounts.keys().position(|a| Some(a.as_str()) == user.local())?;
        Some(Account { jid: user.clone(), owner: owner as u64 + 1 })
    }

    fn keys(&self, user: &Jid, hash: ScramHash) -> ScramKeys {
        match user.local().and_then(|local| self.accounts.get(local)) {
            Some(password) => derive_keys(password, b"0123456789abcdef", ITERATIONS, hash).unwrap(),
            None => fake_keys(&[7; 32], user, hash),
        }
    }

    fn later(&mut self, at: ConnId, event: Event) {
        self.due.push_back((at.slot, Due::Event(event)));
    }

    fn refused(&mut self, at: ConnId, answer: Vec<u8>) {
        if self.mute {
            return self.refused.push(answer);
        }
        let (bytes, extra) = (answer.into(), Box::default());
        self.later(at, Event::Deliver(Outgoing { bytes, extra, stored: None, number: None }));
        self.later(at, Event::Handled(1));
    }

    /// Messages to a session are stored and delivered; the server answers pings and refuses other iqs.
    fn stanza(&mut self, at: ConnId, stanza: &Stanza, settings: &Settings) {
        let mut bytes = Vec::new();
        match stanza.kind {
            Kind::Message => {
                stanza.render(&mut bytes, stanza.from.as_ref(), stanza.to.as_ref(), &|_| false);
                let to = stanza.to.clone();
                let found =
                    self.live.iter().find(|(_, (_, jid))| Some(jid) == to.as_ref()).map(|(id, l)| (*id, l.0));
                if let Some((session, slot)) = found {
                    self.post(session, slot, bytes, settings);
                }
            }
            Kind::Iq if matches!(stanza.iq_type(), IqType::Get | IqType::Set) => {
                let error = if stanza.payload().is_some_and(|p| p.is("ping", "urn:xmpp:ping")) {
                    stanza.iq_result(&mut bytes, b"");
                    None
                } else {
                    Some(godwit_wire::Condition::ServiceUnavailable.into())
                };
                if let Some(error) = error {
                    stanza.error_reply(&mut bytes, &error);
                }
                self.later(
                    at,
                    Event::Deliver(Outgoing {
                        bytes: bytes.into(),
                        extra: Box::default(),
                        stored: None,
                        number: None,
                    }),
                );
            }
            _ => {}
        }
        self.later(at, Event::Handled(1));
    }

    fn post(&mut self, session: SessionId, slot: u32, bytes: Vec<u8>, settings: &Settings) {
        let seq = self.archive.last().map_or(1, |(seq, _)| seq + 1);
        let prev = self.last_posted.insert(session, seq).unwrap_or(0);
        let extra = format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='{seq}'/>", super::DOMAIN);
        let mut complete = Vec::new();
        godwit_wire::stanza::splice(&mut complete, &bytes, extra.as_bytes());
        self.archive.push((seq, complete));
        let stored = Some(Stored { seq, prev, again: false, regular: true, received: None });
        let event = Event::Deliver(Outgoing {
            bytes: Arc::from(bytes),
            extra: extra.into_bytes().into(),
            stored,
            number: None,
        });
        match self.detached.get_mut(&session) {
            Some(bound) => {
                bound.deliver_detached(event, settings);
            }
            None => self.due.push_back((slot, Due::Event(event))),
        }
    }

    fn rows(&self, wanted: impl Fn(u64) -> bool, rows_max: usize) -> Vec<FeedRow> {
        let rows = self.archive.iter().filter(|(seq, _)| wanted(*seq)).take(rows_max);
        rows.map(|(seq, bytes)| FeedRow { seq: *seq, bytes: bytes.clone().into(), regular: true }).collect()
    }
}

impl TestHost {
    fn page(&mut self, at: ConnId, request: &Request) {
        let page = match request {
            Request::Fetch { after, rows_max, fetch } => {
                let rows = self.rows(|seq| seq > *after, *rows_max as usize);
                let upto = rows.last().map_or(*after, |row| row.seq);
                let end = self.archive.last().is_none_or(|(seq, _)| *seq <= upto);
                FeedPage { after: *after, fetch: *fetch, rows, upto, end, ..FeedPage::default() }
            }
            Request::Replay(seqs) => {
                let rows = self.rows(|seq| seqs.contains(&seq), seqs.len());
                FeedPage { rows, replay: true, ..FeedPage::default() }
            }
            _ => return,
        };
        self.later(at, Event::Feed(Box::new(page)));
    }
}

impl Host for TestHost {
    fn request(&mut self, at: ConnId, request: Request, conn: &mut Connection, cx: &mut Cx<'_>) {
        match request {
            Request::StartTls => {
                self.tls.insert(at.slot);
            }
            Request::Credentials { .. } | Request::VerifyPlain { .. } if self.unavailable => {
                self.later(at, Event::Reply(Box::new(Reply::Unavailable)));
            }
            Request::Credentials { user, hash } => {
                let credentials = Credentials { account: self.account(&user), keys: self.keys(&user, hash) };
                self.later(at, Event::Reply(Box::new(Reply::Credentials(credentials))));
            }
            Request::VerifyPlain { user, password } => {
                let right = verify_plain(&password, &self.keys(&user, ScramHash::Sha256));
                let account = self.account(&user).filter(|_| right);
                self.later(at, Event::Reply(Box::new(Reply::Plain(account))));
            }
            Request::AuthResult { user, mechanism, failure } => self.auth.push((user, mechanism, failure)),
            Request::Unauthenticated(stanza) => {
                let id = stanza.id().unwrap();
                let iq = format!("<iq type='result' id='{id}'><query xmlns='jabber:iq:register'/></iq>");
                self.later(at, Event::Reply(Box::new(Reply::Unauthenticated(iq.into_bytes()))));
            }
            Request::Bind { account, resource } => {
                self.sessions += 1;
                let id = SessionId(self.sessions);
                let resource = resource.unwrap_or_else(|| format!("r{}", self.sessions).into());
                let jid = account.jid.with_resource(&resource).unwrap();
                let old: Vec<_> =
                    self.live.iter().filter(|(_, (_, j))| *j == jid).map(|(id, l)| (*id, l.0)).collect();
                for (old, slot) in old {
                    self.detached.remove(&old);
                    let conflict = godwit_wire::StreamCondition::Conflict.into();
                    self.due.push_back((slot, Due::Event(Event::Close(conflict))));
                }
                self.live.insert(id, (at.slot, jid.clone()));
                // At once: the answer need not come later.
                let bound = Box::new(Bound::new(id, account.owner, jid));
                conn.event(Event::Reply(Box::new(Reply::Bound(Ok(bound)))), cx).unwrap();
            }
            Request::Resume { account, session, secret, .. } => {
                self.due.push_back((at.slot, Due::Resume { account, session, secret }));
            }
            Request::Stanza(_) if self.mute => {}
            Request::Stanza(stanza) => self.stanza(at, &stanza, cx.settings),
            Request::Acked(seqs) => self.acked.extend(seqs),
            Request::Shed => self.shed += 1,
            Request::SmEnabled | Request::ClientState | Request::Report(_) => {}
            Request::Record(_) => conn.event(Event::Recorded(true), cx).unwrap(),
            Request::Persist(h) => {
                self.persisted.push(h);
                conn.event(Event::Persisted { h, durable: true }, cx).unwrap();
            }
            Request::Mend => self.mended += 1,
            Request::Refused(answer) => self.refused(at, answer),
            Request::Fetch { after, .. } if self.mute => self.fetches.push(after),
            Request::Fetch { .. } | Request::Replay(_) => self.page(at, &request),
            Request::Detach { bound, .. } => {
                self.detached.insert(bound.id, bound);
            }
            Request::End { bound, reason } => {
                self.live.remove(&bound.id);
                self.ended.push((bound.jid.clone(), reason));
            }
            Request::Close => {
                self.closed.insert(at.slot);
            }
        }
    }
}
