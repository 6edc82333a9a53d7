//! How many connections this process takes, and what bounds that.
use super::derive::{Derived, NR_OPEN_DEFAULT};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What bounds the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The configuration.
    Configuration,
    /// The descriptors that the process may have.
    Descriptors,
    /// Memory.
    Memory,
}

/// How many connections the daemon takes, and why not more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Connections.
    pub connections_max: u64,
    /// What bounds them.
    pub bound_by: Bound,
    /// What to do to get more.
    pub remedy: String,
}

impl Ceiling {
    /// From what is derived, what is configured (0: nothing) and the descriptor limit in force.
    pub fn new(derived: &Derived, configured: u64, descriptors: u64) -> Ceiling {
        let by_descriptors = descriptors.saturating_sub(derived.own_descriptors(descriptors));
        let by_memory = derived.connections_max;
        let wanted = if configured == 0 { by_memory } else { configured.min(by_memory) };
        if by_descriptors < wanted {
            let want = derived.descriptors_for(wanted);
            let remedy = format!(
                "set LimitNOFILE={want} in the unit, with fs.nr_open at least that (now {descriptors})"
            );
            return Ceiling { connections_max: by_descriptors, bound_by: Bound::Descriptors, remedy };
        }
        if configured != 0 && configured <= by_memory {
            let remedy = "raise limits.connections_max, or set it to 0 to have it derived".into();
            return Ceiling { connections_max: configured, bound_by: Bound::Configuration, remedy };
        }
        let remedy = "give the machine more memory; see godwitctl limits".into();
        Ceiling { connections_max: by_memory, bound_by: Bound::Memory, remedy }
    }

    /// One line for the log.
    pub fn line(&self) -> String {
        let by = match self.bound_by {
            Bound::Configuration => "limits.connections_max",
            Bound::Descriptors => "the limit on descriptors",
            Bound::Memory => "memory",
        };
        format!("room for {} connections, bounded by {by}; for more: {}", self.connections_max, self.remedy)
    }
}

/// Raises the soft limit on descriptors to the hard one; returns the limit then in force.
pub fn raise_descriptors() -> u64 {
    let now = getrlimit(Resource::Nofile);
    // A failure leaves the old limit, and the ceiling is made from what is in force.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(NR_OPEN_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Machine, derive};

    #[test]
    fn the_ceiling_names_what_bounds_it() {
        let derived = derive(Machine { ram_bytes: 2 << 30, cores: 2 });
        let few = Ceiling::new(&derived, 0, 1_024);
        assert_eq!((few.connections_max, few.bound_by), (688, Bound::Descriptors));
        assert!(few.line().contains("LimitNOFILE="), "{}", few.line());
        let enough = Ceiling::new(&derived, 0, derived.descriptors_max);
        assert_eq!((enough.connections_max, enough.bound_by), (derived.connections_max, Bound::Memory));
        let told = Ceiling::new(&derived, 5_000, derived.descriptors_max);
        assert_eq!((told.connections_max, told.bound_by), (5_000, Bound::Configuration));
        assert_eq!(
            Ceiling::new(&derived, 0, 100).connections_max,
            0,
            "nothing is promised that is not there"
        );
    }

    #[test]
    fn more_than_memory_holds_is_not_promised_because_it_was_configured() {
        let derived = derive(Machine { ram_bytes: 2 << 30, cores: 2 });
        let told = Ceiling::new(&derived, 1_000_000, 4_000_000);
        assert_eq!((told.connections_max, told.bound_by), (derived.connections_max, Bound::Memory));
    }

    /// Of 20,000 descriptors a third was kept for table files that the store could do without.
    #[test]
    fn twenty_thousand_descriptors_take_nearly_as_many_connections() {
        for (gib, cores) in [(2, 2), (24, 2), (64, 16), (512, 64)] {
            let derived = derive(Machine { ram_bytes: gib << 30, cores });
            let ceiling = Ceiling::new(&derived, 0, 20_000);
            assert!(ceiling.connections_max >= 18_500, "{gib} GiB, {cores} cores: {ceiling:?}");
            assert!(derived.store_files(20_000) >= 256);
        }
    }
}
