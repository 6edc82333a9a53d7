//! Accounts without a daemon: opens the store itself. Small caches; it is open for one command.
use crate::accounts::Access;
use crate::admin::protocol::{Answer, Failure, Operations, Request};
use crate::backup::checkpoint;
use crate::config::Config;
use crossbeam_channel::{Sender, bounded};
use godwit_modules::{inspect, removal, traced};
use godwit_store::{Clock, Opened, Outcome, Owner, Sink, StoreError, Submit, Tx, TxError};
use godwit_wire::Jid;
use std::path::PathBuf;

/// Block cache and memtables, in bytes: the least that RocksDB works well with.
const CACHE_BYTES: usize = 8 << 20;

/// The store, opened for this command.
pub(super) struct Offline {
    opened: Opened<Sender<Outcome>>,
    settings: godwit_modules::Settings,
    clock: Clock,
    data_dir: PathBuf,
    domains: Vec<String>,
}

struct Tell;
impl Sink<Sender<Outcome>> for Tell {
    fn committed(&mut self, round: &mut Vec<(Sender<Outcome>, Outcome)>) {
        for (waiting, outcome) in round.drain(..) {
            // Whoever submitted it waits for it; if it is gone there is nobody to tell.
            let _ = waiting.try_send(outcome);
        }
    }
}

impl Offline {
    pub(super) fn open(config: &Config) -> Result<Offline, StoreError> {
        let options = godwit_store::Options {
            block_cache_bytes: CACHE_BYTES,
            memtable_bytes: CACHE_BYTES,
            ..godwit_store::Options::default()
        };
        let clock = godwit_edge::clock::system();
        let opened = godwit_store::open(&config.store_dir(), &options, clock.clone(), Box::new(Tell))?;
        // The secret is for logins, of which there are none here.
        let (data_dir, domains) =
            (config.data_dir.clone(), config.domains.iter().map(ToString::to_string).collect());
        let settings = crate::run::hub_settings(config, [0; 32]);
        Ok(Offline { opened, settings, clock, data_dir, domains })
    }

    /// Closes the store; what was done is durable already.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.opened.writer.close()
    }
}

impl Operations for Offline {
    fn call(&self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Checkpoint => {
                return checkpoint::make(&self.opened.store, &self.data_dir, (self.clock)(), &self.domains);
            }
            Request::CheckpointDone { backup } => return checkpoint::done(&self.data_dir, backup.as_ref()),
            _ => {}
        }
        let commit = |tx: Tx| {
            let (tell, told) = bounded(1);
            match self.opened.writer.submit(tx, tell) {
                Ok(()) => told.recv().unwrap_or(Err(TxError::Closing)),
                Err(_) => Err(TxError::Closing),
            }
        };
        let remove = |jid: &Jid| {
            let (store, random) = (&*self.opened.store, &crate::random::fill);
            removal::without_daemon(store, &self.settings, (self.clock)(), random, jid).map(commit)
        };
        let inspect = |jid: &Jid| inspect::without_daemon(&*self.opened.store, jid);
        let trace =
            |id: &str, account: Option<&Jid>| traced::without_daemon(&*self.opened.store, id, account);
        let store = &self.opened.store;
        let purged = |_: &str, owner: Owner| store.flush().and_then(|()| store.compact_archive(owner));
        let access = Access {
            store: &*self.opened.store,
            commit: &commit,
            settings: &self.settings,
            remove: &remove,
            inspect: &inspect,
            trace: &trace,
            purged: &purged,
            now: (self.clock)(),
            random: &crate::random::fill,
        };
        access.call(&request)
    }
}
