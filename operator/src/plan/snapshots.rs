//! When a scheduled snapshot is made, what it is called, and which ones retention removes.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use quiver_crds::condition::kind;
use quiver_crds::snapshot::{CollectionRef, Origin, SnapshotDeletionPolicy, VectorSnapshotSpec};
use quiver_crds::{COLLECTION_LABEL, SCHEDULED_LABEL, VectorSnapshot};

use super::retention::{Kept, forget};
use crate::names;
use crate::observe::{Observed, is_true};
use crate::validate::Valid;

/// What the schedule and retention ask for.
#[derive(Default)]
pub struct Snapshots {
    pub take: Option<VectorSnapshot>,
    pub forget: Vec<String>,
    pub next: Option<Timestamp>,
}

/// Plans them.
pub fn plan(valid: &Valid, observed: &Observed) -> Snapshots {
    let Some(spec) = &valid.spec.snapshots else { return Snapshots::default() };
    let own: Vec<&VectorSnapshot> = observed
        .snapshots
        .iter()
        .filter(|s| s.metadata.deletion_timestamp.is_none())
        .filter(|s| of(s, &valid.uid))
        .collect();
    let scheduled = own.iter().filter(|s| s.spec.origin == Origin::Schedule);
    let done: Vec<Kept> = scheduled
        .filter_map(|s| {
            let good = is_true(s, kind::COMPLETE);
            (good || is_true(s, kind::FAILED)).then(|| Kept { name: s.name_any(), at: begun(s), good })
        })
        .collect();
    let mut plan = Snapshots { forget: forget(&spec.retention, done, observed.now), ..Snapshots::default() };
    let (Some(schedule), Some(cron)) = (&spec.schedule, &valid.cron) else { return plan };
    if schedule.suspend || valid.spec.hibernate {
        return plan;
    }
    // Never as far as the next time: a start that is put off behind it would never come.
    let jitter = |at: Timestamp| {
        let period = cron.next(at).map_or(i64::MAX, |next| next.duration_since(at).as_secs());
        SignedDuration::from_secs(jitter(&valid.uid, at, schedule.jitter_seconds.min(period / 2)))
    };
    plan.next = cron.next(observed.now).map(|at| at + jitter(at));
    let Some(due) = cron.last(observed.now) else { return plan };
    let start = due + jitter(due);
    let made = observed.collection.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |t| t.0);
    let age = observed.now.duration_since(start).as_secs();
    // One that was due before the collection was there is nobody's.
    if due < made || age > schedule.starting_deadline_seconds {
        return plan;
    }
    if age < 0 {
        plan.next = Some(start);
        return plan;
    }
    let name = scheduled_name(&valid.name, due);
    let exists = observed.snapshots.iter().any(|s| s.name_any() == name);
    let served = observed.collection.status.as_ref().and_then(|s| s.last_schedule_time.as_ref());
    // A snapshot that a person deleted is not made again.
    let served = served.is_some_and(|t| t.0 >= due);
    let later = own.iter().filter(|s| s.spec.origin == Origin::Schedule).any(|s| begun(s) > due);
    let running = own.iter().any(|s| !is_true(s, kind::COMPLETE) && !is_true(s, kind::FAILED));
    // Until the shards were led once there is nothing to take.
    let led = observed.shards.len() == valid.spec.shards.max(0) as usize
        && observed.shards.iter().all(|s| !s.spec.primary_boot.is_empty() && s.spec.split.is_none());
    if !exists && !served && !later && !running && led {
        plan.take = Some(snapshot(valid, name));
    }
    plan
}

/// `<collection>-<scheduled unix minute>`: made twice, it is the same one.
fn scheduled_name(collection: &str, due: Timestamp) -> String {
    format!("{collection}-{}", due.as_second() / 60)
}

/// The time a snapshot stands for: what it was scheduled for if its name says so, else when it was made.
pub fn begun(snapshot: &VectorSnapshot) -> Timestamp {
    let name = snapshot.name_any();
    let minute = name.rsplit_once('-').and_then(|(_, m)| m.parse::<i64>().ok());
    let scheduled = minute.filter(|_| snapshot.spec.origin == Origin::Schedule);
    scheduled
        .and_then(|m| Timestamp::from_second(m.checked_mul(60)?).ok())
        .or_else(|| snapshot.metadata.creation_timestamp.as_ref().map(|t| t.0))
        .unwrap_or(Timestamp::MIN)
}

/// Whether a snapshot is of this life of the collection.
pub fn of(snapshot: &VectorSnapshot, uid: &str) -> bool {
    let named = snapshot.spec.collection_ref.uid.as_deref();
    let seen = snapshot.status.as_ref().map(|s| s.collection_uid.as_str()).filter(|u| !u.is_empty());
    named.or(seen).is_none_or(|u| u == uid)
}

/// Between 0 and `at_most` seconds, the same for the same collection and time.
fn jitter(uid: &str, at: Timestamp, at_most: i64) -> i64 {
    if at_most <= 0 {
        return 0;
    }
    // FNV-1a: a spread is wanted, not secrecy.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in uid.bytes().chain(at.as_second().to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash % (at_most as u64 + 1)) as i64
}

fn snapshot(valid: &Valid, name: String) -> VectorSnapshot {
    let destination = valid.spec.snapshots.as_ref().map(|s| s.destination.clone());
    let spec = VectorSnapshotSpec {
        collection_ref: CollectionRef { name: valid.name.clone(), uid: Some(valid.uid.clone()) },
        destination,
        origin: Origin::Schedule,
        deadline_seconds: 7200,
        deletion_policy: SnapshotDeletionPolicy::Delete,
    };
    let mut snapshot = VectorSnapshot::new(&name, spec);
    // No owner: deleting a collection must not delete its backups.
    snapshot.metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(valid.namespace.clone()),
        labels: Some(
            [
                (COLLECTION_LABEL.to_owned(), valid.name.clone()),
                (SCHEDULED_LABEL.to_owned(), "true".to_owned()),
                ("app.kubernetes.io/managed-by".to_owned(), names::FIELD_MANAGER.to_owned()),
            ]
            .into(),
        ),
        ..ObjectMeta::default()
    };
    snapshot
}
