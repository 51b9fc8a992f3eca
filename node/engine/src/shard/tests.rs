//! A shard against a plain map: random operations, sealing, optimizing, restarts and snapshots at random moments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Shard, ShardOptions, ShardStatus, Watermarks};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, FieldSchema, FieldType, OptimizerConfig, VectorParams};
use crate::error::{Error, Result};
use crate::file::{Disk, RealDisk};
use crate::filter::{self, Bounds, Condition, FieldCondition, FieldTest, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::{PayloadMap, RawPayload};
use crate::payload_edit;
use crate::point_id::PointId;
use crate::query::{Query, SearchParams, SearchRequest, WithVectors};
use crate::vector::{NamedVectors, Vector};

/// A small generator, so that a seed says everything.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect()
    }
}

fn params(size: usize, distance: Distance) -> VectorParams {
    VectorParams::new(size, distance)
}

fn config() -> CollectionConfig {
    CollectionConfig {
        vectors: [(String::new(), params(4, Distance::Euclid)), ("b".into(), params(3, Distance::Dot))]
            .into(),
        optimizers: OptimizerConfig {
            indexing_threshold_kb: 1,
            vacuum_min_vector_number: 20,
            ..OptimizerConfig::default()
        },
        ..CollectionConfig::default()
    }
}

pub(super) fn options() -> ShardOptions {
    ShardOptions { watermarks: Watermarks::OFF, ..ShardOptions::default() }
}

pub(super) fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads")
}

fn id_of(n: u64) -> PointId {
    if n.is_multiple_of(5) { PointId::Uuid(uuid::Uuid::from_u64_pair(7, n)) } else { PointId::Num(n) }
}

fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).expect("a path")
}

fn field(key: &str, test: FieldTest) -> Filter {
    let field = FieldCondition { key: path(key), tests: vec![test] };
    Filter { must: vec![Condition::Field(field)], ..Filter::default() }
}

fn random_filter(random: &mut Random) -> Filter {
    match random.below(5) {
        0 => field("k", FieldTest::Keyword(format!("w{}", random.below(6)))),
        1 => field("n", FieldTest::Integer(random.below(10) as i64)),
        2 => {
            let low = random.below(10) as f64;
            field("n", FieldTest::Range(Bounds { gte: Some(low), lt: Some(low + 4.0), ..Bounds::default() }))
        }
        3 => Filter { must_not: vec![Condition::IsEmpty(path("k"))], ..Filter::default() },
        _ => Filter { must: vec![Condition::HasVector("b".into())], ..Filter::default() },
    }
}

fn random_payload(random: &mut Random) -> PayloadMap {
    let mut map = PayloadMap::new();
    if random.below(4) > 0 {
        map.insert("k".into(), format!("w{}", random.below(6)).into());
    }
    if random.below(3) > 0 {
        map.insert("n".into(), random.below(10).into());
    }
    if random.below(5) == 0 {
        map.insert("list".into(), vec![random.below(3), random.below(3)].into());
    }
    map
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    vectors: NamedVectors,
    payload: PayloadMap,
}

/// What the shard should hold.
#[derive(Default)]
struct Model(BTreeMap<PointId, Point>);

impl Model {
    fn ids(&self, filter: &Filter) -> Vec<PointId> {
        let passes = |(id, p): &(&PointId, &Point)| {
            filter::matches(filter, **id, &|name| p.vectors.get(name).is_some(), &p.payload)
        };
        self.0.iter().filter(passes).map(|(id, _)| *id).collect()
    }

    fn select(&self, s: &Selection) -> Vec<PointId> {
        match s {
            Selection::Ids(ids) => ids.clone(),
            Selection::Filter(f) => self.ids(f),
        }
    }

