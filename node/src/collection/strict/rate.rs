//! How many operations a minute: a bucket of tokens that fills up evenly.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;
use crate::error::ApiError;

/// Tokens of one kind of operation.
#[derive(Debug)]
struct Bucket {
    /// What was allowed when it was last used; with another number it begins anew.
    per_minute: usize,
    tokens: f64,
    filled_at: Instant,
}

/// Why an operation has to wait.
#[derive(Debug, PartialEq)]
enum Refused {
    /// It needs more than the bucket ever holds.
    Never,
    After {
        available: f64,
        wait: Duration,
    },
}

impl Bucket {
    fn full(per_minute: usize, now: Instant) -> Self {
        Self { per_minute, tokens: per_minute as f64, filled_at: now }
    }

    fn take(&mut self, cost: usize, per_minute: usize, now: Instant) -> Result<(), Refused> {
        if self.per_minute != per_minute {
            *self = Self::full(per_minute, now);
        }
        if cost > per_minute {
            return Err(Refused::Never);
        }
        let per_second = per_minute as f64 / 60.0;
        let since = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + since * per_second).min(per_minute as f64);
        self.filled_at = now;
        let missing = cost as f64 - self.tokens;
        if missing > 0.0 {
            // Whole seconds, as the header says them.
            let wait = Duration::from_secs((missing / per_second).ceil() as u64);
            return Err(Refused::After { available: self.tokens, wait });
        }
        self.tokens -= cost as f64;
        Ok(())
    }
}

/// The tokens of a collection.
#[derive(Debug, Default)]
pub struct Rates {
    reads: Mutex<Option<Bucket>>,
    writes: Mutex<Option<Bucket>>,
}

impl Rates {
    /// Takes the tokens of a read, or says when they will be there.
    pub fn read(&self, cost: usize, per_minute: usize) -> Result<(), ApiError> {
        take(&self.reads, "Read", cost, per_minute)
    }

    /// The same for a write.
    pub fn write(&self, cost: usize, per_minute: usize) -> Result<(), ApiError> {
        take(&self.writes, "Write", cost, per_minute)
    }
}

fn take(bucket: &Mutex<Option<Bucket>>, kind: &str, cost: usize, per_minute: usize) -> Result<(), ApiError> {
    let now = clock::now();
    let taken =
        bucket.lock().get_or_insert_with(|| Bucket::full(per_minute, now)).take(cost, per_minute, now);
    taken.map_err(|refused| match refused {
        Refused::Never => ApiError::rate_limited(format!(
            "{kind} rate limit exceeded, request larger than rate limiter capacity, please try to split your request"
        )),
        Refused::After { available, wait } => {
            let seconds = wait.as_secs();
            let mut error = ApiError::rate_limited(match cost {
                // Whoever needs a single token learns nothing from how much of it there is.
                1 => format!("{kind} rate limit exceeded, retry later"),
                _ => format!(
                    "{kind} rate limit exceeded: Operation requires {cost} tokens but only {available:.1} were available. Retry after {seconds}s"
                ),
            });
            error.retry_after = Some(wait);
            error
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `costs` one after the other, each so many seconds after the start.
    fn check(per_minute: usize, costs: &[(u64, usize, Result<(), Refused>)]) {
        let start = clock::now();
        let mut bucket = Bucket::full(per_minute, start);
        for (seconds, cost, expected) in costs {
            let taken = bucket.take(*cost, per_minute, start + Duration::from_secs(*seconds));
            assert_eq!(taken, *expected, "{cost} after {seconds}s");
        }
    }

    fn after(available: f64, seconds: u64) -> Result<(), Refused> {
        Err(Refused::After { available, wait: Duration::from_secs(seconds) })
    }

    #[test]
    fn tokens_come_back_evenly_and_never_more_than_fit() {
        check(60, &[(0, 60, Ok(())), (0, 1, after(0.0, 1)), (1, 1, Ok(())), (1, 30, after(0.0, 30))]);
        check(60, &[(600, 60, Ok(())), (600, 1, after(0.0, 1))]);
        check(5, &[(0, 5, Ok(())), (0, 5, after(0.0, 60)), (60, 5, Ok(()))]);
        check(10, &[(0, 11, Err(Refused::Never)), (0, 10, Ok(()))]);
    }

    #[test]
    fn another_limit_begins_with_a_full_bucket() {
        let now = clock::now();
        let mut bucket = Bucket::full(2, now);
        assert_eq!(bucket.take(2, 2, now), Ok(()));
        assert_eq!(bucket.take(3, 3, now), Ok(()));
    }
}
