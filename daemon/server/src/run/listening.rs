//! Where the shards listen: sockets of the binary before this one, of the service manager, or new ones.
use super::daemon::trouble;
use super::take_over;
use crate::admin::protocol::ListenerRow;
use crate::config::Config;
use crate::handover::format::Snapshot;
use crate::systemd::Inherited;
use godwit_edge::{Entry, ListenOptions, Listener, listen};
use std::net::SocketAddr;

/// For each shard its listeners: those of the service manager, or those of the configuration.
pub(super) fn listeners(
    config: &Config,
    inherited: Inherited,
    shards: u16,
    backlog: u64,
    taken: Option<&Snapshot>,
) -> Result<Vec<Vec<Listener>>, String> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let options = ListenOptions { backlog, ..ListenOptions::default() };
    let count = usize::from(shards);
    let each = |entry: Entry, all: &[SocketAddr]| all.iter().map(move |at| (entry, *at)).collect::<Vec<_>>();
    let mut wanted = each(Entry::StartTls, &config.c2s);
    wanted.extend(each(Entry::DirectTls, &config.c2s_tls));
    let mut per_shard: Vec<Vec<Listener>> = match taken {
        Some(taken) => take_over::listeners(taken, &mut wanted)?,
        None => (0..shards).map(|_| Vec::new()).collect(),
    };
    let mut add = |listeners: Vec<Listener>| {
        if let Some(address) = listeners.first().and_then(|first| first.address().ok()) {
            tracing::info!(%address, entry = ?listeners.first().map(Listener::entry), "listening");
        }
        for (shard, listener) in per_shard.iter_mut().zip(listeners) {
            shard.push(listener);
        }
    };
    let both = [
        (Entry::StartTls, "listen.c2s", inherited.c2s),
        (Entry::DirectTls, "listen.c2s_tls", inherited.c2s_tls),
    ];
    for (entry, path, given) in both {
        let handed = taken.is_some_and(|taken| taken.common.given.contains(&entry));
        if given.is_empty() && !handed {
            for (_, address) in wanted.iter().filter(|(of, _)| *of == entry) {
                let made = listen::bind(entry, *address, count, &options);
                add(made.map_err(|e| trouble(format!("{path}: {address}"))(&e))?);
            }
        }
        for socket in given {
            let made = listen::inherited(entry, socket.into(), count, &options);
            add(made.map_err(|e| trouble(format!("the socket for {path} from systemd"))(&e))?);
        }
    }
    Ok(per_shard)
}

/// What the shards listen at, each address once.
pub(super) fn rows(per_shard: &[Vec<Listener>]) -> Vec<ListenerRow> {
    let row = |listener: &Listener| {
        let direct_tls = listener.entry() == Entry::DirectTls;
        Some(ListenerRow { direct_tls, address: listener.address().ok()? })
    };
    per_shard.first().into_iter().flatten().filter_map(row).collect()
}

/// Entries of which the service manager opened the sockets.
pub(super) fn given(inherited: &Inherited, taken: Option<&Snapshot>) -> Vec<Entry> {
    match taken {
        Some(taken) => taken.common.given.clone(),
        None => {
            let opened = [(Entry::StartTls, &inherited.c2s), (Entry::DirectTls, &inherited.c2s_tls)];
            opened.into_iter().filter(|(_, sockets)| !sockets.is_empty()).map(|(entry, _)| entry).collect()
        }
    }
}
