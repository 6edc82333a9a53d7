//! What handling one stanza amounts to: one transaction, and effects that happen after it is durable.
use crate::row::Row;
use crate::xep0280_carbons::Direction;
use godwit_session::SessionId;
use godwit_store::{Cf, Expect, Guard, Key, Op, Owner, Tx};
use godwit_wire::{Jid, StreamError};
use std::sync::Arc;

/// What becomes of a stanza, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// What it asks for is done.
    #[default]
    Handled,
    /// Against a rule or a limit, or to nobody: its sender gets an error, if it may be answered at all.
    Refused,
    /// The server could not do it.
    Failed,
}

/// A message for a local account.
#[derive(Debug)]
pub struct Delivery {
    /// Bare JID of the account.
    pub bare: Box<str>,
    /// Its number.
    pub owner: u64,
    /// Resource it is addressed to, if any.
    pub resource: Option<Box<str>>,
    /// Rendered stanza.
    pub bytes: Arc<[u8]>,
    /// When it was received.
    pub received: godwit_session::Millis,
    /// Hashes of its ids, for the trace.
    pub(crate) names: crate::trace::Names,
    /// Which `Append` of the transaction stored it in the recipient's archive; `None`: it is not stored and
    /// goes only to whoever is there.
    pub append: Option<usize>,
    /// The account's other sessions get copies (XEP-0280).
    pub copied: bool,
    /// An unstored message to a full JID that is not there may go to the other resources (RFC 6121
    /// §8.5.3.2.1).
    pub fall_back: bool,
}

/// A message of which an account's other sessions get copies (XEP-0280).
#[derive(Debug)]
pub struct Copied {
    /// Whose side it shows.
    pub direction: Direction,
    /// Rendered message.
    pub bytes: Arc<[u8]>,
    /// Its position in the account's archive, if it is there.
    pub seq: Option<u64>,
}

/// What happens after the transaction is durable. In order.
#[derive(Debug)]
pub enum Effect {
    /// To the session that sent the stanza.
    Send(Arc<[u8]>),
    /// A message to a local account.
    Message(Box<Delivery>),
    /// Copies of what the origin sent, to the other sessions of its account (XEP-0280).
    Sent {
        /// Rendered message.
        bytes: Arc<[u8]>,
        /// Which `Append` of the transaction put it into the sender's archive.
        append: Option<usize>,
    },
    /// The origin wants copies, or wants no more of them (XEP-0280).
    Carbons(bool),
    /// To the session with this full JID (iq, directed presence); `otherwise` goes to the origin if there is
    /// none.
    ToFull {
        /// Full JID, local.
        to: Jid,
        /// Rendered stanza.
        bytes: Arc<[u8]>,
        /// Error reply, rendered; empty for none.
        otherwise: Vec<u8>,
    },
    /// To all available sessions of a local account.
    ToAvailable {
        /// Bare JID.
        bare: Box<str>,
        /// Rendered stanza.
        bytes: Arc<[u8]>,
    },
    /// To all sessions of an account that asked for the roster.
    ToInterested {
        /// Bare JID.
        bare: Box<str>,
        /// Rendered stanza.
        bytes: Arc<[u8]>,
    },
    /// The origin's account has other archive preferences (XEP-0441).
    Prefs,
    /// The origin asked for its roster, and got this version.
    Interested(u64),
    /// The origin's presence: available with a priority, or unavailable.
    Presence {
        /// Rendered without `to`; `None` is unavailable.
        bytes: Option<Arc<[u8]>>,
        /// Priority.
        priority: i8,
    },
    /// The origin sent directed presence (`true`: available).
    Directed(Jid, bool),
    /// Current presence of all available sessions of a local account (RFC 6121 §4.3.2).
    Probe {
        /// Whose.
        bare: Box<str>,
        /// To the available sessions of this account; `None`: to the origin.
        to: Option<Box<str>>,
    },
    /// Unavailable presence in the name of all available sessions of a local account (its contact lost the
    /// subscription).
    Gone {
        /// Whose.
        bare: Box<str>,
        /// To the available sessions of this account.
        to: Box<str>,
    },
    /// What the origin's client can do (XEP-0115). For what it newly wants to hear of, the last items follow.
    Caps(Arc<crate::xep0115_caps::Caps>),
    /// A notification of personal eventing, to those available sessions of a local account that want it.
    Notify {
        /// What it says.
        notice: Arc<crate::pep::event::Notice>,
        /// Bare JID.
        to: Box<str>,
    },
    /// Ends sessions of a local account (removed, password changed): all but `except`.
    End {
        /// Bare JID.
        bare: Box<str>,
        /// This one stays.
        except: Option<SessionId>,
        /// What its client is told.
        error: StreamError,
    },
    /// A local account is removed: nobody finds it any more, and its sessions end.
    Removed {
        /// Bare JID.
        bare: Box<str>,
        /// Account number; another account may have the name by now.
        owner: u64,
    },
}

/// What a slow job has to work with: it runs on a background thread.
pub struct Slow<'a> {
    /// Committed state.
    pub store: &'a dyn godwit_store::Read,
    /// Now.
    pub now: godwit_session::Millis,
}

/// Work that would stall a shard (password hashing, ranges of the archive). The session reads nothing further
/// until it is done; its result then takes the place of the [`Effects`] that asked for it.
pub type Job = Box<dyn FnOnce(&Slow<'_>) -> Result<Effects, godwit_wire::StanzaError> + Send>;

/// Built up by the modules and the router while they handle one stanza.
#[derive(Default)]
pub struct Effects {
    /// The transaction.
    pub tx: Tx,
    /// Effects after it.
    pub after: Vec<Effect>,
    /// Work to do on a background thread first.
    pub slow: Option<Job>,
    /// What this makes of the stanza.
    pub(crate) fate: Fate,
    /// The stanza is a message that is not taken, and its error is in no archive: what comes behind it waits
    /// until the client is known to have that.
    pub(crate) unrecorded: bool,
    appends: usize,
}

impl Effects {
    /// Writes a value.
    pub fn put(&mut self, cf: Cf, key: Key, value: Vec<u8>) {
        self.tx.ops.push(Op::Put { cf, key, value });
    }

    /// Removes a key.
    pub fn delete(&mut self, cf: Cf, key: Key) {
        self.tx.ops.push(Op::Delete { cf, key });
    }

    /// Removes a range of keys.
    pub fn delete_range(&mut self, cf: Cf, (start, end): (Key, Key)) {
        self.tx.ops.push(Op::DeleteRange { cf, start, end });
    }

    /// Appends to an archive; the result names this append for [`Delivery::append`].
    pub fn append(&mut self, owner: u64, row: &Row<'_>) -> usize {
        self.tx.ops.push(Op::Append { owner: Owner(owner), index: row.index(), value: row.encode() });
        self.appends += 1;
        self.appends - 1
    }

    /// The transaction only holds if this key still has the value that was read. If it has not, the stanza is
    /// handled again from the start. While it is under way the session reads nothing further.
    pub fn guard(&mut self, cf: Cf, key: Key, read: Option<&[u8]>) {
        let expect = read.map_or(Expect::Absent, |value| Expect::Value(value.to_vec()));
        self.tx.guards.push(Guard { cf, key, expect });
    }

    /// An effect.
    pub fn then(&mut self, effect: Effect) {
        self.after.push(effect);
    }

    /// Rendered bytes to the origin.
    pub fn send(&mut self, bytes: Vec<u8>) {
        self.then(Effect::Send(bytes.into()));
    }
}
