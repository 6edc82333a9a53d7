//! The one place where the test tools read the clock.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// The monotonic time.
#[allow(clippy::disallowed_methods, reason = "a test tool measures real time; this is its only reader")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The monotonic time in microseconds since some moment that is the same for all processes of the machine.
#[must_use]
pub fn micros() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(time.tv_sec) * 1_000_000 + part(time.tv_nsec) / 1_000
}
