//! What a module is. Order of the modules = order of the one list in `list.rs`, with a reason per line.
use crate::backlog::Waiting;
use crate::effects::Effects;
use crate::hub::{Origin, Settings};
use crate::registry::{Entry, Registry};
use godwit_session::{Millis, Spec};
use godwit_store::Read;
use godwit_wire::{Condition, Node, Stanza, StanzaError};

/// To whom an iq is, as far as modules care. Iqs to full JIDs of others are routed, not handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The server's domain.
    Server,
    /// The sender's own account (its bare JID, or no `to`).
    Own,
    /// Another local account, which exists.
    Account {
        /// Bare JID.
        bare: Box<str>,
        /// Account number.
        owner: u64,
    },
}

/// An iq get or set for a module.
#[derive(Debug)]
pub struct Iq<'a> {
    /// The stanza; `from` is the sender's full JID.
    pub stanza: &'a Stanza,
    /// Its one child.
    pub payload: Node<'a>,
    /// `set` (otherwise `get`).
    pub set: bool,
    /// To whom.
    pub target: Target,
}

impl Iq<'_> {
    /// Answers with a result that holds `payload` (raw XML, may be empty).
    pub fn result(&self, payload: &[u8], fx: &mut Effects) {
        let mut out = Vec::with_capacity(payload.len() + 160);
        self.stanza.iq_result(&mut out, payload);
        fx.send(out);
    }
}

/// What a module is, machine-readable: the README's table of specifications is generated from it (`make
/// generate`).
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// Short name: `"roster"`.
    pub name: &'static str,
    /// `"RFC 6121"` or `"XEP-0199"`.
    pub spec: &'static str,
    /// Title of the specification.
    pub title: &'static str,
    /// Version of the specification that is implemented; empty for RFCs.
    pub version: &'static str,
    /// Which part of it, in a few words; empty if all that concerns a server.
    pub note: &'static str,
    /// Further specifications that the module implements.
    pub also: &'static [Spec],
    /// Features for disco#info of the server.
    pub features: &'static [&'static str],
    /// Features for disco#info of an account.
    pub account_features: &'static [&'static str],
    /// Identities (category, type) of an account besides `account/registered`, for disco#info of it and of
    /// the server.
    pub account_identities: &'static [(&'static str, &'static str)],
    /// Namespaces of iq payloads that go to [`Module::iq`].
    pub iq: &'static [&'static str],
    /// Raw XML offered in the stream features after authentication.
    pub stream_features: &'static str,
}

impl Info {
    /// The specifications that the module implements.
    pub fn specs(&self) -> impl Iterator<Item = Spec> {
        let &Info { spec: id, title, version, note, also, .. } = self;
        std::iter::once(Spec { id, title, version, note }).chain(also.iter().copied())
    }
}

/// Whether later modules and the router still see the stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They do.
    Continue,
    /// It is dealt with.
    Handled,
}

/// What becomes of a message, apart from who is there to get it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Nothing is stored: it reaches whoever is there now, or nobody.
    No,
    /// Stored until it is delivered: it survives a crash and waits for a recipient who is away, but is not
    /// part of the history that clients query.
    Delivery,
    /// Stored in the archives of both sides.
    Archive,
}

/// What a call has to work with. Reading only; what is to change goes into [`Effects`].
pub struct Cx<'a> {
    /// Settings.
    pub settings: &'a Settings,
    /// Committed state.
    pub store: &'a dyn Read,
    /// Who is online.
    pub registry: &'a Registry,
    /// All modules (for disco).
    pub modules: &'a crate::list::Modules,
    /// What clients can do, by the hash that they announce.
    pub caps: &'a crate::xep0115_caps::Cache,
    /// Now.
    pub now: Millis,
    /// The session that sent the stanza.
    pub origin: &'a Origin,
    /// Fills a slice with random bytes.
    pub random: &'a dyn Fn(&mut [u8]),
}

