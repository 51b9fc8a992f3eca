//! Copies of one shard on several nodes: real logs, real requests between them, records in memory; the test is the operator.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::Response;
use quiver_api::internal::{CopyState, HandOverRequest, HashRange, SchemaRequest};
use quiver_engine::file::{Disk, RealDisk, atomic};
use quiver_engine::operation::{Operation, PointWrite, UpdateMode};
use quiver_engine::payload::RawPayload;
use quiver_engine::point_id::PointId;
use quiver_engine::vector::NamedVectors;

use super::copy::Identity;
use super::local_records::MemoryRecords;
use super::peer::Among;
use super::record::{CopyRecord, ShardRecords};
use super::tests::{TestNode, ask, records, schema, until};
use crate::pool::Deadline;
use crate::{server, stale};

/// Nodes with one shard between them, on ports that they keep.
pub(super) struct Nodes<'a> {
    folder: &'a Path,
    pub(super) records: MemoryRecords,
    addresses: BTreeMap<String, String>,
    pub(super) running: BTreeMap<usize, TestNode>,
}

pub(super) fn pod(i: usize) -> String {
    format!("docs-{i}")
}

impl<'a> Nodes<'a> {
    /// The first one has the shard's first copy.
    pub(super) async fn start(folder: &'a Path, count: usize) -> Self {
        let mut nodes =
            Self { folder, records: records(1), addresses: BTreeMap::new(), running: BTreeMap::new() };
        let mut listeners = Vec::new();
        for i in 0..count {
            let listener = server::listen("127.0.0.1", 0).await.expect("a port");
            nodes.addresses.insert(pod(i), listener.local_addr().expect("bound").to_string());
            listeners.push(listener);
        }
        for (i, listener) in listeners.into_iter().enumerate() {
            nodes.launch(i, listener).await;
        }
        until("the first copy leads", || nodes.leads(0)).await;
        nodes
    }

    async fn launch(&mut self, i: usize, listener: tokio::net::TcpListener) {
        let mut node = TestNode::start(self.folder, &pod(i), &self.records, &self.addresses).await;
        node.serve(listener).await;
        node.cluster.schema.put(schema()).expect("the first schema");
        self.running.insert(i, node);
    }

    pub(super) async fn restart(&mut self, i: usize) {
        let port = self.addresses[&pod(i)].rsplit(':').next().and_then(|p| p.parse().ok());
        let listener = server::listen("127.0.0.1", port.expect("a port")).await.expect("it is free again");
        self.launch(i, listener).await;
    }

    pub(super) async fn stop(&mut self, i: usize) {
        self.running.remove(&i).expect("it runs").stop().await;
    }

    fn leads(&self, i: usize) -> bool {
        self.running[&i].cluster.leading(0).is_some()
    }

    /// Has a copy made on a node and lists it. Gives its id.
    async fn add(&self, i: usize) -> String {
        let id = self.running[&i].cluster.place(0, HashRange::ALL).await.expect("placed");
        assert_eq!(self.running[&i].cluster.place(0, HashRange::ALL).await.expect("placed"), id);
        let copy = CopyRecord::new(id.clone(), pod(i), false);
        self.records.change(0, |record| {
            record.copies.retain(|c| c.pod != copy.pod || c.in_sync);
            record.copies.push(copy);
        });
        id
    }

    fn in_sync(&self, i: usize) -> bool {
        let known = self.records.watch().borrow().clone().expect("known");
        known[&0].copy_of(&pod(i)).is_some_and(|c| c.in_sync)
    }

    pub(super) async fn add_in_sync(&self, i: usize) -> String {
        let id = self.add(i).await;
        until("the copy is in sync", || self.in_sync(i)).await;
        id
    }

    async fn write(&self, ids: std::ops::Range<u64>) {
        self.put(upsert(ids)).await;
    }

