//! Every limit as a row: where it is set, its value, what may be in force instead, why it has this value,
//! and where that is written.
use super::derive::{Derived, MIB};
use serde::Serialize;
use std::fmt;

/// Where a limit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A kernel parameter.
    Sysctl,
    /// A kernel parameter of a module that may not be loaded.
    OptionalSysctl,
    /// A file below /sys.
    Sysfs,
    /// A directive of the service's unit.
    Systemd,
    /// The daemon itself, unless its configuration says otherwise.
    Daemon,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Numbers: one, or several with spaces between them.
    Numbers(Vec<u64>),
    /// A word.
    Word(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Word(word) => f.write_str(word),
            Value::Numbers(numbers) => {
                let words: Vec<_> = numbers.iter().map(u64::to_string).collect();
                f.write_str(&words.join(" "))
            }
        }
    }
}

/// What may be in force instead of the derived value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// It or more.
    AtLeast,
    /// It or less.
    AtMost,
    /// Nothing else.
    Exactly,
    /// A range that begins and ends there, or a wider one.
    Covers,
}

/// One limit.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Where it is set.
    pub place: Place,
    /// Its name there.
    pub name: &'static str,
    /// Its value, in the unit of that name.
    pub value: Value,
    /// What may be in force instead.
    pub need: Need,
    /// Why it has this value.
    pub why: &'static str,
    /// Where that is written.
    pub source: &'static str,
}

const FS: &str = "kernel: admin-guide/sysctl/fs.rst";
const NET: &str = "kernel: admin-guide/sysctl/net.rst";
const IP: &str = "kernel: networking/ip-sysctl.rst";
const VM: &str = "kernel: admin-guide/sysctl/vm.rst";
const CONNTRACK: &str = "kernel: networking/nf_conntrack-sysctl.rst";
const THP: &str = "kernel: admin-guide/mm/transhuge.rst";
const OWN: &str = "daemon/server/src/limits/derive.rs";

struct Rows(Vec<Row>);

impl Rows {
    fn add(
        &mut self,
        place: Place,
        name: &'static str,
        value: &[u64],
        need: Need,
        why: &'static str,
        source: &'static str,
    ) {
        self.0.push(Row { place, name, value: Value::Numbers(value.to_vec()), need, why, source });
    }
}

