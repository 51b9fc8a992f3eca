//! What a person sees of a collection: a bounded summary and conditions that say what is wrong and what to do.
//! Pure; written only when it differs from what is there.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use quiver_api::internal::{CopyState, NodeStatus, ShardStatus};
use quiver_crds::collection_status::{
    Endpoints, LastSnapshot, ShardCounts, UnhealthyShard, VectorCollectionStatus,
};
use quiver_crds::condition::{kind, reason};
use quiver_crds::shard::VectorShardStatus;
use quiver_crds::snapshot::Origin;
use quiver_crds::{COLLECTION_LABEL, VectorShard, VectorSnapshot};

use crate::build::stateful_set::requested;
use crate::names;
use crate::observe::{Observed, is_true};
use crate::plan::splits::{covered, is_part};
use crate::plan::{Plan, quantity_bytes};
use crate::replication;
use crate::validate::{Invalid, ready};

/// Unhealthy shards that are named; the rest is counted.
const UNHEALTHY_MAX: usize = 16;
/// No success for longer than this is unhealthy: a daily schedule and two hours.
pub const SNAPSHOT_AGE_MAX_SECONDS: i64 = 26 * 3600;

/// What came of a reconcile, beside what was observed.
pub struct Outcome<'a> {
    pub plan: Result<&'a Plan, &'a Invalid>,
    /// Sentences of nodes that could not apply the schema.
    pub schema_differences: Vec<String>,
    /// Why a volume could not be grown.
    pub resize_refused: Option<String>,
    /// What nodes or the API server refused of what was planned for copies.
    pub copy_problems: Vec<String>,
}

impl<'a> Outcome<'a> {
    /// Before anything was done.
    pub fn of(plan: Result<&'a Plan, &'a Invalid>) -> Self {
        Self { plan, schema_differences: Vec::new(), resize_refused: None, copy_problems: Vec::new() }
    }
}

/// How one shard is.
pub struct ShardView<'a> {
    pub shard: &'a VectorShard,
    pub pod: String,
    pub copy: Option<&'a ShardStatus>,
    /// Empty if it serves.
    pub reason: &'static str,
    pub message: String,
}

/// Looks at every shard of the spec through its primary's node.
pub fn shards(observed: &Observed) -> Vec<ShardView<'_>> {
    observed.shards.iter().map(|s| view(observed, s)).collect()
}

fn view<'a>(observed: &'a Observed, shard: &'a VectorShard) -> ShardView<'a> {
    let primary = shard.spec.copies.iter().find(|c| c.id == shard.spec.primary);
    let pod = primary.map(|c| c.pod.clone()).unwrap_or_default();
    let mut view = ShardView { shard, copy: None, reason: "", message: String::new(), pod };
    let answer: Option<&Result<NodeStatus, String>> = observed.nodes.get(&view.pod);
    match answer {
        None => {
            view.reason = "PodNotRunning";
            view.message = format!("the pod {} does not run", view.pod);
        }
        Some(Err(why)) => {
            view.reason = "NodeUnreachable";
            view.message = why.clone();
        }
        Some(Ok(node)) => {
            let number = shard.spec.shard.unsigned_abs();
            let copy = node.shards.iter().find(|s| s.shard == number && s.copy_id == shard.spec.primary);
            view.copy = copy;
            match copy {
                None => {
                    view.reason = "Starting";
                    view.message = format!("{} has not begun with it yet", view.pod);
                }
                Some(copy) => {
                    view.reason = state_reason(copy.state);
                    view.message = copy.message.clone().unwrap_or_default();
                }
            }
        }
    }
    view
}

fn state_reason(state: CopyState) -> &'static str {
    match state {
        CopyState::Leading => "",
        CopyState::Starting => "Starting",
        CopyState::Restoring => "Restoring",
        CopyState::Following => "NoPrimary",
        CopyState::CatchingUp => "CatchingUp",
        CopyState::ConfigLost => "ConfigLost",
        CopyState::Damaged => "Damaged",
        CopyState::Failed => "Failed",
    }
}

