//! The allocator of `godwitd`: jemalloc, unprefixed, so that RocksDB's C++ and aws-lc use it too.
//!
//! jemalloc reads its settings before `main`, from a string that is compiled into it:
//! `JEMALLOC_SYS_WITH_MALLOC_CONF` in `.cargo/config.toml`. That needs no `unsafe`, and a test here fails if
//! a build went without. They aim at a small resident set, as most of the daemon's memory belongs to
//! connections that do nothing: `narenas:4` instead of four per core: free pages of one arena are of no use
//! to another; thread caches, not arenas, keep threads apart · `dirty_decay_ms:1000`, `muzzy_decay_ms:0`
//! instead of ten seconds each: freed pages go back to the kernel within a second · `background_thread:true`:
//! that is done by a thread of jemalloc's, also when nothing allocates. The environment variable
//! `MALLOC_CONF` goes before it, as always with jemalloc.
use serde::{Deserialize, Serialize};
use tikv_jemalloc_ctl::{epoch, stats};

/// Bytes of memory as the allocator counts them. All zero in a program with another allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// In allocations.
    pub allocated_bytes: u64,
    /// In pages that hold allocations.
    pub active_bytes: u64,
    /// Mapped and resident, the allocator's own data included.
    pub resident_bytes: u64,
}

/// What is in use now.
pub fn memory() -> Memory {
    let read = || -> Result<Memory, tikv_jemalloc_ctl::Error> {
        epoch::advance()?;
        Ok(Memory {
            allocated_bytes: stats::allocated::read()? as u64,
            active_bytes: stats::active::read()? as u64,
            resident_bytes: stats::resident::read()? as u64,
        })
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tikv_jemalloc_ctl::{config, opt};

    #[global_allocator]
    static JEMALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    #[test]
    fn the_settings_are_in_force() {
        let compiled_in = config::malloc_conf::read().expect("jemalloc");
        assert!(compiled_in.contains("narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0"), "{compiled_in}");
        assert_eq!(opt::narenas::read().expect("jemalloc"), 4);
        assert!(opt::background_thread::read().expect("jemalloc"));
    }

    #[test]
    fn memory_is_counted() {
        let held = vec![1u8; 4 << 20];
        let memory = super::memory();
        assert!(memory.allocated_bytes >= held.len() as u64, "{memory:?}");
        assert!(memory.resident_bytes >= memory.allocated_bytes);
    }
}
