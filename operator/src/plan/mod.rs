//! What to do next, from what is there and what is wanted. Pure: no client, no clock, no randomness of its own.

pub mod copies;
#[cfg(test)]
mod copies_tests;
pub mod moves;
#[cfg(test)]
mod moves_tests;
pub mod placement;
pub mod retention;
pub mod rollout;
pub mod schedule;
pub mod sites;
pub mod snapshots;
pub mod splits;
#[cfg(test)]
mod splits_tests;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use quiver_crds::collection::Managed;
use quiver_crds::condition::reason;
use quiver_crds::{VectorShard, VectorSnapshot};

use crate::build::stateful_set::requested;
use crate::names;
use crate::observe::{Observed, Source};
use crate::validate::Valid;
use copies::Work;
use placement::Placement;
use rollout::Rollout;
use sites::Sites;
use splits::Splits;

/// Everything that one reconcile does, and why it doesn't do more.
pub struct Plan {
    /// Pods that the StatefulSet shall have.
    pub replicas: i32,
    pub create_shards: Vec<VectorShard>,
    /// A pod to delete, so that it comes back from the current template.
    pub restart: Option<String>,
    /// Claims to grow, and to what.
    pub grow: Vec<(String, String)>,
    pub take_snapshot: Option<VectorSnapshot>,
    /// VectorSnapshots that retention removes.
    pub forget_snapshots: Vec<String>,
    pub next_snapshot: Option<Timestamp>,
    pub remove_disruption_budget: bool,
    pub remove_network_policy: bool,
    /// What becomes of the copies of shards.
    pub work: Work,
    /// A shard is being split, or is to be.
    pub splits: bool,
    pub progress: Progress,
}

/// What the condition `Progressing` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub going_on: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Progress {
    fn new(going_on: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { going_on, reason, message: message.into() }
    }
}

impl Plan {
    /// Whether nothing is left to do but to apply the same objects again.
    pub fn is_idle(&self) -> bool {
        self.create_shards.is_empty()
            && self.restart.is_none()
            && self.grow.is_empty()
            && self.take_snapshot.is_none()
            && self.forget_snapshots.is_empty()
            && !self.remove_disruption_budget
            && !self.remove_network_policy
            && self.work.settled()
            && !self.splits
    }
}

/// Plans. `mint` gives a new copy id each time it is called.
pub fn plan(valid: &Valid, observed: &Observed, mint: &mut dyn FnMut() -> String) -> Plan {
    let placement = placement::place(valid, observed, mint);
    let replicas = if valid.spec.hibernate { 0 } else { placement.replicas };
    let (restart, work, splits) = if valid.spec.hibernate {
        // Nobody runs: silence means nothing.
        (Rollout::Current, Work::default(), Splits::default())
    } else {
        running(valid, observed, replicas)
    };
    let snapshots = snapshots::plan(valid, observed);
    let progress = progress(valid, observed, &placement, replicas, (&restart, &work, &splits));
    let spec = &valid.spec;
    Plan {
        replicas,
        create_shards: placement.create.into_iter().chain(splits.create).collect(),
        splits: splits.message.is_some(),
        restart: match restart {
            Rollout::Restart(pod) => Some(pod),
            _ => None,
        },
        grow: grow(valid, observed),
        take_snapshot: snapshots.take,
        forget_snapshots: snapshots.forget,
        next_snapshot: snapshots.next,
        remove_disruption_budget: observed.disruption_budget && spec.disruption.pdb == Managed::None,
        remove_network_policy: observed.network_policy && spec.security.network_policy == Managed::None,
        work,
        progress,
    }
}

/// The copies of shards and the rollout: what is missing comes first, then the rollout, and only when neither has anything to
/// do are nodes evened out.
fn running(valid: &Valid, observed: &Observed, replicas: i32) -> (Rollout, Work, Splits) {
    let mut sites = Sites::of(valid, observed);
    let mut work = copies::plan(valid, observed, &mut sites);
    let restart = rollout::next(valid, observed, &mut sites, replicas);
    let calm = matches!(restart, Rollout::Current) && observed.pods.len() as i32 == replicas;
    let mut splits = splits::plan(valid, observed, &sites, &work, calm);
    match &restart {
        Rollout::HandsOver(_, steps) => {
            let busy: Vec<i32> = work.steps.iter().map(copies::Step::shard).collect();
            work.steps.extend(steps.iter().filter(|s| !busy.contains(&s.shard())).cloned());
        }
        // No pod goes in the moment in which a copy is being changed.
        Rollout::Restart(pod) if !work.steps.is_empty() => {
            let why = format!("records of shards are being changed before {pod} is restarted");
            return (Rollout::Waits(why), work, splits);
        }
        Rollout::Current if splits.message.is_some() => work.steps.extend(splits.step.take()),
        Rollout::Current => work.steps.extend(moves::balance(valid, observed, &sites, &work)),
        _ => {}
    }
    (restart, work, splits)
}

