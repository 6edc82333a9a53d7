//! The column families; the only place with tuning numbers.

/// A column family, named for what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cf {
    /// Facts about the store itself: schema version, last sequence number.
    Meta,
    /// Bare JID → account record (owner id, SCRAM keys).
    Accounts,
    /// Owner | contact's bare JID → roster item.
    Roster,
    /// Owner | sequence number → archived message. The largest; append only, read in ranges.
    Archive,
    /// Owner | kind byte → small per-account state that changes often (delivery cursor, roster version, last activity).
    State,
}

impl Cf {
    /// All of them, in declaration order: `Cf::ALL[cf as usize] == cf`.
    pub const ALL: [Cf; 5] = [Cf::Meta, Cf::Accounts, Cf::Roster, Cf::Archive, Cf::State];
}
