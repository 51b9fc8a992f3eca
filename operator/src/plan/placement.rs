//! Which pod holds the first copy of which shard, and how many pods that takes. Where further copies go, and how copies move, is
//! in `copies.rs` and `moves.rs`.

use std::collections::BTreeSet;

use kube::ResourceExt;
use kube::api::ObjectMeta;
use quiver_api::collections::{CreateCollection, VectorsConfig};
use quiver_api::internal::{HashRange as WireRange, SnapshotManifest};
use quiver_crds::VectorShard;
use quiver_crds::shard::{Copy, HashRange, Restore, VectorShardSpec};

use super::splits;
use crate::names;
use crate::observe::{Observed, Source};
use crate::validate::Valid;

/// Where shards go, and how many pods that takes.
#[derive(Debug, Default)]
pub struct Placement {
    pub create: Vec<VectorShard>,
    /// Shards that had data once and have no record now.
    pub lost: Vec<i32>,
    pub replicas: i32,
    /// Why the snapshot can't be used, and what to do.
    pub refused: Option<String>,
}

/// Places what isn't placed: evenly, lowest ordinal first, without touching what is.
pub fn place(valid: &Valid, observed: &Observed, mint: &mut dyn FnMut() -> String) -> Placement {
    let mut placement = Placement::default();
    let holders: BTreeSet<i32> = observed
        .shards
        .iter()
        .flat_map(|s| &s.spec.copies)
        .filter_map(|c| names::ordinal(&valid.name, &c.pod))
        .collect();
    // A pod goes when no record lists it any more.
    let needed = holders.last().map_or(0, |highest| highest + 1);
    placement.replicas = valid.spec.nodes.max(needed);
    let present: BTreeSet<i32> = observed.shards.iter().map(|s| s.spec.shard).collect();
    let missing: Vec<i32> = (0..valid.spec.shards).filter(|n| !present.contains(n)).collect();
    // With a shard for every hash, those that are missing are to be split off (`splits.rs`).
    if missing.is_empty() || splits::covered(&observed.shards) {
        return placement;
    }
    let count = count(valid, observed);
    let missing: Vec<i32> = missing.into_iter().filter(|n| *n < count).collect();
    let reported = reported(observed);
    placement.lost =
        missing.iter().copied().filter(|n| observed.bootstrapped() || reported.contains(n)).collect();
    if !placement.lost.is_empty() {
        return placement;
    }
    let restore = match &observed.source {
        Source::Empty => None,
        Source::Waits(_) | Source::Unusable(_) => return placement,
        Source::Manifest { location, key, manifest } => {
            if let Some(why) = unfit(valid, manifest) {
                placement.refused = Some(why);
                return placement;
            }
            Some((Restore { s3: location.clone(), manifest_key: key.clone() }, manifest.as_ref()))
        }
    };
    let mut load: Vec<i32> = vec![0; placement.replicas.max(1) as usize];
    let placed = observed.shards.iter().flat_map(|s| &s.spec.copies);
    for ordinal in placed.filter_map(|c| names::ordinal(&valid.name, &c.pod)) {
        if let Some(l) = load.get_mut(ordinal as usize) {
            *l += 1;
        }
    }
    for number in missing {
        let lightest = (0..load.len()).min_by_key(|i| (load[*i], *i)).expect("there is at least one pod");
        load[lightest] += 1;
        let range = range_of(number, count, restore.as_ref().map(|(_, m)| *m));
        let restore = restore.as_ref().map(|(r, _)| r.clone());
        placement.create.push(genesis(valid, number, lightest as i32, range, restore, mint()));
    }
    placement
}

/// How many shards the collection begins with: those that are there already say so, should the spec have grown since.
fn count(valid: &Valid, observed: &Observed) -> i32 {
    let wanted = valid.spec.shards;
    let halved = std::iter::successors(Some(wanted), |n| (n % 2 == 0).then_some(n / 2));
    let fits = |count: &i32| {
        let of =
            |s: &VectorShard| s.spec.shard < *count && s.spec.range == range_of(s.spec.shard, *count, None);
        matches!(observed.source, Source::Empty) && observed.shards.iter().all(of)
    };
    halved.into_iter().find(fits).unwrap_or(wanted)
}

/// Shards of this collection that some node holds.
fn reported(observed: &Observed) -> BTreeSet<i32> {
    let uid = observed.uid();
    let answers = observed.nodes.values().filter_map(|n| n.as_ref().ok());
    answers
        .filter(|n| n.collection_uid == uid)
        .flat_map(|n| &n.shards)
        .filter_map(|s| i32::try_from(s.shard).ok())
        .collect()
}

fn range_of(number: i32, shards: i32, manifest: Option<&SnapshotManifest>) -> HashRange {
    let recorded = manifest.and_then(|m| m.shards.iter().find(|s| s.shard == number.unsigned_abs()));
    let range = match recorded {
        Some(shard) => shard.range,
        None => WireRange::part(number.unsigned_abs(), shards.unsigned_abs()),
    };
    HashRange::new(range.first, range.last)
}

/// The record of a shard that nobody has led yet: one copy, in sync, free to start empty (reliability rule R1).
pub(super) fn genesis(
    valid: &Valid,
    number: i32,
    ordinal: i32,
    range: HashRange,
    restore: Option<Restore>,
    id: String,
) -> VectorShard {
    let spec = VectorShardSpec {
        collection: valid.name.clone(),
        collection_uid: valid.uid.clone(),
        shard: number,
        term: 1,
        config_version: 1,
        range,
        primary: id.clone(),
        primary_boot: String::new(),
        copies: vec![Copy { id, pod: names::pod(&valid.name, ordinal), in_sync: true, purpose: None }],
        restore,
        accept_data_loss_at_term: None,
        split: None,
    };
    let mut shard = VectorShard::new(&names::shard(&valid.name, number), spec);
    shard.metadata = ObjectMeta {
        name: Some(shard.name_any()),
        namespace: Some(valid.namespace.clone()),
        labels: Some(names::labels(&valid.name, &valid.uid)),
        owner_references: Some(vec![valid.owner.clone()]),
        ..ObjectMeta::default()
    };
    shard
}

/// Why a snapshot can't become this collection, and what to do.
fn unfit(valid: &Valid, manifest: &SnapshotManifest) -> Option<String> {
    let shards = manifest.shards.len();
    if shards != valid.spec.shards.unsigned_abs() as usize {
        return Some(format!(
            "the snapshot {} has {shards} shards and the spec {}: delete this VectorCollection and create it with shards: \
             {shards}",
            manifest.name, valid.spec.shards
        ));
    }
    let stored: CreateCollection = serde_json::from_value(manifest.schema.clone()).ok()?;
    let wanted: CreateCollection = serde_json::from_value(valid.create.clone()).ok()?;
    if stored.keyed.is_some() {
        return Some(format!(
            "the snapshot {} is of a collection with shard keys, which a VectorCollection doesn't have: recover it on a \
             node of its own",
            manifest.name
        ));
    }
    let shape = |config: &VectorsConfig| -> Vec<(String, usize, String)> {
        config.iter().map(|(n, v)| (n.to_owned(), v.size, format!("{:?}", v.distance))).collect()
    };
    let (stored, wanted) = (shape(&stored.vectors), shape(&wanted.vectors));
    let differs = stored.iter().find(|s| !wanted.contains(s))?;
    Some(format!(
        "the snapshot {} has a vector \"{}\" of size {} and distance {}, which the spec doesn't have so: delete this \
         VectorCollection and create it with that vector",
        manifest.name, differs.0, differs.1, differs.2
    ))
}
