//! The only place that builds keys. Fixed-size big-endian parts, so that byte order is numeric order.
//!
//! ```text
//! Meta      name                                 one row a fact
//! Accounts  bare JID
//! Roster    owner(8) | contact's bare JID
//! Archive   owner(8) | seq(8)
//! With      owner(8) | hash of the other side(8) | seq(8)
//! State     owner(8) | kind(1)
//! Pep       owner(8) | 0                         totals of the account
//!           owner(8) | 1 | node
//!           owner(8) | 2 | node | 00 | item id
//!           owner(8) | 3 | node | 00 | revision(8)
//! Sessions  owner(8) | session(8) | part(1)
//! ```
//!
//! Every range of one owner starts and ends with that owner's eight bytes, also its exclusive end: RocksDB
//! may then use its prefix Bloom filters. JIDs are UTF-8, in which the byte FF never occurs: it ends ranges
//! of JIDs. Names of nodes and items come out of XML, in which the character 00 never occurs: it ends the
//! name of a node.

/// Version of the key and value layout. A changed layout is a new number, a migration and a test with an old
/// store.
pub const SCHEMA_VERSION: u32 = 1;
/// Bytes of an owner at the head of a key.
pub const OWNER_BYTES: usize = 8;
/// Larger than every byte that occurs in UTF-8.
const AFTER_UTF8: u8 = 0xff;
/// Smaller than every character that occurs in XML, and the byte after it, which does not occur either.
const NODE_END: u8 = 0;
const AFTER_NODE_END: u8 = 1;
/// Kinds of rows in `Pep`; the byte is part of the key and never changes meaning.
const PEP_TOTALS: u8 = 0;
const PEP_NODE: u8 = 1;
const PEP_ITEM: u8 = 2;
const PEP_ORDER: u8 = 3;

/// Account number; never reused, never shown to users. A store knows accounts by it, not by host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Owner(pub u64);

/// Position in the store's total order: 48 bits of milliseconds since 1970, 16 bits of counter.
/// Strictly increasing over restarts and clock jumps; given out by the writer when it builds a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Largest.
    pub const MAX: Seq = Seq(u64::MAX);

    /// Milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The first position of a millisecond (of the last one that fits, for later ones).
    pub fn at(millis: u64) -> Seq {
        Seq(millis.min(u64::MAX >> 16) << 16)
    }
}

/// A key. Only this module makes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
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
    /// Which messages the account wants archived.
    ArchivePrefs = 4,
    /// The account's bare JID: guards against two accounts with one number, and names the owner of a row.
    Name = 5,
    /// The last `h` of sessions that ended without a word.
    Ended = 16,
}

/// Key of an account record: the normalised bare JID.
pub fn account(bare_jid: &str) -> Key {
    Key(bare_jid.as_bytes().into())
}

/// First and end key of all accounts.
pub fn accounts() -> (Key, Key) {
    (Key(Box::new([0])), Key(Box::new([AFTER_UTF8])))
}

/// First and end key of the accounts behind one.
pub fn accounts_after(bare_jid: &str) -> (Key, Key) {
    let mut first = bare_jid.as_bytes().to_vec();
    first.push(0);
    (Key(first.into()), accounts().1)
}

/// Key of a roster item.
pub fn roster(owner: Owner, contact: &str) -> Key {
    owned(owner, contact.as_bytes())
}

/// First and end key of an account's roster.
pub fn rosters(owner: Owner) -> (Key, Key) {
    (owned(owner, &[]), owned(owner, &[AFTER_UTF8]))
}

/// Contact of a roster key (None if the key is none).
pub fn roster_contact(key: &[u8]) -> Option<&str> {
    let (_, contact) = key.split_first_chunk::<OWNER_BYTES>()?;
    std::str::from_utf8(contact).ok().filter(|contact| !contact.is_empty())
}

/// Key of an archive row.
pub fn archive(owner: Owner, seq: Seq) -> Key {
    owned(owner, &seq.0.to_be_bytes())
}

/// First and end key of an account's archive rows with `after < seq <= upto`.
pub fn archives(owner: Owner, after: Seq, upto: Seq) -> (Key, Key) {
    (past(owner, after), past(owner, upto))
}

/// Sequence number of an archive key.
pub fn archive_seq(key: &[u8]) -> Option<Seq> {
    let (_, seq) = key.split_first_chunk::<OWNER_BYTES>()?;
    Some(Seq(u64::from_be_bytes(seq.try_into().ok()?)))
}

/// Key of an index row: the archive's row `seq` was exchanged with an address of this hash.
pub fn with(owner: Owner, hash: u64, seq: Seq) -> Key {
    owned(owner, &hashed(hash, seq))
}

