//! What `godwitctl` may ask of the running daemon.
use super::daemon::{Daemon, locked};
use crate::accounts::Access;
use crate::admin::protocol::{
    Answer, CertificateRow, Failure, Operations, ROWS_MAX, Request, SessionRow, Sessions, Status, StoreStatus,
};
use crossbeam_channel::bounded;
use godwit_modules::Completion;
use godwit_modules::note::{Post, Poster};
use godwit_modules::registry::Live;
use godwit_session::Event;
use godwit_store::{Outcome, Submit, Tx, TxError};
use godwit_wire::{Jid, StreamCondition, StreamError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

impl Operations for Daemon {
    fn call(&self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status()))),
            Request::Sessions { after } => Ok(Answer::Sessions(self.sessions(after.as_deref()))),
            accounts => self.account(&accounts),
        }
    }
}

impl Daemon {
    fn account(&self, request: &Request) -> Result<Answer, Failure> {
        let config = self.config();
        let commit = |tx: Tx| self.commit(tx);
        let access = Access {
            store: &*self.store,
            commit: &commit,
            domains: &config.domains,
            now: (self.clock)(),
            random: &crate::random::fill,
        };
        let answer = access.call(request)?;
        match request {
            Request::AccountAdd { jid, .. } => tracing::info!(account = jid, "account added by godwitctl"),
            Request::AccountPasswd { jid, .. } => {
                tracing::info!(account = jid, "password changed by godwitctl")
            }
            Request::AccountRemove { jid } => {
                tracing::info!(account = jid, "account removed by godwitctl");
                self.end_sessions(jid);
            }
            Request::AccountList { .. } | Request::Status | Request::Sessions { .. } => {}
        }
        Ok(answer)
    }

    fn commit(&self, tx: Tx) -> Outcome {
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

    fn end_sessions(&self, jid: &str) {
        let Ok(jid) = Jid::parse(jid) else { return };
        let mut post = Poster::new(self.mailboxes.shards());
        self.hub.registry.with(jid.bare_str(), |live| {
            for session in &live.sessions {
                let close = Event::Close(StreamError::new(StreamCondition::NotAuthorized));
                post.event(live.address(session.id), session.place, close);
            }
        });
        post.flush(&*self.mailboxes);
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

    fn status(&self) -> Status {
        let counters = &self.hub.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_ms: self.started_ms,
            now_ms: (self.clock)(),
            domains: self.config().domains.iter().map(ToString::to_string).collect(),
            connections: self.connections.now() as u64,
            ceiling: self.ceiling.clone(),
            sessions: get(&counters.sessions),
            detached: get(&counters.detached),
            counters: self.counters(),
            store: self.store_status(),
            certificates: self.certificate_rows(),
            memory: crate::alloc::memory(),
            rss_bytes: resident_bytes(),
            log_lines_dropped: self.logging.dropped(),
            stuck: locked(&self.stuck).clone(),
            reload: locked(&self.reload).clone(),
        }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let hub = &self.hub.counters;
        let of_hub = [
            ("stanzas", &hub.stanzas),
            ("messages_stored", &hub.messages_stored),
            ("messages_unstored", &hub.messages_unstored),
            ("delivered", &hub.delivered),
            ("errors_sent", &hub.errors_sent),
            ("conflicts", &hub.conflicts),
            ("writes_failed", &hub.writes_failed),
            ("logins", &hub.logins),
            ("logins_failed", &hub.logins_failed),
            ("resumed", &hub.resumed),
            ("panics", &hub.panics),
        ];
        let mut counters: BTreeMap<String, u64> =
            of_hub.iter().map(|(name, n)| ((*name).to_owned(), n.load(Ordering::Relaxed))).collect();
        for shard in &self.shard_stats {
            let of_shard = [
                ("accepted", &shard.accepted),
                ("refused_full", &shard.refused_full),
                ("refused_host", &shard.refused_host),
                ("accept_starved", &shard.accept_starved),
                ("handshakes_tls12", &shard.handshakes_tls12),
                ("handshakes_tls13", &shard.handshakes_tls13),
                ("handshakes_resumed", &shard.handshakes_resumed),
                ("tls_failures", &shard.tls_failures),
                ("closed_send_queue_full", &shard.closed.send_queue_full),
                ("bytes_in", &shard.bytes_in),
                ("bytes_out", &shard.bytes_out),
                ("queued_bytes", &shard.queued_bytes),
            ];
            for (name, n) in of_shard {
                *counters.entry(name.to_owned()).or_default() += n.get();
            }
        }
        counters
    }

    fn store_status(&self) -> StoreStatus {
        let (stats, health) = (self.writer.stats(), self.writer.health());
        let memory = self.store.memory().unwrap_or_default();
        StoreStatus {
            ok: health.ok,
            since_ms: health.since_ms,
            last_error: health.last_error,
            queued: stats.queued,
            transactions: stats.transactions,
            syncs: stats.syncs,
            sync_us_mean: stats.sync_us_sum.checked_div(stats.syncs).unwrap_or(0),
            memory_bytes: memory.memtables + memory.block_cache + memory.table_readers,
        }
    }

    fn certificate_rows(&self) -> Vec<CertificateRow> {
        let now = i64::try_from((self.clock)() / 1000).unwrap_or(i64::MAX);
        let row = |status: godwit_edge::tls::CertificateStatus| CertificateRow {
            file: status.chain.display().to_string(),
            expires_ms: u64::try_from(status.not_after).unwrap_or(0).saturating_mul(1000),
            warning: status.warning(now),
            names: status.names,
        };
        self.certificates.status().into_iter().map(row).collect()
    }
}

/// Resident set of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
