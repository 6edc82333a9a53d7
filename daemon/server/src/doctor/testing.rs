//! Facts for the tests of the checks.
use super::Site;
use crate::admin::protocol::{OverloadStatus, Status, StoreStatus};
use crate::limits::{Ceiling, Machine, derive};
use std::path::Path;
use std::sync::Arc;

/// A box without configuration and daemon.
pub(super) fn site() -> Site {
    let clock: godwit_edge::Clock = Arc::new(|| 1_000_000);
    Site::new(Path::new("/nowhere/godwit.toml"), None, None, &clock)
}

/// A daemon that is well.
pub(super) fn status() -> Status {
    let derived = derive(Machine { ram_bytes: 4 << 30, cores: 2 });
    Status {
        version: "1".into(),
        pid: 1,
        started_ms: 1_000,
        now_ms: 61_000,
        domains: vec!["example.org".into()],
        connections: 3,
        ceiling: Ceiling::new(&derived, 500, 20_000),
        sessions: 3,
        detached: 0,
        counters: Default::default(),
        store: StoreStatus { ok: true, ..StoreStatus::default() },
        archive: Default::default(),
        overload: OverloadStatus::default(),
        load: Default::default(),
        log_level: Default::default(),
        certificates: Vec::new(),
        memory: Default::default(),
        rss_bytes: 0,
        owners: Default::default(),
        log_lines_dropped: 0,
        stuck: Vec::new(),
        reload: None,
        backup: None,
        upgrade: None,
        upgrades: 0,
        notice: None,
    }
}
