//! The only place that builds keys. Fixed-size big-endian parts, so that byte order is numeric order.

/// Account number; never reused, never shown to users. A store knows accounts by it, not by host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Owner(pub u64);

/// Position in the store's total order: 48 bits of milliseconds since 1970, 16 bits of counter.
/// Strictly increasing over restarts and clock jumps; given out by the writer when it builds a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);
impl Seq {
    /// Milliseconds since 1970.
    pub fn millis(self) -> u64 { self.0 >> 16 }
    /// Largest.
    pub const MAX: Seq = Seq(u64::MAX);
}

/// A key. Only this module makes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);
impl Key {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] { &self.0 }
}

/// Which small state; the byte is part of the key and never changes meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// What was handed over to the account's resources.
    Delivery = 1,
    /// Roster version.
    RosterVersion = 2,
    /// Time and status of the last unavailable presence.
    LastActivity = 3,
    /// Subscription requests not yet answered are kept in the roster; this is the count (for the limit).
    Pending = 4,
}
/// Key of an account record: the normalised bare JID.
pub fn account(bare_jid: &str) -> Key { Key(bare_jid.as_bytes().into()) }
/// First and end key of all accounts.
pub fn accounts() -> (Key, Key) { unimplemented!() }
/// Key of a roster item.
pub fn roster(_owner: Owner, _contact: &str) -> Key { unimplemented!() }
/// First and end key of an account's roster.
pub fn rosters(_owner: Owner) -> (Key, Key) { unimplemented!() }
/// Contact of a roster key (None if the key is none).
pub fn roster_contact(_key: &[u8]) -> Option<&str> { unimplemented!() }
/// Key of an archive row.
pub fn archive(_owner: Owner, _seq: Seq) -> Key { unimplemented!() }
/// First and end key of an account's archive rows with `after < seq <= upto`.
pub fn archives(_owner: Owner, _after: Seq, _upto: Seq) -> (Key, Key) { unimplemented!() }
/// Sequence number of an archive key.
pub fn archive_seq(_key: &[u8]) -> Option<Seq> { unimplemented!() }
/// Key of a small state.
pub fn state(_owner: Owner, _state: State) -> Key { unimplemented!() }
/// First and end key of all small states of an account.
pub fn states(_owner: Owner) -> (Key, Key) { unimplemented!() }
