//! What is said to a connection ([`Event`], [`Reply`]) and what it says ([`Request`]). All of it is plain
//! data.
use crate::{Bound, Millis, Record, SessionId};
use godwit_wire::{Jid, Stanza, StreamError, rendered, stanza::splice};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A connection within its shard: slot and generation, so that a late note cannot hit the slot's next tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ConnId {
    /// Slot.
    pub slot: u32,
    /// Generation of the slot; 0 is nobody (a detached session).
    pub generation: u32,
}

/// Where a session is: its shard, and its connection if it has one (generation 0: detached, waiting for
/// resumption).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    /// Shard number.
    pub shard: u16,
    /// Connection there.
    pub conn: ConnId,
}

/// An account that has authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Bare JID.
    #[serde(with = "crate::image::jid")]
    pub jid: Jid,
    /// The store's account number.
    pub owner: u64,
}

/// TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// IANA name of a cipher suite.
pub type SuiteName = &'static str;

/// What the handshake established; copied out of the TLS library before it is let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFacts {
    /// Version.
    pub version: TlsVersion,
    /// Cipher suite, IANA name.
    #[serde(with = "crate::image::suite")]
    pub suite: SuiteName,
    /// Server name the client asked for.
    pub sni: Option<Box<str>>,
    /// Chosen application protocol.
    pub alpn: Option<Box<str>>,
    /// Resumed from a ticket.
    pub resumed: bool,
    /// tls-exporter channel binding, RFC 9266 (`None` for TLS 1.2 without extended master secret).
    pub exporter: Option<[u8; 32]>,
    /// tls-server-end-point channel binding, RFC 5929: hash of the certificate.
    pub server_end_point: Vec<u8>,
}

/// What is kept of [`TlsFacts`] for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSummary {
    /// Version.
    pub version: TlsVersion,
    /// Cipher suite, IANA name.
    #[serde(with = "crate::image::suite")]
    pub suite: SuiteName,
    /// Resumed from a ticket.
    pub resumed: bool,
}

/// Hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ScramHash {
    Sha1,
    Sha256,
}

/// What is stored of a password for one hash, RFC 5802 §3: never the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramKeys {
    /// Salt.
    pub salt: Vec<u8>,
    /// Iterations.
    pub iterations: u32,
    /// StoredKey.
    pub stored_key: Vec<u8>,
    /// ServerKey.
    pub server_key: Vec<u8>,
}

/// Answer to [`Request::Credentials`]. For an unknown user the host gives made-up keys, the same ones each
/// time (derived from a server secret and the name), and no account: the exchange then runs to its end and
/// fails there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account, if there is one and it may log in.
    pub account: Option<Account>,
    /// Keys for the hash asked for.
    pub keys: ScramKeys,
}

