//! More shards: each is split into two, one after the other, until there are as many as the spec says. The nodes do the
//! work (`node/src/cluster/split.rs`); here is decided which shard is next, and the record of the new one is made once
//! its copies are there. Pure.

use kube::ResourceExt;
use quiver_crds::VectorShard;
use quiver_crds::condition::kind;
use quiver_crds::shard::{Copy, HashRange, Split};
use quiver_replica::record::Placed;

use super::copies::{Say, Step, Work, written};
use super::placement;
use super::sites::{Sites, record, text};
use crate::observe::{Observed, is_true};
use crate::validate::Valid;

/// What is to be done for more shards.
#[derive(Debug, Default)]
pub struct Splits {
    pub step: Option<Step>,
    pub create: Option<VectorShard>,
    /// What is going on, or waited for.
    pub message: Option<String>,
}

/// Whether the hashes of a shard are a part of another one's, which answers for them until it has given them up.
pub fn is_part(shard: &VectorShard, all: &[VectorShard]) -> bool {
    let Some((first, last)) = shard.spec.range.bounds() else { return false };
    all.iter()
        .filter(|o| o.spec.range != shard.spec.range)
        .any(|o| o.spec.range.bounds().is_some_and(|(from, to)| from <= first && last <= to))
}

/// Whether each hash has one shard that answers for it. Shards that aren't there then are those that are to be split off.
pub fn covered(all: &[VectorShard]) -> bool {
    let serving = all.iter().filter(|s| !is_part(s, all));
    covers(serving.filter_map(|s| s.spec.range.bounds()).collect())
}

/// Whether closed ranges have each hash once.
pub fn covers(mut ranges: Vec<(u64, u64)>) -> bool {
    ranges.sort_unstable();
    let mut next = Some(0);
    for (first, last) in &ranges {
        if next != Some(*first) {
            return false;
        }
        next = last.checked_add(1);
    }
    next.is_none() && !ranges.is_empty()
}

/// Plans the next step. A split begins only when nothing else is done; one that was begun is always finished.
pub fn plan(valid: &Valid, observed: &Observed, sites: &Sites<'_>, work: &Work, calm: bool) -> Splits {
    let shards = &observed.shards;
    let have = shards.len() as i32;
    let so_far = format!("{have} of {} shards are there", valid.spec.shards);
    if let Some((parent, split)) = shards.iter().find_map(|s| Some((s, s.spec.split.as_ref()?))) {
        let (n, child) = (parent.spec.shard, split.child);
        let about = format!("shard {n} is being split: shard {child} gets a half of it");
        if shards.iter().any(|s| s.spec.shard == child) {
            return Splits {
                message: Some(format!("{about}, and takes it over now; {so_far}")),
                ..Splits::default()
            };
        }
        return match made(valid, sites, parent, split) {
            Ok(create) => {
                let message = Some(format!("{about}, and its copies are made; {so_far}"));
                Splits { create: Some(create), message, ..Splits::default() }
            }
            Err(why) => {
                Splits { message: Some(format!("{about}, and {why}; {so_far}")), ..Splits::default() }
            }
        };
    }
    if have >= valid.spec.shards || !covered(shards) {
        return Splits::default();
    }
    match next(valid, observed, sites, work, calm) {
        Ok(step) => {
            Splits { step, message: Some(format!("the next shard is split; {so_far}")), create: None }
        }
        Err(why) => {
            Splits { message: Some(format!("{so_far}; the next is split when {why}")), ..Splits::default() }
        }
    }
}

