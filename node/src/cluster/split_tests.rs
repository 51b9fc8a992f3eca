//! A shard that is split while somebody writes, on two nodes with real logs; the test is the operator, and kills who leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quiver_api::internal::HashRange;
use quiver_engine::Error;
use quiver_engine::cancel::Cancel;
use quiver_engine::operation::{Operation, PointWrite, UpdateMode};
use quiver_engine::payload::RawPayload;
use quiver_engine::point_id::PointId;
use quiver_engine::shard::Shard;
use quiver_engine::vector::NamedVectors;

use super::copies_tests::{Nodes, pod};
use super::copy::hashes;
use super::lead::Cluster;
use super::record::{CopyRecord, ShardRecord, ShardRecords, SplitRecord};
use super::split::is_part;
use crate::pool::Deadline;

const LOW: HashRange = HashRange { first: 0, last: u64::MAX / 2 };
const HIGH: HashRange = HashRange { first: u64::MAX / 2 + 1, last: u64::MAX };
/// A copy that leads next waits for what the one before it was granted.
const PATIENCE: Duration = Duration::from_secs(90);

/// When the node that leads is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Asked,
    Frozen,
    Made,
    Split,
    Never,
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn known(nodes: &Nodes<'_>) -> BTreeMap<u32, ShardRecord> {
    (*nodes.records.watch().borrow().clone().expect("known")).clone()
}

/// The shard that answers for a point now, by the records, if it leads on one of the nodes.
fn serving(
    clusters: &[Arc<Cluster>],
    known: &BTreeMap<u32, ShardRecord>,
    id: PointId,
) -> Option<(HashRange, Arc<Shard>)> {
    let record = known.values().find(|r| r.range.contains(id.hash64()) && !is_part(r, known))?;
    Some((record.range, clusters.iter().find_map(|c| c.leading(record.shard))?))
}

/// Writes one point after the other, each until it is acknowledged or its outcome is unknown.
struct Writer {
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    running: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(nodes: &Nodes<'_>) -> Self {
        let clusters: Vec<Arc<Cluster>> = nodes.running.values().map(|n| n.cluster.clone()).collect();
        let records = nodes.records.clone();
        let (acknowledged, stop) = (Arc::<Mutex<BTreeSet<u64>>>::default(), Arc::default());
        let (told, ends): (_, Arc<std::sync::atomic::AtomicBool>) = (acknowledged.clone(), Arc::clone(&stop));
        let pool = clusters.last().expect("a node").node.pools.update.clone();
        let running = tokio::spawn(async move {
            let mut look = tokio::time::interval(Duration::from_millis(2));
            let mut id = 0;
            while !ends.load(std::sync::atomic::Ordering::SeqCst) {
                look.tick().await;
                let known = (*records.watch().borrow().clone().expect("known")).clone();
                let Some((range, shard)) = serving(&clusters, &known, PointId::Num(id)) else { continue };
                let write = move |_: &Cancel| shard.write_for(Some(hashes(range)), point(id));
                match pool.run("Test", Deadline::after(PATIENCE), write).await.expect("it ran") {
                    Ok(_) => _ = told.lock().insert(id),
                    Err(Error::Unavailable(_) | Error::Moved(_)) => continue,
                    Err(Error::Unknown(_)) => {}
                    Err(e) => panic!("{e}"),
                }
                id += 1;
            }
        });
        Self { acknowledged, stop, running }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().len()
    }

    /// Until so many more are acknowledged.
    async fn goes_on(&self) {
        let before = self.count();
        until("writes go on", || self.count() >= before + 40).await;
    }

    async fn end(self) -> BTreeSet<u64> {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        self.running.await.expect("it wrote");
        self.acknowledged.lock().clone()
    }
}

fn point(id: u64) -> Operation {
    let point = PointWrite {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vec![id as f32, 1.0]),
        payload: RawPayload::from_json_bytes(b"{}"),
    };
    Operation::Upsert { points: vec![point], mode: UpdateMode::Upsert, condition: None }
}

/// Copies of the new shard that nodes that run made of copies in sync, and whether it is one of each.
fn made(nodes: &Nodes<'_>) -> (Vec<CopyRecord>, bool) {
    let parent = known(nodes).remove(&0).expect("the first shard");
    let of = |i: &usize| {
        let copy = parent.copy_of(&pod(*i)).filter(|c| c.in_sync)?;
        let status = nodes.running[i].cluster.statuses().into_iter().find(|s| s.copy_id == copy.id)?;
        Some(status.split.and_then(|s| s.copy_id).map(|id| CopyRecord::new(id, pod(*i), true)))
    };
    let all: Vec<Option<CopyRecord>> = nodes.running.keys().filter_map(of).collect();
    let complete = !all.is_empty() && all.iter().all(Option::is_some);
    (all.into_iter().flatten().collect(), complete)
}

/// Kills the node that leads, and has the other one lead what that led.
async fn kill(nodes: &mut Nodes<'_>) {
    nodes.stop(0).await;
    let boot = nodes.running[&1].cluster.node.boot.clone();
    for (shard, record) in known(nodes) {
        let other = record.copy_of(&pod(1)).filter(|c| c.in_sync).expect("a copy in sync").id.clone();
        nodes.records.change(shard, |record| {
            record.primary = other;
            record.primary_boot.clone_from(&boot);
            record.term += 1;
        });
    }
}