    fn apply(&mut self, op: &Operation) {
        match op {
            Operation::Upsert { points, mode, condition } => {
                // As if each point came alone: of the same id twice the second meets the first.
                for p in points {
                    let before: Vec<PointId> = match condition {
                        Some(f) => self.ids(f),
                        None => self.0.keys().copied().collect(),
                    };
                    let exists = self.0.contains_key(&p.id);
                    let skip = match mode {
                        UpdateMode::Upsert => exists && !before.contains(&p.id),
                        UpdateMode::InsertOnly => exists,
                        UpdateMode::UpdateOnly => !before.contains(&p.id),
                    };
                    if !skip {
                        let payload = p.payload.parse().expect("our own JSON");
                        self.0.insert(p.id, Point { vectors: p.vectors.clone(), payload });
                    }
                }
            }
            Operation::Delete(s) => self.select(s).iter().for_each(|id| drop(self.0.remove(id))),
            Operation::UpdateVectors { points, .. } => {
                for (id, vectors) in points {
                    let point = self.0.get_mut(id).expect("checked before");
                    vectors.iter().for_each(|(n, v)| point.vectors.insert(n.to_owned(), v.clone()));
                }
            }
            Operation::DeleteVectors { select, names } => self.each(select, |p| {
                names.iter().for_each(|n| drop(p.vectors.remove(n)));
            }),
            Operation::SetPayload { select, payload, key } => {
                let patch = payload.parse().expect("our own JSON");
                self.each(select, |p| payload_edit::merge(&mut p.payload, &patch, key.as_ref()));
            }
            Operation::OverwritePayload { select, payload } => {
                let map = payload.parse().expect("our own JSON");
                self.each(select, |p| p.payload = map.clone());
            }
            Operation::DeletePayload { select, keys } => {
                self.each(select, |p| payload_edit::delete_keys(&mut p.payload, keys));
            }
            Operation::ClearPayload(select) => self.each(select, |p| p.payload.clear()),
            Operation::DropVector { name } => {
                self.0.values_mut().for_each(|p| drop(p.vectors.remove(name)));
            }
            Operation::CreateVector { .. }
            | Operation::CreateSparseVector { .. }
            | Operation::CreateIndex { .. }
            | Operation::DropIndex { .. }
            | Operation::Freeze { .. }
            | Operation::Keep(_) => {}
        }
    }

    fn each(&mut self, s: &Selection, change: impl Fn(&mut Point)) {
        for id in self.select(s) {
            change(self.0.get_mut(&id).expect("checked before"));
        }
    }
}

fn random_vectors(random: &mut Random, has_b: bool) -> NamedVectors {
    let mut vectors = NamedVectors::new();
    if random.below(8) > 0 {
        vectors.insert(String::new(), Vector::Dense(random.vector(4)));
    }
    if has_b && random.below(2) == 0 {
        vectors.insert("b".into(), Vector::Dense(random.vector(3)));
    }
    vectors
}

fn random_selection(random: &mut Random, model: &Model) -> Selection {
    if random.below(3) == 0 {
        return Selection::Filter(random_filter(random));
    }
    let existing: Vec<PointId> = model.0.keys().copied().collect();
    let n = random.below(10).min(existing.len() as u64);
    Selection::Ids((0..n).map(|_| existing[random.below(existing.len() as u64) as usize]).collect())
}

fn random_operation(random: &mut Random, model: &Model, has_b: &mut bool) -> Operation {
    let select = random_selection(random, model);
    match random.below(20) {
        0..=8 => {
            let n = 1 + random.below(30);
            let point = |random: &mut Random, has_b| PointWrite {
                id: id_of(random.below(300)),
                vectors: random_vectors(random, has_b),
                payload: RawPayload::from_map(&random_payload(random)),
            };
            let mode = match random.below(10) {
                0 => UpdateMode::InsertOnly,
                1 => UpdateMode::UpdateOnly,
                _ => UpdateMode::Upsert,
            };
            let condition = (random.below(8) == 0).then(|| random_filter(random));
            Operation::Upsert { points: (0..n).map(|_| point(random, *has_b)).collect(), mode, condition }
        }
        9 | 10 => Operation::Delete(select),
        11 => {
            let Selection::Ids(ids) = select else { return Operation::Delete(Selection::Ids(vec![])) };
            let points = ids.into_iter().map(|id| (id, random_vectors(random, *has_b))).collect();
            Operation::UpdateVectors { points, condition: None }
        }
        12 => Operation::DeleteVectors { select, names: vec![String::new()] },
        13 | 14 => {
            let key = (random.below(3) == 0).then(|| path("deep.er"));
            Operation::SetPayload { select, payload: RawPayload::from_map(&random_payload(random)), key }
        }
        15 => Operation::OverwritePayload { select, payload: RawPayload::from_map(&random_payload(random)) },
        16 => Operation::DeletePayload { select, keys: vec![path("k")] },
        17 => Operation::ClearPayload(select),
        18 if random.below(4) == 0 => {
            *has_b = !*has_b;
            let name = "b".to_owned();
            if *has_b {
                Operation::CreateVector { name, params: params(3, Distance::Dot) }
            } else {
                Operation::DropVector { name }
            }
        }
        _ => {
            let (key, kind) =
                if random.below(2) == 0 { ("k", FieldType::Keyword) } else { ("n", FieldType::Integer) };
            if random.below(3) == 0 {
                Operation::DropIndex { field: path(key) }
            } else {
                // Points of a tenant lie together, and nothing else changes.
                let schema = FieldSchema { is_tenant: Some(true), ..FieldSchema::plain(kind) };
                Operation::CreateIndex { field: path(key), schema }
            }
        }
    }
}

