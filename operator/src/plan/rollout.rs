//! Which pod is replaced next, and how many pods there may be. Pure.
//!
//! The StatefulSet replaces no pod by itself (`OnDelete`): a pod is deleted only when every other one serves its
//! shards, so that never more than one node is away for a rollout.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use crate::build::names;
use crate::observe::World;
use crate::validate::Valid;

/// What a rollout does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Every pod is as it should be.
    Done,
    /// This pod goes, and comes back as it should be.
    Replace { pod: String, uid: String },
    /// Something has to happen first.
    Waits(String),
}

/// Whether Kubernetes says that a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The next step of a rollout.
pub fn rollout(world: &World, set: &Value) -> Rollout {
    let wanted = &set["status"]["updateRevision"];
    let seen = set["status"]["observedGeneration"].as_i64() >= set["metadata"]["generation"].as_i64();
    let Some(wanted) = wanted.as_str().filter(|_| seen) else { return Rollout::Done };
    let outdated = |pod: &&Pod| pod.labels().get("controller-revision-hash").is_some_and(|r| r != wanted);
    let old: Vec<&Pod> = world.pods.values().filter(outdated).collect();
    if old.is_empty() {
        return Rollout::Done;
    }
    if let Some(leaving) = world.pods.values().find(|p| p.metadata.deletion_timestamp.is_some()) {
        return Rollout::Waits(format!("{} is being replaced", leaving.name_any()));
    }
    let replace = |pod: &Pod| Rollout::Replace { pod: pod.name_any(), uid: pod.uid().unwrap_or_default() };
    let away: Vec<&Pod> = world.pods.values().filter(|p| !is_ready(p)).collect();
    match away.as_slice() {
        // The highest first, as a StatefulSet would.
        [] => old.iter().max_by_key(|p| p.name_any().len()).map_or(Rollout::Done, |longest| {
            let same: Vec<&&Pod> =
                old.iter().filter(|p| p.name_any().len() == longest.name_any().len()).collect();
            same.iter().max_by_key(|p| p.name_any()).map_or(Rollout::Done, |p| replace(p))
        }),
        // One that doesn't work anyway loses nothing by being replaced, and may be repaired by it.
        [only] if outdated(only) => replace(only),
        [first, ..] => {
            Rollout::Waits(format!("{} isn't ready; the next pod is replaced when it is", first.name_any()))
        }
    }
}

/// How many pods there may be: the wanted number, unless a pod that would go still holds a shard.
/// The second value says why, if it isn't the wanted number.
pub fn replicas(v: &Valid, world: &World, now: Option<i32>) -> (i32, Option<String>) {
    if v.spec.hibernate {
        return (0, None);
    }
    let wanted = v.spec.nodes;
    let needed = world
        .shards
        .values()
        .flat_map(|s| &s.spec.copies)
        .filter_map(|c| names::ordinal(&v.name, &c.pod))
        .filter_map(|ordinal| i32::try_from(ordinal + 1).ok())
        .max()
        .unwrap_or(0);
    if needed <= wanted {
        return (wanted, None);
    }
    let kept = now.filter(|&now| now > 0).map_or(needed, |now| now.clamp(needed, needed.max(wanted)));
    let last = names::pod(&v.name, usize::try_from(needed - 1).unwrap_or_default());
    let why = format!(
        "{last} holds the only copy of a shard, so {needed} nodes stay although spec.nodes is {wanted}: this version \
         doesn't move shards. Set spec.nodes to {needed}, or take a snapshot and begin a VectorCollection with {wanted} \
         nodes from it"
    );
    (kept, Some(why))
}
