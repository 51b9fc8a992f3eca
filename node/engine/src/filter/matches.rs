//! What a filter means for one point, by its payload alone. Everything else here has to agree with this.

use serde_json::Value;

use super::datetime::parse_datetime;
use super::expr::{Condition, FieldCondition, FieldTest, Filter};
use super::geo::GeoPoint;
use crate::json_path::JsonPath;
use crate::payload::PayloadMap;
use crate::point_id::PointId;

/// Whether a point passes.
pub fn matches(
    filter: &Filter,
    id: PointId,
    has_vector: &dyn Fn(&str) -> bool,
    payload: &PayloadMap,
) -> bool {
    passes(filter, &Subject { point: Some((id, has_vector)), payload })
}

type HasVector<'a> = &'a dyn Fn(&str) -> bool;

/// What conditions are asked of.
struct Subject<'a> {
    /// None inside nested filters: an array element has neither id nor vectors.
    point: Option<(PointId, HasVector<'a>)>,
    payload: &'a PayloadMap,
}

fn passes(filter: &Filter, subject: &Subject) -> bool {
    let holds = |condition: &Condition| condition_holds(condition, subject);
    filter.must.iter().all(holds)
        && !filter.must_not.iter().any(holds)
        && (filter.should.is_empty() || filter.should.iter().any(holds))
        && filter.min_should.as_ref().is_none_or(|min_should| {
            let conditions = &min_should.conditions;
            conditions.is_empty() || conditions.iter().filter(|c| holds(c)).count() >= min_should.min_count
        })
}

fn condition_holds(condition: &Condition, subject: &Subject) -> bool {
    match condition {
        Condition::Field(field) => field_holds(field, subject.payload),
        Condition::IsEmpty(key) => is_empty(key, subject.payload),
        Condition::IsNull(key) => is_null(key, subject.payload),
        Condition::HasId(ids) => subject.point.is_some_and(|(id, _)| ids.contains(&id)),
        Condition::HasVector(name) => subject.point.is_some_and(|(_, has_vector)| has_vector(name)),
        Condition::Slice(slice) => subject.point.is_some_and(|(id, _)| slice.contains(id)),
        Condition::Nested { key, filter } => key.each().any_raw(subject.payload, |element| match element {
            Value::Object(payload) => passes(filter, &Subject { point: None, payload }),
            _ => false,
        }),
        Condition::Filter(filter) => passes(filter, subject),
    }
}

fn field_holds(field: &FieldCondition, payload: &PayloadMap) -> bool {
    field.tests.iter().any(|test| match test {
        FieldTest::ValuesCount(bounds) => {
            let mut missing = true;
            let counted = field.key.any_raw(payload, |value| {
                missing = false;
                bounds.contains(count_of(value))
            });
            counted || (missing && bounds.contains(0))
        }
        FieldTest::IsEmpty(wanted) => is_empty(&field.key, payload) == *wanted,
        FieldTest::IsNull(wanted) => is_null(&field.key, payload) == *wanted,
        test => field.key.any_value(payload, |value| value_passes(test, value)),
    })
}

/// Whether one value passes a test on values.
fn value_passes(test: &FieldTest, value: &Value) -> bool {
    match (test, value) {
        (FieldTest::Keyword(wanted), Value::String(s)) => s == wanted,
        (FieldTest::AnyKeyword(wanted), Value::String(s)) => wanted.contains(s),
        (FieldTest::Integer(wanted), Value::Number(n)) => n.as_i64() == Some(*wanted),
        (FieldTest::AnyInteger(wanted), Value::Number(n)) => n.as_i64().is_some_and(|n| wanted.contains(&n)),
        (FieldTest::Bool(wanted), Value::Bool(b)) => b == wanted,
        (FieldTest::ExceptKeyword(_) | FieldTest::ExceptInteger(_), Value::Null) => false,
        (FieldTest::ExceptKeyword(unwanted), Value::String(s)) => !unwanted.contains(s),
        (FieldTest::ExceptInteger(unwanted), Value::Number(n)) => {
            n.as_i64().is_none_or(|n| !unwanted.contains(&n))
        }
        (FieldTest::ExceptKeyword(_) | FieldTest::ExceptInteger(_), _) => true,
        (FieldTest::Range(bounds), Value::Number(n)) => n.as_f64().is_some_and(|n| bounds.contains(n)),
        (FieldTest::DatetimeRange(bounds), Value::String(s)) => {
            parse_datetime(s).is_some_and(|t| bounds.contains(t))
        }
        (FieldTest::Prefix(start), Value::String(s)) => s.starts_with(start.as_str()),
        (FieldTest::Text(test), Value::String(s)) => test.passes(s),
        (FieldTest::Geo(area), value) => GeoPoint::of(value).is_some_and(|point| area.contains(point)),
        _ => false,
    }
}

/// What `values_count` counts of one value.
pub(crate) fn count_of(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(elements) => elements.len() as u64,
        _ => 1,
    }
}

/// Null, or an array that holds a null. The protocol's two forms of the condition agree on this
/// (qdrant/qdrant#10096), so that an index doesn't change the answer.
pub(crate) fn is_null_value(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.iter().any(Value::is_null),
        _ => false,
    }
}

fn is_null(key: &JsonPath, payload: &PayloadMap) -> bool {
    key.any_raw(payload, is_null_value)
}

fn is_empty(key: &JsonPath, payload: &PayloadMap) -> bool {
    !key.any_raw(payload, |value| count_of(value) > 0)
}