impl Cx<'_> {
    /// Number of a local account, if it exists.
    pub fn account(&self, bare: &str) -> Result<Option<u64>, StanzaError> {
        let found = self.registry.with(bare, |live| (!live.removed).then_some(live.owner));
        if let Some(owner) = found.flatten() {
            return Ok(Some(owner));
        }
        Ok(crate::accounts::read(self.store, bare).map_err(unreadable)?.map(|account| account.owner))
    }

    /// A local account as the recipient of a message, if it exists: its number, and what waits for it if that
    /// is known without reading.
    pub(crate) fn recipient(&self, bare: &str) -> Result<Option<(u64, Option<Waiting>)>, StanzaError> {
        let known =
            self.registry.with(bare, |live| (!live.removed).then(|| (live.owner, live.delivery.waiting())));
        match known.flatten() {
            Some(known) => Ok(Some(known)),
            None => Ok(self.account(bare)?.map(|owner| (owner, None))),
        }
    }

    /// True if this server serves the domain.
    pub fn is_local(&self, domain: &str) -> bool {
        self.settings.domains.iter().any(|served| &**served == domain)
    }

    /// Visits the sessions of a local account that is online.
    pub fn sessions<T>(&self, bare: &str, visit: impl FnOnce(&[Entry]) -> T) -> Option<T> {
        self.registry.with(bare, |live| visit(&live.sessions))
    }

    /// A value from the store; trouble is answered `internal-server-error`.
    pub fn get(&self, cf: godwit_store::Cf, key: &godwit_store::Key) -> Result<Option<Vec<u8>>, StanzaError> {
        self.store.get(cf, key).map_err(unreadable)
    }
}

/// The answer when the store cannot be read; the cause goes to the log.
#[allow(clippy::needless_pass_by_value)] // for map_err
pub fn unreadable(error: godwit_store::StoreError) -> StanzaError {
    tracing::error!(%error, "the store cannot be read");
    StanzaError::new(Condition::InternalServerError)
}

/// One feature: a file of its own. All but `info` have defaults.
pub trait Module: Send + Sync {
    /// What it is.
    fn info(&self) -> Info;

    /// An iq get or set in one of its namespaces, to the server or an account. No answer in `fx` and no
    /// error: the module has taken note and nothing is sent (only right for what the protocol leaves
    /// unanswered).
    fn iq(&self, _cx: &Cx<'_>, _iq: &Iq<'_>, _fx: &mut Effects) -> Result<(), StanzaError> {
        Err(StanzaError::new(Condition::ServiceUnavailable))
    }

    /// An iq result or error from a local session to its own account: an answer to what the server asked it.
    fn answered(&self, _cx: &Cx<'_>, _answer: &Stanza, _fx: &mut Effects) -> Result<(), StanzaError> {
        Ok(())
    }

    /// A message or presence that a local session sent, before it is routed.
    fn sent(&self, _cx: &Cx<'_>, _stanza: &Stanza, _fx: &mut Effects) -> Result<Flow, StanzaError> {
        Ok(Flow::Continue)
    }

    /// A message on its way to a local account: how is it kept? The first module with an opinion decides;
    /// the account's own preferences (XEP-0441) may still take it out of the history.
    fn store(&self, _cx: &Cx<'_>, _message: &Stanza) -> Option<Keep> {
        None
    }

    /// A session ends (`cx.origin`); its entry is still there. Runs before the entry is removed.
    fn closed(&self, _cx: &Cx<'_>, _entry: &Closing, _fx: &mut Effects) {}

    /// Bytes that the module itself holds.
    fn memory(&self) -> usize {
        0
    }
}

/// What a module is told of a session that ends.
#[derive(Debug, Clone)]
pub struct Closing {
    /// It was available.
    pub available: bool,
    /// To whom it had sent directed presence.
    pub directed: Vec<godwit_wire::Jid>,
}
