//! The only place of the node that reads a clock. Deadlines use the monotonic one, names and answers the wall's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The monotonic clock.
#[allow(clippy::disallowed_methods)] // This module is the clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall time since 1970.
#[allow(clippy::disallowed_methods)] // This module is the clock.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Wall time, as answers show it.
pub fn timestamp() -> Timestamp {
    let unix = unix();
    let nanos = i32::try_from(unix.subsec_nanos()).expect("less than a billion");
    Timestamp::new(i64::try_from(unix.as_secs()).unwrap_or(i64::MAX), nanos).unwrap_or(Timestamp::MAX)
}
