//! Every kind of query against all points compared one by one, with and without a graph; order and random draws.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Shard, ShardOptions, Watermarks};
use crate::cancel::Cancel;
use crate::config::{
    CollectionConfig, Distance, FieldSchema, FieldType, HnswConfig, OptimizerConfig, VectorParams,
};
use crate::distance::{Examples, normalize};
use crate::error::Error;
use crate::file::RealDisk;
use crate::filter::{Bounds, Condition, FieldCondition, FieldTest, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{
    ContextPair, FeedbackFactors, OrderBy, OrderValue, Plan, Query, SearchParams, SearchRequest,
};
use crate::vector::NamedVectors;

const POINTS: usize = 4400;
const DIM: usize = 16;

fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).expect("a path")
}

/// Point `n` has the values `n % 100` and, every tenth of them, 1000 more.
fn value_of(n: u64) -> Vec<i64> {
    let value = (n % 100) as i64;
    if n.is_multiple_of(10) { vec![value, value + 1000] } else { vec![value] }
}

/// A shard with `rows`; sealed and with a graph, or all in memory.
fn shard(dir: &std::path::Path, distance: Distance, rows: &[f32], sealed: bool) -> Shard {
    let params = VectorParams::new(DIM, distance);
    let config = CollectionConfig {
        vectors: [(String::new(), params)].into(),
        hnsw: HnswConfig { full_scan_threshold_kb: 1, ef_construct: 40, ..HnswConfig::default() },
        optimizers: OptimizerConfig {
            indexing_threshold_kb: 1,
            default_segment_number: 1,
            ..OptimizerConfig::default()
        },
        ..CollectionConfig::default()
    };
    let options = ShardOptions { watermarks: Watermarks::OFF, ..ShardOptions::default() };
    let shard = Shard::create(Arc::new(RealDisk), dir, options, config).expect("creates");
    let schema = FieldSchema::plain(FieldType::Integer);
    shard.write(Operation::CreateIndex { field: path("n"), schema }).expect("an index");
    let point = |(n, row): (usize, &[f32])| PointWrite {
        id: PointId::Num(n as u64),
        vectors: NamedVectors::unnamed(row.to_vec()),
        payload: RawPayload::from_json_bytes(
            serde_json::json!({"n": value_of(n as u64)}).to_string().as_bytes(),
        ),
    };
    let points = rows.chunks(DIM).enumerate().map(point).collect();
    shard.write(Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }).expect("points");
    if sealed {
        shard.flush().expect("seals");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        // Graphs are built by the call that finds no write since the last one.
        for _ in 0..2 {
            shard.optimize(&pool, &Cancel::new()).expect("optimizes");
        }
    }
    let gone = Selection::Ids((0..POINTS as u64).step_by(97).map(PointId::Num).collect());
    shard.write(Operation::Delete(gone)).expect("deletes");
    shard
}

/// One query of every kind, made of the rows of a fixed sequence.
fn queries(rows: &[f32]) -> Vec<Query> {
    let row = |n: usize| rows[n * DIM..(n + 1) * DIM].to_vec();
    let rows = |range: std::ops::Range<usize>| range.map(row).collect::<Vec<_>>();
    let pair = |n: usize| ContextPair { positive: row(n), negative: row(n + 1) };
    vec![
        Query::BestScore { positives: rows(0..3), negatives: rows(3..5) },
        Query::BestScore { positives: Vec::new(), negatives: rows(3..5) },
        Query::SumScores { positives: rows(0..4), negatives: rows(4..6) },
        Query::Discover { target: row(6), pairs: vec![pair(7), pair(9)] },
        Query::Context { pairs: vec![pair(2), pair(11)] },
        Query::Feedback {
            target: row(5),
            feedback: vec![(row(6), 0.9), (row(8), 0.2), (row(12), 0.4)],
            factors: FeedbackFactors { a: 0.6, b: 1.5, c: 0.3 },
        },
    ]
}

fn passes(n: u64, filtered: bool) -> bool {
    !n.is_multiple_of(97) && (!filtered || n % 100 < 60)
}

/// The share of the best that a search finds; every score that it gives must be the exact one.
fn recall(
    shard: &Shard,
    rows: &[f32],
    query: &Query,
    distance: Distance,
    filtered: bool,
) -> (f64, Vec<Plan>) {
    let below = FieldTest::Range(Bounds { lt: Some(60.0), ..Bounds::default() });
    let condition = Condition::Field(FieldCondition { key: path("n"), tests: vec![below] });
    let request = SearchRequest {
        using: String::new(),
        query: query.clone(),
        filter: filtered.then(|| Filter { must: vec![condition], ..Filter::default() }),
        params: SearchParams { hnsw_ef: Some(64), ..SearchParams::default() },
        limit: 10,
        score_threshold: None,
    };
    let outcome = shard.view().search(&request, &Cancel::new()).expect("searches");
    let examples = Examples::of(query, distance, DIM).expect("of one length").expect("examples");
    let score = |n: u64| {
        let mut row = rows[n as usize * DIM..][..DIM].to_vec();
        if distance == Distance::Cosine {
            normalize(&mut row);
        }
        examples.score(&row)
    };
    let mut all: Vec<f32> = (0..POINTS as u64).filter(|n| passes(*n, filtered)).map(score).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    for hit in &outcome.hits {
        let PointId::Num(n) = hit.id else { panic!("no such point: {}", hit.id) };
        assert!(passes(n, filtered), "{query:?}: {n} does not pass");
        assert!((hit.score - score(n)).abs() <= 1e-4 * hit.score.abs().max(1.0), "{query:?}: {n}");
    }
    assert!(outcome.hits.is_sorted_by(|a, b| a.score >= b.score), "{query:?}: best first");
    assert_eq!(outcome.hits.len(), 10, "{query:?}");
    let good = outcome.hits.iter().filter(|hit| hit.score >= all[9] - 1e-5).count();
    (good as f64 / 10.0, outcome.plans)
}