/// What the connection asks of the host.
#[derive(Debug)]
pub enum Request {
    /// Send what is in `out`, then do the TLS handshake, then [`Event::TlsDone`]. Nothing is read as XMPP
    /// meanwhile.
    StartTls,
    /// Keys of a user → [`Reply::Credentials`]. The connection is paused until then.
    Credentials {
        /// Bare JID.
        user: Jid,
        /// Hash.
        hash: ScramHash,
    },
    /// Check a password (SASL PLAIN): costs milliseconds of CPU, so the host does it off the shard →
    /// [`Reply::Plain`]. Paused.
    VerifyPlain {
        /// Bare JID.
        user: Jid,
        /// Password, SASLprep'd.
        password: Zeroizing<String>,
    },
    /// An authentication ended; for logs, limits and metrics. No answer.
    AuthResult {
        /// Name that was tried (`None` if none could be read).
        user: Option<Jid>,
        /// SASL mechanism.
        mechanism: &'static str,
        /// `None`: success; otherwise the SASL failure condition.
        failure: Option<&'static str>,
    },
    /// An iq of an unauthenticated stream in `jabber:iq:register` (only if settings offer it) →
    /// [`Reply::Unauthenticated`]. Paused.
    Unauthenticated(Box<Stanza>),
    /// Bind a resource → [`Reply::Bound`]. Paused.
    Bind {
        /// Account.
        account: Account,
        /// Resource the client asked for, normalised; `None`: the server makes one.
        resource: Option<Box<str>>,
    },
    /// Resume a session (XEP-0198 §5) → [`Reply::Resumed`]. Paused.
    Resume {
        /// Account that authenticated; it must be the session's.
        account: Account,
        /// Session named by `previd`.
        session: SessionId,
        /// Secret part of `previd`.
        secret: [u8; 16],
        /// The client's `h`; the host passes it back.
        h: u32,
    },
    /// A stanza of the bound session, `from` stamped with its full JID. The host answers with
    /// [`Event::Handled`] in order; it may say [`Event::Hold`] at once: then nothing further is read until
    /// [`Event::Release`].
    Stanza(Box<Stanza>),
    /// A message that is none (an address that cannot be one): the error that answers it, rendered. Otherwise
    /// as [`Request::Stanza`].
    Refused(Vec<u8>),
    /// Stored messages that the client acknowledged (XEP-0198), or that reached the kernel (a client without
    /// it).
    Acked(Vec<u64>),
    /// The next page of stored messages after `feed.last` → [`Event::Feed`].
    Fetch {
        /// Position after which to read.
        after: u64,
        /// Most rows wanted.
        rows_max: u32,
        /// Which of the session's fetches this is.
        fetch: u32,
    },
    /// Stored messages at these positions again, in this order (after a resumption) → [`Event::Feed`] with
    /// `replay` set. The answer is for the connection that asked: if that is gone, the page is dropped, not
    /// passed on to another one. Rows that are gone from the archive are left out of it.
    Replay(Vec<u64>),
    /// A stanza of somebody else's was dropped, for want of room; for metrics. No answer.
    Shed,
    /// Write down what was sent, so that the session can be resumed after the daemon has died →
    /// [`Event::Recorded`]. One at a time.
    Record(Box<Record>),
    /// Write down how many of the client's stanzas are handled → [`Event::Persisted`]. One at a time.
    Persist(u32),
    /// The client has all errors that answered what was not taken ([`Event::Failed`]), and nothing of the
    /// session is under way.
    Mend,
    /// Stream management was enabled: the host copies what it needs from the session.
    SmEnabled,
    /// The client became active or inactive (XEP-0352): the same.
    ClientState,
    /// The connection broke; the session waits for resumption until `until`.
    Detach {
        /// The session.
        bound: Box<Bound>,
        /// Deadline.
        until: Millis,
    },
    /// The session is over.
    End {
        /// The session.
        bound: Box<Bound>,
        /// For the log.
        reason: &'static str,
    },
    /// Look at the session, for an inquiry of this number (the answer to [`Event::Report`]).
    Report(u64),
    /// Send what is in `out`, then close the connection (TLS close_notify first).
    Close,
}

/// Answers to requests that pause the connection.
#[derive(Debug)]
pub enum Reply {
    /// To [`Request::Credentials`].
    Credentials(Credentials),
    /// To [`Request::VerifyPlain`]: the account if the password was right.
    Plain(Option<Account>),
    /// To [`Request::Credentials`] and the others when the store cannot be read: SASL
    /// `temporary-auth-failure`.
    Unavailable,
    /// To [`Request::Unauthenticated`]: the complete iq to send.
    Unauthenticated(Vec<u8>),
    /// To [`Request::Bind`].
    Bound(Result<Box<Bound>, BindFailure>),
    /// To [`Request::Resume`].
    Resumed(Result<Box<Bound>, ResumeFailure>),
}

/// Why no resource was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindFailure {
    /// Too many sessions of this account: `<resource-constraint/>`.
    TooMany,
    /// Store or shard trouble: `<internal-server-error/>`.
    Internal,
}

/// Why no session was resumed: `<failed/>` with `item-not-found`, and `h` if it is still known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeFailure {
    /// Last `h` of the lost session.
    pub h: Option<u32>,
}

/// Position of a stored message in its account's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its position.
    pub seq: u64,
    /// Position of the stored message posted to this session before it; greater than what the session has
    /// seen means that a note went astray or was skipped, and the session reads the archive instead.
    pub prev: u64,
    /// Send it whatever the session's place in the archive: another resource had it and never acknowledged
    /// it.
    pub again: bool,
    /// It is for the session whatever other resources do: after a crash the archive tells that it was sent.
    pub regular: bool,
    /// When its sender's shard received it, for the metrics; `None` for copies and what comes later.
    pub received: Option<Millis>,
}

