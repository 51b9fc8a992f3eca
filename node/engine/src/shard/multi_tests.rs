//! Multivectors against all points compared one by one: in memory, sealed, merged, after deletions and a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shard;
use super::tests::options;
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, OptimizerConfig, VectorParams};
use crate::distance::{Rule, normalize};
use crate::error::Error;
use crate::file::RealDisk;
use crate::filter::{Condition, FieldCondition, FieldTest, Filter};
use crate::hnsw::tests::DISTANCES;
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{ContextPair, Query, SearchParams, SearchRequest, WithVectors};
use crate::vector::{MultiVector, NamedVectors, SparseVector, Vector};

const NAME: &str = "tokens";
const DIM: usize = 6;

/// A generator whose numbers are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        PointId::Num(self.0).hash64()
    }

    fn vector(&mut self) -> MultiVector {
        let rows = 1 + self.next() % 5;
        let mut number = || (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        MultiVector::new((0..rows).map(|_| (0..DIM).map(|_| number()).collect()).collect()).expect("rows")
    }
}

fn params(distance: Distance) -> VectorParams {
    VectorParams { multivector: true, ..VectorParams::new(DIM, distance) }
}

fn shard(dir: &std::path::Path, distance: Distance) -> Shard {
    let dense = VectorParams::new(2, Distance::Dot);
    let config = CollectionConfig {
        vectors: [("dense".into(), dense), (NAME.into(), params(distance))].into(),
        optimizers: OptimizerConfig {
            default_segment_number: 1,
            vacuum_min_vector_number: 20,
            ..OptimizerConfig::default()
        },
        ..CollectionConfig::default()
    };
    Shard::create(Arc::new(RealDisk), dir, options(), config).expect("creates")
}

/// What the shard has to hold, as it was sent.
type Model = BTreeMap<u64, Option<MultiVector>>;

fn upsert(shard: &Shard, model: &mut Model, points: Vec<(u64, Option<MultiVector>)>) {
    let write = |(n, vector): &(u64, Option<MultiVector>)| {
        let mut vectors = NamedVectors::new();
        vectors.insert("dense".into(), Vector::Dense(vec![*n as f32, 1.0]));
        if let Some(v) = vector {
            vectors.insert(NAME.into(), Vector::Multi(v.clone()));
        }
        let payload = serde_json::json!({"n": n % 10}).to_string();
        let payload = RawPayload::from_json_bytes(payload.as_bytes());
        PointWrite { id: PointId::Num(*n), vectors, payload }
    };
    let writes = points.iter().map(write).collect();
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

/// MaxSim by its definition, in double precision.
fn similarity(query: &MultiVector, point: &MultiVector, distance: Distance) -> f64 {
    let rows = |v: &MultiVector| {
        let mut rows = v.to_rows();
        if distance == Distance::Cosine {
            rows.iter_mut().for_each(|row| normalize(row));
        }
        rows
    };
    let one = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        match distance {
            Distance::Cosine | Distance::Dot => pairs.map(|(a, b)| a * b).sum::<f64>(),
            Distance::CosineAsSent => {
                let [product, aa, bb] =
                    pairs.fold([0.0; 3], |[p, x, y], (a, b)| [p + a * b, x + a * a, y + b * b]);
                product / (aa * bb).sqrt()
            }
            Distance::Euclid => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
            Distance::Manhattan => -pairs.map(|(a, b)| (a - b).abs()).sum::<f64>(),
        }
    };
    let point = rows(point);
    let best = |q: Vec<f32>| point.iter().map(|p| one(&q, p)).fold(f64::NEG_INFINITY, f64::max);
    rows(query).into_iter().map(best).sum()
}

