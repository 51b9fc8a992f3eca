//! Cron expressions with a time zone: when the next snapshot is due and when the last was.

use std::fmt;

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A schedule that parsed.
#[derive(Clone)]
pub struct Cron {
    cron: croner::Cron,
    zone: TimeZone,
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({})", self.cron.as_str())
    }
}

impl Cron {
    /// Parses; the error is a sentence for people. A day that no calendar has is an error, seen from `now`.
    pub fn parse(cron: &str, zone: &str, now: Timestamp) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|e| format!("`{cron}` is not a schedule: {e}"))?;
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("`{zone}` is not a time zone: write one such as Europe/Berlin or Etc/UTC")
        })?;
        let schedule = Self { cron: parsed, zone };
        if schedule.next(now).is_none() {
            return Err(format!("`{cron}` never comes: no year has such a day"));
        }
        Ok(schedule)
    }

    /// The last time at or before `now`; `None` if there was none that a calendar reaches.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&now.to_zoned(self.zone.clone()), true).ok()?;
        Some(found.timestamp())
    }

    /// The first time after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&now.to_zoned(self.zone.clone()), false).ok()?;
        Some(found.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(cron: &str, zone: &str) -> Result<Cron, String> {
        Cron::parse(cron, zone, "2026-03-05T12:00:00Z".parse().unwrap())
    }

    fn check(cron: &str, zone: &str, now: &str, last: &str, next: &str) {
        let cron = parse(cron, zone).unwrap();
        let now: Timestamp = now.parse().unwrap();
        assert_eq!(cron.last(now).unwrap().to_string(), last);
        assert_eq!(cron.next(now).unwrap().to_string(), next);
    }

    #[test]
    fn times_are_found_in_their_zone() {
        check("0 2 * * *", "Etc/UTC", "2026-03-05T02:00:00Z", "2026-03-05T02:00:00Z", "2026-03-06T02:00:00Z");
        check(
            "0 2 * * *",
            "Asia/Tokyo",
            "2026-03-05T12:00:00Z",
            "2026-03-04T17:00:00Z",
            "2026-03-05T17:00:00Z",
        );
        check(
            "*/15 * * * *",
            "Etc/UTC",
            "2026-03-05T11:59:59Z",
            "2026-03-05T11:45:00Z",
            "2026-03-05T12:00:00Z",
        );
        check("0 4 * * 1", "Etc/UTC", "2026-03-05T12:00:00Z", "2026-03-02T04:00:00Z", "2026-03-09T04:00:00Z");
    }

    /// Clocks in Berlin skip 02:00 to 03:00 on 29 March 2026, and have it twice on 25 October.
    #[test]
    fn a_night_without_that_hour_still_has_a_snapshot_and_one_with_two_has_one() {
        let cron = parse("30 2 * * *", "Europe/Berlin").unwrap();
        let mut now: Timestamp = "2026-03-27T12:00:00Z".parse().unwrap();
        let mut nights = Vec::new();
        for _ in 0..3 {
            now = cron.next(now).unwrap();
            nights.push(now.to_zoned(cron.zone.clone()).date().day());
        }
        assert_eq!(nights, [28, 29, 30]);
        let first = cron.next("2026-10-24T12:00:00Z".parse().unwrap()).unwrap();
        let second = cron.next(first).unwrap();
        assert_eq!(second.to_zoned(cron.zone.clone()).date().day(), 26, "{first} and {second}");
    }

    #[test]
    fn a_wrong_schedule_is_named() {
        assert!(parse("61 * * * *", "Etc/UTC").unwrap_err().contains("`61 * * * *` is not a schedule"));
        assert!(parse("* * * * * *", "Etc/UTC").is_err());
        assert!(parse("0 2 * * *", "Mars/Base").unwrap_err().contains("`Mars/Base` is not a time zone"));
        assert!(parse("0 2 30 2 *", "Etc/UTC").unwrap_err().contains("never comes"));
        parse("0 2 29 2 *", "Etc/UTC").unwrap();
    }
}