/// To `digits` digits, downwards: a status that changes with every write would be written with every write.
pub fn rounded(value: u64, digits: u32) -> i64 {
    let mut unit = 1u64;
    while value / unit >= 10u64.pow(digits) {
        unit *= 10;
    }
    i64::try_from(value / unit * unit).unwrap_or(i64::MAX)
}

/// Status of one shard's record.
pub fn shard_status(observed: &Observed, view: &ShardView<'_>) -> VectorShardStatus {
    let before = view.shard.status.clone().unwrap_or_default();
    VectorShardStatus {
        pod: view.pod.clone(),
        state: match view.copy {
            Some(_) if view.reason.is_empty() && view.shard.spec.split.is_some() => "Splitting".into(),
            Some(_) if view.reason.is_empty() && is_part(view.shard, &observed.shards) => "SplitOff".into(),
            Some(copy) => format!("{:?}", copy.state),
            None => view.reason.to_owned(),
        },
        copies: replication::copies(view.shard, observed),
        message: match split_message(observed, view.shard) {
            Some(split) if view.reason.is_empty() => split,
            _ => view.message.clone(),
        },
        points: view.copy.map_or(before.points, |c| rounded(c.points, 3)),
        bytes: view.copy.map_or(before.bytes, |c| rounded(c.bytes_disk, 2)),
        bootstrapped: before.bootstrapped || !view.shard.spec.primary_boot.is_empty(),
        conditions: before.conditions,
    }
}

/// How far the split of a shard is, for people.
fn split_message(observed: &Observed, shard: &VectorShard) -> Option<String> {
    if let Some(split) = &shard.spec.split {
        return Some(format!("gives the hashes from {} on to shard {}", split.give.first, split.child));
    }
    is_part(shard, &observed.shards)
        .then(|| "is being split off: the old shard still answers for it".to_owned())
}

