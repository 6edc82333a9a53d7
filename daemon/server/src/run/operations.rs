//! What `godwitctl` may ask of the running daemon.
use super::daemon::Daemon;
use crate::accounts::Access;
use crate::admin::protocol::{
    Answer, Failure, FailureKind, Operations, ROWS_MAX, Request, SessionRow, Sessions,
};
use crate::verify::whole_from;
use crossbeam_channel::bounded;
use godwit_modules::Completion;
use godwit_modules::accounts::AccountError;
use godwit_modules::inspect::Inspection;
use godwit_modules::registry::Live;
use godwit_store::{Outcome, Owner, Submit, Tx, TxError};
use godwit_wire::Jid;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// For the next session to say how it is; from the first that does not on, they are shown without it.
const REPORT_WAIT: Duration = Duration::from_secs(2);

impl Operations for Daemon {
    fn call(&self, request: Request) -> Result<Answer, Failure> {
        if let Request::Upgrade { binary, dry_run } = &request {
            return self.upgrade(binary.as_deref(), *dry_run);
        }
        // An upgrade waits for what is being done here, and nothing is done during one.
        let _gate = self.up.gate.read().unwrap_or_else(PoisonError::into_inner);
        match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status()))),
            Request::Sessions { after } => Ok(Answer::Sessions(self.sessions(after.as_deref()))),
            Request::Health => Ok(Answer::Health(Box::new(self.health()))),
            Request::StoreSample => Ok(self.store_sample()),
            Request::StoreVerify => {
                let oldest = whole_from(&self.hub.settings().archive, (self.clock)());
                self.verification.start(Arc::clone(&self.store), oldest).map(Answer::Verifying)
            }
            Request::Checkpoint => self.checkpoint(),
            Request::CheckpointDone { backup } => self.checkpoint_done(backup),
            Request::LogLevel { level, reset } => self.log_level(level.as_deref(), reset),
            Request::StoreVerifying => self.verification.look().map(Answer::Verifying),
            accounts => self.account(&accounts),
        }
    }
}

impl Daemon {
    fn account(&self, request: &Request) -> Result<Answer, Failure> {
        let settings = self.hub.settings();
        let commit = |tx: Tx| self.commit(tx);
        let remove = |jid: &Jid| self.remove(jid);
        let inspect = |jid: &Jid| self.inspect(jid);
        let trace = |id: &str, account: Option<&Jid>| self.hub.traced(id, account);
        let purged = |bare: &str, owner: Owner| {
            self.hub.registry.recount(bare, owner.0);
            self.store.flush().and_then(|()| self.store.compact_archive(owner))
        };
        let access = Access {
            store: &*self.store,
            commit: &commit,
            settings: &settings,
            remove: &remove,
            inspect: &inspect,
            trace: &trace,
            purged: &purged,
            now: (self.clock)(),
            random: &crate::random::fill,
        };
        let answer = access.call(request)?;
        match request {
            Request::AccountAdd { jid, .. } => tracing::info!(account = jid, "account added by godwitctl"),
            Request::AccountPasswd { jid, .. } => {
                tracing::info!(account = jid, "password changed by godwitctl")
            }
            Request::AccountRemove { jid } => tracing::info!(account = jid, "account removed by godwitctl"),
            Request::ArchivePurge { jid, .. } => tracing::info!(account = jid, "archive purged by godwitctl"),
            Request::AccountExport { jid, from: None } => {
                tracing::info!(account = jid, "account exported by godwitctl");
            }
            Request::AccountExport { .. }
            | Request::AccountInspect { .. }
            | Request::AccountList { .. }
            | Request::Trace { .. }
            | Request::Upgrade { .. }
            | Request::LogLevel { .. }
            | Request::Status
            | Request::Sessions { .. }
            | Request::Health
            | Request::StoreSample
            | Request::StoreVerify
            | Request::StoreVerifying
            | Request::Checkpoint
            | Request::CheckpointDone { .. } => {}
        }
        Ok(answer)
    }

    fn log_level(&self, level: Option<&str>, reset: bool) -> Result<Answer, Failure> {
        let changed = match level {
            Some(level) => self.logging.set_level(level, (self.clock)()),
            None if reset => self.logging.configure(&self.config().raw.log.level),
            None => return Ok(Answer::LogLevel(self.logging.level())),
        };
        changed.map_err(|why| Failure::new(FailureKind::Request, why))?;
        let now = self.logging.level();
        tracing::info!(level = now.level, "the log's level was changed by godwitctl");
        Ok(Answer::LogLevel(now))
    }

    pub(super) fn commit(&self, tx: Tx) -> Outcome {
        let (tell, told) = bounded(1);
        let completion = Completion::Told(Box::new(move |outcome| {
            // Whoever asked may have given up.
            let _ = tell.try_send(outcome);
        }));
        match self.writer.submit(tx, completion) {
            Ok(()) => told.recv().unwrap_or(Err(TxError::Closing)),
            Err(_) => Err(TxError::Failed("the writer's queue is full".into())),
        }
    }

    fn remove(&self, jid: &Jid) -> Result<Outcome, AccountError> {
        let (tell, told) = bounded(1);
        let told_by = Box::new(move |outcome| {
            // Whoever asked may have given up.
            let _ = tell.try_send(outcome);
        });
        self.hub.remove_account(jid, told_by)?;
        Ok(told.recv().unwrap_or(Err(TxError::Closing)))
    }

    /// Sessions are asked on their shards' threads, which answer within a turn of their loop.
    fn inspect(&self, jid: &Jid) -> Result<Inspection, AccountError> {
        let mut inquiry = self.hub.inquire(jid);
        inquiry.collect(&|told| told.recv_timeout(REPORT_WAIT).ok());
        self.hub.inspect(inquiry)
    }

    fn sessions(&self, after: Option<&str>) -> Sessions {
        let mut rows: BTreeMap<String, SessionRow> = BTreeMap::new();
        let mut more = false;
        self.hub.registry.each(&mut |live: &Live| {
            for session in &live.sessions {
                let jid = format!("{}/{}", live.bare, session.resource);
                if after.is_some_and(|after| jid.as_str() <= after) {
                    continue;
                }
                let row = SessionRow {
                    jid: jid.clone(),
                    peer: session.peer.map(|peer| peer.to_canonical().to_string()),
                    since_ms: session.since_ms,
                    priority: session.presence.as_ref().map(|_| session.priority),
                    detached: session.place.conn.generation == 0,
                    inactive: session.inactive,
                    shard: session.place.shard,
                };
                rows.insert(jid, row);
                if rows.len() > ROWS_MAX {
                    rows.pop_last();
                    more = true;
                }
            }
        });
        Sessions { sessions: rows.into_values().collect(), more }
    }
}
