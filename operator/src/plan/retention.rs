//! Which scheduled snapshots go. The newest good one never does, whatever the rules say.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use quiver_crds::collection::Retention;

/// Failed ones are kept for a look at what went wrong, but not for ever.
const FAILED_KEPT: usize = 3;

/// A scheduled snapshot as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub at: Timestamp,
    pub good: bool,
}

/// Names of those that go.
pub fn forget(retention: &Retention, mut snapshots: Vec<Kept>, now: Timestamp) -> Vec<String> {
    snapshots.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| b.name.cmp(&a.name)));
    let (good, failed): (Vec<_>, Vec<_>) = snapshots.into_iter().partition(|s| s.good);
    let (mut days, mut weeks) = (BTreeSet::new(), BTreeSet::new());
    let mut gone = Vec::new();
    for (i, snapshot) in good.iter().enumerate() {
        let date = snapshot.at.to_zoned(TimeZone::UTC).date();
        let week = date.iso_week_date();
        // Each set counts every day or week that has a snapshot, so both are asked of every one.
        let daily = days.insert(date) && days.len() <= retention.keep_daily as usize;
        let weekly =
            weeks.insert((week.year(), week.week())) && weeks.len() <= retention.keep_weekly as usize;
        let last = i < retention.keep_last as usize;
        let old = retention
            .max_age_days
            .is_some_and(|d| now.duration_since(snapshot.at).as_secs() > i64::from(d) * 86_400);
        if i > 0 && (old || !(last || daily || weekly)) {
            gone.push(snapshot.name.clone());
        }
    }
    gone.extend(failed.into_iter().skip(FAILED_KEPT).map(|s| s.name));
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn good(name: &str, when: &str) -> Kept {
        Kept { name: name.into(), at: at(when), good: true }
    }

    fn rules(last: i32, daily: i32, weekly: i32, max_age_days: Option<i32>) -> Retention {
        Retention { keep_last: last, keep_daily: daily, keep_weekly: weekly, max_age_days }
    }

    fn check(retention: Retention, snapshots: &[Kept], expected: &[&str]) {
        let mut gone = forget(&retention, snapshots.to_vec(), at("2026-03-20T00:00:00Z"));
        gone.sort();
        assert_eq!(gone, expected, "{retention:?}");
    }

    #[test]
    fn each_rule_keeps_what_it_says() {
        let all = [
            good("a", "2026-03-19T12:00:00Z"),
            good("b", "2026-03-19T06:00:00Z"),
            good("c", "2026-03-18T06:00:00Z"),
            good("d", "2026-03-17T06:00:00Z"),
            good("e", "2026-03-10T06:00:00Z"),
            good("f", "2026-03-03T06:00:00Z"),
        ];
        check(rules(2, 0, 0, None), &all, &["c", "d", "e", "f"]);
        check(rules(1, 3, 0, None), &all, &["b", "e", "f"]);
        check(rules(1, 0, 2, None), &all, &["b", "c", "d", "f"]);
        check(rules(1, 2, 3, None), &all, &["b", "d"]);
        check(rules(100, 0, 0, Some(5)), &all, &["e", "f"]);
    }

    #[test]
    fn the_last_good_one_stays_whatever_happens() {
        let failed = |name: &str, when: &str| Kept { good: false, ..good(name, when) };
        let all = [
            good("old", "2020-01-01T00:00:00Z"),
            failed("f1", "2026-03-19T01:00:00Z"),
            failed("f2", "2026-03-19T02:00:00Z"),
            failed("f3", "2026-03-19T03:00:00Z"),
            failed("f4", "2026-03-19T04:00:00Z"),
        ];
        check(rules(1, 0, 0, Some(1)), &all, &["f1"]);
        check(rules(1, 0, 0, Some(1)), &[], &[]);
    }
}