/// One stanza for a session.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The rendered stanza.
    pub bytes: Arc<[u8]>,
    /// Raw XML to put before its end tag (stanza id, delay); may be empty.
    pub extra: Box<[u8]>,
    /// Its position, if it is stored.
    pub stored: Option<Stored>,
    /// Its number among the posts to the session, if it is one of those that are counted
    /// ([`Event::numbered`]).
    pub number: Option<u32>,
}

impl Outgoing {
    /// The error to a message of the session's own: nothing else that is not counted is a message.
    pub(crate) fn answers(&self) -> bool {
        self.number.is_none() && rendered::is_named(&self.bytes, "message")
    }

    /// The stanza as it is sent; shared with others that get the same, if nothing has to be put in.
    pub(crate) fn complete(&self) -> Arc<[u8]> {
        if self.extra.is_empty() {
            return Arc::clone(&self.bytes);
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() + self.extra.len());
        splice(&mut bytes, &self.bytes, &self.extra);
        bytes.into()
    }
}

/// One stored message read back.
#[derive(Debug, Clone)]
pub struct FeedRow {
    /// Position.
    pub seq: u64,
    /// Rendered stanza complete with stanza id and delay.
    pub bytes: Box<[u8]>,
    /// As [`Stored::regular`].
    pub regular: bool,
}

/// A page of stored messages for one session.
#[derive(Debug, Clone, Default)]
pub struct FeedPage {
    /// Position after which it was read, [`Request::Fetch`]'s `after`: a page that does not join on to what
    /// the session has sent (its mode changed meanwhile) is dropped.
    pub after: u64,
    /// The fetch that it answers. An answer to an earlier one (the feed was stopped and started again) is
    /// dropped.
    pub fetch: u32,
    /// Rows, in order.
    pub rows: Vec<FeedRow>,
    /// All positions up to here were looked at.
    pub upto: u64,
    /// The page reached the head of the archive as it was.
    pub end: bool,
    /// Answer to [`Request::Replay`].
    pub replay: bool,
    /// The read failed: the session ends with `internal-server-error` (nothing was acknowledged, nothing is
    /// lost).
    pub failed: bool,
}

/// What the host or the edge tells a connection.
#[derive(Debug)]
pub enum Event {
    /// TLS is up (at once for direct TLS).
    TlsDone(Box<TlsFacts>),
    /// Answer to a pausing request.
    Reply(Box<Reply>),
    /// A stanza for the session.
    Deliver(Outgoing),
    /// A copy of the stored message at this position, for a session that is not fed. It may have come with a
    /// page before the feed stopped.
    Copy(u64, Outgoing),
    /// Stored messages.
    Feed(Box<FeedPage>),
    /// Start feeding stored messages from after this position (the resource became available, RFC 6121 §4.2).
    FeedFrom {
        /// Position after which to read.
        after: u64,
        /// Later messages than this are for the session even if other resources have acknowledged them.
        new_after: u64,
        /// As [`Outgoing::number`].
        number: Option<u32>,
    },
    /// Stop feeding (unavailable, or negative priority); full-JID messages still come by [`Event::Deliver`].
    FeedStop {
        /// As [`Outgoing::number`].
        number: Option<u32>,
    },
    /// A post with this number of which nothing is left to do.
    Nothing(u32),
    /// So many more of the session's stanzas are handled, and durable where they had to be.
    Handled(u32),
    /// One more is handled, and the store has this count of the session's stanzas with it.
    HandledDurably(u32),
    /// One more is handled: it was not taken, and nothing that is written says so. Its error, if it may have
    /// one, was delivered before this. Until [`Request::Mend`] the host writes nothing of the session.
    Failed,
    /// Answer to [`Request::Record`]: durable, or it could not be written.
    Recorded(bool),
    /// Answer to [`Request::Persist`]: this `h` is durable, or could not be written.
    Persisted {
        /// The count asked for.
        h: u32,
        /// It is in the store.
        durable: bool,
    },
    /// An inquiry of this number wants to know the session's state → [`Request::Report`].
    Report(u64),
    /// Read nothing further for now (the stanza just requested needs the store to be current).
    Hold,
    /// Go on reading.
    Release,
    /// The send queue is over its high mark.
    Congested,
    /// The send queue is empty.
    Drained,
    /// The deadline that [`crate::Connection::deadline`] gave has come.
    Tick,
    /// Give the session away: another connection resumes it. The host uses `Connection::take_bound`.
    TakeOver,
    /// The peer is gone (end of file, reset, TLS failure).
    Eof,
    /// Close the stream with this error.
    Close(StreamError),
}
