//! From what there is and what is wanted to what is done now. Pure: no client, no clock, no randomness of its own.

pub mod placement;
pub mod rollout;
pub mod schedule;
pub mod snapshots;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use kube::ResourceExt;
use quiver_api::internal::{SchemaRequest, SnapshotScheduleState};
use quiver_crds::condition::reason;
use quiver_crds::{VectorShard, VectorSnapshot};
use serde_json::Value;

use crate::build::certificate::RENEW_BEFORE;
use crate::build::{self, Kind, Object, access, covers, names, network, pods, schema, shard};
use crate::observe::World;
use crate::validate::{Problem, Valid};
use rollout::Rollout;

/// One thing to do. Each is idempotent.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    MakePeerCertificate,
    CreateShard(Box<VectorShard>),
    Apply(Box<Object>),
    Remove { kind: Kind, name: String },
    GrowClaim { name: String, size: String },
    ReplacePod { pod: String, uid: String, why: String },
    PushSchema { pod: String, host: String, boot: String, digest: u64, schema: Box<SchemaRequest> },
    CreateSnapshot { snapshot: Box<VectorSnapshot>, at: Timestamp },
    ExpireSnapshot { name: String },
}

/// What is to be done, and what can't be.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Why something isn't done, in the words of a condition.
    pub blocked: Vec<Problem>,
    /// A rollout or a change of the number of nodes that is under way.
    pub changing: Vec<Problem>,
}

/// Plans. `mint` makes ids of copies.
pub fn plan(v: &Valid, world: &World, now: Timestamp, mint: &mut dyn FnMut() -> String) -> Plan {
    let mut plan = Plan::default();
    match &world.peer_tls {
        Some(tls) if tls.not_after.duration_since(now) > RENEW_BEFORE => {}
        _ => plan.actions.push(Action::MakePeerCertificate),
    }
    let set = world.objects.get(&(Kind::StatefulSet, v.name.clone()));
    let whole = plan_shards(v, world, set, mint, &mut plan);
    plan_objects(v, world, &mut plan);
    if whole {
        plan_pods(v, world, set, &mut plan);
    }
    plan_claims(v, world, &mut plan);
    plan_schema(v, world, &mut plan);
    if let Some((snapshot, at)) = snapshots::due(v, world, now) {
        plan.actions.push(Action::CreateSnapshot { snapshot: Box::new(snapshot), at });
    }
    let expired = snapshots::expired(v, world, now);
    plan.actions.extend(expired.into_iter().map(|name| Action::ExpireSnapshot { name }));
    plan
}

/// Records come before pods, and only once: whoever finds pods or the mark in the status knows that every record was
/// there, and that one which is missing now was lost with what it said about the data.
fn plan_shards(
    v: &Valid,
    world: &World,
    set: Option<&Value>,
    mint: &mut dyn FnMut() -> String,
    plan: &mut Plan,
) -> bool {
    let missing: Vec<i32> = (0..v.spec.shards).filter(|n| !world.shards.contains_key(n)).collect();
    let marked = world.collection.as_ref().and_then(|c| c.status.as_ref()).is_some_and(|s| s.bootstrapped);
    let led = world.shards.values().any(|s| !s.spec.primary_boot.is_empty());
    if missing.is_empty() {
        return true;
    }
    if marked || led || set.is_some() {
        plan.blocked.push(Problem::new(
            reason::CONFIG_LOST,
            format!(
                "the records of the shards {missing:?} are gone, and making them anew would lose data: apply a backup \
                 of the VectorShards, or begin another VectorCollection from a snapshot"
            ),
        ));
        return set.is_some();
    }
    let placed: BTreeMap<i32, String> =
        world.shards.iter().filter_map(|(n, s)| Some((*n, s.spec.copies.first()?.pod.clone()))).collect();
    let nodes = usize::try_from(v.spec.nodes).unwrap_or_default();
    let all: Vec<String> = (0..nodes).map(|n| names::pod(&v.name, n)).collect();
    for (number, pod) in placement::place(&placed, &missing, &all) {
        plan.actions.push(Action::CreateShard(Box::new(shard::genesis(v, number, &pod, mint()))));
    }
    true
}

/// Everything but the StatefulSet.
fn plan_objects(v: &Valid, world: &World, plan: &mut Plan) {
    let mut wanted = access::account(v);
    wanted.push(network::headless_service(v));
    wanted.push(network::client_service(v));
    wanted.extend(network::network_policy(v));
    wanted.extend(access::disruption_budget(v));
    for kind in [Kind::NetworkPolicy, Kind::PodDisruptionBudget] {
        let unwanted = !wanted.iter().any(|o| o.kind == kind);
        if unwanted && world.objects.contains_key(&(kind, v.name.clone())) {
            plan.actions.push(Action::Remove { kind, name: v.name.clone() });
        }
    }
    for object in wanted {
        apply_if_needed(world, object, plan);
    }
}

