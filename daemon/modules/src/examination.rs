//! Whether a store makes sense as a whole: rows decode, belong to an account, and the index of the archive
//! matches it. Reads every row once; changes nothing.
//!
//! In a running daemon rows come and go meanwhile. So only positions up to the head at the beginning count,
//! and whatever looks wrong is looked at again in the end.
use crate::accounts::{self, Record};
use crate::delivery::Delivery;
use crate::pep::table;
use crate::roster::Item;
use crate::row::Row;
use godwit_store::schema::{self, State};
use godwit_store::{Cf, Owner, Range, Read, Seq, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

/// Findings kept as text; all are counted.
const FINDINGS_MAX: usize = 100;
/// How often the index of an archive that changes meanwhile is compared with it.
const TRIES_MAX: u32 = 3;

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// In words, `FINDINGS_MAX` at most.
    pub texts: Vec<String>,
    /// All of them.
    pub count: u64,
}

impl Findings {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.texts.len() < FINDINGS_MAX {
            self.texts.push(text());
        }
    }
}

/// An archive and its index, summed up so that the order of the rows does not matter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    rows: u64,
    mixed: u64,
}

impl Sum {
    fn add(&mut self, hash: u64, seq: Seq) {
        self.rows += 1;
        self.mixed = self.mixed.wrapping_add(mix(hash ^ mix(seq.0)));
    }
}

/// An examination under way.
#[derive(Debug)]
pub struct Examination {
    /// Positions that count: older ones expire, row and index row each in its own time.
    oldest: Seq,
    head: Seq,
    owners: HashMap<u64, Box<str>>,
    archives: HashMap<u64, Sum>,
    indices: HashMap<u64, Sum>,
    /// Owners without an account, and how many rows each has in a family.
    ownerless: BTreeMap<(u64, Cf), u64>,
    findings: Findings,
}

