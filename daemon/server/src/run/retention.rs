//! Keeps archives within their size, account by account, every hour.
use super::daemon::Daemon;
use crate::accounts::shrink;
use godwit_modules::{accounts, retention};
use godwit_store::StoreError;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const PERIOD: Duration = Duration::from_secs(3_600);
/// Accounts looked at in one go.
const ACCOUNTS: usize = 1_000;
/// Messages are seldom compressed to less than this part of their size: who has less on the disk than this
/// part of the limit is not looked at.
const COMPRESSED_PART: u64 = 8;

/// Until the daemon stops.
pub(super) async fn look_after(daemon: Arc<Daemon>) {
    let mut looks = interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let bytes_max = daemon.config().raw.archive.bytes_per_account_max;
        if bytes_max > 0 {
            let daemon = Arc::clone(&daemon);
            // A panic was logged, and the next look comes in an hour.
            let _ = tokio::task::spawn_blocking(move || all(&daemon, bytes_max)).await;
        }
    }
}

fn all(daemon: &Daemon, bytes_max: u64) {
    let mut after: Option<String> = None;
    loop {
        // Nothing is committed from inside of the scan.
        let mut found = Vec::with_capacity(ACCOUNTS);
        let read = accounts::each(&*daemon.store, after.as_deref(), &mut |bare, record| {
            found.push((bare.to_owned(), record.owner));
            if found.len() < ACCOUNTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        for (bare, owner) in &found {
            if let Err(error) = one(daemon, bare, *owner, bytes_max) {
                tracing::warn!(account = bare, %error, "its archive cannot be kept within its size");
            }
        }
        if let Err(error) = read {
            tracing::error!(%error, "the accounts cannot be read");
            return;
        }
        let full = found.len() == ACCOUNTS;
        after = found.pop().map(|(bare, _)| bare).filter(|_| full);
        if after.is_none() {
            return;
        }
    }
}

fn one(daemon: &Daemon, bare: &str, owner: u64, bytes_max: u64) -> Result<(), StoreError> {
    let _gate = daemon.up.gate.read().unwrap_or_else(PoisonError::into_inner);
    if daemon.store.archive_bytes(godwit_store::Owner(owner))? < bytes_max / COMPRESSED_PART {
        return Ok(());
    }
    let Some(upto) = retention::surplus(&*daemon.store, owner, bytes_max)? else { return Ok(()) };
    let messages = shrink(&*daemon.store, &|tx| daemon.commit(tx), owner, upto)
        .map_err(|failure| StoreError::Io(failure.message))?;
    daemon.hub.registry.recount(bare, owner);
    tracing::info!(account = bare, messages, "the oldest messages of its archive are gone: it was too large");
    Ok(())
}
