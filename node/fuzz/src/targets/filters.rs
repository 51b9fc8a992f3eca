//! Filters. The bytes choose points, indexes and a filter; the bitmap has to be what the definition of the filter gives for each point,
//! with indexes and without.

use std::borrow::Cow;
use std::collections::HashMap;

use quiver_engine::bitset::Bitset;
use quiver_engine::config::{FieldSchema, FieldType};
use quiver_engine::filter::{
    Bounds, Condition, FieldCondition, FieldTest, Filter, MinShould, PointSource, Slice, estimate, evaluate,
    matches,
};
use quiver_engine::json_path::JsonPath;
use quiver_engine::payload::PayloadMap;
use quiver_engine::payload_index::FieldIndex;
use quiver_engine::{Cancel, PointId, Result};
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) const PATHS: [&str; 8] = ["a", "b", "a[]", "a[0]", "o.x", "n[].x", "n", "none"];
pub(super) const WORDS: [&str; 6] =
    ["", "red", "redder", "2014-01-01T00:00:00Z", "550e8400-e29b-41d4-a716-446655440000", "ü"];
pub(super) const INTEGERS: [i64; 7] = [0, 1, 2, -3, i64::MAX, i64::MIN, 9_007_199_254_740_993];
pub(super) const FLOATS: [f64; 6] = [0.0, -0.0, 1.5, 1e300, -3.5, 9_007_199_254_740_992.0];
pub(super) const DEPTH_MAX: usize = 3;

/// Choices, 0 after the last byte.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    pub(super) fn next(&mut self, n: usize) -> usize {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(f, r)| (*f, r));
        self.0 = rest;
        usize::from(first) % n
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next(all.len())]
    }

    pub(super) fn list<T>(&mut self, longest: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = self.next(longest + 1);
        (0..n).map(|_| one(self)).collect()
    }

    pub(super) fn path(&mut self) -> JsonPath {
        JsonPath::parse(self.of(&PATHS)).expect("a path")
    }

    pub(super) fn scalar(&mut self) -> Value {
        match self.next(6) {
            0 => Value::Null,
            1 => self.next(2).eq(&1).into(),
            2 => self.of(&INTEGERS).into(),
            3 => self.of(&FLOATS).into(),
            4 => json!(u64::MAX),
            _ => self.of(&WORDS).into(),
        }
    }

    pub(super) fn value(&mut self) -> Value {
        match self.next(5) {
            0 | 1 => self.scalar(),
            2 => self.list(3, Self::scalar).into(),
            3 => json!({"x": self.scalar()}),
            _ => self.list(3, |c| json!({"x": c.scalar(), "y": c.scalar()})).into(),
        }
    }

    fn payload(&mut self) -> PayloadMap {
        let keys = self.list(3, |c| c.of(&["a", "b", "o", "n"]));
        keys.into_iter().map(|key| (key.to_owned(), self.value())).collect()
    }

    fn bounds<T: Copy>(&mut self, all: &[T]) -> Bounds<T> {
        let mut bound = || (self.next(2) == 1).then(|| self.of(all));
        Bounds { lt: bound(), lte: bound(), gt: bound(), gte: bound() }
    }

    fn test(&mut self) -> FieldTest {
        let word = |c: &mut Self| c.of(&WORDS).to_owned();
        let integer = |c: &mut Self| c.of(&INTEGERS);
        match self.next(13) {
            0 => FieldTest::Keyword(word(self)),
            1 => FieldTest::Integer(integer(self)),
            2 => FieldTest::Bool(self.next(2) == 1),
            3 => FieldTest::AnyKeyword(self.list(3, word)),
            4 => FieldTest::AnyInteger(self.list(3, integer)),
            5 => FieldTest::ExceptKeyword(self.list(3, word)),
            6 => FieldTest::ExceptInteger(self.list(3, integer)),
            7 => FieldTest::Range(self.bounds(&FLOATS)),
            8 => FieldTest::DatetimeRange(self.bounds(&[0, 1_388_534_400_000_000, i64::MAX])),
            9 => FieldTest::Prefix(word(self)),
            10 => FieldTest::ValuesCount(self.bounds(&[0, 1, 2])),
            11 => FieldTest::IsEmpty(self.next(2) == 1),
            _ => FieldTest::IsNull(self.next(2) == 1),
        }
    }

    fn condition(&mut self, depth: usize) -> Condition {
        match self.next(if depth < DEPTH_MAX { 9 } else { 7 }) {
            0 | 1 => Condition::Field(FieldCondition { key: self.path(), tests: self.list(2, Self::test) }),
            2 => Condition::IsEmpty(self.path()),
            3 => Condition::IsNull(self.path()),
            4 => Condition::HasId(self.list(3, |c| id(c.next(80) as u32)).into_iter().collect()),
            5 => Condition::HasVector(self.of(&["all", "odd", "none"]).to_owned()),
            6 => Condition::Slice(Slice::new(3, self.next(3) as u32).expect("an index below the total")),
            7 => Condition::Nested { key: self.path(), filter: self.filter(depth + 1) },
            _ => Condition::Filter(self.filter(depth + 1)),
        }
    }

    fn filter(&mut self, depth: usize) -> Filter {
        let mut all = |longest| self.list(longest, |c| c.condition(depth));
        let (must, should, must_not, some) = (all(3), all(3), all(2), all(3));
        let min_should = (!some.is_empty()).then(|| MinShould { conditions: some, min_count: self.next(4) });
        Filter { must, should, must_not, min_should }
    }
}

