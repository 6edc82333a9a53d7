//! The one function from (memory, cores) to every limit, and the budget of memory behind it.
//!
//! The machine's memory is divided once, in [`Budget`]; every number that stands for memory is a part of it,
//! so that the sum of all promises fits ([`Budget::sum`]). What is left over is the page cache of the table
//! files.
use super::Machine;
use serde::Serialize;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// Kernel memory of an established TCP socket that is idle: socket, file, dentry, inode, epoll item. Slab in
/// /proc/meminfo grew by 5.1 KiB for each end of 10,000 connections over loopback (Linux 6.18).
const SOCKET_BYTES: u64 = 5 * KIB;
/// The daemon's memory for an idle session; measured 1.9 KB, see the README.
const SESSION_BYTES: u64 = 2 * KIB;
/// Socket buffers of a connection, on the average of all: few are active at once. Held by net.ipv4.tcp_mem.
const SOCKET_BUFFER_BYTES: u64 = 5 * KIB;
/// Send queues, partial stanzas, handshakes and what is being worked on, on the average likewise. Held by the
/// daemon's ceiling of resident memory.
const WORK_BYTES: u64 = 4 * KIB;
const CONNECTION_BYTES: u64 = SOCKET_BYTES + SESSION_BYTES + SOCKET_BUFFER_BYTES + WORK_BYTES;
/// Of these, what the daemon itself holds.
const CONNECTION_OWN_BYTES: u64 = SESSION_BYTES + WORK_BYTES;

/// Part of the machine's memory that is for connections: 1 in so many.
const CONNECTIONS_SHARE: u64 = 2;
/// Likewise: for kernel, conntrack, network queues, journald, ssh, and whoever looks after the machine.
const SYSTEM_SHARE: u64 = 8;
/// Likewise: for the store's block cache.
const CACHE_SHARE: u64 = 16;
/// Likewise: for memtables. Above 256 MiB larger ones buy nothing (a table file is 64 MiB), cost more for
/// each insertion, and a start after a crash replays twice as much.
const MEMTABLE_SHARE: u64 = 64;
const MEMTABLES_MAX: u64 = 256 * MIB;
const MEMTABLES_MIN: u64 = 16 * MIB;
/// The daemon before its first connection: code, threads, the open store; and each core's shard.
const BASE_BYTES: u64 = 48 * MIB;
const SHARD_BYTES: u64 = MIB;
/// Shards that have less than this would only share out what few connections there are.
const RAM_PER_SHARD: u64 = 64 * MIB;
/// Memory that an open table file takes outside of the block cache, with its descriptor.
const TABLE_BYTES: u64 = 64 * KIB;

/// Descriptors for logs, pipes, the admin socket, metrics, connections that are being refused, the store's
/// logs and the files that compactions write.
const OTHER_DESCRIPTORS: u64 = 256;
/// Poll, waker and listeners of a shard.
const SHARD_DESCRIPTORS: u64 = 8;
/// The store's table files may take 1 in so many of the descriptors, if these are few.
const FILES_SHARE: u64 = 32;
/// Fewer open tables than this make every read open one.
const FILES_MIN: u64 = 64;
/// LimitNOFILE is a multiple of this: fs.nr_open must be one of 64.
const DESCRIPTORS_STEP: u64 = 4_096;

/// fs.nr_open as kernels have it.
pub(super) const NR_OPEN_DEFAULT: u64 = 1_048_576;
/// Memory for one packet of a network queue: what an skb of full size takes.
const PACKET_BYTES: u64 = 2 * KIB;
/// Of a page, in tcp_mem.
const PAGE_BYTES: u64 = 4 * KIB;

/// How the machine's memory is divided, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Not for the service.
    pub system: u64,
    /// The daemon before its first connection.
    pub base: u64,
    /// The store's block cache.
    pub cache: u64,
    /// The store's memtables.
    pub memtables: u64,
    /// The store's open table files.
    pub tables: u64,
    /// Connections: the kernel's part and the daemon's.
    pub connections: u64,
}

impl Budget {
    /// All that is promised.
    pub fn sum(&self) -> u64 {
        self.system + self.base + self.cache + self.memtables + self.tables + self.connections
    }
}

