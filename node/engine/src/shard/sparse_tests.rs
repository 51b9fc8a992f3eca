//! Sparse vectors against all points compared one by one: in memory, sealed, merged, after deletions and a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shard;
use super::tests::options;
use crate::cancel::Cancel;
use crate::config::{
    CollectionConfig, Distance, FieldSchema, FieldType, OptimizerConfig, SparseParams, VectorParams,
};
use crate::distance::Rule;
use crate::error::Error;
use crate::file::RealDisk;
use crate::filter::{Condition, FieldCondition, FieldTest, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{ContextPair, Query, SearchParams, SearchRequest, WithVectors};
use crate::vector::{NamedVectors, SparseVector, Vector};

const NAME: &str = "words";

/// A generator whose numbers are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        PointId::Num(self.0).hash64()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Dimensions as words occur in texts: few of them very often. `signed`: values of both signs.
    fn vector(&mut self, nonzeros: usize, dimensions: u32, signed: bool) -> SparseVector {
        let mut pairs = BTreeMap::new();
        for _ in 0..nonzeros {
            let dimension = (f64::from(dimensions).powf(self.unit()) - 1.0) as u32;
            let value = self.unit() as f32 + 0.01;
            pairs.insert(dimension * 7, if signed && self.below(3) == 0 { -value } else { value });
        }
        let (indices, values) = pairs.into_iter().unzip();
        SparseVector::new(indices, values).expect("a vector")
    }
}

fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).expect("a path")
}

fn config() -> CollectionConfig {
    let dense = VectorParams::new(2, Distance::Dot);
    CollectionConfig {
        vectors: [("dense".into(), dense)].into(),
        sparse_vectors: [(
            NAME.into(),
            SparseParams { full_scan_threshold: Some(40), ..SparseParams::default() },
        )]
        .into(),
        optimizers: OptimizerConfig {
            default_segment_number: 1,
            vacuum_min_vector_number: 100,
            ..OptimizerConfig::default()
        },
        ..CollectionConfig::default()
    }
}

/// What the shard has to hold.
type Model = BTreeMap<u64, Option<SparseVector>>;

fn point(n: u64, vector: Option<&SparseVector>) -> PointWrite {
    let mut vectors = NamedVectors::new();
    vectors.insert("dense".into(), Vector::Dense(vec![n as f32, 1.0]));
    if let Some(v) = vector {
        vectors.insert(NAME.into(), Vector::Sparse(v.clone()));
    }
    let payload = serde_json::json!({"n": n % 10}).to_string();
    PointWrite { id: PointId::Num(n), vectors, payload: RawPayload::from_json_bytes(payload.as_bytes()) }
}

fn upsert(shard: &Shard, model: &mut Model, points: Vec<(u64, Option<SparseVector>)>) {
    let writes = points.iter().map(|(n, v)| point(*n, v.as_ref())).collect();
    let op = Operation::Upsert { points: writes, mode: UpdateMode::Upsert, condition: None };
    shard.write(op).expect("an upsert");
    model.extend(points);
}

fn optimize(shard: &Shard) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    // The first look finds that much was written; the second that nothing was since.
    for _ in 0..2 {
        while shard.optimize(&pool, &Cancel::new()).expect("optimizes") {}
    }
    assert!(!shard.view().sealed().is_empty(), "something was sealed");
}

fn request(query: Query<SparseVector>, filter: Option<Filter>, limit: usize) -> SearchRequest<SparseVector> {
    let (using, params) = (NAME.to_owned(), SearchParams::default());
    SearchRequest { using, query, filter, params, limit, score_threshold: None }
}

fn expected_score(query: &Query<SparseVector>, v: &SparseVector) -> Option<f32> {
    match Rule::of(query) {
        None => match query {
            Query::Nearest(q) => q.row().dot(v.row()),
            _ => None,
        },
        Some((rule, examples)) => {
            let similarities: Vec<f32> =
                examples.iter().map(|e| e.row().dot(v.row()).unwrap_or(0.0)).collect();
            Some(rule.combine(similarities.len(), |i| similarities[i]))
        }
    }
}

