//! The only place that reads the time.
#![allow(clippy::disallowed_methods, reason = "this is the module that reads clocks")]

use jiff::Timestamp;

/// The time of day, in UTC.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A clock that never goes back.
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