fn apply_if_needed(world: &World, object: Object, plan: &mut Plan) {
    let live = world.objects.get(&(object.kind, object.name.clone()));
    if !live.is_some_and(|live| covers(live, &object.value)) {
        plan.actions.push(Action::Apply(Box::new(object)));
    }
}

fn plan_pods(v: &Valid, world: &World, set: Option<&Value>, plan: &mut Plan) {
    let now = set.and_then(|s| s["spec"]["replicas"].as_i64()).and_then(|n| i32::try_from(n).ok());
    let (replicas, why) = rollout::replicas(v, world, now);
    plan.blocked.extend(why.map(|why| Problem::new(reason::SCALE_IN_BLOCKED, why)));
    let templates = set.map(|s| &s["spec"]["volumeClaimTemplates"]);
    // What the API server keeps of claim templates has a status; sent back it would be refused by nobody, but differ.
    let object = pods::stateful_set(v, replicas, templates);
    let before = plan.actions.len();
    apply_if_needed(world, object, plan);
    let Some(set) = set.filter(|_| plan.actions.len() == before) else { return };
    match rollout::rollout(world, set) {
        Rollout::Done => {}
        Rollout::Waits(why) => plan.changing.push(Problem::new(reason::ROLLING_OUT, why)),
        Rollout::Replace { pod, uid } => {
            let why = format!("{pod} is replaced by one of the new revision");
            plan.changing.push(Problem::new(reason::ROLLING_OUT, why.clone()));
            plan.actions.push(Action::ReplacePod { pod, uid, why });
        }
    }
}

/// Claims grow one by one: the StatefulSet's template can't be changed.
fn plan_claims(v: &Valid, world: &World, plan: &mut Plan) {
    for (name, claim) in &world.claims {
        let has = claim
            .spec
            .as_ref()
            .and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage").cloned());
        let has = has.and_then(|q| quantity(&q.0));
        let wanted = quantity(&v.spec.storage.size);
        if let (Some(has), Some(wanted)) = (has, wanted)
            && has < wanted
            && claim.metadata.deletion_timestamp.is_none()
        {
            plan.actions.push(Action::GrowClaim { name: name.clone(), size: v.spec.storage.size.clone() });
        }
    }
}

/// Bytes of an amount as Kubernetes writes it.
pub fn quantity(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let unit = match &text[split..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        _ => return None,
    };
    Some(number * unit)
}

/// Each node that answers gets the schema, ready or not: without it none ever becomes ready.
fn plan_schema(v: &Valid, world: &World, plan: &mut Plan) {
    let schedule = v.spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref());
    let state = SnapshotScheduleState {
        scheduled: schedule.is_some_and(|s| !s.suspend),
        last_success_unix: world
            .snapshots
            .iter()
            .filter_map(snapshots::completed_at)
            .max()
            .map(Timestamp::as_second),
    };
    let schema = schema::schema(v, state);
    let digest = digest(&schema);
    for (pod, node) in &world.nodes {
        let Ok(node) = node else { continue };
        if node.collection_uid != v.uid || node.schema_generation > v.generation {
            continue;
        }
        if node.schema_generation < v.generation || world.pushed.get(pod) != Some(&digest) {
            plan.actions.push(Action::PushSchema {
                pod: pod.clone(),
                host: names::host(&v.name, &v.namespace, pod),
                boot: node.boot.clone(),
                digest,
                schema: Box::new(schema.clone()),
            });
        }
    }
}

fn digest(schema: &SchemaRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(schema).expect("a schema is plain data").hash(&mut hasher);
    hasher.finish()
}

/// What is said of actions in Events.
impl Action {
    /// Reason and note of an Event; nothing for what isn't worth one.
    pub fn event(&self) -> Option<(&'static str, String)> {
        match self {
            Action::CreateShard(s) => {
                Some(("ShardCreated", format!("{} on {}", s.name_any(), s.spec.copies[0].pod)))
            }
            Action::Remove { kind, name } => Some(("Removed", format!("{} {name}", kind.names().1))),
            Action::GrowClaim { name, size } => Some(("VolumeGrows", format!("{name} to {size}"))),
            Action::ReplacePod { why, .. } => Some(("PodReplaced", why.clone())),
            Action::CreateSnapshot { snapshot, .. } => Some(("SnapshotScheduled", snapshot.name_any())),
            Action::ExpireSnapshot { name } => {
                Some(("SnapshotExpired", format!("{name}: retention doesn't want it")))
            }
            Action::Apply(o) if o.kind == build::Kind::StatefulSet => Some(("NodesApplied", o.name.clone())),
            Action::MakePeerCertificate | Action::Apply(_) | Action::PushSchema { .. } => None,
        }
    }
}