/// The record of the new shard: its copies are those that the copies in sync of the old one made of themselves. All of them
/// have what was acknowledged, so one whose node is silent isn't waited for.
///
/// # Errors
/// What is waited for.
fn made(
    valid: &Valid,
    sites: &Sites<'_>,
    parent: &VectorShard,
    split: &Split,
) -> Result<VectorShard, String> {
    let n = parent.spec.shard;
    let record = record(parent).ok_or("its ids can't be read")?;
    let report =
        |c: &Placed| sites.get(&c.pod).and_then(|s| s.report(n, c.id)).and_then(|r| r.split.as_ref());
    let lead =
        record.find(record.primary).filter(|_| sites.led(n, &record)).ok_or("it waits for a leader")?;
    let at = report(lead).map(|s| (s.seq, s.term)).ok_or("its log doesn't say so yet")?;
    let mut copies = Vec::new();
    for copy in record.copies.iter().filter(|c| c.in_sync) {
        let silent = sites.get(&copy.pod).is_none_or(|s| s.standing.silent());
        if silent && copy.id != lead.id {
            continue;
        }
        let made = report(copy).filter(|s| (s.seq, s.term) == at).and_then(|s| s.copy_id.clone());
        let id = made.ok_or_else(|| format!("{} makes its copy of it", copy.pod))?;
        copies.push(Copy { id, pod: copy.pod.to_string(), in_sync: true, purpose: None });
    }
    let first = copies.iter().find(|c| *c.pod == *lead.pod).ok_or("its leader makes a copy")?;
    let boot = sites.get(&lead.pod).and_then(|s| s.boot()).ok_or("its leader doesn't answer")?;
    let mut shard = placement::genesis(valid, split.child, 0, split.give.clone(), None, first.id.clone());
    // Above the term of every entry that the copies have.
    shard.spec.term = parent.spec.term + 1;
    shard.spec.primary_boot = text(boot.0);
    shard.spec.copies = copies;
    Ok(shard)
}

/// Begins the split of the widest shard.
///
/// # Errors
/// What is waited for.
fn next(
    valid: &Valid,
    observed: &Observed,
    sites: &Sites<'_>,
    work: &Work,
    calm: bool,
) -> Result<Option<Step>, String> {
    if !calm || !work.settled() || !work.waits.is_empty() {
        return Err("nothing else is done to copies and pods".into());
    }
    let uid = observed.uid();
    let snapshots = observed.snapshots.iter().filter(|s| super::snapshots::of(s, &uid));
    let mut running = snapshots.filter(|s| !is_true(s, kind::COMPLETE) && !is_true(s, kind::FAILED));
    if let Some(snapshot) = running.next() {
        return Err(format!("the VectorSnapshot {} is complete", snapshot.name_any()));
    }
    if let Some(site) = sites.iter().find(|s| !s.ready || s.node.is_none_or(|n| !n.splits)) {
        return Err(format!("{} is ready and runs a version that can do it", site.name));
    }
    let width = |s: &&VectorShard| s.spec.range.bounds().map_or(0, |(first, last)| last - first);
    let mut wide: Vec<&VectorShard> = observed.shards.iter().collect();
    wide.sort_by_key(|s| (std::cmp::Reverse(width(s)), s.spec.shard));
    let parent = wide.first().ok_or("there is a shard")?;
    let n = parent.spec.shard;
    let record = record(parent).ok_or_else(|| format!("the ids of shard {n} can be read"))?;
    if !sites.led(n, &record) || !record.copies.iter().all(|c| sites.confirmed(n, c)) {
        return Err(format!("all copies of shard {n} are in sync and one leads"));
    }
    let weight = sites.weight(n);
    if let Some(copy) = record.copies.iter().find(|c| sites.get(&c.pod).is_none_or(|s| !s.has_room(weight))) {
        return Err(format!("{} has room on its disk for shard {n} once more", copy.pod));
    }
    let (first, last) = parent.spec.range.bounds().filter(|(f, l)| f < l).ok_or("the range can be halved")?;
    let middle = first + (last - first) / 2;
    let present = |n: &i32| observed.shards.iter().any(|s| s.spec.shard == *n);
    let child = (0..valid.spec.shards).find(|n| !present(n)).ok_or("a number is free")?;
    let mut next = written(parent, &record);
    next.spec.config_version += 1;
    next.spec.split =
        Some(Split { child, keep: HashRange::new(first, middle), give: HashRange::new(middle + 1, last) });
    let note = format!("shard {n} is split: shard {child} gets a half of its points");
    let say = Some(Say { warning: false, reason: "SplitBegun", note });
    Ok(Some(Step::Record { next: Box::new(next), say, then_drop: None }))
}
