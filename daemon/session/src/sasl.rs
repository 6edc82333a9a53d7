//! SASL, RFC 6120 §6: mechanisms, the exchange's frame, failures and their limit. PLAIN's message is read in
//! `plain`.
//!
//! An unknown user and a wrong password give the same bytes at the same steps.

use crate::connection::State;
use crate::negotiation::{Awaited, Step};
use crate::scram::{ClientFirst, Exchange, NONCE_BYTES, ScramError, offers_binding};
use crate::{Account, Connection, Credentials, Cx, Reply, Request, ScramHash, TlsFacts, ns};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use godwit_wire::{Element, IqType, Jid, Node, Stanza, StreamCondition, StreamError, Writer};
use serde::{Deserialize, Serialize};

/// Mechanisms that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mechanism {
    Scram { hash: ScramHash, plus: bool },
    Plain,
}

impl Mechanism {
    /// Best first.
    pub(crate) const ALL: &'static [Mechanism] = &[
        Mechanism::Scram { hash: ScramHash::Sha256, plus: true },
        Mechanism::Scram { hash: ScramHash::Sha1, plus: true },
        Mechanism::Scram { hash: ScramHash::Sha256, plus: false },
        Mechanism::Scram { hash: ScramHash::Sha1, plus: false },
        Mechanism::Plain,
    ];

    /// Registered name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Scram { hash: ScramHash::Sha256, plus: true } => "SCRAM-SHA-256-PLUS",
            Mechanism::Scram { hash: ScramHash::Sha1, plus: true } => "SCRAM-SHA-1-PLUS",
            Mechanism::Scram { hash: ScramHash::Sha256, plus: false } => "SCRAM-SHA-256",
            Mechanism::Scram { hash: ScramHash::Sha1, plus: false } => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
        }
    }

    /// True if it is offered on a connection with this TLS.
    pub(crate) fn offered(self, tls: &TlsFacts) -> bool {
        match self {
            Mechanism::Scram { plus, .. } => !plus || offers_binding(tls),
            Mechanism::Plain => true,
        }
    }
}

/// An exchange that waits for the client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Sasl {
    /// `<auth/>` came without initial response.
    Initial(Mechanism),
    /// For SCRAM's final message.
    Final {
        mechanism: Mechanism,
        exchange: Box<Exchange>,
        #[serde(with = "crate::image::jid")]
        user: Jid,
        account: Option<Account>,
    },
}

impl Sasl {
    /// Heap bytes held.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Sasl::Initial(_) => 0,
            Sasl::Final { exchange, user, .. } => {
                size_of::<Exchange>() + exchange.memory() + user.as_str().len()
            }
        }
    }
}

/// An exchange that waits for the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Awaiting {
    /// For the user's keys.
    Keys {
        mechanism: Mechanism,
        hash: ScramHash,
        first: Box<ClientFirst>,
        #[serde(with = "crate::image::jid")]
        user: Jid,
    },
    /// For the verdict on a password.
    Plain {
        #[serde(with = "crate::image::jid")]
        user: Jid,
    },
}

impl Connection {
    /// An element on a stream with TLS and without authentication.
    pub(crate) fn before_auth(&mut self, element: Element, cx: &mut Cx<'_>) {
        let root = element.root();
        match (root.ns(), root.name()) {
            (ns::SASL, "auth") => self.auth(root, cx),
            (ns::SASL, "response") => self.response(root, cx),
            (ns::SASL, "abort") => {
                let (user, mechanism) = self.exchange_under_way();
                self.auth_failed(user, mechanism, "aborted", cx);
            }
            (ns::TLS, "starttls") => self.starttls_again(cx),
            (ns::SM, "enable" | "resume") => crate::sm::unexpected(cx),
            _ if cx.settings.register && is_register(root) => match Stanza::from_element(element) {
                Ok(Some(stanza)) if matches!(stanza.iq_type(), IqType::Get | IqType::Set) => {
                    self.wait(Awaited::Unauthenticated);
                    cx.out.requests.push(Request::Unauthenticated(Box::new(stanza)));
                }
                _ => self.fail(&StreamCondition::NotAuthorized.into(), cx),
            },
            _ => self.out_of_turn(&element, cx),
        }
    }