/// Claims that ask for less than the spec. Amounts are compared as numbers: 1Gi and 1024Mi are the same.
fn grow(valid: &Valid, observed: &Observed) -> Vec<(String, String)> {
    let wanted = &valid.spec.storage.size;
    let Some(bytes) = quantity_bytes(wanted) else { return Vec::new() };
    observed
        .volumes
        .iter()
        .filter(|v| v.metadata.deletion_timestamp.is_none())
        .filter(|v| requested(v).and_then(|q| quantity_bytes(&q.0)).is_some_and(|has| has < bytes))
        .filter_map(|v| Some((v.metadata.name.clone()?, wanted.clone())))
        .collect()
}

/// A quantity of bytes as Kubernetes writes it.
pub fn quantity_bytes(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The most important thing that is going on or that can't go on.
fn progress(
    valid: &Valid,
    observed: &Observed,
    placement: &Placement,
    replicas: i32,
    (restart, work, splits): (&Rollout, &Work, &Splits),
) -> Progress {
    if let Some(first) = placement.lost.first() {
        return Progress::new(
            false,
            reason::CONFIG_LOST,
            format!(
                "the VectorShard {} is gone though shard {first} has data: put it back from a backup of the cluster's \
                 objects; it is never made anew, because that would drop the data",
                names::shard(&valid.name, *first)
            ),
        );
    }
    if valid.spec.hibernate {
        return Progress::new(
            false,
            reason::HIBERNATING,
            "hibernate is set: no pods run; the volumes and shard records are kept; set it to false to come back",
        );
    }
    match &observed.source {
        Source::Unusable(why) => return Progress::new(false, reason::BOOTSTRAP_FAILED, why.clone()),
        Source::Waits(why) => return Progress::new(true, reason::BOOTSTRAP_WAITS, why.clone()),
        Source::Manifest { .. } if placement.refused.is_some() => {
            let why = placement.refused.clone().unwrap_or_default();
            return Progress::new(false, reason::BOOTSTRAP_FAILED, why);
        }
        _ => {}
    }
    let splitting = |message: &String| Progress::new(true, reason::SPLITTING_SHARDS, message.clone());
    if let Some(said) = copying(work).or_else(|| splits.message.as_ref().map(splitting)) {
        return said;
    }
    match restart {
        Rollout::Restart(pod) => {
            return Progress::new(
                true,
                reason::ROLLING_OUT,
                format!("restarting {pod} with the current template"),
            );
        }
        Rollout::Waits(why) => return Progress::new(true, reason::ROLLOUT_WAITS, why.clone()),
        Rollout::HandsOver(pod, steps) => {
            let count = steps.len();
            let message =
                format!("{pod} hands over {count} shards before it is restarted with the current template");
            return Progress::new(true, reason::ROLLING_OUT, message);
        }
        Rollout::Current => {}
    }
    let exist = observed.pods.len() as i32;
    if exist != replicas {
        return Progress::new(true, reason::SCALING, format!("{exist} pods exist and {replicas} are wanted"));
    }
    let starting: Vec<String> = observed
        .pods
        .iter()
        .filter(|p| !crate::validate::ready(p))
        .filter_map(|p| p.metadata.name.clone())
        .collect();
    if !starting.is_empty() {
        return Progress::new(true, reason::NODES_STARTING, format!("{} not ready yet", starting.join(", ")));
    }
    Progress::new(false, reason::STABLE, "nothing is being changed")
}

/// What is told of copies that are made and moved.
fn copying(work: &Work) -> Option<Progress> {
    let waits = match work.waits.first() {
        Some(first) if work.waits.len() > 1 => format!("; {first} (and {} more)", work.waits.len() - 1),
        Some(first) => format!("; {first}"),
        None => String::new(),
    };
    if work.moving > 0 {
        let message = format!("moving {} copies off {}{waits}", work.moving, work.off.join(", "));
        return Some(Progress::new(true, reason::MOVING_SHARDS, message));
    }
    if work.making > 0 {
        let message = format!("{} copies are being made, filled or dropped{waits}", work.making);
        return Some(Progress::new(true, reason::COPYING_SHARDS, message));
    }
    None
}
