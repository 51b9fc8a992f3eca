//! Points of one tenant lie together once they are sealed, and nobody who reads can tell.

use std::sync::Arc;

use super::order::Ordered;
use super::{Shard, ShardOptions, Watermarks};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, FieldSchema, FieldType, OptimizerConfig, VectorParams};
use crate::file::RealDisk;
use crate::filter::{Condition, FieldCondition, FieldTest, Filter, PointSource};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{Hit, OrderBy, Query, SearchParams, SearchRequest, WithVectors};
use crate::segment::sealed::SealedState;
use crate::vector::NamedVectors;

const DIM: usize = 8;
const POINTS: usize = 1200;

fn create(dir: &std::path::Path) -> Shard {
    let params = VectorParams::new(DIM, Distance::Euclid);
    let config = CollectionConfig {
        vectors: [(String::new(), params)].into(),
        optimizers: OptimizerConfig { indexing_threshold_kb: 1, ..OptimizerConfig::default() },
        ..CollectionConfig::default()
    };
    let options = ShardOptions { watermarks: Watermarks::OFF, ..ShardOptions::default() };
    Shard::create(Arc::new(RealDisk), dir, options, config).expect("creates")
}

fn path(key: &str) -> JsonPath {
    JsonPath::parse(key).expect("a path")
}

fn create_tenants(shard: &Shard, key: &str, kind: FieldType) {
    create_index(shard, key, FieldSchema { is_tenant: Some(true), ..FieldSchema::plain(kind) });
}

fn create_index(shard: &Shard, key: &str, schema: FieldSchema) {
    shard.write(Operation::CreateIndex { field: path(key), schema }).expect("creates the index");
}

