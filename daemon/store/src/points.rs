//! Named places at which a crash test lets the process die, or fsync do nothing. Without the feature
//! `failpoints`, as in every build that is shipped, all of it is empty.
//!
//! What happens where comes from the environment variable `FAILPOINTS`, in the notation of the crate `fail`:
//! `store::before_write=17*off->return` dies at the 18th passing, as suddenly as by `kill -9`. Other actions
//! (`sleep(50)`, `pause`) are for widening a window by hand. In the test of the alerts they make a writer or
//! a shard hang, and `panic` a module fail.

/// While this one is set, nothing is synced: what a crash test must then find out.
#[cfg(feature = "failpoints")]
const UNSYNCED: &str = "store::unsynced";

/// Passes a place; the process ends here if the environment says so.
#[inline]
pub fn pass(name: &str) {
    #[cfg(feature = "failpoints")]
    if fail::eval(name, |_| ()).is_some() {
        std::process::abort();
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// Whether a write that asks to be synced is.
#[inline]
pub(crate) fn syncs() -> bool {
    #[cfg(feature = "failpoints")]
    let syncs = fail::eval(UNSYNCED, |_| ()).is_none();
    #[cfg(not(feature = "failpoints"))]
    let syncs = true;
    syncs
}

/// Takes `FAILPOINTS`, for the life of the process.
#[cfg(feature = "failpoints")]
pub fn from_environment() {
    std::mem::forget(fail::FailScenario::setup());
}
