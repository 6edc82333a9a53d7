//! XEP-0077 In-Band Registration: making an account before login (off by default), changing its password,
//! removing it.
use crate::accounts::{self, AccountError};
use crate::effects::{Effect, Effects, Slow};
use crate::hub::Hub;
use crate::module::{Cx, Info, Iq, Module, Target};
use crate::note::Note;
use crate::pending::Completion;
use crate::removal;
use crate::route::error_reply;
use crate::throttle::counted;
use godwit_session::{Event, Millis, Place, Reply};
use godwit_store::TxError;
use godwit_wire::{Condition, Jid, Node, Stanza, StanzaError, StreamCondition, StreamError, Writer, ns};
use std::net::IpAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The module.
#[derive(Debug)]
pub struct Register;

impl Module for Register {
    fn info(&self) -> Info {
        Info {
            name: "register",
            spec: "XEP-0077",
            title: "In-Band Registration",
            version: "2.4",
            features: &[ns::REGISTER],
            iq: &[ns::REGISTER],
            ..Info::default()
        }
    }

    fn iq(&self, cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
        let to_server = matches!(iq.target, Target::Server | Target::Own);
        if !to_server || !iq.payload.is("query", ns::REGISTER) {
            return Err(StanzaError::new(Condition::ServiceUnavailable));
        }
        if !iq.set {
            iq.result(&form(cx.origin.jid.local()), fx);
            return Ok(());
        }
        if iq.payload.child("remove", ns::REGISTER).is_some() {
            remove(cx, iq, fx)
        } else {
            change(cx, iq, fx)
        }
    }
}

/// §3.1.1 and §3.1: the fields; with a name, those of a registered account.
fn form(registered: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.start("query").attr("xmlns", ns::REGISTER);
    match registered {
        None => {
            writer.start("instructions").text("Choose a user name and a password.").end();
            writer.start("username").end();
        }
        Some(name) => {
            writer.start("registered").end();
            writer.start("username").text(name).end();
        }
    }
    writer.start("password").end().end();
    out
}

fn field(query: Node<'_>, name: &str) -> Option<String> {
    query.child(name, ns::REGISTER).map(|child| child.text().into_owned()).filter(|text| !text.is_empty())
}

fn random(bytes: &[u8]) -> impl Fn(&mut [u8]) + use<'_> {
    // A job gets its randomness before it leaves the shard: as much as an account needs, dealt out in order.
    let next = std::cell::Cell::new(0);
    move |out| {
        let from = next.replace(next.get() + out.len());
        if let Some(drawn) = bytes.get(from..from + out.len()) {
            out.copy_from_slice(drawn);
        }
    }
}

fn refusal(error: &AccountError) -> StanzaError {
    match error {
        AccountError::Exists(_) => StanzaError::new(Condition::Conflict),
        AccountError::Missing(_) => StanzaError::new(Condition::ItemNotFound),
        AccountError::Address(why) => StanzaError::new(Condition::NotAcceptable).with_text(why.clone()),
        AccountError::Password(why) => StanzaError::new(Condition::NotAcceptable).with_text(why.clone()),
        AccountError::Store(_) => StanzaError::new(Condition::InternalServerError),
    }
}

/// §3.3: the password changes on a background thread (hashing it takes milliseconds); the other sessions end.
fn change(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    let bad = || StanzaError::new(Condition::BadRequest);
    let name = field(iq.payload, "username").ok_or_else(bad)?;
    let password = Zeroizing::new(field(iq.payload, "password").ok_or_else(bad)?);
    let own = cx.origin.jid.bare();
    let named =
        Jid::new(Some(&name), own.domain(), None).map_err(|_| StanzaError::new(Condition::JidMalformed))?;
    if named != own {
        return Err(StanzaError::new(Condition::NotAllowed).with_text("only the password can be changed"));
    }
    let mut drawn = Zeroizing::new([0; 64]);
    (cx.random)(&mut *drawn);
    let mut result = Vec::new();
    iq.stanza.iq_result(&mut result, b"");
    let session = cx.origin.address.session;
    fx.slow = Some(Box::new(move |slow: &Slow<'_>| {
        let mut fx = Effects::default();
        fx.tx = accounts::passwd(slow.store, &own, &password, &random(&*drawn))
            .map_err(|error| refusal(&error))?;
        fx.send(result);
        let error = StreamError::new(StreamCondition::NotAuthorized).with_text("the password was changed");
        fx.then(Effect::End { bare: own.bare_str().into(), except: Some(session), error });
        Ok(fx)
    }));
    Ok(())
}

