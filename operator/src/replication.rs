//! How many copies of each shard are in sync, in words. Pure.

use quiver_crds::VectorShard;
use quiver_crds::condition::reason;
use quiver_crds::shard::Copy;

use crate::observe::Observed;

/// A shard that lacks copies.
pub struct Degraded {
    pub shard: i32,
    pub in_sync: usize,
    /// The first copy that isn't there, and why.
    why: String,
}

fn factor(observed: &Observed) -> usize {
    observed.collection.spec.replication.factor.max(1).unsigned_abs() as usize
}

/// Copies in sync, of all that are listed or wanted.
pub fn copies(shard: &VectorShard, observed: &Observed) -> String {
    let copies = &shard.spec.copies;
    let in_sync = copies.iter().filter(|c| c.in_sync).count();
    format!("{in_sync}/{}", copies.len().max(factor(observed)))
}

/// Shards with fewer copies in sync than wanted, and copies in sync that a silent node holds. Shards that nobody has led yet have one
/// copy, and that is right.
pub fn degraded(observed: &Observed) -> Vec<Degraded> {
    let wanted = factor(observed);
    let led = observed.shards.iter().filter(|s| !s.spec.primary_boot.is_empty());
    let lacking = led.filter_map(|shard| {
        let silent = |c: &&Copy| observed.standing.get(&c.pod).is_some_and(|s| s.silent());
        let in_sync: Vec<&Copy> = shard.spec.copies.iter().filter(|c| c.in_sync).collect();
        let gone = in_sync.iter().copied().find(|c| wanted > 1 && silent(c));
        if in_sync.len() >= wanted && gone.is_none() {
            return None;
        }
        let behind = shard.spec.copies.iter().find(|c| !c.in_sync);
        let why = match (gone, behind) {
            (Some(copy), _) => format!("{} is silent", copy.pod),
            (None, Some(copy)) if silent(&copy) => format!("{} is silent", copy.pod),
            (None, Some(copy)) => format!("the copy on {} catches up", copy.pod),
            (None, None) => "a copy is being placed".to_owned(),
        };
        Some(Degraded { shard: shard.spec.shard, in_sync: in_sync.len(), why })
    });
    lacking.collect()
}

/// Status, reason and message of the condition `Replicated`.
pub fn condition(observed: &Observed) -> (bool, &'static str, String) {
    let wanted = factor(observed);
    let lacking = degraded(observed);
    if observed.collection.spec.hibernate {
        return (true, reason::HIBERNATING, "no pods run".into());
    }
    let Some(first) = lacking.iter().min_by_key(|d| d.in_sync) else {
        let message = match wanted {
            1 => "one copy of each shard is wanted".into(),
            n => format!("every shard has {n} copies in sync"),
        };
        return (true, reason::ALL_GOOD, message);
    };
    let more = match lacking.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more shards)"),
    };
    let have = format!(
        "shard {} has {} of {wanted} copies in sync: {}{more}",
        first.shard, first.in_sync, first.why
    );
    let min = observed.collection.spec.replication.min_in_sync();
    let advice = "this heals by itself when the node is back, or after 10 minutes if another ready node can take the copy; \
                  if neither will be, add a node";
    let advice = if first.why.ends_with("is silent") { advice } else { "this heals by itself" };
    if (first.in_sync as i32) < min {
        let message =
            format!("{have}; writes to it are refused below {min}, as replication.minInSync says; {advice}");
        return (false, reason::TOO_FEW_IN_SYNC, message);
    }
    (false, reason::DEGRADED, format!("{have}; {advice}"))
}