/// First and end key of the index rows of an account and a hash with `after < seq <= upto`.
pub fn withs(owner: Owner, hash: u64, after: Seq, upto: Seq) -> (Key, Key) {
    let past = |seq| {
        let mut rest = [0; 17];
        rest[..16].copy_from_slice(&hashed(hash, seq));
        owned(owner, &rest)
    };
    (past(after), past(upto))
}

/// Hash and sequence number of an index key.
pub fn with_parts(key: &[u8]) -> Option<(u64, Seq)> {
    let (_, rest) = key.split_first_chunk::<OWNER_BYTES>()?;
    let (hash, seq) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*hash), Seq(u64::from_be_bytes(seq.try_into().ok()?))))
}

fn hashed(hash: u64, seq: Seq) -> [u8; 16] {
    ((u128::from(hash) << 64) | u128::from(seq.0)).to_be_bytes()
}

/// Key of a small state.
pub fn state(owner: Owner, state: State) -> Key {
    owned(owner, &[state as u8])
}

/// First and end key of all small states of an account.
pub fn states(owner: Owner) -> (Key, Key) {
    (owned(owner, &[]), owned(owner, &[u8::MAX, 0]))
}

/// First and end key of all that an account has in one family, of those whose keys start with an owner.
pub fn everything(owner: Owner) -> (Key, Key) {
    // Behind an owner stands text, a kind, a hash or a position: none of them has so many bytes FF.
    (owned(owner, &[]), owned(owner, &[u8::MAX; 17]))
}

/// The account that a key of such a family belongs to.
pub fn owner(key: &[u8]) -> Option<Owner> {
    key.split_first_chunk::<OWNER_BYTES>().map(|(owner, _)| Owner(u64::from_be_bytes(*owner)))
}

/// Key of the totals of an account's personal eventing data.
pub fn pep_totals(owner: Owner) -> Key {
    owned(owner, &[PEP_TOTALS])
}

/// Key of a node.
pub fn pep_node(owner: Owner, node: &str) -> Key {
    pep(owner, PEP_NODE, node, &[])
}

/// First and end key of an account's nodes.
pub fn pep_nodes(owner: Owner) -> (Key, Key) {
    (owned(owner, &[PEP_NODE]), owned(owner, &[PEP_NODE + 1]))
}

/// Kinds of rows in `Pep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Pep {
    Totals,
    Node,
    Item,
    Order,
}

/// What kind of row a key of `Pep` is of (None if it is none).
pub fn pep_kind(key: &[u8]) -> Option<Pep> {
    let (&kind, rest) = key.split_first_chunk::<OWNER_BYTES>()?.1.split_first()?;
    let mut parts = rest.splitn(2, |byte| *byte == NODE_END);
    let (node, item) = (parts.next()?, parts.next());
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    match (kind, item) {
        (PEP_TOTALS, None) if node.is_empty() => Some(Pep::Totals),
        (PEP_NODE, None) if text(node) => Some(Pep::Node),
        (PEP_ITEM, Some(id)) if text(node) && text(id) => Some(Pep::Item),
        (PEP_ORDER, Some(revision)) if text(node) && revision.len() == 8 => Some(Pep::Order),
        _ => None,
    }
}

/// Name of a node's key (None if the key is none).
pub fn pep_node_name(key: &[u8]) -> Option<&str> {
    let (&kind, node) = key.split_first_chunk::<OWNER_BYTES>()?.1.split_first()?;
    std::str::from_utf8(node).ok().filter(|_| kind == PEP_NODE)
}

/// Key of an item.
pub fn pep_item(owner: Owner, node: &str, id: &str) -> Key {
    pep(owner, PEP_ITEM, node, &[&[NODE_END], id.as_bytes()])
}

/// First and end key of a node's items.
pub fn pep_items(owner: Owner, node: &str) -> (Key, Key) {
    (pep(owner, PEP_ITEM, node, &[&[NODE_END]]), pep(owner, PEP_ITEM, node, &[&[AFTER_NODE_END]]))
}

/// Key that gives an item its place in the order of publication.
pub fn pep_order(owner: Owner, node: &str, revision: u64) -> Key {
    pep(owner, PEP_ORDER, node, &[&[NODE_END], &revision.to_be_bytes()])
}

/// First and end key of the places of a node's items.
pub fn pep_orders(owner: Owner, node: &str) -> (Key, Key) {
    (pep(owner, PEP_ORDER, node, &[&[NODE_END]]), pep(owner, PEP_ORDER, node, &[&[AFTER_NODE_END]]))
}

/// Revision of such a key (None if the key is none).
pub fn pep_order_revision(key: &[u8]) -> Option<u64> {
    let (head, revision) = key.split_last_chunk::<8>()?;
    let (&kind, _) = head.split_first_chunk::<OWNER_BYTES>()?.1.split_first()?;
    (kind == PEP_ORDER).then_some(u64::from_be_bytes(*revision))
}

