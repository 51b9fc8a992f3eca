//! Whatever is indexed, and in whatever form, a filter gives what its plain definition gives.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::cancel::Cancel;
use crate::config::{FieldSchema, FieldType};
use crate::error::Error;
use crate::file::{Disk, RealDisk, SealedFile, SealedWriter};
use crate::payload_index::FILE_KIND;

/// Points in memory.
#[derive(Default)]
pub(super) struct Points {
    payloads: Vec<PayloadMap>,
    pub(super) indexes: HashMap<JsonPath, FieldIndex>,
    payloads_read: Cell<usize>,
}

impl Points {
    pub(super) fn new(payloads: Vec<PayloadMap>, indexes: &[(&str, FieldSchema)]) -> Self {
        let build = |(key, schema): &(&str, FieldSchema)| {
            let key = path(key);
            let each = payloads.iter().enumerate().filter(|(_, payload)| !payload.is_empty());
            let each = each.map(|(offset, payload)| Ok((offset as u32, Cow::Borrowed(payload))));
            let index =
                FieldIndex::build(schema, payloads.len() as u32, each, &key).expect("payloads can be read");
            (key, index)
        };
        let indexes = indexes.iter().map(build).collect();
        Self { payloads, indexes, payloads_read: Cell::new(0) }
    }

    /// The same with indexes that were written and opened again.
    pub(super) fn reopened(&self) -> Points {
        let dir = tempfile::tempdir().expect("a folder");
        let reopen = |(i, (key, index)): (usize, (&JsonPath, &FieldIndex))| {
            let file = dir.path().join(i.to_string());
            let writer = SealedWriter::create(&RealDisk, &file, FILE_KIND).expect("a new file");
            index.write(writer).expect("space on the disk");
            let file = SealedFile::open(&RealDisk, &file, FILE_KIND).expect("what was written");
            let again = FieldIndex::open(file, index.schema()).expect("an index");
            assert_eq!(again.points(), index.points());
            (key.clone(), again)
        };
        let indexes = self.indexes.iter().enumerate().map(reopen).collect();
        Points { payloads: self.payloads.clone(), indexes, payloads_read: Cell::new(0) }
    }

    pub(super) fn expected(&self, filter: &Filter) -> Bitset {
        let passes = |offset: u32| {
            let payload = &self.payloads[offset as usize];
            matches(filter, self.id(offset), &|name| self.has_vector(offset, name), payload)
        };
        (0..self.len()).map(passes).collect()
    }
}

impl PointSource for Points {
    fn len(&self) -> u32 {
        self.payloads.len() as u32
    }
    fn id(&self, offset: u32) -> PointId {
        if offset.is_multiple_of(3) {
            PointId::Uuid(Uuid::from_u128(u128::from(offset)))
        } else {
            PointId::Num(offset.into())
        }
    }
    fn offset_of(&self, id: PointId) -> Option<u32> {
        (0..self.len()).find(|&offset| self.id(offset) == id)
    }
    fn payload(&self, offset: u32) -> Result<Cow<'_, PayloadMap>> {
        self.payloads_read.set(self.payloads_read.get() + 1);
        Ok(Cow::Borrowed(&self.payloads[offset as usize]))
    }
    fn has_vector(&self, offset: u32, name: &str) -> bool {
        name == "all" || (name == "odd" && offset % 2 == 1)
    }
    fn index(&self, key: &JsonPath) -> Option<&FieldIndex> {
        self.indexes.get(key)
    }
}

pub(super) fn path(text: &str) -> JsonPath {
    JsonPath::parse(text).expect("a path")
}

pub(super) fn object(value: Value) -> PayloadMap {
    match value {
        Value::Object(map) => map,
        _ => panic!("a payload is an object"),
    }
}

const PATHS: &[&str] =
    &["a", "b", "a[]", "a[0]", "o.x", "o", "n[].x", "n[].y", "n", "n[0].x", "n[].m[].x", "missing"];
const KEYWORDS: &[&str] = &[
    "red",
    "blue",
    "",
    "1",
    "2014-01-01T00:00:00Z",
    "2014-01-02",
    "2014-01-01 02:00:00+02",
    "550e8400-e29b-41d4-a716-446655440000",
    "550E8400-E29B-41D4-A716-446655440000",
    "550e8400e29b41d4a716446655440000",
    "650e8400-e29b-41d4-a716-446655440000",
];
const INTEGERS: &[i64] = &[-3, 0, 1, 2, 9_007_199_254_740_993, i64::MAX, i64::MIN];
const FLOATS: &[f64] = &[-3.5, -0.0, 0.0, 1.0, 1.5, 9_007_199_254_740_992.0, 1e300];