impl Derived {
    /// All limits, in the order in which they are printed.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Rows(Vec::new());
        self.descriptors(&mut rows);
        self.network(&mut rows);
        self.memory(&mut rows);
        self.daemon(&mut rows);
        rows.0
    }

    fn descriptors(&self, rows: &mut Rows) {
        use Need::AtLeast;
        use Place::{Sysctl, Systemd};
        let why = "a service's LimitNOFILE may not be above it";
        rows.add(Sysctl, "fs.nr_open", &[self.nr_open], AtLeast, why, FS);
        let why = "the service's and a quarter more; not far below what the kernel takes by itself";
        rows.add(Sysctl, "fs.file-max", &[self.file_max], AtLeast, why, FS);
        let why = "one for each connection, the store's table files, and a reserve";
        rows.add(Systemd, "LimitNOFILE", &[self.descriptors_max], AtLeast, why, "systemd.exec(5)");
    }

    fn network(&self, rows: &mut Rows) {
        use Need::{AtLeast, AtMost, Covers, Exactly};
        use Place::{OptionalSysctl, Sysctl};
        let why = "after an outage all come at once; who finds no place tries again after seconds";
        rows.add(Sysctl, "net.core.somaxconn", &[self.backlog_max], AtLeast, why, NET);
        let why = "as many in TCP's handshake as may wait for accept; then come SYN cookies";
        rows.add(Sysctl, "net.ipv4.tcp_max_syn_backlog", &[self.syn_backlog_max], AtLeast, why, IP);
        let why = "pages: 5 KiB of buffers for each connection on the average; few are active";
        rows.add(Sysctl, "net.ipv4.tcp_mem", &self.tcp_pages, Exactly, why, IP);
        let buffer = [4_096, 16_384, self.socket_buffer_max];
        let why = "stanzas are small: it begins with 16 KiB, and grows only while it is used";
        rows.add(Sysctl, "net.ipv4.tcp_rmem", &buffer, Exactly, why, IP);
        let why = "likewise; who does not read holds no more than this of the kernel's memory";
        rows.add(Sysctl, "net.ipv4.tcp_wmem", &buffer, Exactly, why, IP);
        let why = "no program on this machine sets itself a larger buffer than TCP may have";
        rows.add(Sysctl, "net.core.rmem_max", &[self.socket_buffer_max], AtMost, why, NET);
        rows.add(Sysctl, "net.core.wmem_max", &[self.socket_buffer_max], AtMost, why, NET);
        let why = "packets that wait for each core; a storm of reconnects comes in bursts";
        rows.add(Sysctl, "net.core.netdev_max_backlog", &[self.packets_max], AtLeast, why, NET);
        let why = "55,000 outgoing ones to each address; above every port that the daemon uses";
        rows.add(Sysctl, "net.ipv4.ip_local_port_range", &[10_240, 65_535], Covers, why, IP);
        let why = "a firewall that tracks states drops what it has no place for; 320 bytes each";
        let name = "net.netfilter.nf_conntrack_max";
        rows.add(OptionalSysctl, name, &[self.conntrack_max], AtLeast, why, CONNTRACK);
        let why = "a quarter of that: four to a chain";
        let name = "net.netfilter.nf_conntrack_buckets";
        rows.add(OptionalSysctl, name, &[self.conntrack_max / 4], AtLeast, why, CONNTRACK);
    }

    fn memory(&self, rows: &mut Rows) {
        use Need::{AtLeast, AtMost};
        use Place::{Sysctl, Sysfs, Systemd};
        let why = "the allocator's mappings are larger than 64 KiB: this never bounds them";
        rows.add(Sysctl, "vm.max_map_count", &[self.mappings_max], AtLeast, why, VM);
        let why = "idle sessions are what would be swapped out, and all wake up together";
        rows.add(Sysctl, "vm.swappiness", &[1], AtMost, why, VM);
        rows.0.push(Row {
            place: Sysfs,
            name: "kernel/mm/transparent_hugepage/enabled",
            value: Value::Word("madvise"),
            need: Need::Exactly,
            why: "pages of 2 MiB would keep what idle sessions have given back",
            source: THP,
        });
        let why = "all but the system's eighth; what the kernel holds for connections counts";
        rows.add(
            Systemd,
            "MemoryMax",
            &[self.service_memory_max],
            AtLeast,
            why,
            "systemd.resource-control(5)",
        );
    }

    fn daemon(&self, rows: &mut Rows) {
        use Need::AtLeast;
        use Place::Daemon;
        let why = "half of the memory at 16 KiB: 5 kernel slab, 2 idle, 5 socket buffers, 4 work";
        rows.add(Daemon, "limits.connections_max", &[self.connections_max], AtLeast, why, OWN);
        let why = "the daemon's part of that, the store's and 48 MiB; above it no connection is taken";
        rows.add(Daemon, "limits.memory_mb", &[self.resident_max / MIB], AtLeast, why, OWN);
        rows.add(
            Daemon,
            "store.cache_mb",
            &[self.store_cache_bytes / MIB],
            AtLeast,
            "a sixteenth of the memory",
            OWN,
        );
        let why = "a 64th of the memory, at most 256, which a start after a crash replays twice";
        rows.add(Daemon, "store.memtable_mb", &[self.store_memtable_bytes / MIB], AtLeast, why, OWN);
        let why = "one for each core, if there are 64 MiB for each";
        rows.add(Daemon, "server.shards", &[u64::from(self.shards)], AtLeast, why, OWN);
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::{Machine, derive};

    #[test]
    fn every_limit_has_its_reason_and_source_once() {
        let rows = derive(Machine { ram_bytes: 2 << 30, cores: 2 }).rows();
        let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
        assert!(rows.iter().all(|row| row.why.len() > 10 && !row.source.is_empty()));
    }
}