/// Every limit for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Derived {
    /// Client connections at once.
    pub connections_max: u64,
    /// LimitNOFILE of the service.
    pub descriptors_max: u64,
    /// fs.nr_open: LimitNOFILE must not be above it.
    pub nr_open: u64,
    /// fs.file-max, for the whole machine.
    pub file_max: u64,
    /// Connections that wait for accept, per listener: net.core.somaxconn.
    pub backlog_max: u64,
    /// Connections in TCP's handshake, per listener: net.ipv4.tcp_max_syn_backlog.
    pub syn_backlog_max: u64,
    /// Pages of all TCP buffers: below the first no thought is given to them, above the second they are kept
    /// small, the third is never exceeded (net.ipv4.tcp_mem).
    pub tcp_pages: [u64; 3],
    /// Largest buffer of one socket, in bytes, for each direction.
    pub socket_buffer_max: u64,
    /// Packets that wait for a core: net.core.netdev_max_backlog.
    pub packets_max: u64,
    /// Connections that a firewall may track: nf_conntrack_max.
    pub conntrack_max: u64,
    /// Mappings of a process: vm.max_map_count.
    pub mappings_max: u64,
    /// Memory of the service with what the kernel holds for it, in bytes: MemoryMax.
    pub service_memory_max: u64,
    /// The daemon's resident memory above which no further connection is taken, in bytes.
    pub resident_max: u64,
    /// Block cache of the store, in bytes.
    pub store_cache_bytes: u64,
    /// Memtables of the store, in bytes.
    pub store_memtable_bytes: u64,
    /// Table files that the store holds open.
    pub store_files_max: u64,
    /// Shards.
    pub shards: u32,
    /// How the memory is divided.
    pub budget: Budget,
}

/// From (memory, cores) to limits.
pub fn derive(machine: Machine) -> Derived {
    let ram = machine.ram_bytes;
    let shards = machine.cores.min(u32::try_from(ram / RAM_PER_SHARD).unwrap_or(u32::MAX)).max(1);
    let budget = divide(ram, u64::from(shards));
    let connections_max = budget.connections / CONNECTION_BYTES;
    let store_files_max = budget.tables / TABLE_BYTES;
    let other = other_descriptors(u64::from(shards));
    let descriptors_max = (connections_max + store_files_max + other)
        .max(FILES_SHARE * store_files_max)
        .next_multiple_of(DESCRIPTORS_STEP);
    let backlog_max = (connections_max / 32).next_power_of_two().clamp(4_096, 65_536) - 1;
    let tcp_max = connections_max * SOCKET_BUFFER_BYTES / PAGE_BYTES;
    let packets_room = budget.system / 16 / u64::from(shards) / PACKET_BYTES;
    Derived {
        connections_max,
        descriptors_max,
        nr_open: descriptors_max.max(NR_OPEN_DEFAULT),
        // The kernel itself takes a tenth of the memory that it finds free, at 1 KiB a file.
        file_max: (descriptors_max + descriptors_max / 4 + 65_536).max(ram / KIB / 11),
        backlog_max,
        syn_backlog_max: backlog_max,
        tcp_pages: [tcp_max / 2, tcp_max / 4 * 3, tcp_max],
        socket_buffer_max: (ram / 4_096).clamp(2 * MIB, 8 * MIB).next_power_of_two() / 2,
        packets_max: packets_room.min(connections_max / 128).clamp(1_000, 16_384),
        conntrack_max: (connections_max + connections_max / 4 + 65_536).max(262_144),
        mappings_max: (ram / (64 * KIB)).clamp(65_530, 1 << 24),
        // The kernel counts pages, and what is read back is compared.
        service_memory_max: (ram - budget.system) / PAGE_BYTES * PAGE_BYTES,
        resident_max: budget.base
            + budget.cache
            + budget.memtables
            + budget.tables
            + connections_max * CONNECTION_OWN_BYTES,
        store_cache_bytes: budget.cache,
        store_memtable_bytes: budget.memtables,
        store_files_max,
        shards,
        budget,
    }
}

fn divide(ram: u64, shards: u64) -> Budget {
    let system = ram / SYSTEM_SHARE;
    let base = BASE_BYTES + shards * SHARD_BYTES;
    let cache = (ram / CACHE_SHARE).clamp(16 * MIB, 65_536 * MIB);
    let memtables = (ram / MEMTABLE_SHARE).clamp(MEMTABLES_MIN, MEMTABLES_MAX);
    let tables = (ram / (4 * MIB)).clamp(256, 8_192) * TABLE_BYTES;
    // The page is what rounding service_memory_max may take.
    let rest = ram.saturating_sub(system + PAGE_BYTES + base + cache + memtables + tables);
    Budget { system, base, cache, memtables, tables, connections: (ram / CONNECTIONS_SHARE).min(rest) }
}

/// The machine of which a service with so much memory is the service: the inverse of
/// [`Derived::service_memory_max`].
pub(super) fn machine_of_service(service_bytes: u64) -> u64 {
    service_bytes.saturating_add(service_bytes / (SYSTEM_SHARE - 1))
}

