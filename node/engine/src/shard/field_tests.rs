//! Facets and full-text conditions of a whole shard: what is sealed, what is not, and what an index does not cover yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Shard, ShardOptions, Watermarks};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, FieldSchema, FieldType};
use crate::file::RealDisk;
use crate::filter::{Condition, FieldCondition, FieldTest, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::payload_index::FacetValue;
use crate::point_id::PointId;
use crate::text::{Stemmer, TextMatch, TextParams, TextTest};
use crate::vector::NamedVectors;

fn create(dir: &std::path::Path) -> Shard {
    let options = ShardOptions { watermarks: Watermarks::OFF, ..ShardOptions::default() };
    Shard::create(Arc::new(RealDisk), dir, options, CollectionConfig::default()).expect("creates")
}

fn path(key: &str) -> JsonPath {
    JsonPath::parse(key).expect("a path")
}

fn create_index(shard: &Shard, key: &str, schema: FieldSchema) {
    shard.write(Operation::CreateIndex { field: path(key), schema }).expect("creates the index");
}

fn upsert(shard: &Shard, ids: std::ops::Range<u64>, payload: impl Fn(u64) -> String) {
    let point = |n: u64| PointWrite {
        id: PointId::Num(n),
        vectors: NamedVectors::new(),
        payload: RawPayload::from_json_bytes(payload(n).as_bytes()),
    };
    let points = ids.map(point).collect();
    shard.write(Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }).expect("writes");
}

fn values(n: u64) -> (Vec<i64>, String) {
    let numbers: Vec<i64> =
        [n % 3, n % 3, n % 5].into_iter().take((n % 4) as usize).map(|n| n as i64).collect();
    let payload =
        format!(r#"{{"n":{numbers:?},"k":["k{}","x"],"text":"Running cars {}","u":1}}"#, n % 2, n % 4);
    (numbers, payload)
}

/// The numbers of the points from `start` on, those of most points first.
fn check_numbers(shard: &Shard, ids: std::ops::Range<u64>, filter: Option<&Filter>) {
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    for n in ids {
        let mut numbers = values(n).0;
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().for_each(|number| *counts.entry(number).or_default() += 1);
    }
    let mut expected: Vec<_> = counts.into_iter().map(|(n, count)| (FacetValue::Integer(n), count)).collect();
    expected.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let view = shard.view();
    let (all, _) = view.facets(&path("n"), filter, usize::MAX, &Cancel::new()).expect("an index");
    assert_eq!(all, expected);
    let (two, _) = view.facets(&path("n"), filter, 2, &Cancel::new()).expect("an index");
    assert_eq!(two, expected[..2]);
}

fn text_filter(text: &str) -> Filter {
    let test = FieldTest::Text(Arc::new(TextTest::new(text.to_owned(), TextMatch::All)));
    let field = FieldCondition { key: path("text"), tests: vec![test] };
    Filter { must: vec![Condition::Field(field)], ..Filter::default() }
}

#[test]
fn facets_count_points_wherever_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    upsert(&shard, 0..100, |n| values(n).1);
    shard.flush().expect("seals");
    create_index(&shard, "n", FieldSchema::plain(FieldType::Integer));
    create_index(&shard, "u", FieldSchema::plain(FieldType::Float));
    check_numbers(&shard, 0..100, None);
    upsert(&shard, 100..150, |n| values(n).1);
    check_numbers(&shard, 0..150, None);
    let ids = (0..30).map(PointId::Num).collect();
    shard.write(Operation::Delete(Selection::Ids(ids))).expect("deletes");
    check_numbers(&shard, 30..150, None);
    let some = Condition::HasId((60..120).map(PointId::Num).collect());
    check_numbers(&shard, 60..120, Some(&Filter { must: vec![some], ..Filter::default() }));
    for key in ["k", "u", "missing"] {
        let refused =
            shard.view().facets(&path(key), None, 10, &Cancel::new()).expect_err("no fitting index");
        assert!(
            refused.to_string().starts_with(&format!("No appropriate index for faceting: `{key}`.")),
            "{refused}"
        );
    }
}

#[test]
fn a_text_index_says_for_all_points_what_their_texts_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(&folder.path().join("s"));
    upsert(&shard, 0..40, |n| values(n).1);
    shard.flush().expect("seals");
    upsert(&shard, 40..50, |n| values(n).1);
    let count = |text: &str| shard.view().count(Some(&text_filter(text)), &Cancel::new()).expect("counts").0;
    assert_eq!((count("running"), count("run"), count("car 1")), (50, 0, 0));
    let stemmer = Some(Stemmer::Snowball("english".to_owned()));
    let text = Some(Box::new(TextParams { stemmer, ..TextParams::default() }));
    create_index(&shard, "text", FieldSchema { text, ..FieldSchema::plain(FieldType::Text) });
    assert_eq!((count("running"), count("run"), count("car 1")), (50, 50, 13));
    let unindexed = shard.view().count(Some(&text_filter("run")), &Cancel::new()).expect("counts").1;
    assert_eq!(unindexed, Vec::<String>::new());
    shard.write(Operation::DropIndex { field: path("text") }).expect("drops the index");
    assert_eq!((count("running"), count("run")), (50, 0));
}
