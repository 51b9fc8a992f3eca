//! A shard on a simulated disk: power lost at every call, every call failing, a full disk, flipped bits.
//!
//! A [`script`] of every kind of write and of every kind of maintenance runs next to a plain model. What is recovered
//! must be the model's state after some operation: not before the last one that was acknowledged, not behind
//! the last one that was attempted, and equal to it in every id, version, vector and payload.
//! `QUIVER_FULL=1` multiplies the counts.

mod damage;
mod faults;
mod power;
mod script;
mod scrub;

use std::path::Path;
use std::sync::Arc;

use super::{Shard, ShardOptions};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::file::SimDisk;
use crate::filter::{Bounds, Condition, FieldCondition, FieldTest, Filter};
use crate::json_path::JsonPath;
use crate::point_id::PointId;
use crate::query::{Query, SearchParams, SearchRequest, WithVectors};
use crate::wal::{WalIdentity, WalOptions};
use script::{Model, Point};

const DIR: &str = "/data/shard";
const SNAPSHOTS: &str = "/data/snapshots";

fn full() -> bool {
    std::env::var_os("QUIVER_FULL").is_some()
}

fn options() -> ShardOptions {
    ShardOptions {
        identity: WalIdentity { collection_uid: [3; 16], copy_id: [4; 16] },
        wal: WalOptions { file_bytes: 24 << 10, batch_bytes_max: 1 << 20 },
        ..ShardOptions::default()
    }
}

fn open(disk: &SimDisk) -> Result<Shard> {
    Shard::open(Arc::new(disk.clone()), Path::new(DIR), options())
}

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread")
}

fn keyword(key: &str, value: &str) -> Filter {
    let key = JsonPath::parse(key).expect("a path");
    let field = FieldCondition { key, tests: vec![FieldTest::Keyword(value.into())] };
    Filter { must: vec![Condition::Field(field)], ..Filter::default() }
}

fn above(key: &str, number: u64) -> Filter {
    let key = JsonPath::parse(key).expect("a path");
    let range = Bounds { gte: Some(number as f64), ..Bounds::default() };
    let field = FieldCondition { key, tests: vec![FieldTest::Range(range)] };
    Filter { must: vec![Condition::Field(field)], ..Filter::default() }
}

fn search(vector: Vec<f32>, filter: Option<Filter>, exact: bool) -> SearchRequest {
    SearchRequest {
        using: String::new(),
        query: Query::Nearest(vector),
        filter,
        params: SearchParams { exact, ..SearchParams::default() },
        limit: 3,
        score_threshold: None,
    }
}

/// Everything that a shard answers, read in as many ways as there are.
fn compare(shard: &Shard, expected: &Model) -> std::result::Result<(), String> {
    let view = shard.view();
    let told = |e: crate::Error| e.to_string();
    let ids = view.scroll(None, None, usize::MAX, &Cancel::new()).map_err(told)?.0;
    let records = view.retrieve(&ids, true, &WithVectors::All).map_err(told)?;
    if records.len() != expected.points.len() || view.points() != records.len() as u64 {
        return Err(format!("{} points instead of {}", records.len(), expected.points.len()));
    }
    for (record, (id, point)) in records.iter().zip(&expected.points) {
        let found = Point {
            version: record.version,
            vectors: record.vectors.clone(),
            payload: record.payload.parse().map_err(told)?,
        };
        if record.id != *id || found != *point {
            return Err(format!("{}: {found:?} instead of {id}: {point:?}", record.id));
        }
    }
    let indexes: Vec<&str> = view.indexes().keys().map(JsonPath::as_str).collect();
    if indexes != expected.indexes.iter().map(String::as_str).collect::<Vec<_>>() {
        return Err(format!("indexes {indexes:?} instead of {:?}", expected.indexes));
    }
    if view.config().vectors.contains_key("b") != expected.has_b {
        return Err(format!("vector b: {}", !expected.has_b));
    }
    let value = format!("g{}", expected.seq % 5);
    let passing = view.ids_matching(&keyword("g", &value), &Cancel::new()).map_err(told)?;
    if passing != expected.passing(&value) {
        return Err(format!("g = {value}: {passing:?} instead of {:?}", expected.passing(&value)));
    }
    let number = expected.some_value();
    let passing = view.ids_matching(&above("v", number), &Cancel::new()).map_err(told)?;
    if passing != expected.above("v", number) {
        return Err(format!("v >= {number}: {passing:?} instead of {:?}", expected.above("v", number)));
    }
    let missing = view.ids_matching(&above("missing", 0), &Cancel::new()).map_err(told)?;
    if !missing.is_empty() {
        return Err(format!("nothing is missing, and {missing:?} is found"));
    }
    compare_nearest(&view, expected)
}

fn compare_nearest(view: &super::View, expected: &Model) -> std::result::Result<(), String> {
    let Some((id, vector)) = expected.some_vector() else { return Ok(()) };
    for exact in [true, false] {
        let found =
            view.search(&search(vector.clone(), None, exact), &Cancel::new()).map_err(|e| e.to_string())?;
        let best: Option<PointId> = found.hits.first().map(|h| h.id);
        if best != Some(id) {
            return Err(format!("nearest to {id} is {best:?}, exact: {exact}"));
        }
    }
    Ok(())
}
