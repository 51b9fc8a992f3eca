//! Copies with real logs on real disks, in one process: the network and the store are in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quiver_engine::Cancel;
use quiver_engine::config::{CollectionConfig, Distance, VectorParams};
use quiver_engine::file::RealDisk;
use quiver_engine::filter::Filter;
use quiver_engine::operation::{Operation, PointWrite, Selection, UpdateMode};
use quiver_engine::payload::RawPayload;
use quiver_engine::point_id::PointId;
use quiver_engine::shard::{Shard, ShardOptions, Watermarks};
use quiver_engine::vector::NamedVectors;
use quiver_engine::wal;
use quiver_replica::lease::Timing;
use quiver_replica::log::Position;
use quiver_replica::message::Envelope;
use quiver_replica::record::{Boot, Change, CopyId, Record};
use quiver_replica::{Settings, Unfit};

use super::wire;
use super::{Asked, Inbox, Input, Outside, Pace, Part, Parts, Replica, Standing};
use crate::clock;

/// The network and the store.
#[derive(Clone)]
struct World(Arc<Mutex<Inner>>);

struct Inner {
    record: Arc<Record>,
    inboxes: BTreeMap<CopyId, Inbox>,
    shards: BTreeMap<CopyId, Arc<Shard>>,
    /// Copies that nobody hears and that hear nobody; they reach the store all the same.
    cut_off: Vec<CopyId>,
    /// Copies that don't reach the store.
    storeless: Vec<CopyId>,
    reports: Vec<(CopyId, Unfit)>,
}

impl World {
    fn record(&self) -> Arc<Record> {
        self.0.lock().record.clone()
    }

    /// As the operator does: a change of the record as it is now.
    fn change(&self, change: &Change) {
        let next = self.record().with(change).expect("a legal change");
        self.put(next.config_version - 1, &Arc::new(next));
    }

    fn put(&self, base: u64, next: &Arc<Record>) -> bool {
        let mut inner = self.0.lock();
        let accepted = inner.record.config_version == base
            && inner.record.accepts(next, quiver_replica::Rules::default()).is_ok();
        if accepted {
            inner.record = next.clone();
            for (_, inbox) in inner.inboxes.iter().filter(|(id, _)| !inner.storeless.contains(id)) {
                inbox.put(Input::Record { record: next.clone(), asked: None });
            }
        }
        accepted
    }

    fn cut_off(&self, ids: &[u128]) {
        self.0.lock().cut_off = ids.iter().map(|id| CopyId(*id)).collect();
    }
}

struct Wire {
    world: World,
    me: CopyId,
    dir: PathBuf,
}

fn options() -> ShardOptions {
    ShardOptions { watermarks: Watermarks::OFF, replicated: true, ..ShardOptions::default() }
}

impl Outside for Wire {
    fn send(&mut self, envelope: Envelope, entries: Vec<wal::Record>) {
        let inner = self.world.0.lock();
        if inner.cut_off.contains(&self.me) || inner.cut_off.contains(&envelope.to) {
            return;
        }
        if let Some(inbox) = inner.inboxes.get(&envelope.to) {
            let (envelope, entries) =
                wire::decode(&wire::encode(&envelope, &entries)).expect("a whole message");
            inbox.deliver(envelope, entries);
        }
    }

    fn swap(&mut self, base: u64, next: Arc<Record>, asked: Asked) {
        if !self.world.0.lock().storeless.contains(&self.me) {
            self.world.put(base, &next);
        }
        self.fetch(asked);
    }

    fn fetch(&mut self, asked: Asked) {
        let inner = self.world.0.lock();
        if !inner.storeless.contains(&self.me) {
            let record = inner.record.clone();
            inner.inboxes[&self.me].put(Input::Record { record, asked: Some(asked) });
        }
    }

    fn install(&mut self, from: CopyId, _: Position) {
        let inner = self.world.0.lock();
        let (me, mine) = (inner.inboxes[&self.me].clone(), self.dir.clone());
        let source = inner.shards[&from].clone();
        drop(inner);
        // A thread of its own: the copy goes on meanwhile.
        std::thread::spawn(move || {
            let number = std::fs::read_dir(&mine).expect("a folder").count();
            let (files, dir) = (mine.join(format!("files-{number}")), mine.join(format!("shard-{number}")));
            let taken = source.snapshot_to(&files).expect("a snapshot");
            let shard = Shard::restore_from(Arc::new(RealDisk), &files, &dir, options()).expect("a shard");
            let up_to = Position { seq: taken.seq, term: taken.term };
            me.put(Input::Installed { shard: Arc::new(shard), up_to, adopt: Box::new(|| Ok(())) });
        });
    }

    fn stands(&mut self, standing: Standing) {
        if let Part::Unfit(why) = standing.part {
            self.world.0.lock().reports.push((self.me, why));
        }
    }
}

/// One copy with its disk.
struct Node {
    shard: Arc<Shard>,
    replica: Replica,
}