fn check(distance: Distance) {
    let rows = crate::hnsw::tests::clustered(distance, DIM, POINTS, 3);
    let examples = crate::hnsw::tests::clustered(distance, DIM, 20, 4);
    for sealed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let shard = shard(&folder.path().join("s"), distance, &rows, sealed);
        let (mut sum, mut count, mut walked) = (0.0, 0.0, false);
        for query in queries(&examples) {
            for filtered in [false, true] {
                let (recall, plans) = recall(&shard, &rows, &query, distance, filtered);
                let graph = plans.iter().any(|plan| *plan != Plan::Scan);
                assert!(graph || recall == 1.0, "{distance:?} {query:?} {plans:?}: {recall}");
                (sum, count, walked) = (sum + recall, count + 1.0, walked || graph);
            }
        }
        assert_eq!(walked, sealed, "{distance:?}");
        assert!(sum / count >= 0.85, "{distance:?}, sealed: {sealed}: {}", sum / count);
    }
}

#[test]
fn every_kind_finds_the_best_by_dot() {
    check(Distance::Dot);
}

#[test]
fn every_kind_finds_the_best_by_cosine() {
    check(Distance::Cosine);
}

#[test]
fn every_kind_finds_the_best_by_euclid() {
    check(Distance::Euclid);
}

#[test]
fn every_kind_finds_the_best_by_manhattan() {
    check(Distance::Manhattan);
}

#[test]
fn points_come_in_the_order_of_their_values() {
    let rows = crate::hnsw::tests::clustered(Distance::Dot, DIM, POINTS, 3);
    for sealed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let shard = shard(&folder.path().join("s"), Distance::Dot, &rows, sealed);
        let mut all: Vec<(i64, u64)> = (0..POINTS as u64)
            .filter(|n| passes(*n, false))
            .flat_map(|n| value_of(n).into_iter().map(move |v| (v, n)))
            .collect();
        all.sort_unstable();
        for (ascending, from) in [(true, None), (false, None), (true, Some(50)), (false, Some(50))] {
            let order = OrderBy { key: path("n"), ascending, from: from.map(OrderValue::Integer) };
            let mut expected: Vec<(i64, u64)> = all
                .iter()
                .copied()
                .filter(|(v, _)| from.is_none_or(|from| if ascending { *v >= from } else { *v <= from }))
                .collect();
            if !ascending {
                expected.reverse();
            }
            for limit in [1, 100, usize::MAX] {
                let (found, _) = shard.view().ordered(&order, None, limit, &Cancel::new()).expect("ordered");
                let expected: Vec<(OrderValue, PointId)> = expected
                    .iter()
                    .take(limit)
                    .map(|(v, n)| (OrderValue::Integer(*v), PointId::Num(*n)))
                    .collect();
                assert_eq!(found, expected, "sealed: {sealed}, ascending: {ascending}, from {from:?}");
            }
        }
        let order = OrderBy { key: path("zzz"), ascending: true, from: None };
        let refused = shard.view().ordered(&order, None, 1, &Cancel::new()).expect_err("no index");
        assert!(
            matches!(&refused, Error::BadInput(text) if text.starts_with("No range index for `order_by` key: `zzz`."))
        );
    }
}

#[test]
fn draws_are_even_and_of_one_seed_the_same() {
    let rows = crate::hnsw::tests::clustered(Distance::Dot, DIM, POINTS, 3);
    let folder = tempfile::tempdir().expect("a folder");
    let shard = shard(&folder.path().join("s"), Distance::Dot, &rows, false);
    let draw = |seed| shard.view().sample(None, seed, 100, &Cancel::new()).expect("draws").0;
    assert_eq!(draw(1), draw(1));
    let (mut seen, mut low) = (BTreeSet::new(), 0);
    for seed in 0..60 {
        let drawn = draw(seed);
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 100, "each once");
        low += drawn.iter().filter(|id| **id < PointId::Num(POINTS as u64 / 2)).count();
        seen.extend(drawn);
    }
    assert!((2600..3400).contains(&low), "{low} of 6000 from the first half");
    assert!(seen.len() > POINTS * 2 / 3, "{} points were drawn at all", seen.len());
}
