//! Worlds for tests: a collection as a person writes it, and what the API server and the nodes would show of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use quiver_api::internal::{CopyState, NodeStatus, ShardStatus};
use quiver_crds::collection_status::VectorCollectionStatus;
use quiver_crds::condition::kind;
use quiver_crds::snapshot::VectorSnapshotStatus;
use quiver_crds::{COLLECTION_LABEL, COLLECTION_UID_LABEL, VectorCollection, VectorShard, VectorSnapshot};

use crate::build::{Objects, build};
use crate::liveness::Standing;
use crate::names;
use crate::observe::{Observed, Source};
use crate::plan::{Plan, plan};
use crate::status::{Outcome, collection_status};
use crate::validate::{Defaults, Invalid, Valid, validate};

/// The day on which all tests happen.
pub const NOW: &str = "2026-03-05T12:00:00Z";

/// A collection from its spec, three nodes and six shards unless the spec says otherwise.
pub fn collection(spec: &str) -> VectorCollection {
    let mut yaml = String::from(
        "apiVersion: quiver.dev/v1alpha1\nkind: VectorCollection\nmetadata: {name: docs, namespace: search, uid: u-1, \
         generation: 4, creationTimestamp: 2026-03-01T00:00:00Z}\nspec:\n",
    );
    let defaults =
        [("vectors:", "[{name: \"\", size: 384, distance: Cosine}]"), ("nodes:", "3"), ("shards:", "6")];
    for (key, value) in defaults {
        if !spec.lines().any(|l| l.trim().starts_with(key)) {
            yaml.push_str(&format!("  {key} {value}\n"));
        }
    }
    for line in spec.lines() {
        yaml.push_str(&format!("  {line}\n"));
    }
    serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
}

/// What there is right after the collection was made: nothing.
pub fn fresh(spec: &str) -> Observed {
    Observed {
        collection: collection(spec),
        stateful_set: None,
        pods: Vec::new(),
        volumes: Vec::new(),
        shards: Vec::new(),
        snapshots: Vec::new(),
        nodes: BTreeMap::new(),
        missing_secrets: Vec::new(),
        certificates: None,
        disruption_budget: false,
        network_policy: false,
        source: Source::Empty,
        source_credentials: None,
        standing: BTreeMap::new(),
        machines: BTreeMap::new(),
        now: NOW.parse().expect("a timestamp"),
    }
}

pub fn defaults() -> Defaults {
    Defaults { node_image: "registry:5000/quiver-node:1.2.3".into(), pull_policy: None }
}

/// The real validate.
pub fn valid(observed: &Observed) -> Valid {
    validate(observed, &defaults()).unwrap_or_else(|e| panic!("{e:?}"))
}

/// The sentence that a spec earns.
pub fn refused(observed: &Observed) -> Invalid {
    validate(observed, &defaults()).err().expect("this is refused")
}

/// The real plan, with ids that can be told apart.
pub fn planned(observed: &Observed) -> Plan {
    let mut count = 0;
    plan(&valid(observed), observed, &mut || {
        count += 1;
        id(count)
    })
}

/// The real objects.
pub fn built(observed: &Observed) -> Objects {
    build(&valid(observed), &planned(observed), observed)
}

/// What there is once the plan was carried out and every node leads its shards.
pub fn applied(mut observed: Observed) -> Observed {
    let plan = planned(&observed);
    let objects = build(&valid(&observed), &plan, &observed);
    let name = observed.name();
    let mut set = objects.stateful_set;
    set.metadata.generation = Some(1);
    set.status = Some(StatefulSetStatus {
        observed_generation: Some(1),
        update_revision: Some("rev-1".into()),
        ..StatefulSetStatus::default()
    });
    let claim = set.spec.as_ref().and_then(|s| s.volume_claim_templates.as_ref()?.first().cloned());
    observed.stateful_set = Some(set);
    observed.pods = (0..plan.replicas).map(|o| pod(&name, o, "rev-1", true)).collect();
    observed.volumes =
        (0..plan.replicas).map(|o| volume(&name, o, claim.clone().expect("a template"))).collect();
    observed.disruption_budget = objects.disruption_budget.is_some();
    observed.network_policy = objects.network_policy.is_some();
    for mut shard in plan.create_shards {
        shard.spec.primary_boot = boot(&shard.spec.copies[0].pod);
        shard.spec.term = 2;
        shard.spec.config_version = 2;
        observed.shards.push(shard);
    }
    observed.standing = observed.pods.iter().map(|p| (p.name_any(), Standing::Alive)).collect();
    observed.nodes =
        observed.pods.iter().map(|p| (p.name_any(), Ok(node(&observed, &p.name_any())))).collect();
    let next = planned(&observed);
    let outcome = Outcome::of(Ok(&next));
    // Of a moment before the schedule: the tests decide what was taken.
    let status =
        VectorCollectionStatus { last_schedule_time: None, ..collection_status(&observed, &outcome) };
    observed.collection.status = Some(status);
    observed
}

