//! Which pod is replaced next when the template has changed: one at a time, and only when all others are ready.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::observe::Observed;
use crate::validate::ready;

/// Next step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All pods are of the current template.
    Current,
    /// Delete this pod; the StatefulSet makes it again.
    Restart(String),
    /// There are old pods, but it isn't safe to go on yet.
    Waits(String),
}

/// Decides. Nothing is done on an old view of the StatefulSet: its controller must have seen the newest spec.
pub fn next(observed: &Observed, replicas: i32) -> Rollout {
    let Some(set) = &observed.stateful_set else { return Rollout::Current };
    let Some(status) = &set.status else { return Rollout::Current };
    if status.observed_generation != set.metadata.generation {
        return Rollout::Current;
    }
    let Some(revision) = &status.update_revision else { return Rollout::Current };
    let old = |pod: &&Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.labels().get("controller-revision-hash").is_some_and(|r| r != revision)
    };
    let outdated: Vec<&Pod> = observed.pods.iter().filter(old).collect();
    let Some(last) = outdated.last() else { return Rollout::Current };
    // A pod that doesn't work loses nothing by being replaced, and the new template may be its cure.
    let broken = outdated.iter().rev().find(|p| !ready(p));
    let candidate = broken.unwrap_or(last);
    let others: Vec<String> = observed
        .pods
        .iter()
        .filter(|p| p.name_any() != candidate.name_any() && !ready(p))
        .map(|p| p.name_any())
        .collect();
    if !others.is_empty() {
        return Rollout::Waits(format!(
            "{} must be ready before {} is restarted with the current template",
            others.join(", "),
            candidate.name_any()
        ));
    }
    let missing = replicas - observed.pods.len() as i32;
    if missing > 0 {
        return Rollout::Waits(format!("{missing} pods are being made before the next is restarted"));
    }
    Rollout::Restart(candidate.name_any())
}
