//! The one place where the test tools read the clock.

use std::time::Instant;

/// The monotonic time.
#[allow(clippy::disallowed_methods, reason = "a test tool measures real time; this is its only reader")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
