//! The operator's only look at the clock. Plans get the time as an argument.

use jiff::Timestamp;

/// Now, in whole seconds: what Kubernetes keeps.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a whole second of today is a timestamp")
}

/// For measuring how long something takes.
#[allow(clippy::disallowed_methods)]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
