//! What is said of a collection: conditions with words that tell what to do. Pure; written only if it differs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use quiver_api::internal::{CopyState, NodeStatus, ShardStatus};
use quiver_crds::COLLECTION_LABEL;
use quiver_crds::collection_status::{
    Endpoints, LastSnapshot, ShardCounts, UnhealthyShard, VectorCollectionStatus,
};
use quiver_crds::condition::{kind, reason};
use quiver_crds::shard::{VectorShard, VectorShardStatus};

use crate::apply::Done;
use crate::build::names;
use crate::observe::World;
use crate::plan::rollout::is_ready;
use crate::plan::{Plan, schedule, snapshots};
use crate::validate::{Problem, Valid};
use crate::words;

/// How many unhealthy shards are listed.
const LISTED: usize = 16;
/// A schedule without a success for so long is unhealthy (as for the nodes' own guardrail).
const SNAPSHOT_MAX_AGE_SECONDS: i64 = 26 * 3600;

/// What came of a reconcile.
pub enum Outcome<'a> {
    /// The spec can't be acted upon.
    Invalid(&'a Problem),
    /// Paused: nothing was done.
    Paused,
    Acted(&'a Valid, &'a Plan, &'a Done),
}

/// One condition before it has a time.
struct Said {
    kind: &'static str,
    status: bool,
    reason: String,
    message: String,
}

fn said(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Said {
    Said { kind, status, reason: reason.into(), message: message.into() }
}

/// The status of a shard as its pod reports it.
pub fn of_shard(shard: &VectorShard, world: &World) -> VectorShardStatus {
    let leader = shard.spec.copies.iter().find(|c| c.id == shard.spec.primary);
    let pod = leader.map(|c| c.pod.clone()).unwrap_or_default();
    let before = shard.status.clone().unwrap_or_default();
    let mut status = VectorShardStatus {
        pod: pod.clone(),
        bootstrapped: before.bootstrapped || !shard.spec.primary_boot.is_empty(),
        ..before
    };
    let (state, message) = match world.nodes.get(&pod) {
        None => ("Unreachable".to_owned(), format!("the pod {pod} doesn't exist")),
        Some(Err(why)) => ("Unreachable".to_owned(), why.clone()),
        Some(Ok(node)) => match report(node, shard) {
            None => ("Starting".to_owned(), format!("{pod} hasn't opened it yet")),
            Some(copy) => {
                status.points = words::digits(copy.points, 3);
                status.bytes = words::digits(copy.bytes_disk, 2);
                (format!("{:?}", copy.state), copy.message.clone().unwrap_or_default())
            }
        },
    };
    status.state = state;
    status.message = message;
    status
}

fn report<'a>(node: &'a NodeStatus, shard: &VectorShard) -> Option<&'a ShardStatus> {
    let number = u32::try_from(shard.spec.shard).ok()?;
    node.shards.iter().find(|s| s.shard == number && s.copy_id == shard.spec.primary)
}

fn leads(status: &VectorShardStatus) -> bool {
    status.state == format!("{:?}", CopyState::Leading)
}