fn pep(owner: Owner, kind: u8, node: &str, rest: &[&[u8]]) -> Key {
    owned(owner, &[&[kind], node.as_bytes(), &rest.concat()].concat())
}

/// Which part of a session; the byte is part of the key and never changes meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// Who it is: resource, secret, presence.
    Who = 1,
    /// How many of the client's stanzas are handled.
    In = 2,
    /// What was sent to the client.
    Out = 3,
}

/// Key of a part of a session.
pub fn session(owner: Owner, session: u64, part: Part) -> Key {
    let mut rest = [part as u8; 9];
    rest[..8].copy_from_slice(&session.to_be_bytes());
    owned(owner, &rest)
}

/// First and end key of the sessions of all accounts.
pub fn all_sessions() -> (Key, Key) {
    (owned(Owner(0), &[]), owned(Owner(u64::MAX), &[u8::MAX; 10]))
}

/// Account, session number and part byte of a key (None if the key is none).
pub fn session_of(key: &[u8]) -> Option<(Owner, u64, u8)> {
    let (owner, rest) = key.split_first_chunk::<OWNER_BYTES>()?;
    let (session, rest) = rest.split_first_chunk::<8>()?;
    let &[part] = rest else { return None };
    Some((Owner(u64::from_be_bytes(*owner)), u64::from_be_bytes(*session), part))
}

/// In `Meta`: position of the last time that writing worked again after it had failed, eight bytes,
/// big-endian; absent if it never failed.
pub fn meta_gap() -> Key {
    Key(Box::from(*b"gap"))
}

/// In `Meta`: the schema version, four bytes, big-endian.
pub(crate) fn meta_schema() -> Key {
    Key(Box::from(*b"schema"))
}

/// In `Meta`: the last sequence number given out, eight bytes, big-endian.
pub(crate) fn meta_head() -> Key {
    Key(Box::from(*b"head"))
}

fn owned(owner: Owner, rest: &[u8]) -> Key {
    let mut key = Vec::with_capacity(OWNER_BYTES + rest.len());
    key.extend_from_slice(&owner.0.to_be_bytes());
    key.extend_from_slice(rest);
    Key(key.into_boxed_slice())
}

/// The key right behind an archive row's: no other key lies between, and it has the same owner even for
/// [`Seq::MAX`].
fn past(owner: Owner, seq: Seq) -> Key {
    let mut rest = [0; 9];
    rest[..8].copy_from_slice(&seq.0.to_be_bytes());
    owned(owner, &rest)
}

#[cfg(test)]
mod tests {
    use super::owner as schema_owner;
    use super::*;
    use proptest::prelude::*;

    fn within(key: &Key, (start, end): &(Key, Key)) -> bool {
        start <= key && key < end
    }

    proptest! {
        #[test]
        fn byte_order_is_numeric_order(a: (u64, u64), b: (u64, u64)) {
            let (x, y) = (archive(Owner(a.0), Seq(a.1)), archive(Owner(b.0), Seq(b.1)));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.as_bytes().cmp(y.as_bytes()), a.cmp(&b));
        }

        #[test]
        fn archive_keys_give_their_seq_back(owner: u64, seq: u64) {
            prop_assert_eq!(archive_seq(archive(Owner(owner), Seq(seq)).as_bytes()), Some(Seq(seq)));
            let key = with(Owner(owner), !seq, Seq(seq));
            prop_assert_eq!(with_parts(key.as_bytes()), Some((!seq, Seq(seq))));
        }

        #[test]
        fn archive_ranges_are_open_below_and_closed_above(owner: u64, seq: u64, after: u64, upto: u64) {
            let inside = after < seq && seq <= upto;
            let range = withs(Owner(owner), after, Seq(after), Seq(upto));
            prop_assert_eq!(within(&with(Owner(owner), after, Seq(seq)), &range), inside);
            prop_assert!(!within(&with(Owner(owner), after.wrapping_add(1), Seq(seq)), &range));
            prop_assert!(!within(&with(Owner(owner.wrapping_add(1)), after, Seq(seq)), &range));
            let range = archives(Owner(owner), Seq(after), Seq(upto));
            prop_assert_eq!(within(&archive(Owner(owner), Seq(seq)), &range), inside);
            prop_assert!(!within(&archive(Owner(owner.wrapping_add(1)), Seq(seq)), &range));
            prop_assert!(!within(&archive(Owner(owner.wrapping_sub(1)), Seq(seq)), &range));
        }