/// The answers are those of a comparison with every point.
fn check(shard: &Shard, model: &Model, distance: Distance, query: Query<MultiVector>, n: Option<u64>) {
    let limit = 25;
    let rule = Rule::of(&query);
    let score = |v: &MultiVector| match (&query, &rule) {
        (Query::Nearest(q), _) => distance.score(similarity(q, v, distance) as f32),
        (_, Some((rule, all))) => rule.combine(all.len(), |i| similarity(all[i], v, distance) as f32),
        (_, None) => f32::NAN,
    };
    let scored = model.iter().filter(|(id, _)| n.is_none_or(|n| *id % 10 == n));
    let mut expected: Vec<f32> = scored.filter_map(|(_, v)| v.as_ref().map(score)).collect();
    expected.sort_by(f32::total_cmp);
    if rule.is_some() || distance.higher_is_nearer() {
        expected.reverse();
    }
    expected.truncate(limit);
    let key = JsonPath::parse("n").expect("a path");
    let equals = |n| FieldCondition { key: key.clone(), tests: vec![FieldTest::Integer(n as i64)] };
    let filter = n.map(|n| Filter { must: vec![Condition::Field(equals(n))], ..Filter::default() });
    let query = query.clone();
    let (using, params) = (NAME.to_owned(), SearchParams::default());
    let request = SearchRequest { using, query, filter, params, limit, score_threshold: None };
    let found = shard.view().search_multi(&request, &Cancel::new()).expect("finds");
    assert_eq!(found.hits.len(), expected.len());
    for (hit, expected) in found.hits.iter().zip(expected) {
        let PointId::Num(id) = hit.id else { panic!("an id that was not written") };
        let own = score(model[&id].as_ref().expect("has the vector"));
        let near = |score: f32| (hit.score - score).abs() <= 1e-4 * score.abs().max(1.0);
        assert!(near(expected) && near(own), "{id}: {}, not {expected}; its own is {own}", hit.score);
    }
}

fn check_all(shard: &Shard, model: &Model, distance: Distance, random: &mut Random) {
    for n in [None, Some(3)] {
        let (a, b) = (random.vector(), random.vector());
        let pairs = vec![ContextPair { positive: a.clone(), negative: b.clone() }];
        let (positives, negatives) = (vec![a.clone()], vec![b.clone()]);
        let (p, m) = (positives.clone(), negatives.clone());
        check(shard, model, distance, Query::Nearest(a.clone()), n);
        check(shard, model, distance, Query::BestScore { positives: p, negatives: m }, n);
        check(shard, model, distance, Query::SumScores { positives, negatives }, n);
        check(shard, model, distance, Query::Discover { target: b, pairs: pairs.clone() }, n);
        check(shard, model, distance, Query::Context { pairs }, n);
    }
    let ids: Vec<PointId> = model.keys().map(|n| PointId::Num(*n)).collect();
    let records = shard.view().retrieve(&ids, false, &WithVectors::All).expect("points");
    assert_eq!(records.len(), model.len());
    for (record, vector) in records.iter().zip(model.values()) {
        let mut stored = vector.clone();
        if distance == Distance::Cosine {
            stored.iter_mut().flat_map(MultiVector::vectors_mut).for_each(normalize);
        }
        assert_eq!(record.vectors.get(NAME).and_then(Vector::as_multi), stored.as_ref(), "{}", record.id);
    }
}