    fn auth(&mut self, auth: Node<'_>, cx: &mut Cx<'_>) {
        let (user, before) = self.exchange_under_way();
        if before != "none" {
            return self.auth_failed(user, before, "malformed-request", cx);
        }
        let Some(tls) = self.tls_facts() else { return };
        let Some(name) = auth.attr("mechanism") else {
            return self.auth_failed(None, "none", "malformed-request", cx);
        };
        let Some(mechanism) = Mechanism::ALL.iter().copied().find(|m| m.name() == name && m.offered(tls))
        else {
            return self.auth_failed(None, "none", "invalid-mechanism", cx);
        };
        match payload(auth) {
            Err(condition) => self.auth_failed(None, mechanism.name(), condition, cx),
            Ok(None) => {
                Writer::new(&mut cx.out.bytes).empty("challenge", ns::SASL);
                self.set_sasl(Some(Sasl::Initial(mechanism)));
            }
            Ok(Some(message)) => self.first(mechanism, &message, cx),
        }
    }

    fn response(&mut self, response: Node<'_>, cx: &mut Cx<'_>) {
        let sasl = match &mut self.state {
            State::Negotiating(n) => n.sasl.take(),
            _ => None,
        };
        let message = payload(response).map(Option::unwrap_or_default);
        match (sasl, message) {
            (None, _) => self.auth_failed(None, "none", "malformed-request", cx),
            (Some(Sasl::Initial(mechanism)), Ok(message)) => self.first(mechanism, &message, cx),
            (Some(Sasl::Initial(mechanism)), Err(bad)) => self.auth_failed(None, mechanism.name(), bad, cx),
            (Some(Sasl::Final { mechanism, user, .. }), Err(bad)) => {
                self.auth_failed(Some(user), mechanism.name(), bad, cx);
            }
            (Some(Sasl::Final { mechanism, exchange, user, account }), Ok(message)) => {
                match (exchange.finish(&message), account) {
                    (Ok(proof), Some(account)) => self.auth_succeeded(account, mechanism, Some(&proof), cx),
                    (Err(ScramError::Malformed), _) => {
                        self.auth_failed(Some(user), mechanism.name(), "malformed-request", cx);
                    }
                    _ => self.auth_failed(Some(user), mechanism.name(), "not-authorized", cx),
                }
            }
        }
    }

    /// The client's first message, with `<auth/>` or after an empty challenge.
    fn first(&mut self, mechanism: Mechanism, message: &[u8], cx: &mut Cx<'_>) {
        let Mechanism::Scram { hash, plus } = mechanism else { return self.plain(message, cx) };
        let Some(tls) = self.tls_facts() else { return };
        let first = match ClientFirst::read(message, plus, tls) {
            Ok(first) => first,
            Err(ScramError::Malformed) => {
                return self.auth_failed(None, mechanism.name(), "malformed-request", cx);
            }
            Err(ScramError::Refused) => {
                return self.auth_failed(None, mechanism.name(), "not-authorized", cx);
            }
        };
        match self.identity(&first.user, first.authzid.as_deref()) {
            Ok(user) => {
                let request = Request::Credentials { user: user.clone(), hash };
                self.wait(Awaited::Sasl(Awaiting::Keys { mechanism, hash, first: Box::new(first), user }));
                cx.out.requests.push(request);
            }
            Err((user, condition)) => self.auth_failed(user, mechanism.name(), condition, cx),
        }
    }

    /// The bare JID that a user name stands for. A name that no account can have fails like an unknown one;
    /// another identity than one's own is refused (RFC 6120 §6.3.8).
    pub(crate) fn identity(
        &self,
        user: &str,
        authzid: Option<&str>,
    ) -> Result<Jid, (Option<Jid>, &'static str)> {
        let domain = match &self.state {
            State::Negotiating(n) => &*n.domain,
            _ => "",
        };
        let user = Jid::new(Some(user), domain, None).map_err(|_| (None, "not-authorized"))?;
        match authzid {
            Some(authzid) if Jid::parse(authzid).ok().as_ref() != Some(&user) => {
                Err((Some(user), "invalid-authzid"))
            }
            _ => Ok(user),
        }
    }