/// The whole status.
pub fn collection_status(observed: &Observed, outcome: &Outcome<'_>) -> VectorCollectionStatus {
    let spec = &observed.collection.spec;
    let before = observed.collection.status.clone().unwrap_or_default();
    let views = shards(observed);
    let takes = |v: &&ShardView<'_>| v.reason.is_empty() && !is_part(v.shard, &observed.shards);
    let available = views.iter().filter(takes).count() as i32;
    let degraded = replication::degraded(observed);
    let ready_nodes = observed.pods.iter().filter(|p| ready(p)).count() as i32;
    let mut versions: Vec<&str> =
        observed.nodes.values().filter_map(|n| n.as_ref().ok()).map(|n| n.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let serves = |v: &&ShardView<'_>| !is_part(v.shard, &observed.shards);
    let points: u64 = views.iter().filter(serves).filter_map(|v| v.copy).map(|c| c.points).sum();
    let known = views.iter().any(|v| v.copy.is_some());
    let last = last_snapshot(observed);
    let scheme = if spec.security.tls.is_some() { "https" } else { "http" };
    let (name, namespace) = (observed.name(), observed.collection.namespace().unwrap_or_default());
    let conditions = conditions(observed, outcome, &views, last.as_ref());
    VectorCollectionStatus {
        observed_generation: generation(observed),
        nodes: observed.pods.len() as i32,
        ready_nodes,
        node_summary: format!("{ready_nodes}/{}", if spec.hibernate { 0 } else { spec.nodes }),
        selector: format!("app.kubernetes.io/name=quiver-node,{COLLECTION_LABEL}={name}"),
        version: if versions.is_empty() { before.version } else { versions.join(", ") },
        shards: ShardCounts { total: spec.shards, available, degraded: degraded.len() as i32 },
        shard_summary: format!("{available}/{}", spec.shards),
        unhealthy_shards: unhealthy(&views, &degraded),
        points: if known { rounded(points, 3) } else { before.points },
        last_snapshot: last,
        last_schedule_time: last_schedule(observed, outcome).or(before.last_schedule_time),
        next_snapshot_time: outcome.plan.ok().and_then(|p| p.next_snapshot).map(Time),
        endpoints: Endpoints {
            rest: format!("{scheme}://{name}.{namespace}.svc:{}", names::REST_PORT),
            headless: format!("{}.{namespace}.svc", names::headless(&name)),
        },
        bootstrapped: before.bootstrapped || observed.shards.len() as i32 == spec.shards,
        conditions: merge(&before.conditions, conditions, generation(observed), observed.now),
    }
}

/// Those that don't serve first, then those that lack copies.
fn unhealthy(views: &[ShardView<'_>], degraded: &[replication::Degraded]) -> Vec<UnhealthyShard> {
    let down = views.iter().filter(|v| !v.reason.is_empty());
    let down: Vec<(i32, &str)> = down.map(|v| (v.shard.spec.shard, v.reason)).collect();
    let lacking = degraded.iter().filter(|d| down.iter().all(|(n, _)| *n != d.shard));
    let all = down.iter().copied().chain(lacking.map(|d| (d.shard, reason::DEGRADED)));
    let named = |(shard, reason): (i32, &str)| UnhealthyShard { shard, reason: reason.to_owned() };
    all.take(UNHEALTHY_MAX).map(named).collect()
}

fn generation(observed: &Observed) -> i64 {
    observed.collection.metadata.generation.unwrap_or_default()
}

/// The newest complete snapshot of this life of the collection.
pub fn last_snapshot(observed: &Observed) -> Option<LastSnapshot> {
    let uid = observed.uid();
    let complete = observed.snapshots.iter().filter(|s| is_true(s, kind::COMPLETE));
    let of_this = complete.filter(|s| crate::plan::snapshots::of(s, &uid));
    let newest = of_this.max_by_key(|s| completed(s))?;
    let status = newest.status.as_ref()?;
    Some(LastSnapshot {
        name: newest.name_any(),
        completed_at: status.completion_time.clone()?,
        size_bytes: status.size_bytes,
    })
}

/// The moment of the schedule that was served last.
fn last_schedule(observed: &Observed, outcome: &Outcome<'_>) -> Option<Time> {
    let uid = observed.uid();
    let acting = !observed.collection.spec.paused;
    let taken = outcome.plan.ok().filter(|_| acting).and_then(|p| p.take_snapshot.as_ref());
    let before = observed.collection.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
    let there = observed.snapshots.iter().filter(|s| crate::plan::snapshots::of(s, &uid));
    let scheduled = there.chain(taken).filter(|s| s.spec.origin == Origin::Schedule);
    scheduled.map(crate::plan::snapshots::begun).chain(before).max().map(Time)
}

fn completed(snapshot: &VectorSnapshot) -> Option<Timestamp> {
    snapshot.status.as_ref()?.completion_time.as_ref().map(|t| t.0)
}

/// One condition before it has times.
struct Said {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

fn said(kind: &'static str, status: bool, reason: &'static str, message: impl Into<String>) -> Said {
    Said { kind, status, reason, message: message.into() }
}

fn conditions(
    observed: &Observed,
    outcome: &Outcome<'_>,
    views: &[ShardView<'_>],
    last: Option<&LastSnapshot>,
) -> Vec<Said> {
    let spec = &observed.collection.spec;
    let available = available(observed, views);
    let schema = schema(observed, outcome);
    let progressing = match outcome.plan {
        Ok(plan) => {
            let mut message = plan.progress.message.clone();
            if let Some(problem) = outcome.copy_problems.first() {
                message = format!("{message}; {problem}");
            }
            said(kind::PROGRESSING, plan.progress.going_on, plan.progress.reason, message)
        }
        Err(invalid) => said(kind::PROGRESSING, false, invalid.reason, &invalid.message),
    };
    let snapshots = snapshots(observed, last);
    let production = production(observed, &snapshots);
    let paused = if spec.paused {
        said(
            kind::PAUSED,
            true,
            reason::REQUESTED,
            "paused is set: nothing is changed until it is false again",
        )
    } else {
        said(kind::PAUSED, false, reason::NOT_REQUESTED, "")
    };
    let (whole, reason, message) = replication::condition(observed);
    let replicated = said(kind::REPLICATED, whole, reason, message);
    let ready = ready_condition(observed, outcome, [&available, &replicated, &schema]);
    vec![
        ready,
        available,
        replicated,
        progressing,
        schema,
        resized(observed, outcome),
        snapshots,
        production,
        paused,
    ]
}

fn available(observed: &Observed, views: &[ShardView<'_>]) -> Said {
    let total = observed.collection.spec.shards;
    let needed = |v: &&ShardView<'_>| !v.reason.is_empty() && !is_part(v.shard, &observed.shards);
    let wrong: Vec<&ShardView<'_>> = views.iter().filter(needed).collect();
    // Those that are to be split off are missed by nobody.
    let total = if covered(&observed.shards) { total.min(views.len() as i32) } else { total };
    let unplaced = total - views.len() as i32;
    if wrong.is_empty() && unplaced <= 0 {
        return said(kind::AVAILABLE, true, reason::ALL_GOOD, format!("all {total} shards serve"));
    }
    let mut parts: Vec<String> = wrong
        .iter()
        .take(3)
        .map(|v| {
            let why = if v.message.is_empty() { v.reason } else { &v.message };
            format!("shard {} on {}: {why}", v.shard.spec.shard, v.pod)
        })
        .collect();
    if wrong.len() > 3 {
        parts.push(format!("and {} more", wrong.len() - 3));
    }
    if unplaced > 0 {
        let lack = if observed.bootstrapped() { "have no record" } else { "are not placed yet" };
        parts.push(format!("{unplaced} of {total} shards {lack}"));
    }
    let reason =
        if observed.collection.spec.hibernate { reason::HIBERNATING } else { reason::SHARDS_UNAVAILABLE };
    said(kind::AVAILABLE, false, reason, parts.join("; "))
}

fn schema(observed: &Observed, outcome: &Outcome<'_>) -> Said {
    let generation = generation(observed);
    let mut differences = outcome.schema_differences.clone();
    let mut behind = Vec::new();
    for pod in &observed.pods {
        let name = pod.name_any();
        match observed.nodes.get(&name) {
            Some(Ok(node)) => {
                differences.extend(node.schema_differences.iter().map(|d| format!("{name}: {d}")));
                if node.schema_generation < generation {
                    behind.push(name);
                }
            }
            _ => behind.push(name),
        }
    }
    differences.sort();
    differences.dedup();
    if let Some(first) = differences.first() {
        let more = differences.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        return said(kind::SCHEMA_APPLIED, false, reason::SCHEMA_DIFFERS, format!("{first}{more}"));
    }
    if !behind.is_empty() || observed.pods.is_empty() {
        let who = if behind.is_empty() {
            "no pod runs".to_owned()
        } else {
            format!("not yet on {}", behind.join(", "))
        };
        return said(kind::SCHEMA_APPLIED, false, reason::SCHEMA_PENDING, who);
    }
    said(kind::SCHEMA_APPLIED, true, reason::ALL_GOOD, "every node has the schema of this resource")
}

fn ready_condition(
    observed: &Observed,
    outcome: &Outcome<'_>,
    [available, replicated, schema]: [&Said; 3],
) -> Said {
    let no = |s: &Said| said(kind::READY, false, s.reason, s.message.clone());
    let plan = match outcome.plan {
        Err(invalid) => return said(kind::READY, false, invalid.reason, &invalid.message),
        Ok(plan) => plan,
    };
    let progress = &plan.progress;
    let blocks =
        [reason::CONFIG_LOST, reason::HIBERNATING, reason::BOOTSTRAP_FAILED, reason::BOOTSTRAP_WAITS];
    if blocks.contains(&progress.reason) {
        return said(kind::READY, false, progress.reason, &progress.message);
    }
    let working = observed.pods.iter().filter(|p| ready(p)).count() as i32;
    if working < plan.replicas {
        let message = format!("{working} of {} nodes are ready: {}", plan.replicas, why_not_ready(observed));
        return said(kind::READY, false, reason::NODES_STARTING, message.trim_end_matches([':', ' ']));
    }
    if !available.status {
        return no(available);
    }
    // Fewer copies than wanted still take everything; too few take no writes.
    if replicated.reason == reason::TOO_FEW_IN_SYNC {
        return no(replicated);
    }
    if !schema.status {
        return no(schema);
    }
    said(kind::READY, true, reason::ALL_GOOD, "every shard serves and the schema is in force")
}

/// The first thing that keeps a pod from being ready.
fn why_not_ready(observed: &Observed) -> String {
    for pod in observed.pods.iter().filter(|p| !ready(p)) {
        let name = pod.name_any();
        if let Some(Ok(NodeStatus { not_ready_because: Some(why), .. })) = observed.nodes.get(&name) {
            return format!("{name}: {why}");
        }
        let status = pod.status.as_ref();
        let container = status.and_then(|s| s.container_statuses.as_ref()?.first());
        let waiting = container.and_then(|c| c.state.as_ref()?.waiting.as_ref());
        if let Some(waiting) = waiting {
            let ended =
                container.and_then(|c| c.last_state.as_ref()?.terminated.as_ref()?.message.as_deref());
            let why = ended.map(last_words).or_else(|| waiting.message.clone());
            let text: Vec<String> = [waiting.reason.clone(), why].into_iter().flatten().collect();
            return format!("{name}: {}", text.join(", "));
        }
        let conditions = status.and_then(|s| s.conditions.as_ref());
        let unscheduled =
            conditions.and_then(|c| c.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False"));
        if let Some(why) = unscheduled.and_then(|c| c.message.as_deref()) {
            return format!("{name}: {why}");
        }
    }
    String::new()
}

/// What a process said when it ended, from the tail of its log: the error and its causes, in one line.
fn last_words(tail: &str) -> String {
    const CHARS_MAX: usize = 400;
    let error = tail.rfind("Error:").map_or(tail, |at| &tail[at..]);
    let words = error.split_whitespace().collect::<Vec<_>>().join(" ");
    // Of a log without an error the end tells most, of an error the beginning.
    match words.char_indices().rev().nth(CHARS_MAX - 1) {
        Some((at, _)) if !words.starts_with("Error:") => words[at..].to_owned(),
        _ => words.chars().take(CHARS_MAX).collect(),
    }
}

fn resized(observed: &Observed, outcome: &Outcome<'_>) -> Said {
    let size = &observed.collection.spec.storage.size;
    if let Some(why) = &outcome.resize_refused {
        let message =
            format!("{why}: the StorageClass must allow expansion; until then set storage.size back");
        return said(kind::STORAGE_RESIZED, false, reason::RESIZE_REFUSED, message);
    }
    let wanted = quantity_bytes(size).unwrap_or_default();
    let small: Vec<String> = observed
        .volumes
        .iter()
        .filter(|v| {
            let has = v.status.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage").cloned());
            let asked = requested(v);
            // A volume that isn't bound yet has no capacity, and is made with the size that it asks for.
            has.or(asked).and_then(|q| quantity_bytes(&q.0)).is_some_and(|b| b < wanted)
        })
        .map(|v| v.name_any())
        .collect();
    if small.is_empty() {
        return said(kind::STORAGE_RESIZED, true, reason::ALL_GOOD, "");
    }
    said(kind::STORAGE_RESIZED, false, reason::RESIZING, format!("{} not yet at {size}", small.join(", ")))
}

fn snapshots(observed: &Observed, last: Option<&LastSnapshot>) -> Said {
    let no = |reason, message: String| said(kind::SNAPSHOTS_HEALTHY, false, reason, message);
    let snapshots = observed.collection.spec.snapshots.as_ref();
    let Some(schedule) = snapshots.and_then(|s| s.schedule.as_ref()) else {
        return no(
            reason::NO_SCHEDULE,
            "no snapshots are scheduled: set spec.snapshots with a destination and a schedule".into(),
        );
    };
    if schedule.suspend {
        return no(
            reason::SCHEDULE_SUSPENDED,
            "the schedule is suspended: set schedule.suspend to false".into(),
        );
    }
    let uid = observed.uid();
    let failed = observed
        .snapshots
        .iter()
        .filter(|s| is_true(s, kind::FAILED) && crate::plan::snapshots::of(s, &uid))
        .max_by_key(|s| completed(s));
    if let Some(failed) = failed
        && last.is_none_or(|l| completed(failed).is_some_and(|f| f > l.completed_at.0))
    {
        let why = failed.status.as_ref().map(|s| s.message.clone()).unwrap_or_default();
        return no(
            reason::SNAPSHOT_FAILED,
            format!("the last snapshot, {}, failed: {why}", failed.name_any()),
        );
    }
    let made = observed.collection.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let since = last.map(|l| l.completed_at.0).or(made).unwrap_or(observed.now);
    let hours = observed.now.duration_since(since).as_secs() / 3600;
    let late = observed.now.duration_since(since).as_secs() > SNAPSHOT_AGE_MAX_SECONDS;
    match last {
        _ if late => no(
            reason::SNAPSHOT_TOO_OLD,
            format!(
                "no snapshot succeeded for {hours} hours: see kubectl get vsnap, and whether the schedule is rarer than daily"
            ),
        ),
        Some(last) => {
            said(kind::SNAPSHOTS_HEALTHY, true, reason::ALL_GOOD, format!("the last one is {}", last.name))
        }
        None => {
            no(reason::FIRST_SNAPSHOT_PENDING, "the first scheduled snapshot has not been taken yet".into())
        }
    }
}

/// The red lines that nodes measure, and the schedule.
fn production(observed: &Observed, snapshots: &Said) -> Said {
    let mut lines: Vec<String> = Vec::new();
    let pending = snapshots.reason == reason::FIRST_SNAPSHOT_PENDING;
    if !snapshots.status && !pending {
        lines.push(format!("{}: {}", snapshots.reason, snapshots.message));
    }
    let issues = observed.nodes.values().filter_map(|n| n.as_ref().ok()).flat_map(|n| &n.issues);
    // The nodes report a missing schedule too, to those who only see REST.
    let mut measured: Vec<(&str, String)> = issues
        .filter(|i| !i.reason.to_lowercase().contains("snapshot"))
        .map(|i| (i.reason.as_str(), format!("{}: {} {}", i.reason, i.message, i.solution)))
        .collect();
    measured.sort();
    // The same line on several nodes is one line.
    measured.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    lines.extend(measured.into_iter().map(|m| m.1));
    if lines.is_empty() {
        return said(kind::PRODUCTION_READY, true, reason::ALL_GOOD, "no red line is crossed");
    }
    let mut message = lines.join(" | ");
    if message.len() > 2000 {
        let end = (0..=2000).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
        message.truncate(end);
    }
    said(kind::PRODUCTION_READY, false, reason::RED_LINES, message)
}

/// Gives times: a condition keeps the time of its last change of status.
fn merge(before: &[Condition], new: Vec<Said>, generation: i64, now: Timestamp) -> Vec<Condition> {
    let stamp = |s: Said| {
        let status = if s.status { "True" } else { "False" };
        let old = before.iter().find(|c| c.type_ == s.kind && c.status == status);
        Condition {
            type_: s.kind.into(),
            status: status.into(),
            reason: s.reason.into(),
            message: s.message,
            observed_generation: Some(generation),
            last_transition_time: old.map_or(Time(now), |c| c.last_transition_time.clone()),
        }
    };
    new.into_iter().map(stamp).collect()
}
