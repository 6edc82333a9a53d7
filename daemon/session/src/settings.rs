//! What the machines need to know of the configuration.
use crate::Millis;
use godwit_wire::Limits;

/// Settings in force; shared by all connections of a process and replaced whole at a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Domains served, normalised. The first one answers where the client named none.
    pub domains: Vec<Box<str>>,
    /// Bounds on what is read.
    pub limits: Limits,
    /// Offer XEP-0077 before authentication.
    pub register: bool,
    /// Raw XML of further stream features after authentication, contributed by modules (roster versioning,
    /// …).
    pub features: Vec<u8>,
    /// From accept to a bound session, in ms.
    pub login_ms_max: Millis,
    /// From accept to the end of the TLS handshake, in ms.
    pub handshake_ms_max: Millis,
    /// Failed authentications on one connection before it is closed.
    pub auth_attempts_max: u8,
    /// Silence after which a bound client is pinged, in ms.
    pub ping_after_ms: Millis,
    /// Silence after the ping after which it is dropped, in ms.
    pub ping_timeout_ms: Millis,
    /// Longest resumption time granted, in seconds.
    pub resume_s_max: u32,
    /// Stanzas of one session handed to the host and not yet handled, before reading pauses.
    pub inflight_max: u32,
    /// Stanzas sent and not acknowledged (XEP-0198) before stored ones wait in the archive.
    pub unacked_max: u32,
    /// Bytes of unacknowledged stanzas that are not stored, before the session is ended.
    pub unacked_bytes_max: u32,
    /// Bytes held for a client that is inactive (XEP-0352); 0: everything goes out at once.
    pub held_bytes_max: u32,
    /// `<r/>` is sent after so many unacknowledged stanzas (and whenever the queue goes idle).
    pub request_ack_every: u32,
}