/// The copies of a shard; each disk outlives its process.
struct Group {
    world: World,
    disks: BTreeMap<u128, tempfile::TempDir>,
    nodes: BTreeMap<u128, Node>,
    boots: u128,
}

impl Group {
    /// The first copy, which leads.
    fn new() -> Self {
        let record = Arc::new(Record::genesis(CopyId(1), "pod-1".into()));
        let inner = Inner {
            record,
            inboxes: BTreeMap::new(),
            shards: BTreeMap::new(),
            cut_off: Vec::new(),
            storeless: Vec::new(),
            reports: Vec::new(),
        };
        let world = World(Arc::new(Mutex::new(inner)));
        let mut group = Self { world, disks: BTreeMap::new(), nodes: BTreeMap::new(), boots: 0 };
        group.start(1);
        group
    }

    /// Starts the process of a copy, on a new disk if it has none.
    fn start(&mut self, id: u128) {
        self.boots += 1;
        let disk = Arc::new(RealDisk);
        let new = !self.disks.contains_key(&id);
        let dir = self.disks.entry(id).or_insert_with(|| tempfile::tempdir().expect("a folder")).path();
        let shard = if new {
            let vectors = [(String::new(), VectorParams::new(2, Distance::Dot))].into();
            Shard::create(
                disk.clone(),
                &dir.join("shard"),
                options(),
                CollectionConfig { vectors, ..CollectionConfig::default() },
            )
        } else {
            Shard::open(disk.clone(), &dir.join("shard"), options())
        };
        let shard = Arc::new(shard.expect("a shard"));
        let timing = Timing { lease: 300, grant: 500, fresh: 200 };
        let parts = Parts {
            settings: Settings { timing, ..Settings::default() },
            boot: Boot(self.boots),
            id: CopyId(id),
            shard: shard.clone(),
            disk,
            dir: dir.to_owned(),
            outside: Wire { world: self.world.clone(), me: CopyId(id), dir: dir.to_owned() },
            pace: Pace { heartbeat: 20, silence: 400, stuck: 100, commit: 20_000, hand_over: 2000 },
        };
        let replica = Replica::start(parts).expect("a thread");
        let mut inner = self.world.0.lock();
        inner.inboxes.insert(CopyId(id), replica.inbox());
        inner.shards.insert(CopyId(id), shard.clone());
        replica.inbox().put(Input::Record { record: inner.record.clone(), asked: Some(Asked(0)) });
        drop(inner);
        self.nodes.insert(id, Node { shard, replica });
    }

    /// The process ends; its disk stays.
    fn kill(&mut self, id: u128) {
        let mut inner = self.world.0.lock();
        inner.inboxes.remove(&CopyId(id));
        inner.shards.remove(&CopyId(id));
        drop(inner);
        self.nodes.remove(&id);
    }

    /// Lists a new copy and waits until it counts.
    fn add(&mut self, id: u128) {
        self.start(id);
        self.world.change(&Change::List { id: CopyId(id), pod: format!("pod-{id}").into() });
        self.wait_in_sync(&[id]);
    }

    fn promote(&self, id: u128) {
        let boot = self.nodes[&id].replica.ask(|copy, _| copy.boot()).expect("it runs");
        self.world.change(&Change::Promote { id: CopyId(id), boot });
    }

    fn wait_in_sync(&self, ids: &[u128]) {
        until("copies in sync", || ids.iter().all(|id| self.world.record().in_sync(CopyId(*id))));
    }

    /// Through whoever leads, again and again while nobody does: only a definite refusal is tried again.
    fn write(&self, op: &Operation) {
        until("a write is taken", || {
            let primary = self.world.record().primary.0;
            let Some(node) = self.nodes.get(&primary) else { return false };
            match node.shard.write(op.clone()) {
                Ok(_) => true,
                Err(quiver_engine::Error::Unavailable(_)) => false,
                Err(e) => panic!("{e}"),
            }
        });
    }

    /// All copies that run come to hold exactly these points.
    fn check(&self, ids: impl Iterator<Item = u64> + Clone) {
        let expected: Vec<PointId> = ids.map(PointId::Num).collect();
        for (id, node) in &self.nodes {
            until(&format!("copy {id} is like the others"), || {
                let mut found =
                    node.shard.view().ids_matching(&Filter::default(), &Cancel::new()).expect("ids");
                found.sort();
                found == expected
            });
        }
        assert_eq!(self.world.0.lock().reports, []);
    }
}

