//! Where a shard reads the time: once per turn of its loop.
//!
//! The clock must never go backwards, or deadlines would wait; [`system`] holds to that whatever is done to
//! the box's time.
use godwit_session::Millis;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, never less than what it gave before.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The system's time as it was at this call, carried on by the monotonic clock.
pub fn system() -> Clock {
    system_from(0)
}

/// The same, and never less than this moment: a clock goes on from another one's.
#[allow(clippy::disallowed_methods)] // This is where the clock that is passed in comes from.
pub fn system_from(least: Millis) -> Clock {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_1970 = now.max(Duration::from_millis(least));
    let start = Instant::now();
    Arc::new(move || {
        let now = since_1970.saturating_add(start.elapsed());
        Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX)
    })
}