/// The answers are those of a comparison with every point.
fn check(shard: &Shard, model: &Model, query: Query<SparseVector>, n: Option<u64>, limit: usize) {
    let equals = |n: u64| FieldCondition { key: path("n"), tests: vec![FieldTest::Integer(n as i64)] };
    let filter = n.map(|n| Filter { must: vec![Condition::Field(equals(n))], ..Filter::default() });
    let passes = |id: &u64| n.is_none_or(|n| id % 10 == n);
    let scored = model.iter().filter(|(id, _)| passes(id));
    let mut expected: Vec<(f32, u64)> =
        scored.filter_map(|(id, v)| Some((expected_score(&query, v.as_ref()?)?, *id))).collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    expected.truncate(limit);
    let found = shard.view().search_sparse(&request(query, filter, limit), &Cancel::new()).expect("finds");
    assert_eq!(found.hits.len(), expected.len());
    for (hit, (score, id)) in found.hits.iter().zip(&expected) {
        assert!((hit.score - score).abs() <= 1e-5 * score.abs().max(1.0), "{} instead of {score}", hit.score);
        // Of scores that differ by rounding alone either may come first.
        let near = expected.iter().any(|(s, e)| PointId::Num(*e) == hit.id && (s - score).abs() < 1e-4);
        let at_the_end = (score - expected[expected.len() - 1].0).abs() < 1e-4;
        assert!(near || at_the_end, "{} instead of {id}", hit.id);
    }
}

fn check_all(shard: &Shard, model: &Model, random: &mut Random, signed: bool) {
    for (i, limit) in [1, 3, 10, 50, 100_000].into_iter().cycle().take(40).enumerate() {
        let q = random.vector(1 + i % 12, 200, signed);
        let n = (i % 3 == 0).then(|| random.below(10));
        check(shard, model, Query::Nearest(q.clone()), n, limit);
        let other = random.vector(6, 200, signed);
        if i % 8 == 0 {
            let pairs = vec![ContextPair { positive: q.clone(), negative: other.clone() }];
            let (positives, negatives) = (vec![q.clone()], vec![other]);
            check(shard, model, Query::Context { pairs: pairs.clone() }, n, limit);
            check(shard, model, Query::Discover { target: q, pairs }, n, limit);
            let (p, m) = (positives.clone(), negatives.clone());
            check(shard, model, Query::BestScore { positives: p, negatives: m }, n, limit);
            check(shard, model, Query::SumScores { positives, negatives }, n, limit);
        }
    }
    let dimensions: Vec<u32> = (0..30).map(|d| d * 7).collect();
    let counts = shard.view().sparse_counts(NAME, &dimensions, None, &Cancel::new()).expect("counts");
    let with = |d: &u32| {
        model.values().flatten().filter(|v| v.row().indices.binary_search(d).is_ok()).count() as u64
    };
    assert_eq!(counts.points, model.values().flatten().count() as u64);
    assert_eq!(counts.with_dimension, dimensions.iter().map(with).collect::<Vec<_>>());
    let ids: Vec<PointId> = model.keys().map(|n| PointId::Num(*n)).collect();
    let records = shard.view().retrieve(&ids, false, &WithVectors::All).expect("points");
    for (record, vector) in records.iter().zip(model.values()) {
        assert_eq!(record.vectors.get(NAME).and_then(Vector::as_sparse), vector.as_ref(), "{}", record.id);
    }
    assert_eq!(records.len(), model.len());
}

