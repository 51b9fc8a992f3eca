//! The filter language, already checked: paths parsed, datetimes in microseconds.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::geo::GeoArea;
use super::slice::Slice;
use crate::json_path::JsonPath;
use crate::point_id::PointId;
use crate::text::TextTest;

/// All clauses that are present must hold. An empty list is an absent clause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub must: Vec<Condition>,
    pub should: Vec<Condition>,
    pub must_not: Vec<Condition>,
    pub min_should: Option<MinShould>,
}

/// At least `min_count` of the conditions hold.
#[derive(Clone, Debug, PartialEq)]
pub struct MinShould {
    pub conditions: Vec<Condition>,
    pub min_count: usize,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Field(FieldCondition),
    /// No value at the path, or only null and `[]`.
    IsEmpty(JsonPath),
    /// Some value at the path is null or an array that holds a null; missing is not null.
    IsNull(JsonPath),
    HasId(HashSet<PointId>),
    HasVector(String),
    /// The point's id falls into a part of the id space.
    Slice(Slice),
    /// One array element satisfies the whole filter. `has_id`, `has_vector` and `slice` inside never match.
    Nested {
        key: JsonPath,
        filter: Filter,
    },
    Filter(Filter),
}

/// Tests on one payload key; several tests are alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldCondition {
    pub key: JsonPath,
    pub tests: Vec<FieldTest>,
}

/// A test on the values at a key. A point passes if any of its values does, but for the last three.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldTest {
    Keyword(String),
    Integer(i64),
    Bool(bool),
    AnyKeyword(Vec<String>),
    AnyInteger(Vec<i64>),
    /// A non-null value that is not in the list.
    ExceptKeyword(Vec<String>),
    ExceptInteger(Vec<i64>),
    Range(Bounds<f64>),
    /// Microseconds since the epoch, UTC.
    DatetimeRange(Bounds<i64>),
    /// A string that begins so.
    Prefix(String),
    Text(Arc<TextTest>),
    Geo(Arc<GeoArea>),
    /// Array length; 1 for a scalar or object, 0 for null or a missing field.
    ValuesCount(Bounds<u64>),
    IsEmpty(bool),
    IsNull(bool),
}

/// A range; absent bounds are open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds<T> {
    pub lt: Option<T>,
    pub lte: Option<T>,
    pub gt: Option<T>,
    pub gte: Option<T>,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    /// Whether a value lies inside.
    pub fn contains(&self, v: T) -> bool {
        self.is_above_start(v) && self.is_below_end(v)
    }

    /// Whether a value passes the lower bounds.
    pub fn is_above_start(&self, v: T) -> bool {
        self.gt.is_none_or(|b| v > b) && self.gte.is_none_or(|b| v >= b)
    }

    /// Whether a value passes the upper bounds.
    pub fn is_below_end(&self, v: T) -> bool {
        self.lt.is_none_or(|b| v < b) && self.lte.is_none_or(|b| v <= b)
    }
}

impl Filter {
    /// Memory it takes, about.
    pub fn bytes(&self) -> usize {
        let all = self.must.iter().chain(&self.should).chain(&self.must_not);
        let conditions = all.chain(self.min_should.iter().flat_map(|m| &m.conditions));
        size_of::<Self>() + conditions.map(Condition::bytes).sum::<usize>()
    }
}

impl Condition {
    fn bytes(&self) -> usize {
        let variable = match self {
            Condition::Field(field) => field.tests.iter().map(FieldTest::bytes).sum(),
            Condition::HasId(ids) => ids.len() * size_of::<PointId>() * 2,
            Condition::Nested { filter, .. } | Condition::Filter(filter) => filter.bytes(),
            Condition::IsEmpty(_) | Condition::IsNull(_) | Condition::HasVector(_) | Condition::Slice(_) => 0,
        };
        size_of::<Self>() + variable
    }
}

impl FieldTest {
    fn bytes(&self) -> usize {
        let text = |s: &String| size_of::<String>() + s.len();
        let variable = match self {
            FieldTest::Keyword(s) | FieldTest::Prefix(s) => s.len(),
            FieldTest::Text(test) => test.bytes(),
            FieldTest::Geo(area) => area.bytes(),
            FieldTest::AnyKeyword(all) | FieldTest::ExceptKeyword(all) => all.iter().map(text).sum(),
            FieldTest::AnyInteger(all) | FieldTest::ExceptInteger(all) => size_of_val(all.as_slice()),
            _ => 0,
        };
        size_of::<Self>() + variable
    }
}

/// A string that is a UUID, in any of its forms.
pub fn parse_uuid(s: &str) -> Option<Uuid> {
    Uuid::try_parse(s).ok()
}
