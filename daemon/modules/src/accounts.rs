//! Accounts: the record in the store, and the transactions that make, change and remove one. The table's only
//! owner.
use godwit_session::{ScramHash, ScramKeys, keys};
use godwit_store::{Cf, Expect, Guard, Op, Owner, Range, Read, StoreError, Tx, schema};
use godwit_wire::Jid;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

const VERSION: u8 = 1;

/// Keys of one hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Keys {
    salt: Vec<u8>,
    iterations: u32,
    stored: Vec<u8>,
    server: Vec<u8>,
}

/// What is stored of an account. Of the password only SCRAM keys (RFC 5802).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Account number.
    pub owner: u64,
    /// When it was made, ms since 1970.
    pub created_ms: u64,
    sha1: Keys,
    sha256: Keys,
}

impl Record {
    /// The keys for a hash.
    pub fn keys(&self, hash: ScramHash) -> ScramKeys {
        let keys = match hash {
            ScramHash::Sha1 => &self.sha1,
            ScramHash::Sha256 => &self.sha256,
        };
        ScramKeys {
            salt: keys.salt.clone(),
            iterations: keys.iterations,
            stored_key: keys.stored.clone(),
            server_key: keys.server.clone(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        // postcard fails only on types it has no form for; this record has none of them.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// From its stored form.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
        match bytes.split_first()? {
            (&VERSION, rest) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }
}

/// Why an account cannot be made, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// There is none.
    #[error("there is no account {0}")]
    Missing(String),
    /// Not `local@domain` with a domain served here.
    #[error("{0}")]
    Address(String),
    /// The password cannot be used.
    #[error("{0}")]
    Password(String),
    /// The store could not be read or written.
    #[error("{0}")]
    Store(String),
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        AccountError::Store(error.to_string())
    }
}

/// The bare JID of an account of one of `domains`, from what an operator or a client wrote.
pub fn address(text: &str, domains: &[Box<str>]) -> Result<Jid, AccountError> {
    let wrong = |why: &str| AccountError::Address(format!("{text:?} is no account address: {why}"));
    let jid = Jid::parse(text).map_err(|_| wrong("write it as name@domain"))?;
    if jid.local().is_none() || !jid.is_bare() {
        return Err(wrong("write it as name@domain, without a resource"));
    }
    if !domains.iter().any(|domain| **domain == *jid.domain()) {
        return Err(wrong(&format!("this server serves {}", domains.join(", "))));
    }
    Ok(jid)
}

/// The record of an account.
pub fn read(store: &dyn Read, bare: &str) -> Result<Option<Record>, StoreError> {
    match store.get(Cf::Accounts, &schema::account(bare))? {
        None => Ok(None),
        Some(bytes) => Record::decode(&bytes).map(Some).ok_or_else(|| damaged(bare)),
    }
}

fn damaged(bare: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "the record of account {bare} cannot be read; restore a backup or set its password again"
    ))
}

/// Visits accounts in the order of their addresses, from the one behind `after`, until `visit` breaks.
pub fn each(
    store: &dyn Read,
    after: Option<&str>,
    visit: &mut dyn FnMut(&str, &Record) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let (start, end) = after.map_or_else(schema::accounts, schema::accounts_after);
    let mut bad = None;
    store.scan(&Range { cf: Cf::Accounts, start, end, reverse: false }, &mut |key, value| match (
        std::str::from_utf8(key),
        Record::decode(value),
    ) {
        (Ok(bare), Some(record)) => visit(bare, &record),
        (bare, _) => {
            bad = Some(damaged(bare.unwrap_or("?")));
            ControlFlow::Continue(())
        }
    })?;
    bad.map_or(Ok(()), Err)
}

fn both_keys(password: &str, random: &dyn Fn(&mut [u8])) -> Result<(Keys, Keys), AccountError> {
    let derive = |hash| -> Result<Keys, AccountError> {
        let mut salt = [0; keys::SALT_BYTES];
        random(&mut salt);
        let keys = keys::derive_keys(password, &salt, keys::ITERATIONS, hash)
            .map_err(|why| AccountError::Password(format!("this password cannot be used: {why}")))?;
        Ok(Keys {
            salt: keys.salt,
            iterations: keys.iterations,
            stored: keys.stored_key,
            server: keys.server_key,
        })
    };
    Ok((derive(ScramHash::Sha1)?, derive(ScramHash::Sha256)?))
}

/// Transaction that makes an account. Costs the time of hashing the password: some milliseconds.
pub fn add(
    store: &dyn Read,
    jid: &Jid,
    password: &str,
    now: u64,
    random: &dyn Fn(&mut [u8]),
) -> Result<Tx, AccountError> {
    let bare = jid.bare_str();
    if read(store, bare)?.is_some() {
        return Err(AccountError::Exists(bare.into()));
    }
    let (sha1, sha256) = both_keys(password, random)?;
    let mut owner = [0; 8];
    random(&mut owner);
    // 63 random bits: two of a billion accounts share a number with a chance of 1 in 18; the guard on the
    // owner's name row makes that an error instead of a mix-up.
    let owner = u64::from_be_bytes(owner) >> 1 | 1;
    let record = Record { owner, created_ms: now, sha1, sha256 };
    let (key, name) = (schema::account(bare), schema::state(Owner(owner), schema::State::Name));
    Ok(Tx {
        guards: vec![
            Guard { cf: Cf::Accounts, key: key.clone(), expect: Expect::Absent },
            Guard { cf: Cf::State, key: name.clone(), expect: Expect::Absent },
        ],
        ops: vec![
            Op::Put { cf: Cf::Accounts, key, value: record.encode() },
            Op::Put { cf: Cf::State, key: name, value: bare.as_bytes().to_vec() },
        ],
        ..Tx::default()
    })
}

/// Transaction that gives an account another password.
pub fn passwd(
    store: &dyn Read,
    jid: &Jid,
    password: &str,
    random: &dyn Fn(&mut [u8]),
) -> Result<Tx, AccountError> {
    let bare = jid.bare_str();
    let key = schema::account(bare);
    let old = store.get(Cf::Accounts, &key)?.ok_or_else(|| AccountError::Missing(bare.into()))?;
    let mut record = Record::decode(&old).ok_or_else(|| damaged(bare))?;
    (record.sha1, record.sha256) = both_keys(password, random)?;
    Ok(Tx {
        guards: vec![Guard { cf: Cf::Accounts, key: key.clone(), expect: Expect::Value(old) }],
        ops: vec![Op::Put { cf: Cf::Accounts, key, value: record.encode() }],
        ..Tx::default()
    })
}

/// Transaction that removes an account and everything held for it. The rest of its end, its contacts' rosters
/// among it, is in `removal.rs`.
pub(crate) fn remove(store: &dyn Read, jid: &Jid) -> Result<(u64, Tx), AccountError> {
    let bare = jid.bare_str();
    let key = schema::account(bare);
    let old = store.get(Cf::Accounts, &key)?.ok_or_else(|| AccountError::Missing(bare.into()))?;
    let record = Record::decode(&old).ok_or_else(|| damaged(bare))?;
    let guard = Guard { cf: Cf::Accounts, key: key.clone(), expect: Expect::Value(old) };
    let ops = vec![Op::Delete { cf: Cf::Accounts, key }, Op::Purge { owner: Owner(record.owner) }];
    Ok((record.owner, Tx { guards: vec![guard], ops, ..Tx::default() }))
}