/// The status of a collection. `shards` are the statuses of its shards, by number.
pub fn of_collection(
    world: &World,
    outcome: &Outcome<'_>,
    shards: &BTreeMap<i32, VectorShardStatus>,
    now: Timestamp,
) -> VectorCollectionStatus {
    let collection = world.collection.as_ref().expect("a world is observed for a collection");
    let before = collection.status.clone().unwrap_or_default();
    let (name, namespace) = (collection.name_any(), collection.namespace().unwrap_or_default());
    let spec = &collection.spec;
    let ready_nodes = world.pods.values().filter(|p| is_ready(p)).count();
    let available = shards.values().filter(|s| leads(s)).count();
    let total = spec.shards;
    let mut status = VectorCollectionStatus {
        observed_generation: collection.metadata.generation.unwrap_or_default(),
        nodes: count(world.pods.len()),
        ready_nodes: count(ready_nodes),
        node_summary: format!("{ready_nodes}/{}", if spec.hibernate { 0 } else { spec.nodes }),
        selector: format!("{COLLECTION_LABEL}={name}"),
        version: versions(world).unwrap_or(before.version),
        shards: ShardCounts { total, available: count(available) },
        shard_summary: format!("{available}/{total}"),
        unhealthy_shards: unhealthy(shards, total),
        points: points(shards, before.points),
        last_snapshot: last_snapshot(world).or(before.last_snapshot),
        next_snapshot_time: None,
        last_schedule_time: before.last_schedule_time,
        endpoints: Endpoints {
            rest: format!(
                "{}://{name}.{namespace}.svc:6333",
                if spec.security.tls.is_some() { "https" } else { "http" }
            ),
            headless: format!("{}.{namespace}.svc", names::headless(&name)),
        },
        bootstrapped: before.bootstrapped || usize::try_from(total).is_ok_and(|n| world.shards.len() == n),
        conditions: Vec::new(),
    };
    if let Outcome::Acted(v, _, done) = outcome {
        status.next_snapshot_time = next_snapshot(v, now);
        if let Some(at) = done.scheduled {
            status.last_schedule_time = Some(Time(at));
        }
    }
    let all = conditions(world, outcome, &status, shards, now);
    status.conditions = dated(all, &before.conditions, status.observed_generation, now);
    status
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn versions(world: &World) -> Option<String> {
    let mut versions: Vec<&str> = world.nodes.values().flatten().map(|n| n.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.is_empty() { None } else { Some(versions.join(", ")) }
}

fn unhealthy(shards: &BTreeMap<i32, VectorShardStatus>, total: i32) -> Vec<UnhealthyShard> {
    let all = (0..total).filter_map(|number| match shards.get(&number) {
        None => Some(UnhealthyShard { shard: number, reason: "NoRecord".into() }),
        Some(s) if !leads(s) => Some(UnhealthyShard { shard: number, reason: s.state.clone() }),
        Some(_) => None,
    });
    all.take(LISTED).collect()
}

/// The sum, once every shard has reported: half of it would look like a loss.
fn points(shards: &BTreeMap<i32, VectorShardStatus>, before: i64) -> i64 {
    let sum: i64 = shards.values().map(|s| s.points).sum();
    if shards.values().all(leads) { words::digits(u64::try_from(sum).unwrap_or_default(), 3) } else { before }
}

fn last_snapshot(world: &World) -> Option<LastSnapshot> {
    let (at, newest) = world
        .snapshots
        .iter()
        .filter_map(|s| Some((snapshots::completed_at(s)?, s)))
        .max_by_key(|(at, _)| *at)?;
    let size_bytes = newest.status.as_ref().map_or(0, |s| s.size_bytes);
    Some(LastSnapshot { name: newest.name_any(), completed_at: Time(at), size_bytes })
}

fn next_snapshot(v: &Valid, now: Timestamp) -> Option<Time> {
    let schedule =
        v.spec.snapshots.as_ref()?.schedule.as_ref().filter(|s| !s.suspend && !v.spec.hibernate)?;
    schedule::parse(schedule).ok()?.next(now, snapshots::seed(&v.uid)).map(Time)
}

fn conditions(
    world: &World,
    outcome: &Outcome<'_>,
    status: &VectorCollectionStatus,
    shards: &BTreeMap<i32, VectorShardStatus>,
    now: Timestamp,
) -> Vec<Said> {
    let spec = &world.collection.as_ref().expect("a world is observed for a collection").spec;
    let available = available(spec.hibernate, status, shards);
    let schema = schema(world, outcome, spec.hibernate);
    let progressing = progressing(world, outcome, status, spec.nodes);
    let ready = ready(outcome, &available, &schema, &progressing);
    let mut all = vec![ready, available, progressing, schema, snapshots_healthy(spec, status, world, now)];
    if let Outcome::Acted(_, _, done) = outcome {
        all.push(storage(done));
    }
    all.push(production_ready(world));
    all.push(match spec.paused {
        true => said(
            kind::PAUSED,
            true,
            reason::REQUESTED,
            "spec.paused is true: the operator observes and changes nothing",
        ),
        false => said(kind::PAUSED, false, reason::NOT_REQUESTED, ""),
    });
    all
}

fn available(
    hibernate: bool,
    status: &VectorCollectionStatus,
    shards: &BTreeMap<i32, VectorShardStatus>,
) -> Said {
    if hibernate {
        let text = "spec.hibernate is true: there are no pods; volumes and shard records are kept";
        return said(kind::AVAILABLE, false, reason::HIBERNATING, text);
    }
    let counts = &status.shards;
    if counts.available == counts.total {
        return said(kind::AVAILABLE, true, reason::ALL_GOOD, "every shard takes reads and writes");
    }
    let first = shards.iter().find(|(_, s)| !leads(s));
    let example = first.map_or_else(
        || "the records are being made".to_owned(),
        |(n, s)| {
            format!(
                "shard {n} on {}: {}{}{}",
                s.pod,
                s.state,
                if s.message.is_empty() { "" } else { ", " },
                s.message
            )
        },
    );
    let lost = shards.values().any(|s| s.state == "ConfigLost");
    let reason = if lost { reason::CONFIG_LOST } else { reason::SHARDS_UNAVAILABLE };
    let missing = counts.total - counts.available;
    said(
        kind::AVAILABLE,
        false,
        reason,
        format!("{missing} of {} shards can't be used; {example}", counts.total),
    )
}

fn schema(world: &World, outcome: &Outcome<'_>, hibernate: bool) -> Said {
    let generation = world.collection.as_ref().and_then(|c| c.metadata.generation).unwrap_or_default();
    let pushed: &[String] =
        if let Outcome::Acted(_, _, done) = outcome { &done.schema_differences } else { &[] };
    let of_nodes = world.nodes.iter().filter_map(|(pod, n)| Some((pod, n.as_ref().ok()?)));
    let mut differences: Vec<String> = of_nodes
        .flat_map(|(pod, n)| n.schema_differences.iter().map(move |d| format!("{pod}: {d}")))
        .collect();
    differences.extend(pushed.iter().cloned());
    differences.sort();
    differences.dedup();
    if let Some(first) = differences.first() {
        let more = if differences.len() > 1 {
            format!(" (and {} more)", differences.len() - 1)
        } else {
            String::new()
        };
        return said(kind::SCHEMA_APPLIED, false, reason::SCHEMA_DIFFERS, format!("{first}{more}"));
    }
    let behind: Vec<&str> = world
        .pods
        .keys()
        .filter(|pod| !matches!(world.nodes.get(*pod), Some(Ok(n)) if n.schema_generation >= generation))
        .map(String::as_str)
        .collect();
    if hibernate {
        return said(kind::SCHEMA_APPLIED, false, reason::HIBERNATING, "there are no pods to apply it to");
    }
    if world.pods.is_empty() || !behind.is_empty() {
        let text = format!("generation {generation} isn't in force yet on: {}", words::list(&behind));
        return said(kind::SCHEMA_APPLIED, false, reason::SCHEMA_PENDING, text);
    }
    said(
        kind::SCHEMA_APPLIED,
        true,
        reason::ALL_GOOD,
        format!("generation {generation} is in force on every node"),
    )
}

fn progressing(world: &World, outcome: &Outcome<'_>, status: &VectorCollectionStatus, nodes: i32) -> Said {
    match outcome {
        Outcome::Invalid(problem) => return said(kind::PROGRESSING, false, problem.reason, &problem.message),
        Outcome::Paused => {
            return said(
                kind::PROGRESSING,
                false,
                kind::PAUSED,
                "nothing is changed while spec.paused is true",
            );
        }
        Outcome::Acted(_, plan, _) => {
            if let Some(problem) = plan.blocked.first() {
                return said(kind::PROGRESSING, false, problem.reason, &problem.message);
            }
            if let Some(change) = plan.changing.first() {
                return said(kind::PROGRESSING, true, change.reason, &change.message);
            }
        }
    }
    let hibernate = world.collection.as_ref().is_some_and(|c| c.spec.hibernate);
    let wanted = if hibernate { 0 } else { nodes };
    if status.nodes != wanted {
        let text = format!("{} of {wanted} pods exist", status.nodes);
        return said(kind::PROGRESSING, true, reason::SCALING, text);
    }
    if status.ready_nodes < wanted {
        return said(kind::PROGRESSING, true, reason::NODES_STARTING, waiting_pods(world));
    }
    said(kind::PROGRESSING, true, reason::STABLE, "nothing is being changed")
}

/// What pods that aren't ready say themselves.
fn waiting_pods(world: &World) -> String {
    let waiting = world.pods.iter().filter(|(_, p)| !is_ready(p)).map(|(name, pod)| {
        let node =
            world.nodes.get(name).and_then(|n| n.as_ref().ok()).and_then(|n| n.not_ready_because.clone());
        let why = node.or_else(|| words::why_not_ready(pod)).unwrap_or_else(|| "it is starting".into());
        format!("{name}: {why}")
    });
    let all: Vec<String> = waiting.take(3).collect();
    all.join("; ")
}

fn ready(outcome: &Outcome<'_>, available: &Said, schema: &Said, progressing: &Said) -> Said {
    if let Outcome::Invalid(problem) = outcome {
        return said(kind::READY, false, problem.reason, &problem.message);
    }
    let stable =
        [reason::STABLE, reason::SCALE_IN_BLOCKED, kind::PAUSED].contains(&progressing.reason.as_str());
    let because = match () {
        // A pod that doesn't start explains why its shards can't be used.
        () if !available.status && !stable && progressing.reason != reason::SCALING => progressing,
        () if !available.status => available,
        () if !stable => progressing,
        () if !schema.status => schema,
        () => {
            return said(
                kind::READY,
                true,
                reason::ALL_GOOD,
                "every shard takes reads and writes, and the schema is in force",
            );
        }
    };
    said(kind::READY, false, &because.reason, &because.message)
}

fn snapshots_healthy(
    spec: &quiver_crds::VectorCollectionSpec,
    status: &VectorCollectionStatus,
    world: &World,
    now: Timestamp,
) -> Said {
    let kind = kind::SNAPSHOTS_HEALTHY;
    let Some(schedule) = spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref()) else {
        return said(
            kind,
            false,
            reason::NO_SCHEDULE,
            "no snapshots are scheduled: set spec.snapshots with a destination and a schedule",
        );
    };
    if schedule.suspend {
        return said(
            kind,
            false,
            reason::SCHEDULE_SUSPENDED,
            "spec.snapshots.schedule.suspend is true: no snapshots are taken",
        );
    }
    let failed = world
        .snapshots
        .iter()
        .filter(|s| snapshots::state(s) == "Failed")
        .max_by_key(|s| s.creation_timestamp().map(|t| t.0));
    let last = status.last_snapshot.as_ref().map(|l| l.completed_at.0);
    if let Some(failed) = failed
        && failed.creation_timestamp().map(|t| t.0) > last
    {
        let why = failed.status.as_ref().map(|s| s.message.clone()).unwrap_or_default();
        return said(kind, false, reason::SNAPSHOT_FAILED, format!("{} failed: {why}", failed.name_any()));
    }
    match last {
        None => said(kind, false, reason::FIRST_SNAPSHOT_PENDING, "no snapshot was taken yet"),
        Some(at) if now.as_second() - at.as_second() > SNAPSHOT_MAX_AGE_SECONDS => said(
            kind,
            false,
            reason::SNAPSHOT_TOO_OLD,
            format!("the last snapshot is of {at}, more than 26 hours ago: see `kubectl get vsnap`"),
        ),
        Some(_) => said(kind, true, reason::ALL_GOOD, "the last snapshot is complete and recent"),
    }
}

fn storage(done: &Done) -> Said {
    match done.claims_refused.first() {
        Some(why) => said(
            kind::STORAGE_RESIZED,
            false,
            reason::RESIZE_REFUSED,
            format!("{why}; a StorageClass with allowVolumeExpansion: true is needed"),
        ),
        None => said(
            kind::STORAGE_RESIZED,
            true,
            reason::ALL_GOOD,
            "every volume claim asks for spec.storage.size",
        ),
    }
}

/// The red lines that nodes saw, each once.
fn production_ready(world: &World) -> Said {
    let mut issues: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for node in world.nodes.values().flatten() {
        for issue in &node.issues {
            issues.entry(&issue.reason).or_insert((&issue.message, &issue.solution));
        }
    }
    let texts: Vec<String> = issues.iter().map(|(r, (what, todo))| format!("{r}: {what} {todo}")).collect();
    match (issues.len(), issues.keys().next()) {
        (0, _) if world.nodes.values().all(Result::is_err) => {
            said(kind::PRODUCTION_READY, false, reason::NODES_UNREACHABLE, "no node says anything yet")
        }
        (0, _) | (_, None) => said(kind::PRODUCTION_READY, true, reason::ALL_GOOD, "no red line is crossed"),
        (1, Some(only)) => said(kind::PRODUCTION_READY, false, only, texts.join(" ")),
        (_, Some(_)) => said(kind::PRODUCTION_READY, false, reason::RED_LINES, texts.join(" — ")),
    }
}

/// Gives conditions the time of their last change.
fn dated(all: Vec<Said>, before: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let date = |said: Said| {
        let wanted = if said.status { "True" } else { "False" };
        let old = before.iter().find(|c| c.type_ == said.kind && c.status == wanted);
        Condition {
            type_: said.kind.into(),
            status: wanted.into(),
            reason: said.reason,
            message: words::shorten(&said.message, 1000),
            observed_generation: Some(generation),
            last_transition_time: old
                .map_or(Time(words::whole_seconds(now)), |c| c.last_transition_time.clone()),
        }
    };
    all.into_iter().map(date).collect()
}