/// A pod of a revision of the template.
pub fn pod(collection: &str, ordinal: i32, revision: &str, ready: bool) -> Pod {
    let mut labels = names::selector(collection);
    labels.insert("controller-revision-hash".into(), revision.into());
    let condition = PodCondition {
        type_: "Ready".into(),
        status: if ready { "True" } else { "False" }.into(),
        ..PodCondition::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(names::pod(collection, ordinal)),
            uid: Some(format!("pod-uid-{ordinal}")),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: None,
        status: Some(PodStatus { conditions: Some(vec![condition]), ..PodStatus::default() }),
    }
}

fn volume(collection: &str, ordinal: i32, mut claim: PersistentVolumeClaim) -> PersistentVolumeClaim {
    claim.metadata.name = Some(format!("data-{collection}-{ordinal}"));
    claim
}

/// An id of a copy.
pub fn id(number: u128) -> String {
    format!("{number:032x}")
}

/// The life of the only process that a pod ever had.
pub fn boot(pod: &str) -> String {
    let ordinal = names::ordinal("docs", pod).unwrap_or_default();
    id(1000 + u128::from(ordinal.unsigned_abs()))
}

fn state(shard: &VectorShard, pod: &str) -> CopyState {
    match shard.spec.copies.iter().find(|c| c.pod == pod) {
        Some(c) if c.id == shard.spec.primary => CopyState::Leading,
        Some(c) if c.in_sync => CopyState::Following,
        _ => CopyState::CatchingUp,
    }
}

/// What the node of a pod says when all is well.
pub fn node(observed: &Observed, pod: &str) -> NodeStatus {
    let here = observed.shards.iter().filter(|s| s.spec.copies.iter().any(|c| c.pod == pod));
    NodeStatus {
        pod: pod.into(),
        boot: boot(pod),
        version: "1.2.3".into(),
        collection_uid: observed.uid(),
        ready: true,
        schema_generation: observed.collection.metadata.generation.unwrap_or_default(),
        shards: here
            .map(|s| ShardStatus {
                shard: s.spec.shard.unsigned_abs(),
                copy_id: s
                    .spec
                    .copies
                    .iter()
                    .find(|c| c.pod == pod)
                    .map(|c| c.id.clone())
                    .unwrap_or_default(),
                state: state(s, pod),
                points: 19_543,
                fit: true,
                ..ShardStatus::default()
            })
            .collect(),
        ..NodeStatus::default()
    }
}

/// A volume of an earlier life of the collection.
pub fn old_volume(name: &str) -> PersistentVolumeClaim {
    let labels = [(COLLECTION_LABEL, "docs"), (COLLECTION_UID_LABEL, "u-0")];
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        ..PersistentVolumeClaim::default()
    }
}

/// A scheduled snapshot; `state` is Complete, Failed or anything else for one that runs.
pub fn scheduled(name: &str, state: &str, completed: &str) -> VectorSnapshot {
    let mut snapshot: VectorSnapshot = serde_saphyr::from_str(&format!(
        "apiVersion: quiver.dev/v1alpha1\nkind: VectorSnapshot\nmetadata: {{name: {name}, namespace: search}}\n\
         spec: {{collectionRef: {{name: docs, uid: u-1}}, origin: Schedule}}\n"
    ))
    .expect("a snapshot");
    let at: Timestamp = completed.parse().expect("a timestamp");
    let condition = Condition {
        type_: if state == "Failed" { kind::FAILED } else { kind::COMPLETE }.into(),
        status: if ["Complete", "Failed"].contains(&state) { "True" } else { "False" }.into(),
        reason: "Test".into(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(at),
    };
    snapshot.status = Some(VectorSnapshotStatus {
        state: state.into(),
        message: "the bucket is gone".into(),
        completion_time: Some(Time(at)),
        conditions: vec![condition],
        ..VectorSnapshotStatus::default()
    });
    snapshot
}
