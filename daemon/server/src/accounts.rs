//! Account requests, carried out on a store: the daemon's own, or one that `godwitctl` opened with no daemon
//! running.
use crate::admin::protocol::{AccountRow, Accounts, Answer, Failure, FailureKind, ROWS_MAX, Request};
use godwit_modules::Settings;
use godwit_modules::accounts::{self, AccountError};
use godwit_modules::inspect::Inspection;
use godwit_modules::traced::Traced;
use godwit_modules::{export, retention};
use godwit_store::{Outcome, Owner, Read, Seq, StoreError, Tx, TxError};
use godwit_wire::Jid;
use std::ops::ControlFlow;

/// Tries of a transaction whose account changed meanwhile.
const TRIES_MAX: u32 = 5;

/// How a message is looked for.
pub type TraceFn<'a> = dyn Fn(&str, Option<&Jid>) -> Result<Vec<Traced>, AccountError> + 'a;

/// What account requests work with.
pub struct Access<'a> {
    /// Reading side of the store.
    pub store: &'a dyn Read,
    /// Commits a transaction and waits until it is durable.
    pub commit: &'a dyn Fn(Tx) -> Outcome,
    /// Settings, of which the domains served matter here.
    pub settings: &'a Settings,
    /// Removes an account: makes the transaction, and has it committed.
    pub remove: &'a dyn Fn(&Jid) -> Result<Outcome, AccountError>,
    /// Looks at an account.
    pub inspect: &'a dyn Fn(&Jid) -> Result<Inspection, AccountError>,
    /// Looks for a message, in the archive of an account if one is given.
    pub trace: &'a TraceFn<'a>,
    /// Parts of an account's archive are gone: sees to it that they leave the disk.
    pub purged: &'a dyn Fn(&str, Owner) -> Result<(), StoreError>,
    /// Milliseconds since 1970.
    pub now: u64,
    /// Cryptographically random bytes.
    pub random: &'a dyn Fn(&mut [u8]),
}

impl Access<'_> {
    /// Carries out an account request. Sessions are the daemon's matter.
    pub fn call(&self, request: &Request) -> Result<Answer, Failure> {
        match request {
            Request::AccountAdd { jid, password } => {
                let jid = self.address(jid)?;
                let add = || accounts::add(self.store, &jid, password.reveal(), self.now, self.random);
                retry(|| add().map(self.commit))
            }
            Request::AccountPasswd { jid, password } => {
                let jid = self.address(jid)?;
                let passwd = || accounts::passwd(self.store, &jid, password.reveal(), self.random);
                retry(|| passwd().map(self.commit))
            }
            Request::AccountRemove { jid } => {
                let jid = self.address(jid)?;
                retry(|| (self.remove)(&jid))
            }
            Request::AccountInspect { jid } => {
                let found = (self.inspect)(&self.address(jid)?).map_err(|e| failure(&e))?;
                Ok(Answer::Inspection(Box::new(found)))
            }
            Request::AccountExport { jid, from } => {
                let page = export::page(self.store, &self.address(jid)?, from.as_ref());
                Ok(Answer::Exported(Box::new(page.map_err(|e| failure(&e))?)))
            }
            Request::Trace { id, account } => {
                let account = account.as_deref().map(|jid| self.address(jid)).transpose()?;
                Ok(Answer::Traced((self.trace)(id, account.as_ref()).map_err(|e| failure(&e))?))
            }
            Request::AccountList { after } => self.list(after.as_deref()),
            Request::ArchivePurge { jid, before_ms } => self.purge(&self.address(jid)?, *before_ms),
            Request::LogLevel { .. }
            | Request::Status
            | Request::Health
            | Request::StoreSample
            | Request::Sessions { .. }
            | Request::Upgrade { .. }
            | Request::StoreVerify
            | Request::StoreVerifying
            | Request::Checkpoint
            | Request::CheckpointDone { .. } => {
                Err(Failure::new(FailureKind::Request, "this needs a running daemon"))
            }
        }
    }

    /// What is there now, or what is older; also what was never delivered.
    fn purge(&self, jid: &Jid, before_ms: Option<u64>) -> Result<Answer, Failure> {
        let bare = jid.bare_str();
        let record = accounts::read(self.store, bare).map_err(|e| Failure::new(FailureKind::Failed, e))?;
        let owner = record.ok_or_else(|| failure(&AccountError::Missing(bare.into())))?.owner;
        let upto = before_ms.map_or(self.store.head().0, |ms| Seq::at(ms).0.saturating_sub(1));
        let messages = shrink(self.store, self.commit, owner, upto)?;
        (self.purged)(bare, Owner(owner)).map_err(|e| Failure::new(FailureKind::Failed, e))?;
        Ok(Answer::Purged { messages })
    }

    fn address(&self, text: &str) -> Result<Jid, Failure> {
        accounts::address(text, &self.settings.domains).map_err(|e| failure(&e))
    }

    fn list(&self, after: Option<&str>) -> Result<Answer, Failure> {
        let mut page = Accounts::default();
        accounts::each(self.store, after, &mut |jid, record| {
            if page.accounts.len() >= ROWS_MAX {
                page.more = true;
                return ControlFlow::Break(());
            }
            page.accounts.push(AccountRow { jid: jid.to_owned(), created_ms: record.created_ms });
            ControlFlow::Continue(())
        })
        .map_err(|e| Failure::new(FailureKind::Failed, e))?;
        Ok(Answer::Accounts(page))
    }
}