/// What tenant a point is of; every ninth has none, and some are of a second one, too.
fn payload(n: u64) -> String {
    match n % 9 {
        0 => format!(r#"{{"n":{}}}"#, n % 3),
        1 => format!(r#"{{"t":["t{}","t{}"],"n":{}}}"#, n % 5, n % 7, n % 3),
        _ => format!(r#"{{"t":"t{}","n":{}}}"#, n % 7, n % 3),
    }
}

fn write(shard: &Shard, ids: std::ops::Range<usize>, payload: impl Fn(u64) -> String) {
    let rows = crate::hnsw::tests::clustered(Distance::Euclid, DIM, POINTS, 1);
    let point = |n: usize| PointWrite {
        id: PointId::Num(n as u64),
        vectors: NamedVectors::unnamed(rows[n * DIM..][..DIM].to_vec()),
        payload: RawPayload::from_json_bytes(payload(n as u64).as_bytes()),
    };
    let points = ids.map(point).collect();
    shard.write(Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }).expect("writes");
}

/// Lets the optimizer work until it rests; gives the only segment.
fn settle(shard: &Shard) -> SealedState {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    shard.flush().expect("seals");
    for _ in 0..2 {
        // The first call may still see the writes; from then on it is calm.
        shard.optimize(&pool, &Cancel::new()).expect("optimizes");
    }
    let view = shard.view();
    let [only] = view.sealed() else { panic!("{} segments", view.sealed().len()) };
    only.clone()
}

/// By offset: the first of a point's values, and its id.
fn order(state: &SealedState, key: &str) -> Vec<(Option<String>, PointId)> {
    let segment = &state.segment;
    let first = |offset| {
        let payload = segment.payload(offset).expect("a payload");
        path(key).values(&payload).iter().filter_map(|v| v.as_str().map(str::to_owned)).min()
    };
    (0..segment.len()).map(|offset| (first(offset), segment.id(offset))).collect()
}

/// Tenants in their order, the points of each in that of their ids, those without one last.
fn assert_together(state: &SealedState, key: &str) {
    let order = order(state, key);
    let known = |(tenant, id): &(Option<String>, PointId)| (tenant.is_none(), tenant.clone(), *id);
    assert!(order.is_sorted_by_key(known), "{order:?}");
}

fn search(shard: &Shard, near: usize, tenant: Option<&str>, exact: bool) -> Vec<Hit> {
    let rows = crate::hnsw::tests::clustered(Distance::Euclid, DIM, POINTS, 1);
    let field = |t: &str| FieldCondition { key: path("t"), tests: vec![FieldTest::Keyword(t.to_owned())] };
    let request = SearchRequest {
        using: String::new(),
        query: Query::Nearest(rows[near * DIM..][..DIM].to_vec()),
        filter: tenant.map(|t| Filter { must: vec![Condition::Field(field(t))], ..Filter::default() }),
        params: SearchParams { exact, ..SearchParams::default() },
        limit: 10,
        score_threshold: None,
    };
    shard.view().search(&request, &Cancel::new()).expect("searches").hits
}

/// A point with its version.
type Point = (PointId, u64, RawPayload, NamedVectors);

/// What clients see: all points in the order of their ids, a page from the middle, some in the order of a number that many have,
/// and the nearest of some.
fn answers(shard: &Shard) -> (Vec<Point>, Vec<PointId>, Vec<Ordered>, Vec<Vec<Hit>>) {
    let view = shard.view();
    let page = |from, limit| {
        let from = Some(PointId::Num(from));
        view.scroll(None, from, limit, &Cancel::new()).expect("scrolls").0
    };
    let records = view.retrieve(&page(0, usize::MAX), true, &WithVectors::All).expect("retrieves");
    let points = records.into_iter().map(|r| (r.id, r.version, r.payload, r.vectors)).collect();
    let tenants = [None, Some("t0"), Some("t3")];
    let asked = (0..POINTS).step_by(100).flat_map(|n| tenants.map(|t| (n, t)));
    let hits = asked.map(|(n, tenant)| search(shard, n, tenant, true)).collect();
    let ordered = |(ascending, limit)| {
        let order = OrderBy { key: path("n"), ascending, from: None };
        view.ordered(&order, None, limit, &Cancel::new()).expect("ordered").0
    };
    let ordered = [(true, 7), (false, 7), (true, 500), (false, usize::MAX)].map(ordered).into();
    (points, page(333, 50), ordered, hits)
}

#[test]
fn points_of_a_tenant_lie_together_and_answers_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    create_index(&shard, "n", FieldSchema::plain(FieldType::Integer));
    create_tenants(&shard, "t", FieldType::Keyword);
    write(&shard, 0..900, payload);
    let before = answers(&shard);
    let built = settle(&shard);
    assert_together(&built, "t");
    assert_eq!(answers(&shard), before);

    // Its graph is kept, and grows.
    write(&shard, 900..POINTS, payload);
    let gone = (0..POINTS as u64).filter(|n| n % 11 == 3).map(PointId::Num).collect();
    shard.write(Operation::Delete(Selection::Ids(gone))).expect("deletes");
    let before = answers(&shard);
    let grown = settle(&shard);
    assert!(grown.segment.vectors()[""].has_graph());
    assert_eq!((grown.segment.len(), grown.deleted.count()), (before.0.len() as u32, 0), "one new segment");
    assert_together(&grown, "t");
    assert_eq!(answers(&shard), before);
    let found = (0..POINTS).filter(|n| search(&shard, *n, None, false) == search(&shard, *n, None, true));
    assert!(found.count() > POINTS * 95 / 100, "the graph leads to the nearest");
}

#[test]
fn of_two_tenant_indexes_the_first_by_name_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    // The order in which they were created says nothing, and numbers are no tenants.
    create_tenants(&shard, "c", FieldType::Keyword);
    create_tenants(&shard, "b", FieldType::Uuid);
    create_tenants(&shard, "a", FieldType::Integer);
    let uuid = |n| uuid::Uuid::from_u64_pair(n, 7);
    write(&shard, 0..100, |n| format!(r#"{{"a":{},"b":"{}","c":"c{}"}}"#, n % 2, uuid(n % 3), n % 4));
    let state = settle(&shard);
    assert_together(&state, "b");
}