fn search(
    shard: &Shard,
    using: &str,
    vector: Vec<f32>,
    filter: Option<Filter>,
    limit: usize,
) -> Vec<(PointId, f32)> {
    let params = SearchParams { exact: true, ..SearchParams::default() };
    let query = Query::Nearest(vector);
    let request = SearchRequest { using: using.into(), query, filter, params, limit, score_threshold: None };
    let outcome = shard.view().search(&request, &Cancel::new()).expect("searches");
    outcome.hits.iter().map(|h| (h.id, h.score)).collect()
}

/// Everything that a client can see is what the model says.
fn check(shard: &Shard, model: &Model, random: &mut Random) {
    let view = shard.view();
    let cancel = Cancel::new();
    assert_eq!(view.points(), model.0.len() as u64);
    let (all, _) = view.scroll(None, None, usize::MAX, &cancel).expect("scrolls");
    assert_eq!(all, model.0.keys().copied().collect::<Vec<_>>());
    for record in view.retrieve(&all, true, &WithVectors::All).expect("retrieves") {
        let found = Point { vectors: record.vectors, payload: record.payload.parse().expect("JSON") };
        assert_eq!(found, model.0[&record.id], "point {}", record.id);
    }
    let filter = random_filter(random);
    let expected = model.ids(&filter);
    assert_eq!(view.count(Some(&filter), &cancel).expect("counts").0, expected.len() as u64, "{filter:?}");
    let from = id_of(random.below(300));
    let (page, _) = view.scroll(Some(&filter), Some(from), 7, &cancel).expect("scrolls");
    let page_expected: Vec<PointId> = expected.iter().copied().filter(|id| *id >= from).take(7).collect();
    assert_eq!(page, page_expected);
    let query = random.vector(4);
    for filter in [None, Some(filter)] {
        let ids = filter.as_ref().map_or_else(|| model.0.keys().copied().collect(), |f| model.ids(f));
        let distance = |id: &PointId| {
            let v = model.0[id].vectors.get("")?.as_dense()?;
            Some(Distance::Euclid.score(Distance::Euclid.similarity(&query, v)))
        };
        let mut scores: Vec<f32> = ids.iter().filter_map(distance).collect();
        scores.sort_by(f32::total_cmp);
        scores.truncate(10);
        let found = search(shard, "", query.clone(), filter, 10);
        assert_eq!(found.len(), scores.len());
        for ((id, score), expected) in found.iter().zip(&scores) {
            assert!(
                (score - expected).abs() <= 1e-5 && (distance(id).expect("has it") - score).abs() <= 1e-5
            );
        }
    }
}

fn run_model(seed: u64, steps: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dir: PathBuf = folder.path().join("shard");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut model = Model::default();
    let mut has_b = true;
    let pool = pool();
    let disk = || Arc::new(RealDisk);
    let mut shard = Shard::create(disk(), &dir, options(), config()).expect("creates");
    for step in 0..steps {
        match random.below(24) {
            0 => shard.flush().expect("flushes"),
            1 | 2 => drop(shard.optimize(&pool, &Cancel::new()).expect("optimizes")),
            3 => {
                drop(shard);
                shard = Shard::open(disk(), &dir, options()).expect("opens");
            }
            4 if random.below(4) == 0 => {
                let snapshot = folder.path().join(format!("snapshot-{step}"));
                shard.snapshot_to(&snapshot).expect("snapshot");
                dir = folder.path().join(format!("restored-{step}"));
                shard = Shard::restore_from(disk(), &snapshot, &dir, options()).expect("restores");
            }
            _ => {
                let op = random_operation(&mut random, &model, &mut has_b);
                shard.write(op.clone()).unwrap_or_else(|e| panic!("seed {seed}, step {step}: {op:?}: {e}"));
                model.apply(&op);
            }
        }
        if step % 4 == 0 {
            check(&shard, &model, &mut random);
        }
    }
    drop(shard);
    check(&Shard::open(disk(), &dir, options()).expect("opens"), &model, &mut random);
}

#[test]
fn random_operations_give_what_a_plain_map_gives() {
    for seed in 1..=6 {
        eprintln!("seed {seed}");
        run_model(seed, 200);
    }
}