fn upsert(ids: std::ops::Range<u64>) -> Operation {
    let point = |id: u64| PointWrite {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vec![id as f32, 1.0]),
        payload: RawPayload::from_json_bytes(br#"{"a":1}"#),
    };
    Operation::Upsert { points: ids.map(point).collect(), mode: UpdateMode::Upsert, condition: None }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::now() + Duration::from_secs(60);
    while !condition() {
        assert!(clock::now() < deadline, "after 60 s still not: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn every_copy_has_what_was_acknowledged() {
    let mut group = Group::new();
    group.write(&upsert(0..10));
    group.add(2);
    group.add(3);
    (1..20).for_each(|i| group.write(&upsert(i * 10..i * 10 + 10)));
    group.write(&Operation::Delete(Selection::Ids((0..50).map(PointId::Num).collect())));
    // An acknowledged write is in the log of every copy that counts.
    let last = group.nodes[&1].shard.log_tail().last;
    assert!(group.nodes.values().all(|n| n.shard.log_tail().last == last));
    group.check(50..200);
}

#[test]
fn another_copy_leads_after_the_first_is_gone() {
    let mut group = Group::new();
    group.add(2);
    group.add(3);
    group.write(&upsert(0..10));
    group.kill(1);
    group.promote(2);
    (1..5).for_each(|i| group.write(&upsert(i * 10..i * 10 + 10)));
    group.check(0..50);
    assert!(!group.world.record().in_sync(CopyId(1)), "writes go on because it doesn't count any more");
    group.start(1);
    group.wait_in_sync(&[1]);
    group.write(&upsert(50..60));
    group.check(0..60);
}

#[test]
fn a_process_that_starts_again_leads_in_another_term() {
    let mut group = Group::new();
    group.write(&upsert(0..10));
    let term = group.world.record().term;
    group.kill(1);
    group.start(1);
    group.write(&upsert(10..20));
    assert!(group.world.record().term > term);
    group.check(0..20);
}

#[test]
fn a_copy_that_is_cut_off_stops_to_count_and_catches_up() {
    let mut group = Group::new();
    group.add(2);
    group.write(&upsert(0..10));
    group.world.cut_off(&[2]);
    (1..5).for_each(|i| group.write(&upsert(i * 10..i * 10 + 10)));
    assert!(!group.world.record().in_sync(CopyId(2)));
    group.world.cut_off(&[]);
    group.wait_in_sync(&[2]);
    group.check(0..50);
}

#[test]
fn a_copy_that_the_log_does_not_reach_gets_files() {
    let mut group = Group::new();
    let large = |ids| {
        let Operation::Upsert { mut points, mode, condition } = upsert(ids) else {
            unreachable!("an upsert")
        };
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(50_000));
        points.iter_mut().for_each(|p| p.payload = RawPayload::from_json_bytes(text.as_bytes()));
        Operation::Upsert { points, mode, condition }
    };
    (0..10).for_each(|i| group.write(&large(i * 10..i * 10 + 10)));
    group.nodes[&1].shard.flush().expect("sealed");
    assert!(group.nodes[&1].shard.log_tail().first > 1, "the log begins later now");
    group.add(2);
    group.write(&large(100..110));
    let held = || {
        group.world.record().in_sync(CopyId(2))
            && group.nodes[&2].replica.ask(|copy, _| copy.applied()) == Some(11)
    };
    until("the new copy has all", held);
    // What it has is enough to lead alone.
    group.kill(1);
    group.promote(2);
    until("it leads", || group.nodes[&2].replica.ask(|copy, now| copy.leads(now)) == Some(true));
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_that_the_next_one_lacks() {
    let mut group = Group::new();
    group.add(2);
    group.add(3);
    group.write(&upsert(0..10));
    group.world.cut_off(&[1]);
    let old = group.nodes[&1].shard.clone();
    let writing = std::thread::spawn(move || old.write(upsert(100..110)));
    until("the write waits", || {
        group.nodes[&1].shard.log_tail().last > group.nodes[&2].shard.log_tail().last
    });
    group.promote(3);
    let outcome = writing.join().expect("the writer");
    assert!(matches!(outcome, Err(quiver_engine::Error::Unknown(_))), "{outcome:?}");
    group.write(&upsert(10..20));
    group.world.cut_off(&[]);
    group.wait_in_sync(&[1, 2, 3]);
    group.check(0..20);
}

#[test]
fn a_leader_that_may_be_cut_off_refuses_writes_instead_of_letting_them_wait() {
    let mut group = Group::new();
    group.add(2);
    group.write(&upsert(0..10));
    group.world.cut_off(&[1]);
    group.world.0.lock().storeless = vec![CopyId(1)];
    let old = group.nodes[&1].shard.clone();
    // What is in the log already may still be committed.
    let waited = old.write(upsert(100..110));
    assert!(matches!(waited, Err(quiver_engine::Error::Unknown(_))), "{waited:?}");
    let refused = old.write(upsert(200..210));
    assert!(
        matches!(&refused, Err(quiver_engine::Error::Unavailable(why)) if why.contains("ask another node")),
        "{refused:?}"
    );
    group.world.0.lock().storeless.clear();
    group.world.cut_off(&[]);
    group.write(&upsert(300..310));
    group.check((0..10).chain(100..110).chain(300..310));
}
