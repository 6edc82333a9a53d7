//! Metrics of the process and of the daemon as a whole.
use super::metric::{Metric, counter, gauge, info};
use crate::limits::Bound;

/// In the order in which they are told. Names that begin with `process_` are the usual ones.
pub(super) const PROCESS: &[Metric] = &[
    counter("process_cpu_seconds", "CPU time of all threads.", |f, s| s.one(f.process.cpu_s)).seconds(),
    gauge("process_resident_memory_bytes", "Resident set.", |f, s| s.one(f.process.resident_bytes)).bytes(),
    gauge("process_virtual_memory_bytes", "Address space.", |f, s| s.one(f.process.virtual_bytes)).bytes(),
    gauge("process_open_fds", "Descriptors in use.", |f, s| s.one(f.process.descriptors)),
    gauge("process_max_fds", "Descriptors allowed.", |f, s| s.one(f.process.descriptors_max)),
    gauge("process_threads", "Threads.", |f, s| s.one(f.process.threads)),
    gauge("process_start_time_seconds", "When the daemon started, since 1970.", |f, s| {
        s.one(f.started_ms as f64 / 1000.0)
    })
    .seconds(),
    counter("process_context_switches", "Context switches of all threads.", |f, s| {
        let switches = f.process.switches;
        s.each([("voluntary", switches.voluntary), ("involuntary", switches.involuntary)])
    })
    .by("kind"),
    info("godwit_build", "Version of the daemon.", |_, s| s.each([(crate::version::version(), true)]))
        .by("version"),
    gauge("godwit_allocated_memory_bytes", "Memory as the allocator counts it.", |f, s| {
        let memory = f.memory;
        s.each([
            ("allocated", memory.allocated_bytes),
            ("active", memory.active_bytes),
            ("resident", memory.resident_bytes),
        ])
    })
    .bytes()
    .by("kind"),
    gauge("godwit_memory_bytes", "Memory by who holds it; the sum is about the resident set.", |f, s| {
        s.each(f.owners.each())
    })
    .bytes()
    .by("owner"),
    gauge("godwit_memory_max_bytes", "Resident memory above which no connection is taken.", |f, s| {
        s.one(f.overload.memory_max_bytes)
    })
    .bytes(),
    gauge("godwit_connections_max", "Client connections that the daemon takes at once.", |f, s| {
        s.one(f.ceiling.connections_max)
    }),
    gauge("godwit_connections_bound", "1 for what bounds the connections, 0 for the others.", |f, s| {
        s.each([
            ("configuration", f.ceiling.bound_by == Bound::Configuration),
            ("descriptors", f.ceiling.bound_by == Bound::Descriptors),
            ("memory", f.ceiling.bound_by == Bound::Memory),
        ])
    })
    .by("by"),
    gauge("godwit_stuck_threads", "Threads that the watchdog found stuck at its last look.", |f, s| {
        s.one(f.stuck.len() as u64)
    }),
    counter("godwit_log_lines_dropped", "Lines that the log dropped because it was too slow.", |f, s| {
        s.one(f.log_lines_dropped)
    }),
    gauge("godwit_certificate_expiry_timestamp_seconds", "When each certificate expires.", |f, s| {
        let certificates = f.certificates.iter();
        s.each(certificates.map(|c| (c.chain.to_string_lossy(), c.not_after as f64)))
    })
    .seconds()
    .by("file"),
    gauge("godwit_reload_ok", "0 after a reload that was refused, 1 otherwise.", |f, s| {
        s.one(f.reload.as_ref().is_none_or(|reload| reload.ok))
    }),
    gauge("godwit_ready", "1 if /readyz says so.", |f, s| s.one(super::health::troubles(f).is_empty())),
];