fn any_keyword() -> impl Strategy<Value = String> {
    select(KEYWORDS).prop_map(str::to_owned)
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => select(INTEGERS).prop_map(Value::from),
        1 => Just(json!(u64::MAX)),
        2 => select(FLOATS).prop_map(Value::from),
        4 => any_keyword().prop_map(Value::from),
    ]
}

fn any_field() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any_scalar(),
        2 => prop::collection::vec(any_scalar(), 0..4).prop_map(Value::from),
        1 => prop::collection::vec(any_scalar(), 0..2).prop_map(|inner| json!([inner, []])),
        1 => any_scalar().prop_map(|x| json!({ "x": x })),
    ]
}

fn any_element() -> impl Strategy<Value = Value> {
    let inner = prop::collection::vec(any_field().prop_map(|x| json!({ "x": x })), 0..3);
    let fields = (prop::option::of(any_field()), prop::option::of(any_field()), prop::option::of(inner));
    prop_oneof![
        8 => fields.prop_map(|(x, y, m)| {
            let named = [("x", x), ("y", y), ("m", m.map(Value::from))];
            named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Value>()
        }),
        1 => any_scalar(),
    ]
}

fn any_payload() -> impl Strategy<Value = PayloadMap> {
    let elements = prop_oneof![
        5 => prop::collection::vec(any_element(), 0..3).prop_map(Value::from),
        1 => any_element(),
    ];
    let o = prop_oneof![3 => any_field().prop_map(|x| json!({ "x": x })), 1 => any_field()];
    let fields =
        [any_field().boxed(), any_field().boxed(), o.boxed(), elements.boxed()].map(prop::option::of);
    fields.prop_map(|fields| {
        let named = ["a", "b", "o", "n"].into_iter().zip(fields);
        named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

/// Bounds from a list; half of them absent.
fn any_bounds<T: Copy + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = Bounds<T>> {
    let bound = || prop::option::of(select(values));
    (bound(), bound(), any::<bool>(), any::<bool>()).prop_map(|(low, high, open_low, open_high)| Bounds {
        gt: low.filter(|_| open_low),
        gte: low.filter(|_| !open_low),
        lt: high.filter(|_| open_high),
        lte: high.filter(|_| !open_high),
    })
}

fn any_test() -> impl Strategy<Value = FieldTest> {
    const COUNTS: &[u64] = &[0, 1, 2, 3];
    const TIMES: &[i64] = &[1_388_534_400_000_000, 1_388_620_800_000_000, 0];
    let keywords = || prop::collection::vec(any_keyword(), 0..4);
    let integers = || prop::collection::vec(select(INTEGERS), 0..4);
    prop_oneof![
        any_keyword().prop_map(FieldTest::Keyword),
        select(INTEGERS).prop_map(FieldTest::Integer),
        any::<bool>().prop_map(FieldTest::Bool),
        keywords().prop_map(FieldTest::AnyKeyword),
        integers().prop_map(FieldTest::AnyInteger),
        keywords().prop_map(FieldTest::ExceptKeyword),
        integers().prop_map(FieldTest::ExceptInteger),
        any_bounds(FLOATS).prop_map(FieldTest::Range),
        any_bounds(TIMES).prop_map(FieldTest::DatetimeRange),
        any_bounds(COUNTS).prop_map(FieldTest::ValuesCount),
        any::<bool>().prop_map(FieldTest::IsEmpty),
        any::<bool>().prop_map(FieldTest::IsNull),
    ]
}

fn any_path(paths: &'static [&'static str]) -> impl Strategy<Value = JsonPath> {
    select(paths).prop_map(path)
}

/// A condition on one payload or array element that holds no other condition.
fn any_leaf(paths: &'static [&'static str]) -> impl Strategy<Value = Condition> {
    let id = prop_oneof![
        (0u64..90).prop_map(PointId::Num),
        (0u128..90).prop_map(|n| PointId::Uuid(Uuid::from_u128(n)))
    ];
    prop_oneof![
        12 => (any_path(paths), prop::collection::vec(any_test(), 1..3))
            .prop_map(|(key, tests)| Condition::Field(FieldCondition { key, tests })),
        1 => any_path(paths).prop_map(Condition::IsEmpty),
        1 => any_path(paths).prop_map(Condition::IsNull),
        1 => prop::collection::hash_set(id, 0..40).prop_map(Condition::HasId),
        1 => select(vec!["all", "odd", "none"]).prop_map(|name| Condition::HasVector(name.to_owned())),
    ]
}

fn filter_of(condition: impl Strategy<Value = Condition> + Clone) -> impl Strategy<Value = Filter> {
    let some = move || prop::collection::vec(condition.clone(), 0..3);
    let min_should = prop::option::of((some(), 0usize..4));
    (some(), some(), some(), min_should).prop_map(|(must, should, must_not, min_should)| Filter {
        must,
        should,
        must_not,
        min_should: min_should.map(|(conditions, min_count)| MinShould { conditions, min_count }),
    })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let in_m = filter_of(any_leaf(&["x", "x[]", "missing"]).boxed());
    let in_n = prop_oneof![
        6 => any_leaf(&["x", "y", "x[]", "missing"]),
        1 => in_m.prop_map(|filter| Condition::Nested { key: path("m"), filter }),
    ];
    let in_n = filter_of(in_n.boxed());
    let leaf = prop_oneof![
        5 => any_leaf(PATHS),
        1 => (any_path(&["n", "n[]", "o", "n[0].m"]), in_n).prop_map(|(key, filter)| Condition::Nested { key, filter }),
    ];
    let condition =
        leaf.prop_recursive(2, 12, 4, |inner| filter_of(inner.boxed()).prop_map(Condition::Filter));
    filter_of(condition.boxed())
}

fn any_schema() -> impl Strategy<Value = FieldSchema> {
    use FieldType::*;
    let kind = select(vec![Keyword, Integer, Float, Bool, Datetime, Uuid]);
    (kind, prop::option::of(any::<bool>())).prop_map(|(kind, lookup)| FieldSchema {
        lookup: lookup.filter(|_| kind == Integer),
        range: lookup.filter(|_| kind == Integer).map(|lookup| !lookup),
        ..FieldSchema::plain(kind)
    })
}

fn any_points() -> impl Strategy<Value = Points> {
    let indexes = prop::collection::vec((select(PATHS), any_schema()), 0..8);
    (prop::collection::vec(any_payload(), 0..90), indexes)
        .prop_map(|(payloads, indexes)| Points::new(payloads, &indexes))
}

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.payloads
            .iter()
            .enumerate()
            .try_for_each(|(i, p)| writeln!(f, "{i}: {}", Value::Object(p.clone())))?;
        self.indexes.iter().try_for_each(|(key, index)| writeln!(f, "{key}: {:?}", index.schema()))
    }
}