/// What the operator does once copies are there: the record of the new shard.
fn record_of(nodes: &Nodes<'_>) -> ShardRecord {
    let parent = known(nodes).remove(&0).expect("the first shard");
    let copies = made(nodes).0;
    let lead = parent.leader().expect("a leader").pod.clone();
    let first = copies.iter().find(|c| c.pod == lead).expect("the leader made one").id.clone();
    let boot = nodes.running.values().find(|n| n.cluster.node.settings.cluster.pod == lead);
    ShardRecord {
        name: "docs-1".into(),
        shard: 1,
        range: HIGH,
        term: parent.term + 1,
        config_version: 1,
        version: "1".into(),
        primary: first,
        primary_boot: boot.expect("it runs").cluster.node.boot.clone(),
        copies,
        restore: None,
        split: None,
    }
}

fn ids(shard: &Shard) -> BTreeSet<u64> {
    let found = shard.view().scroll(None, None, usize::MAX, &Cancel::new()).expect("read").0;
    let number = |id| if let PointId::Num(n) = id { n } else { panic!("only numbers were written") };
    found.into_iter().map(number).collect()
}

/// Both halves have their points and no others on every node that runs, and each acknowledged point is in one of them.
async fn check_halves(nodes: &Nodes<'_>, acknowledged: &BTreeSet<u64>) {
    let half = |range: HashRange| -> BTreeSet<u64> {
        acknowledged.iter().copied().filter(|id| range.contains(PointId::Num(*id).hash64())).collect()
    };
    for (number, range) in [(0, LOW), (1, HIGH)] {
        until(&format!("shard {number} is led"), || {
            nodes.running.values().any(|n| n.cluster.leading(number).is_some())
        })
        .await;
        let lead = nodes.running.values().find_map(|n| n.cluster.leading(number)).expect("it is led");
        assert!(lead.owns(hashes(range)) && !lead.owns(hashes(HashRange::ALL)));
        let has = ids(&lead);
        assert!(has.iter().all(|id| range.contains(PointId::Num(*id).hash64())), "of its own half only");
        let lost: Vec<u64> = half(range).difference(&has).copied().collect();
        assert!(lost.is_empty(), "shard {number} lacks {lost:?}");
        let record = known(nodes).remove(&number).expect("a record");
        for (_, node) in nodes.running.iter().filter(|(i, _)| record.copy_of(&pod(**i)).is_some()) {
            let copy = || node.cluster.open_shards().into_iter().find(|(n, _)| *n == number);
            until("all copies are equal", || copy().is_some_and(|(_, s)| ids(&s) == has)).await;
        }
    }
}

/// Splits a shard with two copies under writes.
async fn check(when: When) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    nodes.add_in_sync(1).await;
    let writer = Writer::start(&nodes);
    writer.goes_on().await;
    nodes.records.change(0, |r| r.split = Some(SplitRecord { child: 1, keep: LOW, give: HIGH }));
    if when == When::Asked {
        kill(&mut nodes).await;
    }
    let frozen = |n: &Nodes<'_>| {
        n.running.values().filter_map(|n| n.cluster.leading(0)).any(|s| s.bounds().frozen.is_some())
    };
    until("a part is frozen", || frozen(&nodes)).await;
    if when == When::Frozen {
        kill(&mut nodes).await;
    }
    until("the new shard's copies are made", || made(&nodes).1 && frozen(&nodes)).await;
    let places = |n: &Nodes<'_>| n.running[&1].cluster.places().as_ref().as_ref().map(Vec::len).ok();
    assert_eq!(places(&nodes), Some(1), "nobody asks the new one yet");
    nodes.records.add(record_of(&nodes));
    if when == When::Made {
        kill(&mut nodes).await;
    }
    until("the old shard's record has the half that it keeps", || {
        let known = known(&nodes);
        known[&0].range == LOW && known[&0].split.is_none()
    })
    .await;
    until("requests go to both", || places(&nodes) == Some(2)).await;
    if when == When::Split {
        kill(&mut nodes).await;
    }
    writer.goes_on().await;
    let acknowledged = writer.end().await;
    check_halves(&nodes, &acknowledged).await;
    if when != When::Never {
        nodes.restart(0).await;
    }
    // A start finds everything again, and what it fetches from the other is the same.
    let in_sync = |n: &Nodes<'_>| known(n).values().all(|r| r.copies.iter().all(|c| c.in_sync));
    until("all copies are in sync", || in_sync(&nodes)).await;
    check_halves(&nodes, &acknowledged).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_split_under_writes() {
    check(When::Never).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_when_a_split_is_asked_for_leaves_it_to_the_next() {
    check(When::Asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_with_a_frozen_part_leaves_the_split_to_the_next() {
    check(When::Frozen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_when_the_new_shard_is_made_leaves_the_split_to_the_next() {
    check(When::Made).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_after_the_split_loses_nothing_of_either_half() {
    check(When::Split).await;
}
