//! When the next snapshot is due. Pure: the time is an argument.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use quiver_crds::collection::Schedule;

/// A schedule that was understood.
pub struct Times {
    cron: croner::Cron,
    zone: TimeZone,
    jitter: SignedDuration,
    late: SignedDuration,
}

/// Understands a schedule, or says what is wrong with it.
pub fn parse(schedule: &Schedule) -> Result<Times, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(schedule.cron.trim()).map_err(|e| {
        format!(
            "snapshots.schedule.cron `{}` can't be understood: {e}; `0 2 * * *` is every night at two",
            schedule.cron
        )
    })?;
    let zone = TimeZone::get(&schedule.time_zone).map_err(|_| {
        format!(
            "snapshots.schedule.timeZone `{}` is not known; write it like Europe/Berlin",
            schedule.time_zone
        )
    })?;
    Ok(Times {
        cron,
        zone,
        jitter: SignedDuration::from_secs(schedule.jitter_seconds),
        late: SignedDuration::from_secs(schedule.starting_deadline_seconds),
    })
}

impl Times {
    /// The moment for which a snapshot should be there now; nothing if it is too late for the last one.
    /// `seed` spreads collections over the jitter.
    pub fn due(&self, now: Timestamp, seed: u64) -> Option<Timestamp> {
        let at = now - self.delay(seed);
        let last: Zoned = self.cron.find_previous_occurrence(&at.to_zoned(self.zone.clone()), true).ok()?;
        let last = last.timestamp();
        (at.duration_since(last) <= self.late).then_some(last)
    }

    /// The next moment after now.
    pub fn next(&self, now: Timestamp, seed: u64) -> Option<Timestamp> {
        let at = now - self.delay(seed);
        let next: Zoned = self.cron.find_next_occurrence(&at.to_zoned(self.zone.clone()), false).ok()?;
        Some(next.timestamp() + self.delay(seed))
    }

    fn delay(&self, seed: u64) -> SignedDuration {
        let span = u64::try_from(self.jitter.as_secs()).unwrap_or_default() + 1;
        SignedDuration::from_secs(i64::try_from(seed % span).unwrap_or_default())
    }
}

/// Name of the snapshot for a moment: made twice, it is the same object.
pub fn name(collection: &str, at: Timestamp) -> String {
    format!("{collection}-{}", at.as_second() / 60)
}

#[cfg(test)]
mod tests {
    use quiver_crds::collection::ConcurrencyPolicy;

    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule {
            cron: cron.into(),
            time_zone: zone.into(),
            suspend: false,
            starting_deadline_seconds: 3600,
            jitter_seconds: 0,
            concurrency_policy: ConcurrencyPolicy::Forbid,
        }
    }

    fn check(cron: &str, zone: &str, now: &str, due: Option<&str>, next: &str) {
        let times = parse(&schedule(cron, zone)).expect("a good schedule");
        let now: Timestamp = now.parse().expect("a time");
        let at = |t: &str| t.parse::<Timestamp>().expect("a time");
        assert_eq!(times.due(now, 7), due.map(at), "due: {cron} at {now}");
        assert_eq!(times.next(now, 7), Some(at(next)), "next: {cron} at {now}");
    }

    #[test]
    fn times_are_those_of_the_zone() {
        check(
            "0 2 * * *",
            "Etc/UTC",
            "2026-11-24T02:00:00Z",
            Some("2026-11-24T02:00:00Z"),
            "2026-11-25T02:00:00Z",
        );
        check("0 2 * * *", "Etc/UTC", "2026-11-24T01:59:59Z", None, "2026-11-24T02:00:00Z");
        check("0 2 * * *", "Etc/UTC", "2026-11-24T03:00:01Z", None, "2026-11-25T02:00:00Z");
        check(
            "0 2 * * *",
            "Europe/Berlin",
            "2026-11-24T01:10:00Z",
            Some("2026-11-24T01:00:00Z"),
            "2026-11-25T01:00:00Z",
        );
        check(
            "* * * * *",
            "Etc/UTC",
            "2026-11-24T01:10:30Z",
            Some("2026-11-24T01:10:00Z"),
            "2026-11-24T01:11:00Z",
        );
        check(
            "@daily",
            "Etc/UTC",
            "2026-11-24T00:10:30Z",
            Some("2026-11-24T00:00:00Z"),
            "2026-11-25T00:00:00Z",
        );
    }

    #[test]
    fn jitter_delays_by_the_seed_and_never_more() {
        let mut spread = schedule("0 2 * * *", "Etc/UTC");
        spread.jitter_seconds = 299;
        let times = parse(&spread).expect("a good schedule");
        let at = |t: &str| t.parse::<Timestamp>().expect("a time");
        assert_eq!(times.due(at("2026-11-24T02:00:09Z"), 610), None);
        assert_eq!(times.due(at("2026-11-24T02:00:10Z"), 610), Some(at("2026-11-24T02:00:00Z")));
        assert_eq!(times.next(at("2026-11-24T02:00:10Z"), 610), Some(at("2026-11-25T02:00:10Z")));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let refused = |cron: &str, zone: &str| parse(&schedule(cron, zone)).err().expect("refused");
        assert!(refused("61 2 * * *", "Etc/UTC").contains("every night at two"));
        assert!(refused("0 2 * * *", "Mars/Olympus").contains("Europe/Berlin"));
    }

    #[test]
    fn a_moment_has_one_name() {
        let at = |t: &str| t.parse::<Timestamp>().expect("a time");
        assert_eq!(name("docs", at("2026-11-24T02:00:00Z")), name("docs", at("2026-11-24T02:00:30Z")));
    }
}