fn point(n: u64, value: f32) -> PointWrite {
    let payload = RawPayload::from_json_bytes(format!(r#"{{"n":{n},"v":{value}}}"#).as_bytes());
    PointWrite { id: id_of(n), vectors: NamedVectors::unnamed(vec![value; 4]), payload }
}

fn upsert(points: Vec<PointWrite>) -> Operation {
    Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }
}

fn create(dir: &Path) -> Shard {
    Shard::create(Arc::new(RealDisk), dir, options(), config()).expect("creates")
}

#[test]
fn a_missing_point_is_an_error_and_the_others_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    shard.write(upsert(vec![point(1, 1.0)])).expect("writes");
    let payload = RawPayload::from_json_bytes(br#"{"x":1}"#);
    let select = Selection::Ids(vec![id_of(2), id_of(1)]);
    let refused: Result<_> = shard.write(Operation::SetPayload { select, payload, key: None });
    assert!(matches!(refused, Err(Error::PointNotFound(id)) if id == id_of(2)));
    let record = &shard.view().retrieve(&[id_of(1)], true, &WithVectors::None).expect("retrieves")[0];
    assert!(record.payload.parse().expect("JSON").contains_key("x"));
}

#[test]
fn wrong_names_and_dimensions_never_reach_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    let write = |vectors| {
        shard.write(upsert(vec![PointWrite { id: id_of(1), vectors, payload: RawPayload::empty() }]))
    };
    let wrong = NamedVectors::unnamed(vec![1.0; 3]);
    assert!(matches!(write(wrong), Err(Error::Dimension { expected: 4, got: 3 })));
    let unknown: NamedVectors = [("c".to_owned(), Vector::Dense(vec![1.0]))].into_iter().collect();
    assert!(matches!(write(unknown), Err(Error::VectorName(name)) if name == "c"));
    assert_eq!(shard.view().seq(), 0);
}

#[test]
fn a_payload_too_deep_to_be_read_again_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    shard.write(upsert(vec![point(1, 1.0)])).expect("writes");
    let set = |levels: usize| {
        let key = Some(path(&vec!["a"; levels].join(".")));
        let payload = RawPayload::from_json_bytes(br#"{"x":{"y":[1]}}"#);
        shard.write(Operation::SetPayload { select: Selection::Ids(vec![id_of(1)]), payload, key })
    };
    assert!(matches!(set(118), Err(Error::BadInput(_))));
    set(117).expect("as deep as allowed");
    shard.flush().expect("what was taken can be read again");
}

#[test]
fn a_nearly_full_volume_refuses_upserts_and_takes_deletes() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("s");
    create(&dir).write(upsert(vec![point(1, 1.0), point(2, 1.0)])).expect("writes");
    let full = Watermarks { refuse_percent: 0.0, accept_percent: 0.0 };
    let full = ShardOptions { watermarks: full, ..ShardOptions::default() };
    let shard = Shard::open(Arc::new(RealDisk), &dir, full).expect("opens");
    assert!(matches!(shard.write(upsert(vec![point(3, 1.0)])), Err(Error::NoSpace(_))));
    shard.write(Operation::Delete(Selection::Ids(vec![id_of(1)]))).expect("deletes");
    assert_eq!(shard.view().points(), 1);
}

#[test]
fn a_folder_of_another_copy_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(create(folder.path()));
    let mut other = options();
    other.identity.copy_id = [1; 16];
    assert!(matches!(Shard::open(Arc::new(RealDisk), folder.path(), other), Err(Error::BadInput(_))));
}

#[test]
fn an_index_is_complete_when_it_is_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    shard.write(upsert((0..100).map(|n| point(n, n as f32)).collect())).expect("writes");
    shard.flush().expect("flushes");
    shard.write(upsert((100..150).map(|n| point(n, n as f32)).collect())).expect("writes");
    let create = Operation::CreateIndex { field: path("n"), schema: FieldSchema::plain(FieldType::Integer) };
    shard.write(create).expect("creates the index");
    let view = shard.view();
    assert_eq!(view.payload_schema()[0].2, 150);
    let (count, unindexed) =
        view.count(Some(&field("n", FieldTest::Integer(7))), &Cancel::new()).expect("counts");
    assert_eq!((count, unindexed.len()), (1, 0));
}

/// Readers while everything changes: a point that was acknowledged is in every later view, once, whole.
/// Names of all files below the folder of a shard's segments.
fn segment_files(shard: &Shard) -> Vec<String> {
    let mut names = Vec::new();
    for segment in RealDisk.list(&shard.dir().join("segments")).expect("a folder") {
        names.extend(RealDisk.list(&shard.dir().join("segments").join(segment)).expect("a folder"));
    }
    names
}