/// §3.2: the account and all it holds are removed; its contacts see it go.
fn remove(cx: &Cx<'_>, iq: &Iq<'_>, fx: &mut Effects) -> Result<(), StanzaError> {
    if iq.payload.children().count() != 1 {
        return Err(StanzaError::new(Condition::BadRequest));
    }
    removal::remove(cx, fx).map_err(|error| refusal(&error))?;
    // Behind the effects of the removal comes the end of the session: the answer goes before them.
    let mut out = Vec::new();
    iq.stanza.iq_result(&mut out, b"");
    fx.after.insert(0, Effect::Send(out.into()));
    Ok(())
}

impl Hub {
    /// An iq in `jabber:iq:register` before authentication. `None`: the answer comes by a note.
    pub(crate) fn unauthenticated(
        self: &Arc<Self>,
        stanza: Box<Stanza>,
        to: Place,
        peer: Option<IpAddr>,
        now: Millis,
    ) -> Option<Reply> {
        let settings = self.settings();
        let refuse = |condition: Condition, stanza: &Stanza| {
            Some(Reply::Unauthenticated(error_reply(stanza, &StanzaError::new(condition))))
        };
        if !settings.in_band {
            return refuse(Condition::NotAllowed, &stanza);
        }
        let Some(query) = stanza.payload().filter(|query| query.is("query", ns::REGISTER)) else {
            return refuse(Condition::BadRequest, &stanza);
        };
        if stanza.iq_type() == godwit_wire::IqType::Get {
            let mut out = Vec::new();
            stanza.iq_result(&mut out, &form(None));
            return Some(Reply::Unauthenticated(out));
        }
        let (Some(name), Some(password)) = (field(query, "username"), field(query, "password")) else {
            return refuse(Condition::NotAcceptable, &stanza);
        };
        let source = counted(peer, settings.loopback_exempt);
        if self.registrations.is_over(source, settings.registrations_per_hour_max, now) {
            return refuse(Condition::ResourceConstraint, &stanza);
        }
        self.registrations.count(source, now);
        let domain = stanza
            .to
            .as_ref()
            .map_or_else(|| settings.domains.first().cloned(), |to| Some(to.domain().into()));
        let address = format!("{name}@{}", domain.unwrap_or_default());
        let jid = match accounts::address(&address, &settings.domains) {
            Ok(jid) => jid,
            Err(error) => return Some(Reply::Unauthenticated(error_reply(&stanza, &refusal(&error)))),
        };
        let (hub, password) = (Arc::clone(self), Zeroizing::new(password));
        let busy = error_reply(&stanza, &StanzaError::new(Condition::ResourceConstraint));
        let queued =
            self.outside.background.run(Box::new(move || hub.register(&stanza, &jid, &password, to)));
        if queued { None } else { Some(Reply::Unauthenticated(busy)) }
    }

    fn register(self: &Arc<Self>, stanza: &Stanza, jid: &Jid, password: &str, to: Place) {
        let mut result = Vec::new();
        stanza.iq_result(&mut result, b"");
        let conflict = error_reply(stanza, &refusal(&AccountError::Exists(String::new())));
        let failed = error_reply(stanza, &StanzaError::new(Condition::ResourceConstraint));
        let tx =
            accounts::add(&*self.outside.store, jid, password, (self.outside.clock)(), &*self.outside.random);
        let hub = Arc::clone(self);
        let answer = move |hub: &Hub, bytes: Vec<u8>| {
            let event = Event::Reply(Box::new(Reply::Unauthenticated(bytes)));
            hub.outside.post.post(to.shard, &mut vec![Note::Event { session: None, at: to.conn, event }]);
        };
        match tx {
            Err(error) => answer(self, error_reply(stanza, &refusal(&error))),
            Ok(tx) => {
                let busy = failed.clone();
                let told = Completion::Told(Box::new(move |outcome| {
                    let bytes = match outcome {
                        Ok(_) => result,
                        Err(TxError::Conflict) => conflict,
                        Err(_) => failed,
                    };
                    answer(&hub, bytes);
                }));
                if self.submit(tx, told).is_err() {
                    answer(self, busy);
                }
            }
        }
    }
}