    /// Writes through the copy that leads; only definite refusals are tried again.
    async fn put(&self, operation: Operation) {
        let leads = || self.running.values().find_map(|n| n.cluster.leading(0));
        let mut look = tokio::time::interval(Duration::from_millis(5));
        let writing = async {
            loop {
                look.tick().await;
                let Some(shard) = leads() else { continue };
                let operation = operation.clone();
                match self.run(move || shard.write(operation)).await {
                    Ok(_) => return,
                    Err(quiver_engine::Error::Unavailable(_)) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), writing).await.expect("a write is taken");
    }

    /// Work that blocks, on a node's pool.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let node = self.running.values().next().expect("a node runs");
        let pool = &node.cluster.node.pools.update;
        pool.run("Test", Deadline::after(Duration::from_secs(60)), move |_| work()).await.expect("it ran")
    }

    /// Every copy that runs comes to have so many points.
    async fn check(&self, points: u64) {
        for (i, node) in &self.running {
            let has = || {
                let open = node.cluster.open_shards();
                !open.is_empty() && open.iter().all(|(_, s)| s.stats().points == points)
            };
            until(&format!("node {i} has {points} points"), has).await;
        }
    }

    pub(super) async fn end(self) {
        for node in self.running.into_values() {
            node.stop().await;
        }
    }
}