/// Removes the oldest rows of an archive up to a position; gives their number.
pub(crate) fn shrink(
    store: &dyn Read,
    commit: &dyn Fn(Tx) -> Outcome,
    owner: u64,
    upto: u64,
) -> Result<u64, Failure> {
    let mut messages = 0;
    while let Some((tx, rows)) =
        retention::oldest(store, owner, upto).map_err(|e| Failure::new(FailureKind::Failed, e))?
    {
        commit(tx).map_err(|e| Failure::new(FailureKind::Failed, e))?;
        messages += rows as u64;
    }
    Ok(messages)
}

fn retry(attempt: impl Fn() -> Result<Outcome, AccountError>) -> Result<Answer, Failure> {
    for _ in 0..TRIES_MAX {
        match attempt().map_err(|e| failure(&e))? {
            Ok(_) => return Ok(Answer::Done),
            // Read again: the account is there now, or gone, or has another password.
            Err(TxError::Conflict | TxError::Gone(_)) => {}
            Err(e) => return Err(Failure::new(FailureKind::Failed, e)),
        }
    }
    Err(Failure::new(FailureKind::Failed, "the account changes all the time; try again"))
}

fn failure(error: &AccountError) -> Failure {
    let kind = match error {
        AccountError::Exists(_) => FailureKind::Exists,
        AccountError::Missing(_) => FailureKind::Missing,
        AccountError::Address(_) | AccountError::Password(_) => FailureKind::Request,
        AccountError::Store(_) => FailureKind::Failed,
    };
    Failure::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_store::{MemStore, Sink, Submit};

    struct Nobody;
    impl Sink<()> for Nobody {
        fn committed(&mut self, round: &mut Vec<((), Outcome)>) {
            round.clear();
        }
    }

    /// One SCRAM key for all: hashing a password for each account would take the test minutes.
    fn store(accounts: usize) -> MemStore<()> {
        let store = MemStore::with_queue_max(accounts);
        let jid = Jid::parse("one@example.org").expect("a JID");
        let tx = accounts::add(&store, &jid, "secret", 1, &|_| {}).expect("a new account");
        let godwit_store::Op::Put { value, .. } = &tx.ops[0] else { panic!("the record comes first") };
        for number in 0..accounts {
            let (cf, key) = (
                godwit_store::Cf::Accounts,
                godwit_store::schema::account(&format!("a{number:06}@example.org")),
            );
            let put = godwit_store::Op::Put { cf, key, value: value.clone() };
            assert!(store.submit(Tx { ops: vec![put], ..Tx::default() }, ()).is_ok());
        }
        store.round(1, &mut Nobody);
        store
    }

    fn page(store: &MemStore<()>, after: Option<&str>) -> Accounts {
        let access = Access {
            store,
            commit: &|_| Ok(Vec::new()),
            settings: &crate::run::hub_settings(&crate::testing::config(), [0; 32]),
            remove: &|_| Ok(Ok(Vec::new())),
            inspect: &|jid| godwit_modules::inspect::without_daemon(store, jid),
            trace: &|id, account| godwit_modules::traced::without_daemon(store, id, account),
            purged: &|_, _| Ok(()),
            now: 1,
            random: &|_| {},
        };
        match access.call(&Request::AccountList { after: after.map(Into::into) }) {
            Ok(Answer::Accounts(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_of_accounts_join_on_to_each_other() {
        let store = store(ROWS_MAX + 5);
        let first = page(&store, None);
        assert_eq!((first.accounts.len(), first.more), (ROWS_MAX, true));
        let second = page(&store, first.accounts.last().map(|row| row.jid.as_str()));
        let jids: Vec<&str> = second.accounts.iter().map(|row| row.jid.as_str()).collect();
        assert_eq!((jids.len(), jids[0], second.more), (5, "a010000@example.org", false));
        let none = page(&store, Some("a010004@example.org"));
        assert_eq!((none.accounts.len(), none.more), (0, false));
    }
}
