//! Multivectors with a graph: it finds what comparing every point finds, with filters, after merges and
//! deletions, and where it does not pay every point is compared.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Shard, ShardOptions, Watermarks};
use crate::cancel::Cancel;
use crate::config::{
    CollectionConfig, Distance, FieldSchema, FieldType, HnswConfig, OptimizerConfig, VectorParams,
};
use crate::file::RealDisk;
use crate::filter::{Condition, FieldCondition, FieldTest, Filter};
use crate::hnsw::tests::DISTANCES;
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{Plan, Query, SearchParams, SearchRequest};
use crate::vector::{MultiVector, Vector};

const NAME: &str = "tokens";
const DIM: usize = 16;
const TOPICS: u64 = 60;
const LIMIT: usize = 10;

/// A generator whose numbers are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        PointId::Num(self.0).hash64()
    }

    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Some words, each of one of three topics, as texts have them.
    fn text(&mut self) -> MultiVector {
        let topics: Vec<u64> = (0..3).map(|_| self.next() % TOPICS).collect();
        let mut word = |n: usize| -> Vec<f32> {
            let mut topic = Random(topics[n % 3] + 1);
            (0..DIM).map(|_| topic.number() + 0.5 * self.number()).collect()
        };
        MultiVector::new((0..6).map(&mut word).collect()).expect("rows")
    }
}

fn shard(dir: &std::path::Path, distance: Distance, hnsw: HnswConfig) -> Shard {
    let params = VectorParams { multivector: true, ..VectorParams::new(DIM, distance) };
    let config = CollectionConfig {
        vectors: [(NAME.into(), params)].into(),
        hnsw: HnswConfig { full_scan_threshold_kb: 10, ..hnsw },
        optimizers: OptimizerConfig {
            default_segment_number: 1,
            indexing_threshold_kb: 100,
            ..OptimizerConfig::default()
        },
        ..CollectionConfig::default()
    };
    let options = ShardOptions { watermarks: Watermarks::OFF, ..ShardOptions::default() };
    let shard = Shard::create(Arc::new(RealDisk), dir, options, config).expect("creates");
    let (field, schema) = (JsonPath::parse("n").expect("a path"), FieldSchema::plain(FieldType::Integer));
    shard.write(Operation::CreateIndex { field, schema }).expect("an index");
    shard
}

fn upsert(shard: &Shard, ids: std::ops::Range<u64>, random: &mut Random) {
    let write = |n: u64| {
        let vectors = [(NAME.to_owned(), Vector::Multi(random.text()))].into_iter().collect();
        let payload = RawPayload::from_json_bytes(serde_json::json!({"n": n % 10}).to_string().as_bytes());
        PointWrite { id: PointId::Num(n), vectors, payload }
    };
    let points = ids.map(write).collect();
    let op = Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None };
    shard.write(op).expect("an upsert");
}

fn optimize(shard: &Shard) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    for _ in 0..2 {
        while shard.optimize(&pool, &Cancel::new()).expect("optimizes") {}
    }
}

/// Share of the best points that are found, over some queries; every segment is searched as `plan` says.
fn check(shard: &Shard, below: Option<i64>, plan: Plan, random: &mut Random, least: f64) {
    let key = JsonPath::parse("n").expect("a path");
    let tests = |below| vec![FieldTest::AnyInteger((0..below).collect())];
    let filter = below.map(|below| Filter {
        must: vec![Condition::Field(FieldCondition { key, tests: tests(below) })],
        ..Filter::default()
    });
    let (mut found, queries) = (0, 20);
    for _ in 0..queries {
        let ask = |exact: bool, query: MultiVector| {
            let (using, query, filter) = (NAME.to_owned(), Query::Nearest(query), filter.clone());
            let params = SearchParams { exact, ..SearchParams::default() };
            let request = SearchRequest { using, query, filter, params, limit: LIMIT, score_threshold: None };
            shard.view().search_multi(&request, &Cancel::new()).expect("finds")
        };
        let query = random.text();
        let (best, got) = (ask(true, query.clone()), ask(false, query));
        assert!(best.plans.iter().all(|p| *p == Plan::Scan));
        assert!(got.plans.iter().all(|p| *p == plan), "{:?}, not {plan:?}", got.plans);
        assert_eq!((best.hits.len(), got.hits.len()), (LIMIT, LIMIT));
        let best: HashSet<PointId> = best.hits.iter().map(|h| h.id).collect();
        found += got.hits.iter().filter(|h| best.contains(&h.id)).count();
    }
    let recall = found as f64 / (queries * LIMIT) as f64;
    assert!(recall >= least, "recall {recall}");
}

fn check_life(distance: Distance) {
    let dir = tempfile::tempdir().expect("a folder");
    let random = &mut Random(11);
    let shard = shard(dir.path(), distance, HnswConfig::default());
    upsert(&shard, 0..3500, random);
    optimize(&shard);
    assert_eq!(shard.stats().indexed_vectors, 3500);
    check(&shard, None, Plan::Graph, random, 0.95);
    // So few points are compared sooner than walked among.
    check(&shard, Some(1), Plan::Scan, random, 1.0);
    let gone = (0..3500).step_by(7).map(PointId::Num).collect();
    shard.write(Operation::Delete(Selection::Ids(gone))).expect("a deletion");
    check(&shard, None, Plan::Graph, random, 0.95);
    check(&shard, Some(8), Plan::FilteredGraph, random, 0.95);
    upsert(&shard, 3500..4900, random);
    optimize(&shard);
    let stats = shard.stats();
    assert_eq!((stats.segments, stats.indexed_vectors), (1, stats.vectors[NAME]));
    check(&shard, None, Plan::Graph, random, 0.95);
}

#[test]
fn the_graph_finds_what_comparing_all_points_finds() {
    for distance in DISTANCES {
        check_life(distance);
    }
}

#[test]
fn without_links_there_is_no_graph_and_all_points_are_compared() {
    let dir = tempfile::tempdir().expect("a folder");
    let random = &mut Random(12);
    let shard = shard(dir.path(), Distance::Dot, HnswConfig { m: 0, ..HnswConfig::default() });
    upsert(&shard, 0..2000, random);
    optimize(&shard);
    assert_eq!((shard.stats().indexed_vectors, shard.stats().bytes_ram), (0, 0));
    check(&shard, None, Plan::Scan, random, 1.0);
}