fn upsert(ids: std::ops::Range<u64>) -> Operation {
    points(ids, r#"{"a":1}"#)
}

/// So that a few fill a file of the log.
fn large(ids: std::ops::Range<u64>) -> Operation {
    points(ids, &format!(r#"{{"a":"{}"}}"#, "x".repeat(50_000)))
}

fn points(ids: std::ops::Range<u64>, payload: &str) -> Operation {
    let point = |id: u64| PointWrite {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vec![id as f32, 1.0]),
        payload: RawPayload::from_json_bytes(payload.as_bytes()),
    };
    Operation::Upsert { points: ids.map(point).collect(), mode: UpdateMode::Upsert, condition: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_placed_filled_and_leads_when_the_first_node_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    nodes.write(0..100).await;
    let second = nodes.add_in_sync(1).await;
    nodes.write(100..200).await;
    nodes.check(200).await;
    let boot = nodes.running[&1].cluster.node.boot.clone();
    nodes.stop(0).await;
    nodes.records.change(0, |record| {
        record.primary = second;
        record.primary_boot = boot;
        record.term += 1;
    });
    nodes.write(200..300).await;
    assert!(!nodes.in_sync(0), "writes go on because it doesn't count any more");
    nodes.restart(0).await;
    until("the first copy is in sync again", || nodes.in_sync(0)).await;
    nodes.write(300..310).await;
    nodes.check(310).await;
    assert!(nodes.leads(1) && !nodes.leads(0));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_the_log_does_not_reach_fetches_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = Nodes::start(folder.path(), 2).await;
    for i in 0..10 {
        nodes.put(large(i * 10..i * 10 + 10)).await;
    }
    let leader = nodes.running[&0].cluster.leading(0).expect("it leads");
    let sealing = leader.clone();
    nodes.run(move || sealing.flush().expect("sealed")).await;
    assert!(leader.log_tail().first > 1, "the log begins later now");
    nodes.add_in_sync(1).await;
    nodes.write(100..110).await;
    nodes.check(110).await;
    nodes.end().await;
}

/// Who answers a count, and whether it says that it may be old.
async fn asked(node: &TestNode) -> (u64, bool) {
    let mut count = 0;
    let answering = async {
        count = ask(node, 0).await.expect("answered");
        Response::default()
    };
    let old = stale::told(answering).await.headers().contains_key(stale::HEADER);
    (count, old)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_goes_to_another_copy_when_the_leader_is_slow_and_says_so_when_that_one_may_be_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 3).await;
    nodes.add_in_sync(1).await;
    until("everybody knows who leads", || nodes.running[&2].cluster.record(0).is_some()).await;
    assert_eq!(asked(&nodes.running[&2]).await, (0, false));
    nodes.running[&0].hangs.store(true, Ordering::SeqCst);
    assert_eq!(asked(&nodes.running[&2]).await, (1, false));
    // The leader is gone, and nobody promotes the other copy.
    nodes.stop(0).await;
    let aged = async { while asked(&nodes.running[&2]).await != (1, true) {} };
    tokio::time::timeout(Duration::from_secs(20), aged).await.expect("it comes to be old");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_from_nobody_says_that_it_may_be_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    nodes.add_in_sync(1).await;
    // The other copy has to be there for every write, so the leader can't take it out.
    let two = SchemaRequest { min_in_sync: 2, generation: 2, ..schema() };
    nodes.running[&0].cluster.schema.put(two).expect("a newer schema");
    let old = || nodes.running[&0].cluster.readable(0, Among::Leading).expect("it leads").1;
    until("it has heard from the other one", || !old()).await;
    nodes.stop(1).await;
    let old = || nodes.running[&0].cluster.readable(0, Among::Leading).expect("it leads").1;
    until("its lease has ended", old).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_is_handed_over_and_the_old_copy_goes_to_the_trash() {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = Nodes::start(folder.path(), 2).await;
    nodes.write(0..10).await;
    let second = nodes.add_in_sync(1).await;
    let boot = nodes.running[&1].cluster.node.boot.clone();
    let request = HandOverRequest { collection_uid: super::tests::UID.into(), to: second, boot };
    nodes.running[&0].cluster.hand_over(0, &request).expect("it leads");
    until("the second leads", || nodes.leads(1) && !nodes.leads(0)).await;
    nodes.write(10..20).await;
    // In one step: a copy that only isn't in sync is let in again at once.
    nodes.records.change(0, |record| record.copies.retain(|c| c.pod == pod(1)));
    until("it is closed", || nodes.running[&0].cluster.statuses().is_empty()).await;
    let trash = folder.path().join("docs-0/trash");
    until("its folder is in the trash", || trash.is_dir()).await;
    // A copy that comes back to that node is another one.
    let third = nodes.add_in_sync(0).await;
    assert_ne!(third, super::tests::copy_id(0));
    nodes.check(20).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_counts_no_more_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    nodes.add_in_sync(1).await;
    nodes.write(0..10).await;
    nodes.running[&1].cluster.leave().await;
    assert!(!nodes.in_sync(1), "it is taken out before it ends");
    nodes.write(10..20).await;
    assert!(!nodes.in_sync(1), "and not taken in again");
    nodes.stop(1).await;
    nodes.restart(1).await;
    until("it is in sync again", || nodes.in_sync(1)).await;
    nodes.check(20).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_leave_at_the_same_time_all_count_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = Nodes::start(folder.path(), 3).await;
    nodes.add_in_sync(1).await;
    nodes.add_in_sync(2).await;
    nodes.write(0..10).await;
    // The store takes one removal at a time.
    tokio::join!(nodes.running[&1].cluster.leave(), nodes.running[&2].cluster.leave());
    assert_eq!((nodes.in_sync(1), nodes.in_sync(2)), (false, false), "taken out before they end");
    nodes.write(10..20).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_volume_gets_another_copy_under_another_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    let lost = nodes.add_in_sync(1).await;
    nodes.write(0..10).await;
    nodes.stop(1).await;
    RealDisk.remove_dir_all(&folder.path().join(pod(1))).expect("emptied");
    nodes.restart(1).await;
    let says = || nodes.running[&1].cluster.statuses().first().map(|s| (s.state, s.fit));
    until("it says so", || says() == Some((CopyState::ConfigLost, false))).await;
    nodes.records.change(0, |record| record.copies.iter_mut().for_each(|c| c.in_sync &= c.pod == pod(0)));
    let made = nodes.add_in_sync(1).await;
    assert_ne!(made, lost);
    nodes.write(10..20).await;
    nodes.check(20).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_being_made_is_gone_after_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 1).await;
    nodes.write(0..10).await;
    nodes.stop(0).await;
    let unfinished = folder.path().join(pod(0)).join("copies/1-6f9619ff8b86d011b42d00cf4fc964ff.new");
    RealDisk.create_dir_all(&unfinished.join("shard")).expect("made");
    nodes.restart(0).await;
    assert!(!unfinished.exists());
    until("the copy that is whole leads again", || nodes.leads(0)).await;
    nodes.check(10).await;
    nodes.end().await;
}

/// Says of a copy that it was made long ago.
fn age(volume: &Path, id: &str) {
    let path = volume.join("copies").join(format!("0-{id}")).join("copy.json");
    let mut identity: Identity = atomic::read_json(&RealDisk, &path).expect("there");
    assert!(identity.made > 1_700_000_000, "in Unix seconds");
    identity.made -= 3_601;
    atomic::write_json(&RealDisk, &path, &identity).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_nobody_lists_for_an_hour_is_put_away_and_never_comes_back_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    let volume = folder.path().join(pod(1));
    let made = nodes.running[&1].cluster.place(0, HashRange::ALL).await.expect("placed");
    let there = || volume.join("copies").join(format!("0-{made}")).is_dir();
    age(&volume, &made);
    nodes.running[&1].cluster.look().await;
    assert!(there() && nodes.running[&1].cluster.statuses().len() == 1, "it was asked for just now");
    nodes.stop(1).await;
    nodes.restart(1).await;
    nodes.running[&1].cluster.look().await;
    assert!(!there() && volume.join("trash").is_dir() && nodes.running[&1].cluster.statuses().is_empty());
    nodes.records.change(0, |record| record.copies.push(CopyRecord::new(made.clone(), pod(1), false)));
    let says = || nodes.running[&1].cluster.statuses().first().map(|s| (s.state, s.fit, s.message.clone()));
    until("it says that it hasn't got it", || {
        says().is_some_and(|(state, fit, text)| {
            state == CopyState::ConfigLost && !fit && text.unwrap_or_default().contains("was put away")
        })
    })
    .await;
    assert!(!there(), "no empty copy is made under that id");
    assert_ne!(nodes.add_in_sync(1).await, made);
    nodes.write(0..10).await;
    nodes.check(10).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_place_of_one_that_comes_back_is_put_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    let listed = nodes.add_in_sync(1).await;
    nodes.write(0..10).await;
    nodes.stop(1).await;
    let (volume, aside) = (folder.path().join(pod(1)), folder.path().join("aside"));
    let of = |dir: &Path, id: &str| dir.join("copies").join(format!("0-{id}"));
    RealDisk.rename(&of(&volume, &listed), &aside).expect("taken away");
    nodes.restart(1).await;
    let state = || nodes.running[&1].cluster.statuses().first().map(|s| s.state);
    until("it says so", || state() == Some(CopyState::ConfigLost)).await;
    let made = nodes.running[&1].cluster.place(0, HashRange::ALL).await.expect("placed");
    nodes.running[&1].cluster.look().await;
    assert!(of(&volume, &made).is_dir(), "the listed copy isn't there: this one is to take its place");
    RealDisk.rename(&aside, &of(&volume, &listed)).expect("put back");
    until("the other one is put away", || !of(&volume, &made).is_dir()).await;
    assert_eq!(nodes.running[&1].cluster.place(0, HashRange::ALL).await.expect("there"), listed);
    nodes.check(10).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_put_back_is_taken_out_and_filled() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Nodes::start(folder.path(), 2).await;
    nodes.add_in_sync(1).await;
    nodes.write(0..10).await;
    nodes.stop(1).await;
    let (volume, older) = (folder.path().join(pod(1)), folder.path().join("older"));
    let copied = std::process::Command::new("cp").arg("-a").args([&volume, &older]).status();
    assert!(copied.expect("cp runs").success());
    nodes.restart(1).await;
    until("it is in sync again", || nodes.in_sync(1)).await;
    let before = nodes.records.get(0).await.expect("kept").expect("there").config_version;
    nodes.write(10..20).await;
    nodes.check(20).await;
    nodes.stop(1).await;
    RealDisk.remove_dir_all(&volume).expect("removed");
    RealDisk.rename(&older, &volume).expect("put back");
    nodes.restart(1).await;
    nodes.check(20).await;
    until("it is in sync once more", || nodes.in_sync(1)).await;
    let after = nodes.records.get(0).await.expect("kept").expect("there").config_version;
    assert!(after >= before + 2, "it was taken out, and admitted when it had everything");
    nodes.end().await;
}