/// Writes, changes and removes points, and compares at each stage of their way through the shard.
fn check_life(signed: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let random = &mut Random(7);
    let shard = Shard::create(Arc::new(RealDisk), dir.path(), options(), config()).expect("creates");
    let schema = FieldSchema::plain(FieldType::Integer);
    shard.write(Operation::CreateIndex { field: path("n"), schema }).expect("an index");
    let mut model = Model::new();
    let some = |random: &mut Random, ids: std::ops::Range<u64>| -> Vec<_> {
        ids.map(|n| {
            let nonzeros = random.below(20) as usize;
            (n, (n % 9 != 4).then(|| random.vector(nonzeros, 200, signed)))
        })
        .collect()
    };
    let points = some(random, 0..1500);
    upsert(&shard, &mut model, points);
    check_all(&shard, &model, random, signed);
    optimize(&shard);
    check_all(&shard, &model, random, signed);
    let points = some(random, 1400..1700);
    upsert(&shard, &mut model, points);
    let gone: Vec<u64> = (0..1500).step_by(7).collect();
    gone.iter().for_each(|n| drop(model.remove(n)));
    let ids = gone.into_iter().map(PointId::Num).collect();
    shard.write(Operation::Delete(Selection::Ids(ids))).expect("a deletion");
    let emptied = [1u64, 2, 3, 1698];
    emptied.iter().for_each(|n| drop(model.insert(*n, None)));
    let select = Selection::Ids(emptied.map(PointId::Num).to_vec());
    shard.write(Operation::DeleteVectors { select, names: vec![NAME.into()] }).expect("a deletion");
    let newer = random.vector(9, 200, signed);
    model.insert(5, Some(newer.clone()));
    let vectors: NamedVectors = [(NAME.to_owned(), Vector::Sparse(newer))].into_iter().collect();
    let points = vec![(PointId::Num(5), vectors)];
    shard.write(Operation::UpdateVectors { points, condition: None }).expect("an update");
    check_all(&shard, &model, random, signed);
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), dir.path(), options()).expect("opens");
    check_all(&shard, &model, random, signed);
    optimize(&shard);
    let points = some(random, 3000..4200);
    upsert(&shard, &mut model, points);
    optimize(&shard);
    check_all(&shard, &model, random, signed);
    assert!(shard.view().sealed().len() < 3, "segments were merged");
    let stats = shard.stats();
    // Deleted ones count until a segment is rewritten without them.
    assert!(stats.vectors[NAME] >= model.values().flatten().count() as u64);
    assert!(stats.indexed_vectors > 0 && stats.bytes_disk > 0);
    shard.write(Operation::DropVector { name: NAME.into() }).expect("dropped");
    let gone = shard
        .view()
        .search_sparse(&request(Query::Nearest(SparseVector::default()), None, 1), &Cancel::new());
    assert!(matches!(gone, Err(Error::VectorName(_))));
    let params = SparseParams::default();
    shard.write(Operation::CreateSparseVector { name: NAME.into(), params }).expect("created again");
    model.values_mut().for_each(|v| *v = None);
    optimize(&shard);
    let points = some(random, 0..100);
    upsert(&shard, &mut model, points);
    check_all(&shard, &model, random, signed);
}

#[test]
fn answers_are_those_of_comparing_every_point() {
    check_life(false);
}

#[test]
fn negative_values_are_weighed_too() {
    check_life(true);
}

#[test]
fn kinds_are_not_mixed_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = Shard::create(Arc::new(RealDisk), dir.path(), options(), config()).expect("creates");
    let check = |name: &str, vector: Vector, expected: &str| {
        let vectors = [(name.to_owned(), vector)].into_iter().collect();
        let points = vec![PointWrite { id: PointId::Num(1), vectors, payload: RawPayload::empty() }];
        let op = Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None };
        assert_eq!(shard.write(op).expect_err("refused").to_string(), expected);
    };
    let mixed = "Conversion between sparse and regular vectors failed";
    check(NAME, Vector::Dense(vec![1.0]), mixed);
    check("dense", Vector::Sparse(SparseVector::default()), mixed);
    check("other", Vector::Sparse(SparseVector::default()), "Not existing vector name error: other");
    for (indices, values) in [(vec![1], vec![]), (vec![1, 1], vec![1.0, 2.0]), (vec![1], vec![f32::NAN])] {
        assert!(matches!(SparseVector::new(indices, values), Err(Error::BadInput(_))));
    }
}
