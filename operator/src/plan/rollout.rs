//! Which pod is replaced next when the template has changed: one at a time, only when all others are ready, every copy is in
//! sync, and nothing is led by it that another copy could lead.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::copies::Step;
use super::moves;
use super::sites::Sites;
use crate::observe::Observed;
use crate::validate::{Valid, ready};

/// Next step of a rollout.
#[derive(Clone, Debug)]
pub enum Rollout {
    /// All pods are of the current template.
    Current,
    /// Delete this pod; the StatefulSet makes it again.
    Restart(String),
    /// There are old pods, but it isn't safe to go on yet.
    Waits(String),
    /// What this pod leads is handed over first.
    HandsOver(String, Vec<Step>),
}

/// Decides. Nothing is done on an old view of the StatefulSet: its controller must have seen the newest spec.
pub fn next(valid: &Valid, observed: &Observed, sites: &mut Sites<'_>, replicas: i32) -> Rollout {
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
    let candidate = broken.unwrap_or(last).name_any();
    let others: Vec<String> = observed
        .pods
        .iter()
        .filter(|p| p.name_any() != candidate && !ready(p))
        .map(|p| p.name_any())
        .collect();
    let waits = |why: String| {
        Rollout::Waits(format!("{why} before {candidate} is restarted with the current template"))
    };
    if !others.is_empty() {
        return waits(format!("{} must be ready", others.join(", ")));
    }
    let missing = replicas - observed.pods.len() as i32;
    if missing > 0 {
        return Rollout::Waits(format!("{missing} pods are being made before the next is restarted"));
    }
    let hand_overs = moves::empty_of_leads(valid, observed, sites, &candidate);
    if !hand_overs.is_empty() {
        return Rollout::HandsOver(candidate, hand_overs);
    }
    if broken.is_none()
        && let Some(why) = moves::needs(valid, observed, sites, &candidate)
    {
        return waits(why);
    }
    Rollout::Restart(candidate)
}