/// Writes, changes and removes points, and compares at each stage of their way through the shard.
fn check_life(distance: Distance) {
    let dir = tempfile::tempdir().expect("a folder");
    let random = &mut Random(7);
    let first = shard(dir.path(), distance);
    let mut model = Model::new();
    let some = |random: &mut Random, ids: std::ops::Range<u64>| -> Vec<_> {
        ids.map(|n| (n, (n % 9 != 4).then(|| random.vector()))).collect()
    };
    let points = some(random, 0..1200);
    upsert(&first, &mut model, points);
    check_all(&first, &model, distance, random);
    optimize(&first);
    check_all(&first, &model, distance, random);
    let points = some(random, 140..170);
    upsert(&first, &mut model, points);
    let gone: Vec<u64> = (0..150).step_by(7).collect();
    gone.iter().for_each(|n| drop(model.remove(n)));
    let ids = gone.into_iter().map(PointId::Num).collect();
    first.write(Operation::Delete(Selection::Ids(ids))).expect("a deletion");
    let emptied = [1u64, 2, 3, 168];
    emptied.iter().for_each(|n| drop(model.insert(*n, None)));
    let select = Selection::Ids(emptied.map(PointId::Num).to_vec());
    first.write(Operation::DeleteVectors { select, names: vec![NAME.into()] }).expect("a deletion");
    // One vector is a multivector of one.
    let newer: Vec<f32> = (0..DIM).map(|d| d as f32 - 2.0).collect();
    model.insert(5, Some(MultiVector::new(vec![newer.clone()]).expect("a row")));
    let points = vec![(PointId::Num(5), [(NAME.to_owned(), Vector::Dense(newer))].into_iter().collect())];
    first.write(Operation::UpdateVectors { points, condition: None }).expect("an update");
    check_all(&first, &model, distance, random);
    drop(first);
    let second = Shard::open(Arc::new(RealDisk), dir.path(), options()).expect("opens");
    check_all(&second, &model, distance, random);
    optimize(&second);
    let points = some(random, 3000..4100);
    upsert(&second, &mut model, points);
    optimize(&second);
    check_all(&second, &model, distance, random);
    assert!(second.view().sealed().len() < 3, "segments were merged");
    assert!(second.stats().vectors[NAME] >= model.values().flatten().count() as u64);
    drop(second);
    let third = Shard::open(Arc::new(RealDisk), dir.path(), options()).expect("opens");
    check_all(&third, &model, distance, random);
    check_dropped(&third, &mut model, distance, random);
}

/// A vector that is dropped and created again is empty.
fn check_dropped(shard: &Shard, model: &mut Model, distance: Distance, random: &mut Random) {
    shard.write(Operation::DropVector { name: NAME.into() }).expect("dropped");
    let query = Query::Nearest(random.vector());
    let (using, params_of_search) = (NAME.to_owned(), SearchParams::default());
    let request = SearchRequest {
        using,
        query,
        filter: None,
        params: params_of_search,
        limit: 1,
        score_threshold: None,
    };
    let gone = shard.view().search_multi(&request, &Cancel::new());
    assert!(matches!(gone, Err(Error::VectorName(_))));
    shard.write(Operation::CreateVector { name: NAME.into(), params: params(distance) }).expect("created");
    model.values_mut().for_each(|v| *v = None);
    let points = (0..20).map(|n| (n, Some(random.vector()))).collect();
    upsert(shard, model, points);
    optimize(shard);
    check_all(shard, model, distance, random);
}

#[test]
fn answers_are_those_of_comparing_every_point() {
    for distance in DISTANCES {
        check_life(distance);
    }
}

#[test]
fn kinds_are_not_mixed_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = shard(dir.path(), Distance::Dot);
    let check = |name: &str, vector: Vector, expected: &str| {
        let vectors = [(name.to_owned(), vector)].into_iter().collect();
        let points = vec![PointWrite { id: PointId::Num(1), vectors, payload: RawPayload::empty() }];
        let op = Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None };
        assert_eq!(shard.write(op).expect_err("refused").to_string(), expected);
    };
    let multi = |dim: usize| MultiVector::new(vec![vec![1.0; dim]; 2]).expect("rows");
    check("dense", Vector::Multi(multi(2)), "Conversion between multi and regular vectors failed");
    let sparse = Vector::Sparse(SparseVector::default());
    check(NAME, sparse, "Conversion between sparse and regular vectors failed");
    check(NAME, Vector::Multi(multi(2)), "Vector dimension error: expected dim: 6, got 2");
    check(NAME, Vector::Dense(vec![1.0]), "Vector dimension error: expected dim: 6, got 1");
    for wrong in [vec![], vec![vec![]], vec![vec![1.0], vec![1.0, 2.0]], vec![vec![0.0; 1 << 20]]] {
        assert!(matches!(MultiVector::new(wrong), Err(Error::BadInput(_))));
    }
}
