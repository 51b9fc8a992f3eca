//! Which scheduled snapshot is to be made now, and which are to go. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use quiver_crds::collection::Retention;
use quiver_crds::snapshot::{CollectionRef, Origin, SnapshotDeletionPolicy, VectorSnapshotSpec};
use quiver_crds::{SCHEDULED_LABEL, VectorSnapshot};

use super::schedule;
use crate::build::labels;
use crate::observe::World;
use crate::validate::Valid;

/// Failed snapshots are kept so long after a newer one succeeded, for people to look at.
const KEEP_FAILED: SignedDuration = SignedDuration::from_hours(24);

/// Whether a snapshot has come to its end, and to a good one.
pub fn state(snapshot: &VectorSnapshot) -> &str {
    snapshot.status.as_ref().map_or("", |s| s.state.as_str())
}

/// Whether it is neither complete nor failed nor going away.
pub fn is_running(snapshot: &VectorSnapshot) -> bool {
    !matches!(state(snapshot), "Complete" | "Failed") && snapshot.metadata.deletion_timestamp.is_none()
}

/// When it was complete.
pub fn completed_at(snapshot: &VectorSnapshot) -> Option<Timestamp> {
    let status = snapshot.status.as_ref()?;
    if status.state == "Complete" { status.completion_time.as_ref().map(|t| t.0) } else { None }
}

/// Where collections differ in their jitter.
pub fn seed(uid: &str) -> u64 {
    uid.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The scheduled snapshot that should be there now and isn't, and the moment that it is for.
pub fn due(v: &Valid, world: &World, now: Timestamp) -> Option<(VectorSnapshot, Timestamp)> {
    let snapshots = v.spec.snapshots.as_ref()?;
    let schedule = snapshots.schedule.as_ref().filter(|s| !s.suspend)?;
    if v.spec.hibernate {
        return None;
    }
    let collection = world.collection.as_ref()?;
    let at = schedule::parse(schedule).ok()?.due(now, seed(&v.uid))?;
    let name = schedule::name(&v.name, at);
    let created = collection.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let done = collection.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
    let taken = world.snapshots.iter().any(|s| s.name_any() == name) || done.is_some_and(|done| done >= at);
    if taken || created.is_some_and(|created| at < created) || world.snapshots.iter().any(is_running) {
        return None;
    }
    let spec = VectorSnapshotSpec {
        collection_ref: CollectionRef { name: v.name.clone(), uid: Some(v.uid.clone()) },
        destination: Some(snapshots.destination.clone()),
        origin: Origin::Schedule,
        deadline_seconds: 7200,
        deletion_policy: SnapshotDeletionPolicy::Delete,
    };
    let mut snapshot = VectorSnapshot::new(&name, spec);
    let mut labels: std::collections::BTreeMap<String, String> =
        serde_json::from_value(labels(v)).expect("labels are strings");
    labels.insert(SCHEDULED_LABEL.into(), "true".into());
    snapshot.metadata =
        ObjectMeta { namespace: Some(v.namespace.clone()), labels: Some(labels), ..snapshot.metadata };
    Some((snapshot, at))
}

/// Names of the scheduled snapshots that retention doesn't want any more.
pub fn expired(v: &Valid, world: &World, now: Timestamp) -> Vec<String> {
    let Some(snapshots) = &v.spec.snapshots else { return Vec::new() };
    let of_schedule = |s: &&VectorSnapshot| {
        s.spec.origin == Origin::Schedule
            && s.metadata.deletion_timestamp.is_none()
            && s.spec.collection_ref.uid.as_deref().is_none_or(|uid| uid == v.uid)
    };
    let mut good: Vec<(Timestamp, String)> = world
        .snapshots
        .iter()
        .filter(of_schedule)
        .filter_map(|s| Some((completed_at(s)?, s.name_any())))
        .collect();
    good.sort_unstable_by(|a, b| b.cmp(a));
    let Some((newest, _)) = good.first().cloned() else { return Vec::new() };
    let keep = kept(&snapshots.retention, &good, now);
    let failed = world.snapshots.iter().filter(of_schedule).filter(|s| state(s) == "Failed").filter(|s| {
        let began = s.metadata.creation_timestamp.as_ref().map(|t| t.0);
        began.is_some_and(|began| began < newest && now.duration_since(began) > KEEP_FAILED)
    });
    let expired = good.into_iter().map(|(_, name)| name).filter(|name| !keep.contains(name));
    expired.chain(failed.map(ResourceExt::name_any)).collect()
}

/// Names out of `good`, newest first, that stay.
fn kept(retention: &Retention, good: &[(Timestamp, String)], now: Timestamp) -> BTreeSet<String> {
    let count = |n: i32| usize::try_from(n).unwrap_or_default();
    let mut keep: BTreeSet<String> =
        good.iter().take(count(retention.keep_last)).map(|(_, n)| n.clone()).collect();
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let mut newest_of_each = |limit: i32, period: &dyn Fn(Timestamp) -> (i16, i16)| {
        let mut seen = BTreeSet::new();
        for (at, name) in good {
            if seen.insert(period(*at)) {
                if seen.len() > count(limit) {
                    return;
                }
                keep.insert(name.clone());
            }
        }
    };
    newest_of_each(retention.keep_daily, &|at| (day(at).year(), day(at).day_of_year()));
    newest_of_each(retention.keep_weekly, &|at| {
        let week = day(at).iso_week_date();
        (week.year(), i16::from(week.week()))
    });
    if let Some(days) = retention.max_age_days {
        let oldest = now - SignedDuration::from_hours(24 * i64::from(days));
        for (at, name) in good.iter().filter(|(at, _)| *at < oldest) {
            tracing::debug!(%name, %at, "older than retention allows");
            keep.remove(name);
        }
    }
    // The newest good one always stays: better an old snapshot than none.
    keep.extend(good.first().map(|(_, name)| name.clone()));
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(retention: Retention, kept_days_ago: &[i64]) {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
        let good: Vec<(Timestamp, String)> =
            (0..40).map(|d| (now - SignedDuration::from_hours(24 * d), format!("s{d}"))).collect();
        let expected: BTreeSet<String> = kept_days_ago.iter().map(|d| format!("s{d}")).collect();
        assert_eq!(kept(&retention, &good, now), expected, "{retention:?}");
    }

    fn retention(last: i32, daily: i32, weekly: i32, max_age_days: Option<i32>) -> Retention {
        Retention { keep_last: last, keep_daily: daily, keep_weekly: weekly, max_age_days }
    }

    #[test]
    fn a_snapshot_stays_if_any_rule_wants_it() {
        check(retention(2, 0, 0, None), &[0, 1]);
        check(retention(1, 4, 0, None), &[0, 1, 2, 3]);
        // The 24th is a Tuesday: the newest of each week are that day and the Sundays before it.
        check(retention(1, 0, 3, None), &[0, 2, 9]);
        check(retention(2, 0, 3, None), &[0, 1, 2, 9]);
    }

    #[test]
    fn age_wins_but_the_newest_good_one_always_stays() {
        check(retention(10, 0, 0, Some(3)), &[0, 1, 2, 3]);
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
        let old = vec![(now - SignedDuration::from_hours(24 * 400), "old".to_owned())];
        assert_eq!(kept(&retention(1, 0, 0, Some(3)), &old, now), BTreeSet::from(["old".to_owned()]));
    }
}
