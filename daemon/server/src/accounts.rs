//! Account requests, carried out on a store: the daemon's own, or one that `godwitctl` opened with no daemon
//! running.
use crate::admin::protocol::{AccountRow, Accounts, Answer, Failure, FailureKind, ROWS_MAX, Request};
use godwit_modules::accounts::{self, AccountError};
use godwit_store::{Outcome, Read, Tx, TxError};
use godwit_wire::Jid;

/// Tries of a transaction whose account changed meanwhile.
const TRIES_MAX: u32 = 5;

/// What account requests work with.
pub struct Access<'a> {
    /// Reading side of the store.
    pub store: &'a dyn Read,
    /// Commits a transaction and waits until it is durable.
    pub commit: &'a dyn Fn(Tx) -> Outcome,
    /// Domains served.
    pub domains: &'a [Box<str>],
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
                self.retry(|| accounts::add(self.store, &jid, password.reveal(), self.now, self.random))
            }
            Request::AccountPasswd { jid, password } => {
                let jid = self.address(jid)?;
                self.retry(|| accounts::passwd(self.store, &jid, password.reveal(), self.random))
            }
            Request::AccountRemove { jid } => {
                let jid = self.address(jid)?;
                self.retry(|| accounts::remove(self.store, &jid).map(|(_, tx)| tx))
            }
            Request::AccountList { after } => self.list(after.as_deref()),
            Request::Status | Request::Sessions { .. } => {
                Err(Failure::new(FailureKind::Request, "this needs a running daemon"))
            }
        }
    }

    fn address(&self, text: &str) -> Result<Jid, Failure> {
        accounts::address(text, self.domains).map_err(|e| failure(&e))
    }

    fn retry(&self, make: impl Fn() -> Result<Tx, AccountError>) -> Result<Answer, Failure> {
        for _ in 0..TRIES_MAX {
            let tx = make().map_err(|e| failure(&e))?;
            match (self.commit)(tx) {
                Ok(_) => return Ok(Answer::Done),
                // Read again: the account is there now, or gone, or has another password.
                Err(TxError::Conflict) => {}
                Err(e) => return Err(Failure::new(FailureKind::Failed, e)),
            }
        }
        Err(Failure::new(FailureKind::Failed, "the account changes all the time; try again"))
    }

    fn list(&self, after: Option<&str>) -> Result<Answer, Failure> {
        let mut page = Accounts::default();
        accounts::each(self.store, &mut |jid, record| {
            if after.is_some_and(|after| jid <= after) {
            } else if page.accounts.len() < ROWS_MAX {
                page.accounts.push(AccountRow { jid: jid.to_owned(), created_ms: record.created_ms });
            } else {
                page.more = true;
            }
        })
        .map_err(|e| Failure::new(FailureKind::Failed, e))?;
        Ok(Answer::Accounts(page))
    }
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
