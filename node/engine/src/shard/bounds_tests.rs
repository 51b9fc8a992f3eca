//! What a shard keeps in memory has bounds: the queue, the mutable part, the threads; and settings are honoured.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use super::tests::pool;
use super::{Done, GraphThreads, Shard, ShardLimits, ShardOptions, Watermarks};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, HnswConfig, HnswDiff, OptimizerConfig, VectorParams};
use crate::error::{Error, Result};
use crate::file::{Disk, RealDisk, SimDisk};
use crate::filter::{Condition, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{Plan, Query, SearchParams, SearchRequest, WithVectors};
use crate::vector::NamedVectors;

const DIM: usize = 8;

fn config() -> CollectionConfig {
    let params = VectorParams::new(DIM, Distance::Euclid);
    CollectionConfig {
        vectors: [(String::new(), params)].into(),
        optimizers: OptimizerConfig { indexing_threshold_kb: 1, ..OptimizerConfig::default() },
        ..CollectionConfig::default()
    }
}

fn options(limits: ShardLimits) -> ShardOptions {
    ShardOptions { watermarks: Watermarks::OFF, limits, ..ShardOptions::default() }
}

fn create(dir: &Path, limits: ShardLimits, config: CollectionConfig) -> Shard {
    Shard::create(Arc::new(RealDisk), dir, options(limits), config).expect("creates")
}

fn vector(n: u64) -> Vec<f32> {
    (0..DIM as u64).map(|i| (n.wrapping_mul(2_654_435_761).wrapping_add(i * 40_503) % 1009) as f32).collect()
}

fn upsert(range: std::ops::Range<u64>) -> Operation {
    let point = |n| PointWrite {
        id: PointId::Num(n),
        vectors: NamedVectors::unnamed(vector(n)),
        payload: RawPayload::from_json_bytes(format!(r#"{{"n":{n}}}"#).as_bytes()),
    };
    Operation::Upsert { points: range.map(point).collect(), mode: UpdateMode::Upsert, condition: None }
}

fn delete(range: std::ops::Range<u64>) -> Operation {
    Operation::Delete(Selection::Ids(range.map(PointId::Num).collect()))
}

/// Queues upserts that nobody writes until one is refused; gives how many were taken.
fn check_queue(limits: ShardLimits, expected: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"), limits, config());
    let (tell, told) = mpsc::channel::<Result<_>>();
    let done = || -> Done {
        let tell = tell.clone();
        Box::new(move |result| drop(tell.send(result)))
    };
    let mut taken = 0;
    let refused = loop {
        let first = shard.enqueue(upsert(taken..taken + 1), done());
        match told.try_recv() {
            Ok(result) => break result,
            Err(_) => assert_eq!(first, taken == 0, "one is asked to write, for all"),
        }
        taken += 1;
        assert!(taken < 10_000, "the queue has no bound");
    };
    assert!(
        matches!(refused, Err(Error::Unavailable(ref text)) if text.contains("try again")),
        "{refused:?}"
    );
    assert_eq!((taken as usize, shard.stats().queue), (expected, expected));
    assert_eq!(shard.view().points(), 0, "readers don't wait");
    shard.drain();
    for _ in 0..taken {
        told.recv().expect("told").expect("what was taken is written");
    }
    assert_eq!(shard.view().points(), taken);
    shard.write(upsert(taken..taken + 1)).expect("there is room again");
}

#[test]
fn a_full_queue_refuses_at_once_and_takes_writes_again_when_it_is_written() {
    let one = upsert(0..1).bytes();
    let limits = ShardLimits::default();
    check_queue(ShardLimits { queue_operations: 7, ..limits }, 7);
    check_queue(ShardLimits { queue_bytes: one * 5, ..limits }, 5);
    // One alone is always taken: what is too large for this version was refused at the door.
    check_queue(ShardLimits { queue_bytes: 1, ..limits }, 1);
}

#[test]
fn what_can_not_be_sealed_refuses_writes_before_it_fills_the_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("s");
    let limits =
        ShardLimits { mutable_bytes: 20 << 10, mutable_bytes_max: 80 << 10, ..ShardLimits::default() };
    let shard = create(&dir, limits, config());
    // No segment can be written where its folder should be.
    let (segments, away) = (dir.join("segments"), dir.join("away"));
    RealDisk.rename(&segments, &away).expect("renames");
    RealDisk.create(&segments).expect("a file in its place");
    let mut written = 0;
    let refused = loop {
        match shard.write(upsert(written..written + 20)) {
            Ok(_) => written += 20,
            Err(e) => break e,
        }
        assert!(written < 10_000, "the memory has no bound");
    };
    assert!(matches!(&refused, Error::Unavailable(text) if text.contains("segment")), "{refused}");
    let bytes = shard.stats().bytes_ram;
    assert!((80 << 10..120 << 10).contains(&bytes), "{bytes} bytes");
    shard.write(delete(0..10)).expect("deletions go on");
    assert_eq!(shard.view().points(), written - 10);
    RealDisk.remove_file(&segments).expect("removes");
    RealDisk.rename(&away, &segments).expect("renames");
    let pool = pool();
    for _ in 0..2 {
        shard.optimize(&pool, &Cancel::new()).expect("it can be sealed again");
    }
    shard.write(upsert(written..written + 20)).expect("and writes are taken again");
    drop(shard);
    let again = Shard::open(Arc::new(RealDisk), &dir, options(limits)).expect("opens");
    assert_eq!(again.view().points(), written + 10);
}

/// An edit of every point by one operation.
fn check_edit(edit: fn(Selection) -> Operation, by_filter: bool, seen: fn(&RawPayload) -> bool) {
    const POINTS: u64 = 2000;
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("s");
    let limits = ShardLimits {
        edit_points: 50,
        edit_bytes: 16 << 10,
        mutable_bytes: 32 << 10,
        mutable_bytes_max: 64 << 10,
        ..ShardLimits::default()
    };
    let shard = create(&dir, limits, config());
    shard.write(upsert(0..POINTS)).expect("writes");
    shard.flush().expect("flushes");
    let (seq, segments) = (shard.view().seq(), shard.stats().segments);
    let all: Vec<PointId> = (0..POINTS).map(PointId::Num).collect();
    let every = Condition::IsNull(JsonPath::parse("missing").expect("a path"));
    let select = match by_filter {
        true => Selection::Filter(Filter { must_not: vec![every], ..Filter::default() }),
        false => Selection::Ids(all.clone()),
    };
    let applied = shard.write(edit(select)).expect("writes");
    assert_eq!(shard.view().seq(), applied.seq);
    assert!(applied.seq > seq + 5, "it was written in steps");
    assert!(shard.stats().segments > segments + 3, "what was in memory was sealed between them");
    let check = |shard: &Shard| {
        let records = shard.view().retrieve(&all, true, &WithVectors::All).expect("retrieves");
        assert_eq!(records.len() as u64, POINTS);
        for (record, n) in records.iter().zip(0..) {
            assert!(seen(&record.payload) && record.vectors == NamedVectors::unnamed(vector(n)), "point {n}");
        }
    };
    check(&shard);
    drop(shard);
    check(&Shard::open(Arc::new(RealDisk), &dir, options(limits)).expect("opens"));
}

#[test]
fn an_edit_of_everything_needs_memory_for_a_part_of_it_only() {
    let set = |select| {
        let payload = RawPayload::from_json_bytes(br#"{"new":true}"#);
        Operation::SetPayload { select, payload, key: None }
    };
    let is_set = |payload: &RawPayload| payload.parse().expect("JSON").contains_key("new");
    check_edit(set, true, is_set);
    check_edit(set, false, is_set);
    check_edit(Operation::ClearPayload, true, RawPayload::is_empty);
}

#[test]
fn a_rewriting_that_can_not_fit_is_not_begun() {
    let disk = SimDisk::new();
    let limits = ShardLimits::default();
    let shard = Shard::create(Arc::new(disk.clone()), Path::new("/s"), options(limits), config());
    let shard = shard.expect("creates");
    for part in 0..2 {
        shard.write(upsert(part * 2000..part * 2000 + 2000)).expect("writes");
        shard.flush().expect("flushes");
    }
    shard.mark_idle().expect("marks");
    disk.set_capacity(Some(disk.used() + (100 << 10)));
    let pool = pool();
    let (calls, used) = (disk.calls(), disk.used());
    // The first call still sees the writes; from the second on it is calm, and both should be merged.
    let results = [(); 3].map(|()| shard.optimize(&pool, &Cancel::new()));
    assert!(matches!(&results[2], Err(Error::NoSpace(text)) if text.contains("MiB")), "{results:?}");
    assert_eq!((disk.calls(), disk.used()), (calls, used), "not a byte was written");
    disk.set_capacity(None);
    shard.optimize(&pool, &Cancel::new()).expect("there is room");
    assert_eq!(shard.stats().segments, 1);
}

#[test]
fn graphs_are_built_by_no_more_threads_than_the_collection_may_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.optimizers.max_optimization_threads = Some(2);
    let shard = create(&folder.path().join("s"), ShardLimits::default(), config);
    shard.write(upsert(0..500)).expect("writes");
    shard.flush().expect("flushes");
    let (threads, pool) = (GraphThreads::default(), pool());
    let optimize =
        || [(); 2].map(|()| shard.optimize_within(&pool, &threads, &Cancel::new()).expect("optimizes"));
    let taken = threads.take(2, 2).expect("nobody has any");
    assert_eq!(optimize(), [false, false], "another shard of the collection has them all");
    assert!(!shard.is_settled(), "and still there is work");
    drop(taken);
    assert!(optimize().contains(&true));
    assert_eq!(shard.stats().indexed_vectors, 500);
    assert!(shard.is_settled());
    assert!(threads.take(2, 2).is_some_and(|t| t.count() == 2), "all came back");
}

/// Which way a segment of 4,000 points, 125 KiB of vectors, is searched.
fn check_threshold(collection_kb: usize, vector_kb: Option<usize>, expected: Plan) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.hnsw = HnswConfig { full_scan_threshold_kb: 1, ..HnswConfig::default() };
    let shard = create(&folder.path().join("s"), ShardLimits::default(), config.clone());
    shard.write(upsert(0..4000)).expect("writes");
    shard.flush().expect("flushes");
    let pool = pool();
    for _ in 0..2 {
        shard.optimize(&pool, &Cancel::new()).expect("optimizes");
    }
    config.hnsw.full_scan_threshold_kb = collection_kb;
    let params = config.vectors.get_mut("").expect("there");
    params.hnsw = Some(HnswDiff { full_scan_threshold_kb: vector_kb, ..HnswDiff::default() });
    shard.update_config(config).expect("a setting that may change");
    let request = SearchRequest {
        using: String::new(),
        query: Query::Nearest(vector(7)),
        filter: None,
        params: SearchParams { hnsw_ef: Some(16), ..SearchParams::default() },
        limit: 5,
        score_threshold: None,
    };
    let found = shard.view().search(&request, &Cancel::new()).expect("searches");
    assert_eq!(found.plans, [expected], "{collection_kb} {vector_kb:?}");
    assert_eq!(found.hits[0].id, PointId::Num(7));
}

#[test]
fn full_scan_threshold_is_that_of_the_vector_or_else_of_the_collection() {
    check_threshold(100, None, Plan::Graph);
    check_threshold(150, None, Plan::Scan);
    check_threshold(150, Some(100), Plan::Graph);
    check_threshold(100, Some(150), Plan::Scan);
}

#[test]
fn a_setting_of_a_vector_that_is_in_the_log_only_survives_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("s");
    let shard = create(&dir, ShardLimits::default(), config());
    let mut config = config();
    let params = config.vectors[""].clone();
    let create = Operation::CreateVector { name: "b".into(), params: params.clone() };
    shard.write(create).expect("creates the vector");
    let hnsw = Some(HnswDiff { m: Some(7), ..HnswDiff::default() });
    config.vectors.insert("b".into(), VectorParams { hnsw, ..params });
    shard.update_config(config.clone()).expect("a setting that may change");
    drop(shard);
    let again = Shard::open(Arc::new(RealDisk), &dir, options(ShardLimits::default())).expect("opens");
    assert_eq!(again.view().config().vectors, config.vectors);
}