/// A tenth of the cases without optimisation.
fn config(cases: u32) -> ProptestConfig {
    let cases = if cfg!(debug_assertions) { cases / 10 } else { cases };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn check(points: &Points, filter: &Filter) {
    let expected = points.expected(filter);
    let found = evaluate(filter, points, &Cancel::new()).expect("payloads can be read");
    assert_eq!(found.passing, expected);
    let guess = estimate(filter, points).expect("indexes can be read");
    let count = expected.count();
    assert!(guess.min <= count && count <= guess.max, "{count} points pass, estimated {guess:?}");
    assert!(guess.min <= guess.expected && guess.expected <= guess.max, "{guess:?}");
    let among: Bitset = (0..points.len()).map(|offset| offset % 3 != 1).collect();
    let some = evaluate_among(filter, points, Some(&among), &Cancel::new()).expect("payloads can be read");
    let mut expected = expected;
    expected.and(&among);
    assert_eq!(some.passing, expected);
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn an_index_never_changes_an_answer(points in any_points(), filters in prop::collection::vec(any_filter(), 1..6)) {
        filters.iter().for_each(|filter| check(&points, filter));
    }

    #[test]
    fn every_single_test_is_the_same_by_any_index(
        payloads in prop::collection::vec(any_payload(), 0..90),
        key in select(PATHS),
        schema in any_schema(),
        tests in prop::collection::vec(any_test(), 1..8),
    ) {
        let points = Points::new(payloads, &[(key, schema)]);
        for test in tests {
            let field = Condition::Field(FieldCondition { key: path(key), tests: vec![test] });
            check(&points, &Filter { must: vec![field], ..Filter::default() });
        }
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_file_answers_as_the_index_in_memory(points in any_points(), filters in prop::collection::vec(any_filter(), 1..6)) {
        let opened = points.reopened();
        filters.iter().for_each(|filter| check(&opened, filter));
        let all = Bitset::ones(points.len());
        for (key, index) in &points.indexes {
            let opened = &opened.indexes[key];
            prop_assert_eq!(index.facets(&all).expect("in memory"), opened.facets(&all).expect("intact"));
            for ascending in [true, false] {
                let in_memory: Vec<_> = index.ordered(ascending, None).expect("in memory").map(Result::ok).collect();
                let in_file: Vec<_> = opened.ordered(ascending, None).expect("intact").map(Result::ok).collect();
                prop_assert_eq!(in_memory, in_file);
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_an_index_is_detected_or_harmless() {
    let dir = tempfile::tempdir().expect("a folder");
    let tests = [
        (FieldType::Keyword, field("colour", FieldTest::Keyword("blue".to_owned()))),
        (FieldType::Integer, at_least("n", 700.0)),
    ];
    for (kind, condition) in tests {
        let Condition::Field(FieldCondition { key, .. }) = &condition else { panic!("a field") };
        let points = Points::new(coloured(), &[(key.as_str(), FieldSchema::plain(kind))]);
        let expected = points.expected(&must(vec![condition.clone()]));
        let path = dir.path().join(key.as_str());
        points.indexes[key]
            .write(SealedWriter::create(&RealDisk, &path, FILE_KIND).expect("a new file"))
            .expect("space");
        let file = RealDisk.open(&path).expect("what was written");
        for at in (0..file.size().expect("a size")).step_by(61) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("a byte");
            file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).expect("a flip");
            let answer = SealedFile::open(&RealDisk, &path, FILE_KIND)
                .and_then(|file| FieldIndex::open(file, &FieldSchema::plain(kind)))
                .and_then(|index| {
                    let source = Points {
                        payloads: coloured(),
                        indexes: [(key.clone(), index)].into(),
                        ..Points::default()
                    };
                    evaluate(&must(vec![condition.clone()]), &source, &Cancel::new())
                });
            match answer {
                Err(Error::Corrupt { .. }) => {}
                answer => assert_eq!(answer.expect("only damage is an error").passing, expected, "byte {at}"),
            }
            file.write_all_at(&byte, at).expect("the byte again");
        }
    }
}

/// Colour by tens, number by offset, an object in a list.
fn coloured() -> Vec<PayloadMap> {
    let colour = |i: usize| ["red", "green", "blue"][i / 10 % 3];
    (0..1000)
        .map(|i| object(json!({ "colour": colour(i), "n": i, "list": [{ "x": i % 7 }, { "x": 7 }] })))
        .collect()
}

fn keyword(key: &str, value: &str) -> Condition {
    Condition::Field(FieldCondition { key: path(key), tests: vec![FieldTest::Keyword(value.to_owned())] })
}

fn at_least(key: &str, gte: f64) -> Condition {
    let range = Bounds { gte: Some(gte), ..Bounds::default() };
    Condition::Field(FieldCondition { key: path(key), tests: vec![FieldTest::Range(range)] })
}

fn must(conditions: Vec<Condition>) -> Filter {
    Filter { must: conditions, ..Filter::default() }
}

/// Which payloads are read, and which keys reported, by the indexes there are.
fn check_plan(indexes: &[(&str, FieldType)], filter: &Filter, payloads_read: usize, unindexed: &[&str]) {
    let indexes: Vec<_> = indexes.iter().map(|(key, kind)| (*key, FieldSchema::plain(*kind))).collect();
    let points = Points::new(coloured(), &indexes);
    let found = evaluate(filter, &points, &Cancel::new()).expect("payloads can be read");
    assert_eq!(found.passing, points.expected(filter));
    assert_eq!(points.payloads_read.get(), payloads_read);
    assert_eq!(found.unindexed, unindexed);
}

#[test]
fn payloads_are_read_only_for_points_that_indexes_leave_undecided() {
    use FieldType::*;
    let both = must(vec![keyword("colour", "blue"), at_least("n", 980.0)]);
    check_plan(&[("colour", Keyword), ("n", Integer)], &both, 0, &[]);
    check_plan(&[("n", Float)], &both, 20, &["colour"]);
    check_plan(&[("colour", Keyword)], &both, 330, &["n"]);
    check_plan(&[], &both, 1000, &["colour", "n"]);
    check_plan(&[("colour", Integer)], &both, 1000, &["colour", "n"]);

    let either =
        Filter { should: vec![keyword("colour", "blue"), at_least("n", 980.0)], ..Filter::default() };
    check_plan(&[("colour", Keyword)], &either, 670, &["n"]);
    check_plan(
        &[("n", Integer)],
        &must(vec![Condition::Filter(either.clone()), at_least("n", 2000.0)]),
        0,
        &["colour"],
    );

    let not = Filter { must_not: vec![at_least("n", 10.0), keyword("colour", "blue")], ..Filter::default() };
    check_plan(&[("n", Integer)], &not, 10, &["colour"]);
}

#[test]
fn an_index_on_a_nested_path_narrows_a_nested_filter() {
    use FieldType::*;
    let nested = |conditions| must(vec![Condition::Nested { key: path("list"), filter: must(conditions) }]);
    check_plan(
        &[("list[].x", Integer)],
        &nested(vec![at_least("x", 6.0), at_least("y", 1.0)]),
        1000,
        &["list[].y"],
    );
    check_plan(&[("list[].x", Integer)], &nested(vec![at_least("x", 8.0)]), 0, &[]);
    check_plan(&[], &nested(vec![at_least("x", 7.0)]), 1000, &["list[].x"]);
}

#[test]
fn few_points_are_asked_directly_instead_of_making_a_large_bitmap() {
    let payloads = (0..5000).map(|n| object(json!({ "n": n }))).collect();
    let points = Points::new(payloads, &[("n", FieldSchema::plain(FieldType::Integer))]);
    let check = |gte, payloads_read| {
        let filter = must(vec![Condition::HasId([PointId::Num(4999)].into()), at_least("n", gte)]);
        points.payloads_read.set(0);
        let found = evaluate(&filter, &points, &Cancel::new()).expect("payloads can be read");
        assert_eq!(found, Evaluated { passing: points.expected(&filter), unindexed: vec![] });
        assert_eq!(points.payloads_read.get(), payloads_read);
    };
    check(4000.0, 0);
    check(0.0, 1);
}

#[test]
fn a_filter_stops_when_it_is_cancelled() {
    let cancel = Cancel::new();
    cancel.cancel();
    let points = Points::new(coloured(), &[]);
    let stopped = evaluate(&must(vec![at_least("n", 1.0)]), &points, &cancel);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

/// `expected`: whether a payload passes a filter on it.
fn check_one(payload: Value, condition: Condition, expected: bool) {
    let payload = object(payload);
    let passes = matches(&must(vec![condition.clone()]), PointId::Num(1), &|_| false, &payload);
    assert_eq!(passes, expected, "{condition:?} on {}", Value::Object(payload));
}

fn field(key: &str, test: FieldTest) -> Condition {
    Condition::Field(FieldCondition { key: path(key), tests: vec![test] })
}

#[test]
fn types_of_values_are_kept_apart() {
    check_one(json!({"a": 1.0}), field("a", FieldTest::Integer(1)), false);
    check_one(json!({"a": 1}), field("a", FieldTest::Integer(1)), true);
    check_one(json!({"a": true}), field("a", FieldTest::Integer(1)), false);
    check_one(json!({"a": "1"}), field("a", FieldTest::Integer(1)), false);
    check_one(json!({"a": [3, 1]}), field("a", FieldTest::Integer(1)), true);
    check_one(json!({"a": [[1]]}), field("a", FieldTest::Integer(1)), false);
    check_one(json!({"a": 1}), at_least("a", 1.0), true);
    check_one(json!({"a": true}), at_least("a", 0.0), false);
    check_one(json!({"a": "2014-01-01"}), field("a", FieldTest::DatetimeRange(Bounds::default())), true);
    check_one(json!({"a": "red"}), field("a", FieldTest::DatetimeRange(Bounds::default())), false);
}

#[test]
fn any_of_nothing_and_except_nothing() {
    check_one(json!({"a": 1}), field("a", FieldTest::AnyInteger(vec![])), false);
    for (payload, expected) in [(json!({"a": 1}), true), (json!({"a": null}), false), (json!({}), false)] {
        check_one(payload, field("a", FieldTest::ExceptInteger(vec![])), expected);
    }
    check_one(json!({"a": [1, 2]}), field("a", FieldTest::ExceptInteger(vec![1])), true);
    check_one(json!({"a": [1]}), field("a", FieldTest::ExceptInteger(vec![1])), false);
    check_one(json!({"a": "x"}), field("a", FieldTest::ExceptInteger(vec![1])), true);
}

#[test]
fn counts_and_absence() {
    let count =
        |n| field("a", FieldTest::ValuesCount(Bounds { gte: Some(n), lte: Some(n), ..Bounds::default() }));
    for (payload, counted, empty, null) in [
        (json!({}), 0, true, false),
        (json!({"a": null}), 0, true, true),
        (json!({"a": []}), 0, true, false),
        (json!({"a": [null]}), 1, false, true),
        (json!({"a": [1, null]}), 2, false, true),
        (json!({"a": {}}), 1, false, false),
        (json!({"a": "x"}), 1, false, false),
    ] {
        check_one(payload.clone(), count(counted), true);
        check_one(payload.clone(), count(counted + 1), false);
        check_one(payload.clone(), Condition::IsEmpty(path("a")), empty);
        check_one(payload.clone(), field("a", FieldTest::IsEmpty(true)), empty);
        check_one(payload.clone(), field("a", FieldTest::IsEmpty(false)), !empty);
        check_one(payload.clone(), Condition::IsNull(path("a")), null);
        check_one(payload.clone(), field("a", FieldTest::IsNull(true)), null);
        check_one(payload, field("a", FieldTest::IsNull(false)), !null);
    }
}

#[test]
fn one_element_has_to_satisfy_a_whole_nested_filter() {
    let both = |key: &str| Condition::Nested {
        key: path(key),
        filter: must(vec![field("x", FieldTest::Integer(1)), field("y", FieldTest::Integer(2))]),
    };
    check_one(json!({"a": [{"x": 1, "y": 2}]}), both("a"), true);
    check_one(json!({"a": [{"x": 1, "y": 2}]}), both("a[]"), true);
    check_one(json!({"a": [{"x": 1}, {"y": 2}]}), both("a"), false);
    check_one(json!({"a": {"x": 1, "y": 2}}), both("a"), false);
    let no_point = |condition| Condition::Nested { key: path("a"), filter: must(vec![condition]) };
    check_one(json!({"a": [{}]}), no_point(Condition::HasId([PointId::Num(1)].into())), false);
    check_one(json!({"a": [{}]}), no_point(Condition::IsEmpty(path("x"))), true);
    check_one(json!({"a": [5]}), no_point(Condition::IsEmpty(path("x"))), false);
}

#[test]
fn empty_clauses_are_absent() {
    check_one(json!({}), Condition::Filter(Filter::default()), true);
    let none = MinShould { conditions: vec![], min_count: 1 };
    check_one(json!({}), Condition::Filter(Filter { min_should: Some(none), ..Filter::default() }), true);
}

#[test]
fn values_come_in_order_and_counted() {
    use crate::payload_index::{FacetValue, OrderValue};
    let payloads = [json!({"a": [3, 1]}), json!({"a": 2}), json!({"a": 2.5}), json!({"a": 1}), json!({})];
    let points = Points::new(payloads.map(object).into(), &[("a", FieldSchema::plain(FieldType::Integer))]);
    let index = &points.indexes[&path("a")];
    let check = |ascending, from: Option<i64>, expected: &[(i64, u32)]| {
        let found = index.ordered(ascending, from.map(OrderValue::Integer)).expect("in memory");
        let found: Vec<_> = found.map(|pair| pair.expect("in memory")).collect();
        let expected: Vec<_> =
            expected.iter().map(|&(value, offset)| (OrderValue::Integer(value), offset)).collect();
        assert_eq!(found, expected);
    };
    check(true, None, &[(1, 0), (1, 3), (2, 1), (3, 0)]);
    check(true, Some(2), &[(2, 1), (3, 0)]);
    check(false, Some(2), &[(2, 1), (1, 3), (1, 0)]);
    let mut among = Bitset::ones(5);
    among.unset(3);
    let facets = index.facets(&among).expect("in memory");
    assert_eq!(facets, [(1, 1), (2, 1), (3, 1)].map(|(value, count)| (FacetValue::Integer(value), count)));
    assert_eq!(index.points(), 3);
}