#[test]
fn a_dropped_vector_gives_its_space_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = create(dir.path());
    let mut points: Vec<_> = (0..50).map(|n| point(n, n as f32)).collect();
    points.iter_mut().for_each(|p| p.vectors.insert("b".into(), Vector::Dense(vec![1.0; 3])));
    shard.write(upsert(points)).expect("a write");
    shard.flush().expect("flush");
    let of_vectors = |shard: &Shard| segment_files(shard).iter().filter(|f| f.ends_with(".raw")).count();
    assert_eq!(of_vectors(&shard), 2);
    shard.write(Operation::DropVector { name: "b".into() }).expect("a write");
    shard.flush().expect("flush");
    assert_eq!(of_vectors(&shard), 1);
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), dir.path(), options()).expect("open");
    assert_eq!(shard.view().points(), 50);
}

#[test]
fn a_burst_of_writes_has_its_graph_in_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = create(dir.path());
    shard.write(upsert((0..2000).map(|n| point(n, n as f32)).collect())).expect("a write");
    assert!(!shard.is_settled(), "there is a graph to build");
    let look = |_| shard.optimize(&pool(), &Cancel::new()).is_ok() && !shard.is_settled();
    assert!((0..100).take_while(|n| look(*n)).count() < 100, "it never comes to rest");
    assert_eq!(shard.stats().status, ShardStatus::Green);
    assert!(shard.view().sealed().iter().all(|s| s.segment.vectors()[""].has_graph()));
}

#[test]
fn readers_see_every_acknowledged_point_once_while_everything_moves() {
    const POINTS: u64 = 400;
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    let round = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let write_round = |r: u64| {
        for from in (0..POINTS).step_by(50) {
            let points = (from..from + 50).map(|n| point(n, r as f32)).collect();
            shard.write(upsert(points)).expect("writes");
        }
    };
    write_round(1);
    round.store(1, Ordering::Release);
    std::thread::scope(|scope| {
        let reader = || {
            while !stop.load(Ordering::Acquire) {
                let acknowledged = round.load(Ordering::Acquire) as f64;
                let view = shard.view();
                let (ids, _) = view.scroll(None, None, usize::MAX, &Cancel::new()).expect("scrolls");
                assert_eq!(ids.len() as u64, POINTS);
                assert!(ids.is_sorted_by(|a, b| a < b), "a point came twice");
                for record in view.retrieve(&ids, true, &WithVectors::All).expect("retrieves") {
                    let value = record.payload.parse().expect("JSON")["v"].as_f64().expect("a number");
                    assert!(value >= acknowledged, "point {} is older than acknowledged", record.id);
                    let vector = record.vectors.get("").and_then(Vector::as_dense).expect("a vector");
                    assert_eq!(f64::from(vector[0]), value, "vector and payload are of one write");
                }
                let request = SearchRequest {
                    using: String::new(),
                    query: Query::Nearest(vec![0.0; 4]),
                    filter: None,
                    params: SearchParams { exact: true, ..SearchParams::default() },
                    limit: POINTS as usize * 2,
                    score_threshold: None,
                };
                let hits = view.search(&request, &Cancel::new()).expect("searches").hits;
                assert_eq!(hits.len() as u64, POINTS);
            }
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        let optimizer = scope.spawn(|| {
            let pool = pool();
            while !stop.load(Ordering::Acquire) {
                shard.optimize(&pool, &Cancel::new()).expect("optimizes");
                shard.flush().expect("flushes");
            }
        });
        for r in 2..=25 {
            write_round(r);
            round.store(r, Ordering::Release);
        }
        stop.store(true, Ordering::Release);
        readers.into_iter().for_each(|r| r.join().expect("the reader found nothing wrong"));
        optimizer.join().expect("the optimizer went on");
    });
    let pool = pool();
    // The first call still sees the writes; from then on it is calm.
    for _ in 0..3 {
        shard.optimize(&pool, &Cancel::new()).expect("optimizes");
    }
    let stats = shard.stats();
    assert_eq!((stats.points, stats.status), (POINTS, ShardStatus::Green));
    assert_eq!(stats.segments, 1, "a calm shard has one segment");
}

#[test]
fn many_writers_at_once_are_all_acknowledged_and_durable() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("s");
    let shard = create(&dir);
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            let shard = &shard;
            scope.spawn(move || {
                for i in 0..40 {
                    shard.write(upsert(vec![point(t * 1000 + i, 1.0)])).expect("writes");
                }
            });
        }
    });
    assert_eq!(shard.view().points(), 320);
    drop(shard);
    assert_eq!(Shard::open(Arc::new(RealDisk), &dir, options()).expect("opens").view().points(), 320);
}
