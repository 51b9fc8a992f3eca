//! Grants and leases: why a strong read needs no question to anybody.
//!
//! A copy that answers a heartbeat grants: for `grant` from its arrival I shall not act as another primary. The primary
//! takes it that the grant holds for `lease` from when it *sent* the heartbeat. The arrival comes after the sending, and
//! `lease` is shorter than `grant`, so the primary stops first, as long as one clock isn't `grant / lease` times as fast as
//! the other. What the clocks show doesn't matter.

use serde::{Deserialize, Serialize};

use crate::Time;

/// The lengths, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timing {
    /// How long a primary trusts a grant, from when it asked.
    pub lease: u64,
    /// How long a copy keeps it, from when it was asked. Longer than `lease`.
    pub grant: u64,
    /// How long after the primary's last word a copy answers ordinary reads as fresh, and a primary after its lease.
    pub fresh: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease: 6_000, grant: 10_000, fresh: 3_000 }
    }
}

/// What a copy has granted; the last one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grant {
    since: Option<Time>,
}

impl Grant {
    /// A grant given now, or one that has to be taken for given because nobody remembers.
    pub fn given(now: Time) -> Self {
        Self { since: Some(now) }
    }

    pub fn outstanding(&self, now: Time, timing: &Timing) -> bool {
        self.since.is_some_and(|since| now < since.saturating_add(timing.grant))
    }

    pub fn fresh_until(&self, timing: &Timing) -> Option<Time> {
        self.since.map(|since| since.saturating_add(timing.fresh))
    }

    /// Whether the primary's last word is so young that ordinary reads are fresh.
    pub fn fresh(&self, now: Time, timing: &Timing) -> bool {
        self.fresh_until(timing).is_some_and(|until| now < until)
    }
}

/// What a primary knows of one copy's grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lease {
    asked: Option<Time>,
}

impl Lease {
    /// An answer to what was sent at `asked`. Answers come in any order; one from the future is none.
    pub fn renew(&mut self, asked: Time, now: Time) {
        if asked <= now {
            self.asked = self.asked.max(Some(asked));
        }
    }

    pub fn holds(&self, now: Time, timing: &Timing) -> bool {
        self.until(timing).is_some_and(|until| now < until)
    }

    /// When it ends, if nothing renews it.
    pub fn until(&self, timing: &Timing) -> Option<Time> {
        self.asked.map(|asked| asked.saturating_add(timing.lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { lease: 6, grant: 10, fresh: 3 };

    /// A heartbeat sent at 100 and received at `arrival`: whether lease, grant and freshness hold at `now`.
    fn check(arrival: Time, now: Time, expected: (bool, bool, bool)) {
        let grant = Grant::given(arrival);
        let mut lease = Lease::default();
        lease.renew(100, now);
        let found = (lease.holds(now, &TIMING), grant.outstanding(now, &TIMING), grant.fresh(now, &TIMING));
        assert_eq!(found, expected, "arrived at {arrival}, now {now}");
        assert!(!found.0 || found.1, "a lease never outlives its grant");
    }

    #[test]
    fn a_lease_ends_before_its_grant() {
        check(100, 100, (true, true, true));
        check(100, 103, (true, true, false));
        check(100, 105, (true, true, false));
        check(100, 106, (false, true, false));
        check(105, 106, (false, true, true));
        check(100, 109, (false, true, false));
        check(100, 110, (false, false, false));
        check(109, 118, (false, true, false));
    }

    #[test]
    fn answers_that_come_late_or_from_the_future_renew_nothing() {
        let mut lease = Lease::default();
        assert!(!lease.holds(0, &TIMING));
        lease.renew(104, 105);
        lease.renew(100, 105);
        assert!(lease.holds(109, &TIMING));
        lease.renew(200, 110);
        assert!(!lease.holds(110, &TIMING));
    }
}
