//! The open connection's record layer: plain data, 224 bytes, no prepared key and no buffer of its own.
//!
//! Invariants: a [`Record`] never seals two records under one nonce, so it is moved or serialised, and its
//! copy is used only when the original no longer is. After a fatal alert or our `close_notify` nothing is
//! sealed.
//!
//! TLS 1.3 allows a client four things after the handshake: data, alerts, KeyUpdate, closing. TLS 1.2 the
//! same without KeyUpdate; a renegotiation is refused with `no_renegotiation`.

use super::alert::{Alert, TlsError};
use super::protect::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, Direction, FATAL, FRAGMENT_MAX, HANDSHAKE, HEADER_LEN,
    Suite, WARNING, fault,
};
use super::{Event, Received};
use aws_lc_rs::aead::LessSafeKey;

/// What a peer may do without sending any data before it is ended; all but `records` are counts in a row.
struct Limits {
    /// KeyUpdates.
    key_updates_max: u8,
    /// Records without content.
    empty_records_max: u8,
    /// Warning alerts and refused renegotiations.
    warnings_max: u8,
    /// Records sealed with one key, full ones of AES-GCM (RFC 8446 §5.5: 2^24.5). TLS 1.3 then changes
    /// keys, TLS 1.2 closes.
    records_per_key_max: u64,
}

const LIMITS: Limits =
    Limits { key_updates_max: 32, empty_records_max: 32, warnings_max: 4, records_per_key_max: 1 << 24 };

/// Handshake message type (RFC 8446 §4.6.3).
const KEY_UPDATE: u8 = 24;
/// Type, three bytes of length, `update_requested`.
const KEY_UPDATE_LEN: usize = 5;
/// Of TLS 1.2, sent by a server; a client asks for a renegotiation with a ClientHello (1).
const CLIENT_HELLO: u8 = 1;

/// An open TLS connection.
#[derive(Clone)]
pub struct Record {
    pub(super) send: Direction,
    pub(super) receive: Direction,
    pub(super) suite: Suite,
    pub(super) counts: Counts,
    /// The start of a KeyUpdate that its sender split over records.
    pub(super) partial: Partial,
    /// Nothing more comes.
    pub(super) peer_closed: bool,
    /// Nothing more is sealed.
    pub(super) we_closed: bool,
}

/// Things in a row that carried no data.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) key_updates: u8,
    pub(super) empty_records: u8,
    pub(super) warnings: u8,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Partial {
    pub(super) bytes: [u8; KEY_UPDATE_LEN],
    pub(super) len: u8,
}

/// What one `receive` call has pending.
#[derive(Default)]
struct Turn {
    /// Prepared receiving key, until the keys change.
    key: Option<LessSafeKey>,
    /// The peer asked for our KeyUpdate. However often it asks in one turn, one answers it (RFC 8446 §4.6.3).
    answer_key_update: bool,
}

impl Record {
    pub(super) fn new(suite: Suite, send: Direction, receive: Direction) -> Record {
        Record {
            send,
            receive,
            suite,
            counts: Counts::default(),
            partial: Partial::default(),
            peer_closed: false,
            we_closed: false,
        }
    }

    /// Opens all whole records in `cipher`; see [`super::Tls::receive`].
    pub fn receive(
        &mut self,
        cipher: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        if self.peer_closed {
            return Ok(Received { consumed: cipher.len(), event: None });
        }
        let mut turn = Turn::default();
        let result = self.receive_records(cipher, plain, out, &mut turn);
        match result {
            Ok(received) => {
                if turn.answer_key_update && !self.we_closed {
                    self.send_key_update(false, out)?;
                }
                Ok(received)
            }
            Err(error) => {
                if let TlsError::Peer { alert, .. } = error {
                    self.send_alert(FATAL, alert, out)?;
                }
                (self.peer_closed, self.we_closed) = (true, true);
                Err(error)
            }
        }
    }