impl Examination {
    /// Of a store whose last position is `head`, and whose archives are whole from `oldest` on.
    pub fn new(oldest: Seq, head: Seq) -> Examination {
        Examination {
            oldest,
            head,
            owners: HashMap::new(),
            archives: HashMap::new(),
            indices: HashMap::new(),
            ownerless: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    /// A row; those of [`Cf::Accounts`] come before those of any account.
    pub fn row(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        if cf == Cf::Accounts {
            return self.account(key, value);
        }
        if !cf.is_owned() {
            return;
        }
        let Some(Owner(owner)) = schema::owner(key) else {
            return self.findings.add(|| format!("{}: a key without an account's number", cf.name()));
        };
        if !self.owners.contains_key(&owner) {
            *self.ownerless.entry((owner, cf)).or_insert(0) += 1;
        }
        if !self.is_good(cf, owner, key, value) {
            let whose = self.name(owner);
            self.findings.add(|| format!("{}: a row of {whose} cannot be read", cf.name()));
        }
    }

    fn account(&mut self, key: &[u8], value: &[u8]) {
        let bare = String::from_utf8_lossy(key);
        match Record::decode(value).map(|record| record.owner) {
            None => self.findings.add(|| format!("accounts: the record of {bare} cannot be read")),
            Some(owner) => {
                let other = self.owners.insert(owner, bare.as_ref().into());
                // A sample reads rows of a small family more than once.
                if let Some(other) = other.filter(|other| **other != *bare) {
                    self.findings.add(|| format!("accounts: {bare} and {other} have one number"));
                }
            }
        }
    }

    fn is_good(&mut self, cf: Cf, owner: u64, key: &[u8], value: &[u8]) -> bool {
        match cf {
            Cf::Archive => match (schema::archive_seq(key), Row::decode(value)) {
                (Some(seq), Some(row)) => {
                    if let Some(hash) = row.index().filter(|_| self.counts(seq)) {
                        self.archives.entry(owner).or_default().add(hash, seq);
                    }
                    true
                }
                _ => false,
            },
            Cf::With => schema::with_parts(key).is_some_and(|(hash, seq)| {
                if self.counts(seq) {
                    self.indices.entry(owner).or_default().add(hash, seq);
                }
                true
            }),
            Cf::Pep => table::is_good(key, value),
            Cf::Roster => schema::roster_contact(key).is_some() && Item::decode(value).is_some(),
            Cf::State if key == schema::state(Owner(owner), State::Delivery).as_bytes() => {
                Delivery::load(Some(value), self.head.0).is_some()
            }
            Cf::State if key == schema::state(Owner(owner), State::Name).as_bytes() => {
                self.owners.get(&owner).is_none_or(|bare| bare.as_bytes() == value)
            }
            _ => true,
        }
    }

    fn counts(&self, seq: Seq) -> bool {
        self.oldest <= seq && seq <= self.head
    }

    fn name(&self, owner: u64) -> String {
        self.owners.get(&owner).map_or_else(|| format!("account {owner}"), ToString::to_string)
    }

    /// After the last row. Unless rows are missing because they could not be read, compares what belongs
    /// together, and looks again at what does not fit.
    ///
    /// # Errors
    /// If the store cannot be read any more.
    pub fn finish(mut self, store: &dyn Read, whole: bool) -> Result<Findings, StoreError> {
        if whole {
            self.compare_owners(store)?;
            self.compare_indices(store)?;
        }
        Ok(self.findings)
    }

    /// After some rows only: what of them makes no sense by itself.
    pub fn of_sample(self) -> Findings {
        self.findings
    }

    fn compare_owners(&mut self, store: &dyn Read) -> Result<(), StoreError> {
        for ((owner, cf), rows) in std::mem::take(&mut self.ownerless) {
            let mut left = false;
            scan(store, cf, Owner(owner), &mut |_, _| left = true)?;
            if left && !has_account(store, owner)? {
                self.findings.add(|| format!("{}: {rows} rows of account {owner}, which is none", cf.name()));
            }
        }
        Ok(())
    }

    fn compare_indices(&mut self, store: &dyn Read) -> Result<(), StoreError> {
        let mut owners: Vec<u64> = self.archives.keys().chain(self.indices.keys()).copied().collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in owners {
            let (archive, index) = (self.archives.get(&owner), self.indices.get(&owner));
            if archive.copied().unwrap_or_default() != index.copied().unwrap_or_default()
                && !index_matches(store, Owner(owner), &|seq| self.counts(seq))?
            {
                let whose = self.name(owner);
                self.findings.add(|| {
                    let rows = |sum: Option<&Sum>| sum.map_or(0, |sum| sum.rows);
                    let (archive, index) = (rows(archive), rows(index));
                    format!("with: the index of {whose} has {index} rows for {archive} archived messages")
                });
            }
        }
        Ok(())
    }
}

/// Whether an account that was made while the rows were read has this number.
fn has_account(store: &dyn Read, owner: u64) -> Result<bool, StoreError> {
    let Some(name) = store.get(Cf::State, &schema::state(Owner(owner), State::Name))? else {
        return Ok(false);
    };
    let record = accounts::read(store, &String::from_utf8_lossy(&name))?;
    Ok(record.is_some_and(|record| record.owner == owner))
}

/// Whether an account's archive and its index match, as far as positions count.
fn index_matches(store: &dyn Read, owner: Owner, counts: &dyn Fn(Seq) -> bool) -> Result<bool, StoreError> {
    for _ in 0..TRIES_MAX {
        let (mut archive, mut index) = (Sum::default(), Sum::default());
        scan(store, Cf::Archive, owner, &mut |key, value| {
            let hash = Row::decode(value).and_then(|row| row.index());
            if let (Some(seq), Some(hash)) = (schema::archive_seq(key).filter(|seq| counts(*seq)), hash) {
                archive.add(hash, seq);
            }
        })?;
        scan(store, Cf::With, owner, &mut |key, _| {
            if let Some((hash, seq)) = schema::with_parts(key).filter(|(_, seq)| counts(*seq)) {
                index.add(hash, seq);
            }
        })?;
        if archive == index {
            return Ok(true);
        }
    }
    Ok(false)
}

fn scan(
    store: &dyn Read,
    cf: Cf,
    owner: Owner,
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    let (start, end) = schema::everything(owner);
    store.scan(&Range { cf, start, end, reverse: false }, &mut |key, value| {
        each(key, value);
        ControlFlow::Continue(())
    })
}

/// Spreads bits (the finaliser of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_store::{MemStore, Op, Outcome, Sink, Submit, Tx};
    use godwit_wire::Jid;

    struct Nobody;
    impl Sink<()> for Nobody {
        fn committed(&mut self, round: &mut Vec<((), Outcome)>) {
            round.clear();
        }
    }

    const ALICE: u64 = 7;

    /// Alice's account, number 7, with `archived` messages.
    fn store(archived: u64) -> MemStore<()> {
        let store = MemStore::with_queue_max(100);
        let jid = Jid::parse("alice@example.org").expect("a JID");
        let seven = |bytes: &mut [u8]| {
            bytes.fill(0);
            bytes.iter_mut().last().into_iter().for_each(|last| *last = 14);
        };
        put(&store, accounts::add(&store, &jid, "secret", 1, &seven).expect("a new account").ops);
        for _ in 0..archived {
            let row = Row { incoming: true, with: "bob@b", stanza: b"<x/>", ..Row::default() };
            put(&store, vec![Op::Append { owner: Owner(ALICE), index: row.index(), value: row.encode() }]);
        }
        store
    }

    fn put(store: &MemStore<()>, ops: Vec<Op>) {
        assert!(store.submit(Tx { ops, ..Tx::default() }, ()).is_ok());
        store.round(1_000, &mut Nobody);
    }

    fn examine(store: &MemStore<()>, whole: bool) -> Vec<String> {
        examine_from(store, Seq(0), whole)
    }

    fn examine_from(store: &MemStore<()>, oldest: Seq, whole: bool) -> Vec<String> {
        let mut examination = Examination::new(oldest, store.head());
        let (start, end) = schema::accounts();
        let range = Range { cf: Cf::Accounts, start, end, reverse: false };
        let mut feed = |cf: Cf, key: &[u8], value: &[u8]| examination.row(cf, key, value);
        let accounts = store.scan(&range, &mut |key, value| {
            feed(Cf::Accounts, key, value);
            ControlFlow::Continue(())
        });
        accounts.expect("in memory");
        for owner in [ALICE, 9] {
            for cf in Cf::ALL.into_iter().filter(|cf| cf.is_owned()) {
                let all = scan(store, cf, Owner(owner), &mut |key, value| feed(cf, key, value));
                all.expect("in memory");
            }
        }
        let findings = examination.finish(store, whole).expect("in memory");
        assert_eq!(findings.count, findings.texts.len() as u64);
        findings.texts
    }

    #[test]
    fn a_sound_store_has_no_finding() {
        assert_eq!(examine(&store(3), true), [""; 0]);
    }

    #[test]
    fn an_account_that_a_sample_reads_twice_is_one_and_two_with_one_number_are_found() {
        let store = store(0);
        let (alice, bob) = (schema::account("alice@example.org"), schema::account("bob@example.org"));
        let record = store.get(Cf::Accounts, &alice).expect("in memory").expect("a record");
        let mut examination = Examination::new(Seq(0), store.head());
        for _ in 0..3 {
            examination.row(Cf::Accounts, alice.as_bytes(), &record);
        }
        examination.row(Cf::Accounts, bob.as_bytes(), &record);
        let findings = examination.of_sample();
        assert_eq!(findings.texts, ["accounts: bob@example.org and alice@example.org have one number"]);
    }

    #[test]
    fn a_message_that_the_index_misses_and_an_entry_without_a_message_are_found() {
        for (cf, found) in
            [(Cf::With, "index of alice@example.org has 2 rows for 3"), (Cf::Archive, "3 rows for 2")]
        {
            let store = store(3);
            let mut last = None;
            scan(&store, cf, Owner(ALICE), &mut |key, _| last = Some(key.to_vec())).expect("in memory");
            let seq = match cf {
                Cf::With => schema::with_parts(&last.expect("rows")).map(|(_, seq)| seq),
                _ => schema::archive_seq(&last.expect("rows")),
            };
            let seq = seq.expect("a position");
            let hash = crate::row::with_hash("bob@b");
            let key = match cf {
                Cf::With => schema::with(Owner(ALICE), hash, seq),
                _ => schema::archive(Owner(ALICE), seq),
            };
            put(&store, vec![Op::Delete { cf, key }]);
            let texts = examine(&store, true);
            assert!(matches!(&texts[..], [text] if text.contains(found)), "{texts:?}");
            assert_eq!(examine(&store, false), [""; 0], "not compared when rows could not be read");
            let expired = examine_from(&store, Seq(seq.0 + 1), true);
            assert_eq!(expired, [""; 0], "what expires goes in any order");
        }
    }

    #[test]
    fn rows_of_nobody_and_rows_that_cannot_be_read_are_found() {
        let store = store(1);
        put(&store, vec![Op::Put { cf: Cf::Roster, key: schema::roster(Owner(9), "c@d"), value: vec![9] }]);
        let texts = examine(&store, true);
        assert!(texts[0].contains("roster: a row of account 9 cannot be read"), "{texts:?}");
        assert!(texts[1].contains("roster: 1 rows of account 9, which is none"), "{texts:?}");
    }
}
