//! Filters as they stand in JSON.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::point::PointId;

/// A filter; unknown clauses are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub should: Option<Conditions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_should: Option<MinShould>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must: Option<Conditions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_not: Option<Conditions>,
}

/// One condition or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Conditions(pub Vec<Condition>);

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Value::deserialize(d)? {
            Value::Array(all) => all
                .into_iter()
                .map(|v| serde_json::from_value(v).map_err(de::Error::custom))
                .collect::<Result<_, _>>()
                .map(Conditions),
            one => serde_json::from_value(one).map(|c| Conditions(vec![c])).map_err(de::Error::custom),
        }
    }
}

/// At least `min_count` of the conditions hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinShould {
    pub conditions: Vec<Condition>,
    pub min_count: usize,
}

/// A key by itself, as `is_empty` and `is_null` take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PayloadField {
    pub key: String,
}

/// A filter on the elements of an array of objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nested {
    pub key: String,
    pub filter: Filter,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Condition {
    Field(Box<FieldCondition>),
    IsEmpty { is_empty: PayloadField },
    IsNull { is_null: PayloadField },
    HasId { has_id: Vec<PointId> },
    HasVector { has_vector: String },
    Nested { nested: Nested },
    Filter(Filter),
}

const NO_CONDITION: &str = "Expected some form of condition, which can be a field condition (like {\"key\": ..., \"match\": ... }), or some other mentioned in the documentation: https://qdrant.tech/documentation/concepts/filtering/#filtering-conditions";

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        fn part<T: de::DeserializeOwned, E: de::Error>(value: Value) -> Result<T, E> {
            serde_json::from_value(value).map_err(E::custom)
        }
        let Value::Object(mut object) = Value::deserialize(d)? else {
            return Err(de::Error::custom(NO_CONDITION));
        };
        if object.contains_key("key") {
            return Ok(Condition::Field(part(object.into())?));
        }
        if let Some(v) = object.remove("is_empty") {
            return Ok(Condition::IsEmpty { is_empty: part(v)? });
        }
        if let Some(v) = object.remove("is_null") {
            return Ok(Condition::IsNull { is_null: part(v)? });
        }
        if let Some(v) = object.remove("has_id") {
            return Ok(Condition::HasId { has_id: part(v)? });
        }
        if let Some(v) = object.remove("has_vector") {
            return Ok(Condition::HasVector { has_vector: part(v)? });
        }
        if let Some(v) = object.remove("nested") {
            return Ok(Condition::Nested { nested: part(v)? });
        }
        if ["must", "should", "must_not", "min_should"].iter().any(|k| object.contains_key(*k)) {
            return Ok(Condition::Filter(part(object.into())?));
        }
        Err(de::Error::custom(NO_CONDITION))
    }
}

/// Tests on one payload key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FieldCondition {
    pub key: String,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_bounding_box: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_radius: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_polygon: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_count: Option<ValuesCount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_empty: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_null: Option<bool>,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    Value(Scalar),
    Any(Scalars),
    Except(Scalars),
    /// Full-text forms, with their key.
    #[serde(untagged)]
    Text(Map<String, Value>),
}

/// A value that can be matched exactly.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    Keyword(String),
    Integer(i64),
    Bool(bool),
}

/// All strings or all integers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalars {
    Keywords(Vec<String>),
    Integers(Vec<i64>),
}

impl Scalar {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::String(s) => Some(Scalar::Keyword(s)),
            Value::Bool(b) => Some(Scalar::Bool(b)),
            Value::Number(n) => n.as_i64().map(Scalar::Integer),
            _ => None,
        }
    }
}

impl Scalars {
    fn of(value: Value) -> Option<Self> {
        let Value::Array(all) = value else { return None };
        if all.iter().all(Value::is_string) {
            let strings =
                all.into_iter().filter_map(|v| if let Value::String(s) = v { Some(s) } else { None });
            return Some(Scalars::Keywords(strings.collect()));
        }
        all.iter().map(Value::as_i64).collect::<Option<_>>().map(Scalars::Integers)
    }
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom("data did not match any variant of untagged enum MatchInterface");
        let Value::Object(mut object) = Value::deserialize(d)? else { return Err(refused()) };
        if let Some(v) = object.remove("value") {
            return Scalar::of(v).map(Match::Value).ok_or_else(refused);
        }
        if let Some(v) = object.remove("any") {
            return Scalars::of(v).map(Match::Any).ok_or_else(refused);
        }
        if let Some(v) = object.remove("except") {
            return Scalars::of(v).map(Match::Except).ok_or_else(refused);
        }
        if ["text", "text_any", "phrase", "prefix"]
            .iter()
            .any(|k| object.get(*k).is_some_and(Value::is_string))
        {
            return Ok(Match::Text(object));
        }
        Err(refused())
    }
}

/// Bounds of a range: numbers, or datetimes if any of them is a string.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gte: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lte: Option<Bound>,
}

/// One bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bound {
    Number(f64),
    Text(String),
}

/// Bounds of the number of values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValuesCount {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gte: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lte: Option<u64>,
}