    fn receive_records(
        &mut self,
        cipher: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        turn: &mut Turn,
    ) -> Result<Received, TlsError> {
        let all = cipher.len();
        let mut rest = cipher;
        while let Some((header, length)) = next_header(self.suite, rest)? {
            let (record, behind) = std::mem::take(&mut rest).split_at_mut(HEADER_LEN + length);
            let body = record.split_at_mut(HEADER_LEN).1;
            let key = match &mut turn.key {
                Some(key) => key,
                none => none.insert(self.receive.key(self.suite.cipher)?),
            };
            let (kind, content) = self.receive.open(self.suite, key, header, body)?;
            self.content(kind, content, plain, out, turn)?;
            if self.peer_closed {
                return Ok(Received { consumed: all, event: Some(Event::PeerClosed) });
            }
            rest = behind;
        }
        Ok(Received { consumed: all - rest.len(), event: None })
    }

    fn content(
        &mut self,
        kind: u8,
        content: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        turn: &mut Turn,
    ) -> Result<(), TlsError> {
        if self.partial.len > 0 && kind != HANDSHAKE {
            return Err(fault(Alert::UNEXPECTED_MESSAGE, "another record inside a split handshake message"));
        }
        match kind {
            APPLICATION_DATA if content.is_empty() => {
                count(&mut self.counts.empty_records, LIMITS.empty_records_max, "too many empty records")
            }
            APPLICATION_DATA => {
                self.counts = Counts::default();
                plain.extend_from_slice(content);
                Ok(())
            }
            ALERT => self.alert(content),
            HANDSHAKE if self.suite.is_tls13() => self.handshake(content, turn),
            HANDSHAKE => self.refuse_renegotiation(content, out),
            CHANGE_CIPHER_SPEC => {
                Err(fault(Alert::UNEXPECTED_MESSAGE, "change_cipher_spec on an open connection"))
            }
            _ => Err(fault(Alert::UNEXPECTED_MESSAGE, "a record of an unknown type")),
        }
    }

    fn alert(&mut self, content: &[u8]) -> Result<(), TlsError> {
        let [level, description] = *content else {
            return Err(fault(Alert::DECODE_ERROR, "an alert that is not two bytes"));
        };
        let description = Alert(description);
        // TLS 1.3 ignores the level: all but two alerts are fatal (RFC 8446 §6).
        let warning =
            if self.suite.is_tls13() { description == Alert::USER_CANCELED } else { level == WARNING };
        if description == Alert::CLOSE_NOTIFY {
            self.peer_closed = true;
            Ok(())
        } else if warning {
            count(&mut self.counts.warnings, LIMITS.warnings_max, "too many warning alerts")
        } else {
            Err(TlsError::Alerted(description))
        }
    }

    /// Takes a KeyUpdate, in one piece or split. It must end with its record (RFC 8446 §5.1), so no record
    /// holds more than one message.
    fn handshake(&mut self, content: &[u8], turn: &mut Turn) -> Result<(), TlsError> {
        if content.is_empty() {
            return Err(fault(Alert::UNEXPECTED_MESSAGE, "an empty handshake record"));
        }
        let have = usize::from(self.partial.len);
        let place = self.partial.bytes.iter_mut().skip(have).zip(content);
        let taken = place.map(|(place, byte)| *place = *byte).count();
        if self.partial.bytes.first() != Some(&KEY_UPDATE) {
            return Err(fault(Alert::UNEXPECTED_MESSAGE, "a handshake message other than KeyUpdate"));
        }
        if taken < content.len() {
            return Err(fault(Alert::UNEXPECTED_MESSAGE, "data behind a KeyUpdate in its record"));
        }
        let [_, length @ .., request] = self.partial.bytes;
        if have + taken >= KEY_UPDATE_LEN - 1 && length != [0, 0, 1] {
            return Err(fault(Alert::DECODE_ERROR, "a KeyUpdate of a wrong length"));
        }
        if have + taken < KEY_UPDATE_LEN {
            self.partial.len = u8::try_from(have + taken).unwrap_or(0);
            return Ok(());
        }
        self.partial = Partial::default();
        count(&mut self.counts.key_updates, LIMITS.key_updates_max, "too many KeyUpdates without data")?;
        match request {
            0 => {}
            1 => turn.answer_key_update = true,
            _ => return Err(fault(Alert::ILLEGAL_PARAMETER, "a KeyUpdate that neither asks nor does not")),
        }
        turn.key = None;
        self.receive.roll(self.suite.cipher)
    }