        #[test]
        fn ranges_hold_their_owner_only(owner: u64, other: u64, contact in "\\PC{1,40}") {
            let mine = Owner(owner);
            prop_assert!(within(&roster(mine, &contact), &rosters(mine)));
            prop_assert_eq!(within(&roster(Owner(other), &contact), &rosters(mine)), owner == other);
            let item = roster(mine, &contact);
            prop_assert_eq!(roster_contact(item.as_bytes()), Some(contact.as_str()));
            prop_assert!(within(&account(&contact), &accounts()));
            let last = [archive(Owner(other), Seq::MAX), with(Owner(other), u64::MAX, Seq::MAX)];
            for key in [&item, &state(Owner(other), State::Name)].into_iter().chain(&last) {
                let whose = schema_owner(key.as_bytes());
                prop_assert_eq!(within(key, &everything(mine)), whose == Some(mine));
            }
            use State::{Delivery, LastActivity, Name, RosterVersion};
            for kind in [Delivery, RosterVersion, LastActivity, Name] {
                prop_assert_eq!(within(&state(Owner(other), kind), &states(mine)), owner == other);
            }
        }
    }

    proptest! {
        #[test]
        fn rows_of_nodes_stay_apart(
            owner: u64, other: u64, node in "[ a\u{10ffff}]{0,3}", second in "[ a\u{10ffff}]{0,3}",
            id in "[ a\u{10ffff}]{0,3}", revision: u64,
        ) {
            let mine = Owner(owner);
            for (whose, name) in [(mine, &node), (mine, &second), (Owner(other), &node)] {
                let same = whose == mine && *name == node;
                let (item, order) = (pep_item(whose, name, &id), pep_order(whose, name, revision));
                let (row, totals) = (pep_node(whose, name), pep_totals(whose));
                prop_assert_eq!(within(&item, &pep_items(mine, &node)), same);
                prop_assert_eq!(within(&order, &pep_orders(mine, &node)), same);
                prop_assert_eq!(within(&row, &pep_nodes(mine)), whose == mine);
                for key in [&item, &order, &totals] {
                    prop_assert!(within(key, &everything(whose)) && !within(key, &pep_nodes(mine)));
                }
                prop_assert!(within(&row, &everything(whose)));
                prop_assert_eq!(within(&item, &everything(mine)), whose == mine);
                let kinds = [&totals, &row, &item, &order].map(|key| pep_kind(key.as_bytes()));
                prop_assert_eq!(kinds, [Pep::Totals, Pep::Node, Pep::Item, Pep::Order].map(Some));
                prop_assert_eq!(pep_kind(&order.as_bytes()[..order.as_bytes().len() - 1]), None);
                prop_assert_eq!(pep_node_name(row.as_bytes()), Some(name.as_str()));
                prop_assert_eq!(pep_order_revision(order.as_bytes()), Some(revision));
                prop_assert_eq!(pep_node_name(item.as_bytes()), None);
                prop_assert_eq!(pep_order_revision(item.as_bytes()), None);
            }
        }

        #[test]
        fn revisions_order_items(a: u64, b: u64) {
            prop_assert_eq!(pep_order(Owner(1), "n", a).cmp(&pep_order(Owner(1), "n", b)), a.cmp(&b));
        }
    }

    #[test]
    fn the_last_row_of_the_last_owner_has_a_range() {
        let last = archive(Owner(u64::MAX), Seq::MAX);
        assert!(within(&last, &archives(Owner(u64::MAX), Seq(0), Seq::MAX)));
        assert!(!within(&last, &archives(Owner(u64::MAX), Seq::MAX, Seq::MAX)));
    }

    #[test]
    fn ranges_of_an_owner_keep_its_prefix_at_both_ends() {
        let owner = Owner(u64::MAX - 1);
        let pep = [pep_nodes(owner), pep_items(owner, "n"), pep_orders(owner, "n")];
        let others = [rosters(owner), states(owner), archives(owner, Seq(0), Seq::MAX)];
        for (start, end) in pep.into_iter().chain(others) {
            assert_eq!(start.as_bytes()[..OWNER_BYTES], end.as_bytes()[..OWNER_BYTES]);
            assert!(start < end);
        }
    }

    #[test]
    fn foreign_keys_are_none() {
        assert_eq!(archive_seq(b"short"), None);
        assert_eq!(archive_seq(&[0; 17]), None);
        assert_eq!((with_parts(&[0; 23]), with_parts(&[0; 25])), (None, None));
        assert_eq!(roster_contact(&[0; 7]), None);
        assert_eq!(roster_contact(&[0; 8]), None);
        assert_eq!(roster_contact(&[0xff; 9]), None);
    }

    #[test]
    fn a_seq_holds_its_millisecond() {
        assert_eq!(Seq::at(1_790_000_000_123).millis(), 1_790_000_000_123);
        assert_eq!(Seq::at(u64::MAX).millis(), u64::MAX >> 16);
    }
}
