//! TLS alerts (RFC 8446 §6) and the errors of this layer, by blame.
//!
//! Whoever returns a [`TlsError`] has already put the alert that tells the peer into the output.

use std::fmt;

/// An alert description, as it is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

#[allow(missing_docs)] // the names are those of RFC 8446 §6 and RFC 5246 §7.2
impl Alert {
    pub const CLOSE_NOTIFY: Alert = Alert(0);
    pub const UNEXPECTED_MESSAGE: Alert = Alert(10);
    pub const BAD_RECORD_MAC: Alert = Alert(20);
    pub const RECORD_OVERFLOW: Alert = Alert(22);
    pub const ILLEGAL_PARAMETER: Alert = Alert(47);
    pub const DECODE_ERROR: Alert = Alert(50);
    pub const PROTOCOL_VERSION: Alert = Alert(70);
    pub const INTERNAL_ERROR: Alert = Alert(80);
    pub const USER_CANCELED: Alert = Alert(90);
    pub const NO_RENEGOTIATION: Alert = Alert(100);

    /// The name in the RFCs.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => "unknown alert",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a connection's TLS ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The first bytes are no TLS record (plain XML on the direct TLS port, a scanner).
    #[error("the peer does not speak TLS here")]
    NotTls,
    /// The peer broke a rule of the record layer; `alert` was sent.
    #[error("{what}: {alert} sent")]
    Peer {
        /// The alert sent.
        alert: Alert,
        /// The rule.
        what: &'static str,
    },
    /// The handshake failed; the text is the TLS library's.
    #[error("handshake failed: {0}")]
    Handshake(String),
    /// The peer sent a fatal alert.
    #[error("the peer sent {0}")]
    Alerted(Alert),
    /// TLS 1.2 cannot change keys, and so many records were sealed that it must end. Reconnecting helps.
    #[error("the keys of this TLS 1.2 connection are used up")]
    KeysUsedUp,
    /// The connection is not open: closed by us, or not yet through the handshake.
    #[error("no data can be sent: TLS is not open")]
    NotOpen,
    /// Ours: the cryptographic library or an invariant failed.
    #[error("internal TLS failure: {0}")]
    Internal(&'static str),
}

impl TlsError {
    /// Is it the peer's doing (logged quietly) rather than ours?
    pub fn blames_peer(&self) -> bool {
        !matches!(self, TlsError::NotOpen | TlsError::Internal(_))
    }
}