    fn refuse_renegotiation(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if content.first() != Some(&CLIENT_HELLO) {
            return Err(fault(Alert::UNEXPECTED_MESSAGE, "a handshake message on an open connection"));
        }
        count(&mut self.counts.warnings, LIMITS.warnings_max, "too many renegotiations")?;
        self.send_alert(WARNING, Alert::NO_RENEGOTIATION, out)
    }

    /// Seals `plain` into as many records as it needs; see [`super::Tls::seal`].
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.we_closed {
            return Err(TlsError::NotOpen);
        }
        let mut key = self.send.key(self.suite.cipher)?;
        for fragment in plain.chunks(FRAGMENT_MAX) {
            // One record is kept for what follows: the KeyUpdate, or close_notify.
            if self.send.sequence + 1 >= LIMITS.records_per_key_max {
                if !self.suite.is_tls13() {
                    self.close_notify(out)?;
                    return Err(TlsError::KeysUsedUp);
                }
                self.send_key_update(false, out)?;
                key = self.send.key(self.suite.cipher)?;
            }
            self.send.seal(self.suite, &key, APPLICATION_DATA, fragment, out)?;
        }
        Ok(())
    }

    /// Changes our sending keys, and with `request` asks the peer to change its own. Nothing in TLS 1.2.
    pub fn update_keys(&mut self, request: bool, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.we_closed {
            return Err(TlsError::NotOpen);
        }
        if self.suite.is_tls13() { self.send_key_update(request, out) } else { Ok(()) }
    }

    fn send_key_update(&mut self, request: bool, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.send_one(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, u8::from(request)], out)?;
        self.send.roll(self.suite.cipher)
    }

    /// Tells the peer that nothing more comes. The second time does nothing.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let sent = self.send_alert(WARNING, Alert::CLOSE_NOTIFY, out);
        self.we_closed = true;
        sent
    }

    fn send_alert(&mut self, level: u8, alert: Alert, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.we_closed { Ok(()) } else { self.send_one(ALERT, &[level, alert.0], out) }
    }

    fn send_one(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let key = self.send.key(self.suite.cipher)?;
        self.send.seal(self.suite, &key, kind, content, out)
    }
}

fn count(counter: &mut u8, max: u8, what: &'static str) -> Result<(), TlsError> {
    *counter = counter.saturating_add(1);
    if *counter > max { Err(fault(Alert::UNEXPECTED_MESSAGE, what)) } else { Ok(()) }
}

/// The header of the next record and the length of its body, when all of it is there.
///
/// A record that may not come is refused by its header, before its body is waited for.
fn next_header(suite: Suite, cipher: &[u8]) -> Result<Option<([u8; HEADER_LEN], usize)>, TlsError> {
    let Some((header, rest)) = cipher.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [kind, major, minor, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // TLS 1.3 hides the type, and its version field means nothing (RFC 8446 §5.2).
    if suite.is_tls13() && kind != APPLICATION_DATA {
        return Err(fault(Alert::UNEXPECTED_MESSAGE, "an unprotected record on an open connection"));
    }
    if !suite.is_tls13() && (major, minor) != (3, 3) {
        return Err(fault(Alert::PROTOCOL_VERSION, "a record of another version"));
    }
    if length > suite.body_max() {
        return Err(fault(Alert::RECORD_OVERFLOW, "a record is too long"));
    }
    Ok((rest.len() >= length).then_some((*header, length)))
}