    /// The host's answer to what SASL asked.
    pub(crate) fn sasl_reply(&mut self, awaiting: Awaiting, reply: Reply, cx: &mut Cx<'_>) {
        match (awaiting, reply) {
            (Awaiting::Keys { mechanism, hash, first, user }, Reply::Credentials(credentials)) => {
                let Credentials { account, keys } = credentials;
                let mut random = [0; NONCE_BYTES];
                (cx.random)(&mut random);
                let (exchange, message) = Exchange::challenge(*first, hash, keys, random);
                write_message(cx, "challenge", Some(&message));
                let exchange = Box::new(exchange);
                self.set_sasl(Some(Sasl::Final { mechanism, exchange, user, account }));
            }
            (Awaiting::Keys { mechanism, user, .. }, _) => {
                self.auth_failed(Some(user), mechanism.name(), "temporary-auth-failure", cx);
            }
            (Awaiting::Plain { .. }, Reply::Plain(Some(account))) => {
                self.auth_succeeded(account, Mechanism::Plain, None, cx);
            }
            (Awaiting::Plain { user }, Reply::Plain(None)) => {
                self.auth_failed(Some(user), Mechanism::Plain.name(), "not-authorized", cx);
            }
            (Awaiting::Plain { user }, _) => {
                self.auth_failed(Some(user), Mechanism::Plain.name(), "temporary-auth-failure", cx);
            }
        }
    }

    fn auth_succeeded(
        &mut self,
        account: Account,
        mechanism: Mechanism,
        message: Option<&str>,
        cx: &mut Cx<'_>,
    ) {
        write_message(cx, "success", message);
        let user = Some(account.jid.clone());
        cx.out.requests.push(Request::AuthResult { user, mechanism: mechanism.name(), failure: None });
        if let State::Negotiating(n) = &mut self.state {
            n.account = Some(account);
            n.sasl = None;
            n.step = Step::Open;
        }
        self.restart_stream();
    }

    /// Says why an authentication failed; too many of them end the stream.
    pub(crate) fn auth_failed(
        &mut self,
        user: Option<Jid>,
        mechanism: &'static str,
        condition: &'static str,
        cx: &mut Cx<'_>,
    ) {
        let State::Negotiating(n) = &mut self.state else { return };
        n.sasl = None;
        n.attempts = n.attempts.saturating_add(1);
        let too_many = n.attempts >= cx.settings.auth_attempts_max;
        Writer::new(&mut cx.out.bytes).start("failure").attr("xmlns", ns::SASL).start(condition).end().end();
        cx.out.requests.push(Request::AuthResult { user, mechanism, failure: Some(condition) });
        if too_many {
            let error = StreamError::new(StreamCondition::PolicyViolation);
            self.fail(&error.with_text("too many failed authentications"), cx);
        }
    }

    pub(crate) fn wait(&mut self, awaited: Awaited) {
        if let State::Negotiating(n) = &mut self.state {
            n.step = Step::Wait(awaited);
        }
    }

    fn set_sasl(&mut self, sasl: Option<Sasl>) {
        if let State::Negotiating(n) = &mut self.state {
            n.sasl = sasl;
        }
    }

    /// User and mechanism of the exchange that waits for the client, `"none"` if there is none.
    fn exchange_under_way(&self) -> (Option<Jid>, &'static str) {
        match &self.state {
            State::Negotiating(n) => match &n.sasl {
                Some(Sasl::Final { mechanism, user, .. }) => (Some(user.clone()), mechanism.name()),
                Some(Sasl::Initial(mechanism)) => (None, mechanism.name()),
                None => (None, "none"),
            },
            _ => (None, "none"),
        }
    }
}

/// The data of `<auth/>` or `<response/>`: none if the element is empty, no bytes if it is `=` (RFC 6120
/// §6.4.2).
fn payload(element: Node<'_>) -> Result<Option<Vec<u8>>, &'static str> {
    if element.children().next().is_some() {
        return Err("malformed-request");
    }
    match &*element.text() {
        "" => Ok(None),
        "=" => Ok(Some(Vec::new())),
        text => STANDARD.decode(text).map(Some).map_err(|_| "incorrect-encoding"),
    }
}

fn write_message(cx: &mut Cx<'_>, name: &'static str, message: Option<&str>) {
    let text = message.map(|m| STANDARD.encode(m)).unwrap_or_default();
    Writer::new(&mut cx.out.bytes).start(name).attr("xmlns", ns::SASL).text(&text).end();
}

fn is_register(root: Node<'_>) -> bool {
    root.name() == "iq" && root.children().next().is_some_and(|child| child.is("query", ns::REGISTER))
}