pub(super) fn id(offset: u32) -> PointId {
    match offset % 3 {
        0 => PointId::Uuid(Uuid::from_u128(offset.into())),
        _ => PointId::Num(offset.into()),
    }
}

pub(super) struct Points {
    payloads: Vec<PayloadMap>,
    indexes: HashMap<JsonPath, FieldIndex>,
}

impl PointSource for Points {
    fn len(&self) -> u32 {
        self.payloads.len() as u32
    }

    fn id(&self, offset: u32) -> PointId {
        id(offset)
    }

    fn offset_of(&self, asked: PointId) -> Option<u32> {
        (0..self.len()).find(|offset| id(*offset) == asked)
    }

    fn payload(&self, offset: u32) -> Result<Cow<'_, PayloadMap>> {
        Ok(Cow::Borrowed(&self.payloads[offset as usize]))
    }

    fn has_vector(&self, offset: u32, name: &str) -> bool {
        name == "all" || (name == "odd" && offset % 2 == 1)
    }

    fn index(&self, key: &JsonPath) -> Option<&FieldIndex> {
        self.indexes.get(key)
    }
}

impl Points {
    fn chosen(choices: &mut Choices) -> Self {
        let payloads: Vec<_> = choices.list(20, Choices::payload);
        let kinds = [
            FieldType::Keyword,
            FieldType::Integer,
            FieldType::Float,
            FieldType::Bool,
            FieldType::Datetime,
            FieldType::Uuid,
        ];
        let keys = choices.list(4, |c| (c.path(), FieldSchema::plain(c.of(&kinds))));
        Self::new(payloads, keys)
    }

    /// Points of these payloads, with these indexes.
    pub(super) fn new(payloads: Vec<PayloadMap>, keys: Vec<(JsonPath, FieldSchema)>) -> Self {
        let each = || (0u32..).zip(&payloads).map(|(offset, payload)| Ok((offset, Cow::Borrowed(payload))));
        let build = |(key, schema): (JsonPath, FieldSchema)| {
            let index = FieldIndex::build(&schema, payloads.len() as u32, each(), &key)
                .expect("payloads can be read");
            (key, index)
        };
        let indexes = keys.into_iter().map(build).collect();
        Self { payloads, indexes }
    }
}

/// Evaluates one filter in both ways.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let points = Points::chosen(&mut choices);
    hold(points, &choices.filter(0));
}

/// The bitmap is what the definition gives, with indexes and without.
pub(super) fn hold(mut points: Points, filter: &Filter) {
    let passes =
        |p: &Points, o: u32| matches(filter, id(o), &|name| p.has_vector(o, name), &p.payloads[o as usize]);
    let expected: Bitset = (0..points.len()).map(|o| passes(&points, o)).collect();
    for _ in 0..2 {
        let got = evaluate(filter, &points, &Cancel::new()).expect("nothing fails in memory");
        assert_eq!(got.passing, expected, "{filter:?}");
        let guess = estimate(filter, &points).expect("nothing fails in memory");
        let count = expected.count();
        assert!((guess.min..=guess.max).contains(&count), "{count} of {guess:?} {filter:?}");
        points.indexes.clear();
    }
}