/// Descriptors that are neither connections nor table files.
fn other_descriptors(shards: u64) -> u64 {
    OTHER_DESCRIPTORS + SHARD_DESCRIPTORS * shards
}

impl Derived {
    /// Table files that the store may hold open, given so many descriptors.
    pub fn store_files(&self, descriptors: u64) -> u64 {
        (descriptors / FILES_SHARE).max(FILES_MIN).min(self.store_files_max)
    }

    /// Descriptors that are not for connections, out of so many.
    pub(super) fn own_descriptors(&self, descriptors: u64) -> u64 {
        self.store_files(descriptors) + other_descriptors(u64::from(self.shards))
    }

    /// LimitNOFILE for so many connections.
    pub(super) fn descriptors_for(&self, connections: u64) -> u64 {
        let most = self.store_files_max + other_descriptors(u64::from(self.shards));
        (connections + most).next_multiple_of(DESCRIPTORS_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Value;
    use proptest::prelude::*;

    /// The least machine for which the daemon is meant.
    const RAM_MIN: u64 = 256 * MIB;

    fn machine(gib: u64, cores: u32) -> Machine {
        Machine { ram_bytes: gib << 30, cores }
    }

    #[test]
    fn sixty_four_gigabytes_hold_two_million() {
        let derived = derive(machine(64, 16));
        assert!(derived.connections_max >= 2_000_000, "{derived:?}");
        assert!(derived.descriptors_max > derived.connections_max);
        assert!(derived.nr_open >= derived.descriptors_max);
        assert!(derived.file_max > derived.descriptors_max);
    }

    /// The kernel rounds memory.max down to pages, and 7/8 of a machine are seldom whole ones.
    #[test]
    fn the_service_has_whole_pages_of_memory() {
        let derived = derive(Machine { ram_bytes: 2_062_987_264 + 4_096, cores: 2 });
        assert_eq!(derived.service_memory_max % PAGE_BYTES, 0);
    }

    #[test]
    fn a_machine_that_is_too_small_promises_nothing_it_has_not() {
        let derived = derive(Machine { ram_bytes: 64 * MIB, cores: 2 });
        assert_eq!(derived.connections_max, 0, "{derived:?}");
    }

    /// Memory, from the least to 16 TiB, on a logarithmic scale.
    fn memory() -> impl Strategy<Value = u64> {
        (0u32..16, 0u64..1 << 20)
            .prop_map(|(doublings, part)| (RAM_MIN + RAM_MIN * part / (1 << 20)) << doublings)
    }

    proptest! {
        #[test]
        fn more_memory_never_means_less(a in memory(), b in memory(), cores in 1u32..256) {
            let of = |ram_bytes| derive(Machine { ram_bytes, cores });
            let (less, more) = (of(a.min(b)), of(a.max(b)));
            for (less, more) in less.rows().iter().zip(more.rows()) {
                let name = less.name;
                if let (Value::Numbers(less), Value::Numbers(more)) = (&less.value, &more.value) {
                    prop_assert!(less.iter().zip(more).all(|(less, more)| less <= more), "{name}");
                }
            }
        }

        #[test]
        fn no_machine_promises_more_than_it_has(ram_bytes in memory(), cores in 1u32..4096) {
            let derived = derive(Machine { ram_bytes, cores });
            prop_assert!(derived.budget.sum() <= ram_bytes, "{derived:?}");
            let kernel = derived.connections_max * SOCKET_BYTES + derived.tcp_pages[2] * PAGE_BYTES;
            prop_assert!(kernel + derived.resident_max <= derived.service_memory_max, "{derived:?}");
            // What is the system's: 320 bytes for a tracked connection, and its place in the table.
            let queues = derived.packets_max * PACKET_BYTES * u64::from(cores);
            let tracked = derived.connections_max * 5 / 4 * 328;
            prop_assert!(tracked + queues.min(derived.budget.system / 8) <= derived.budget.system);
        }

        #[test]
        fn descriptors_suffice_for_the_connections(ram_bytes in memory(), cores in 1u32..4096) {
            let derived = derive(Machine { ram_bytes, cores });
            let own = derived.own_descriptors(derived.descriptors_max);
            prop_assert!(derived.connections_max + own <= derived.descriptors_max, "{derived:?}");
            prop_assert!(derived.descriptors_max <= derived.nr_open.min(derived.file_max));
            prop_assert!(derived.syn_backlog_max <= derived.backlog_max && derived.backlog_max < 65_536);
            let [low, pressure, high] = derived.tcp_pages;
            prop_assert!(low <= pressure && pressure <= high);
        }
    }
}
