//! Filters as they stand in JSON.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::geo::{GeoBoundingBox, GeoPolygon, GeoRadius};
use crate::point::PointId;
use crate::validate::Invalid;

/// A filter; unknown clauses are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub should: Option<Conditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_should: Option<MinShould>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must: Option<Conditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must_not: Option<Conditions>,
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // Through a `Value`: filters are small, and an error then carries the place where the filter ends.
        Filter::parse(Value::deserialize(d)?, 0).map_err(de::Error::custom)
    }
}

type Parsed<T> = Result<T, String>;

fn part<T: de::DeserializeOwned>(value: Value) -> Parsed<T> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

impl Filter {
    fn parse(value: Value, depth: usize) -> Parsed<Self> {
        if depth >= DEPTH_MAX {
            return Err(format!("filters are nested more than {DEPTH_MAX} deep"));
        }
        let Value::Object(clauses) = value else { return Err("invalid type: expected struct Filter".into()) };
        let mut filter = Filter::default();
        for (clause, value) in clauses {
            match clause.as_str() {
                _ if value.is_null() => {}
                "should" => filter.should = Some(conditions(value, depth)?),
                "must" => filter.must = Some(conditions(value, depth)?),
                "must_not" => filter.must_not = Some(conditions(value, depth)?),
                "min_should" => filter.min_should = Some(min_should(value, depth)?),
                _ => {
                    return Err(format!(
                        "unknown field `{clause}`, expected one of `should`, `min_should`, `must`, `must_not`"
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        let conditions = self.conditions();
        if conditions > CONDITIONS_MAX {
            let text = format!("{conditions} conditions are too many, at most {CONDITIONS_MAX} are allowed");
            invalid.add(path, text);
            return;
        }
        self.validate_parts(path, invalid);
    }

    /// How many conditions it has, those inside of others counted.
    fn conditions(&self) -> usize {
        let lists = [&self.should, &self.must, &self.must_not].into_iter().flatten().map(|c| &c.0);
        let all = lists.chain(self.min_should.iter().map(|m| &m.conditions)).flatten();
        all.map(|condition| match condition {
            Condition::Nested { nested } => 1 + nested.filter.conditions(),
            Condition::Filter(filter) => 1 + filter.conditions(),
            _ => 1,
        })
        .sum()
    }

    fn validate_parts(&self, path: &str, invalid: &mut Invalid) {
        for (clause, list) in [("should", &self.should), ("must", &self.must), ("must_not", &self.must_not)] {
            if let Some(Conditions(all)) = list {
                validate_all(all, &format!("{path}.{clause}"), invalid);
            }
        }
        if let Some(min_should) = &self.min_should {
            validate_all(&min_should.conditions, &format!("{path}.min_should.conditions"), invalid);
            invalid.at_least(&format!("{path}.min_should.min_count"), Some(min_should.min_count), 1);
        }
    }
}

fn conditions(value: Value, depth: usize) -> Parsed<Conditions> {
    match value {
        Value::Array(all) => {
            all.into_iter().map(|v| Condition::parse(v, depth)).collect::<Parsed<_>>().map(Conditions)
        }
        one => Ok(Conditions(vec![Condition::parse(one, depth)?])),
    }
}

fn min_should(value: Value, depth: usize) -> Parsed<MinShould> {
    let Value::Object(mut object) = value else {
        return Err("invalid type: expected struct MinShould".into());
    };
    let list = object.remove("conditions").ok_or("missing field `conditions`")?;
    let count = object.remove("min_count").ok_or("missing field `min_count`")?;
    Ok(MinShould { conditions: conditions(list, depth)?.0, min_count: part(count)? })
}

fn validate_all(all: &[Condition], path: &str, invalid: &mut Invalid) {
    for (i, condition) in all.iter().enumerate() {
        match condition {
            Condition::Field(field) if field.is_bare() => {
                let text = "Validation error: At least one field condition must be specified [{}]";
                invalid.add(format!("{path}[{i}].__all__"), text);
            }
            Condition::Field(field) => field.validate(&format!("{path}[{i}]"), invalid),
            Condition::Slice { slice } => {
                let at = format!("{path}[{i}].slice.index");
                invalid.within(&at, slice.index as usize, 0, slice.total.get() as usize - 1);
            }
            Condition::Nested { nested } => {
                nested.filter.validate_parts(&format!("{path}[{i}].nested.filter"), invalid)
            }
            Condition::Filter(filter) => filter.validate_parts(&format!("{path}[{i}]"), invalid),
            _ => {}
        }
    }
}

/// One condition or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Conditions(pub Vec<Condition>);

/// Conditions of one filter; the limit keeps a single request from keeping a core busy for long.
pub const CONDITIONS_MAX: usize = 65_536;

/// Points of one polygon.
pub const POLYGON_POINTS_MAX: usize = 10_000;

/// Bytes of a text that is looked for.
pub const TEXT_BYTES_MAX: usize = 65_536;

/// Filters in filters that are followed; deeper ones are refused.
pub const DEPTH_MAX: usize = 64;

/// At least `min_count` of the conditions hold.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MinShould {
    pub conditions: Vec<Condition>,
    pub min_count: usize,
}

/// A key by itself, as `is_empty` and `is_null` take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PayloadField {
    pub key: String,
}

/// Points whose ids fall into one of `total` parts of the id space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slice {
    pub total: NonZeroU32,
    pub index: u32,
}

/// A filter on the elements of an array of objects.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Nested {
    pub key: String,
    pub filter: Filter,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Condition {
    Field(Box<FieldCondition>),
    IsEmpty { is_empty: PayloadField },
    IsNull { is_null: PayloadField },
    HasId { has_id: Vec<PointId> },
    HasVector { has_vector: String },
    Slice { slice: Slice },
    Nested { nested: Nested },
    Filter(Filter),
}

const NO_CONDITION: &str = "Expected some form of condition, which can be a field condition (like {\"key\": ..., \"match\": ... }), or some other mentioned in the documentation: https://qdrant.tech/documentation/concepts/filtering/#filtering-conditions";

impl Condition {
    fn parse(value: Value, depth: usize) -> Parsed<Self> {
        let unknown = || NO_CONDITION.to_owned();
        let Value::Object(mut object) = value else { return Err(unknown()) };
        if object.is_empty() {
            // A filter with nothing in it: everything passes.
            return Ok(Condition::Filter(Filter::default()));
        }
        if object.contains_key("key") {
            return part(object.into()).map(Condition::Field);
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
        if let Some(v) = object.remove("slice") {
            return Ok(Condition::Slice { slice: part(v)? });
        }
        if let Some(Value::Object(mut inner)) = object.remove("nested") {
            let (key, filter) =
                (inner.remove("key").ok_or_else(unknown)?, inner.remove("filter").ok_or_else(unknown)?);
            let nested = Nested { key: part(key)?, filter: Filter::parse(filter, depth + 1)? };
            return Ok(Condition::Nested { nested });
        }
        if ["must", "should", "must_not", "min_should"].iter().any(|k| object.contains_key(*k)) {
            return Filter::parse(object.into(), depth + 1).map(Condition::Filter);
        }
        Err(unknown())
    }
}

impl FieldCondition {
    /// Whether it tests nothing.
    fn is_bare(&self) -> bool {
        *self == FieldCondition { key: self.key.clone(), ..FieldCondition::default() }
    }

    fn validate(&self, path: &str, invalid: &mut Invalid) {
        if let Some(polygon) = self.geo_polygon.as_ref().filter(|p| p.points() > POLYGON_POINTS_MAX) {
            let text =
                format!("{} points are too many, at most {POLYGON_POINTS_MAX} are allowed", polygon.points());
            invalid.add(format!("{path}.geo_polygon"), text);
        }
        if let Some(Match::Text(t) | Match::TextAny(t) | Match::Phrase(t) | Match::Prefix(t)) = &self.matches
            && t.len() > TEXT_BYTES_MAX
        {
            let text =
                format!("a text of {} bytes is too long, at most {TEXT_BYTES_MAX} are allowed", t.len());
            invalid.add(format!("{path}.match"), text);
        }
    }
}

/// Tests on one payload key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldCondition {
    pub key: String,
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_bounding_box: Option<GeoBoundingBox>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_radius: Option<GeoRadius>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_polygon: Option<GeoPolygon>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_count: Option<ValuesCount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_empty: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_null: Option<bool>,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    Value(Scalar),
    Any(Scalars),
    Except(Scalars),
    /// All tokens of a text.
    Text(String),
    /// Any of them.
    TextAny(String),
    /// All of them, one behind the other.
    Phrase(String),
    /// Strings that begin so.
    Prefix(String),
}

/// A value that can be matched exactly.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Keyword(String),
    Integer(i64),
    Bool(bool),
}

/// All strings or all integers.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
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
        type Form = (&'static str, fn(String) -> Match);
        const FORMS: [Form; 4] = [
            ("text", Match::Text),
            ("text_any", Match::TextAny),
            ("phrase", Match::Phrase),
            ("prefix", Match::Prefix),
        ];
        FORMS
            .into_iter()
            .find_map(|(key, form)| match object.remove(key) {
                Some(Value::String(text)) => Some(form(text)),
                _ => None,
            })
            .ok_or_else(refused)
    }
}

/// Bounds of a range: numbers, or datetimes if any of them is a string.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Bound {
    Number(f64),
    Text(String),
}

/// Bounds of the number of values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::points::CountRequest;

    /// What is read prints as it was written, lists of conditions being lists.
    fn check(filter: Value) {
        let read: Filter = serde_json::from_str(&filter.to_string()).expect("a filter");
        assert_eq!(serde_json::to_value(&read).expect("it prints"), filter);
    }

    fn check_error(filter: &str, expected: &str) {
        let body = format!("{{\"filter\":{filter}}}");
        let error = serde_json::from_str::<CountRequest>(&body).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{filter}: {error}");
        assert!(error.contains(" at line 1 column "), "{filter}: {error}");
    }

    #[test]
    fn every_condition_is_read() {
        check(
            json!({"must": [{"key": "a", "match": {"value": "x"}}, {"key": "a", "match": {"any": [1, 2]}}]}),
        );
        check(
            json!({"must": [{"key": "a", "match": {"except": ["x"]}}, {"key": "a", "match": {"text": "x y"}}]}),
        );
        check(
            json!({"should": [{"key": "a", "range": {"gte": 1.5}}, {"key": "d", "range": {"lt": "2020-01-01"}}]}),
        );
        check(json!({"must_not": [{"is_empty": {"key": "a"}}, {"is_null": {"key": "a"}}, {"has_id": [1]}]}));
        check(
            json!({"must": [{"has_vector": ""}, {"nested": {"key": "n", "filter": {"must": [{"has_id": []}]}}}]}),
        );
        check(
            json!({"min_should": {"conditions": [{"key": "a", "values_count": {"gt": 2}}], "min_count": 1}}),
        );
        check(json!({"must": [{"should": [{"key": "a", "is_null": true}]}, {}]}));
        check(
            json!({"must": [{"key": "a", "geo_radius": {"center": {"lon": 1.0, "lat": 2.0}, "radius": 3.5}}]}),
        );
        let corner = |n: f64| json!({"lon": n, "lat": n});
        check(
            json!({"must": [{"key": "a", "geo_bounding_box": {"top_left": corner(1.0), "bottom_right": corner(2.0)}}]}),
        );
        let ring = json!({"points": [corner(0.0), corner(1.0), corner(2.0), corner(0.0)]});
        check(
            json!({"must": [{"key": "a", "geo_polygon": {"exterior": ring.clone(), "interiors": [ring.clone()]}}]}),
        );
        check(
            json!({"must": [{"key": "a", "match": {"text_any": "x"}}, {"slice": {"total": 4, "index": 3}}]}),
        );
        check(
            json!({"must": [{"key": "a", "match": {"phrase": "x"}}, {"key": "a", "match": {"prefix": ""}}]}),
        );
    }

    #[test]
    fn a_clause_may_be_one_condition_or_null() {
        let read: Filter =
            serde_json::from_str(r#"{"must":{"has_id":[7]},"should":null}"#).expect("a filter");
        assert_eq!(read.must, Some(Conditions(vec![Condition::HasId { has_id: vec![PointId::Num(7)] }])));
        assert_eq!(read.should, None);
    }

    #[test]
    fn wrong_filters_are_refused_in_the_protocols_words() {
        const NO_MATCH: &str = "data did not match any variant of untagged enum MatchInterface";
        check_error(r#"{"must":[{"foo":1}]}"#, NO_CONDITION);
        check_error(r#"{"must":["x"]}"#, NO_CONDITION);
        check_error(
            r#"{"foo":[]}"#,
            "unknown field `foo`, expected one of `should`, `min_should`, `must`, `must_not`",
        );
        check_error(r#"{"must":[{"key":"a","match":{"value":1.5}}]}"#, NO_MATCH);
        check_error(r#"{"must":[{"key":"a","match":{"any":[1,"x"]}}]}"#, NO_MATCH);
        check_error(
            r#"{"must":[{"has_id":["abc"]}]}"#,
            "value abc is not a valid point ID, valid values are either an unsigned integer or a UUID",
        );
        check_error(
            r#"{"must":[{"key":"a","geo_radius":{"center":{"lon":1,"lat":152.5},"radius":3}}]}"#,
            "Wrong format of GeoPoint payload: expected `lat` = 152.5 within [-90;90] and `lon` = 1 within [-180;180]",
        );
        check_error(
            r#"{"must":[{"key":"a","geo_polygon":{"exterior":{"points":[{"lon":1,"lat":1}]}}}]}"#,
            "Validation failed: polygon invalid, the size must be at least 4, got 1",
        );
        let open = r#"{"lon":1,"lat":1},{"lon":2,"lat":1},{"lon":2,"lat":2},{"lon":1,"lat":2}"#;
        check_error(
            &format!(r#"{{"must":[{{"key":"a","geo_polygon":{{"exterior":{{"points":[{open}]}}}}}}]}}"#),
            "Validation failed: polygon invalid, the first and the last points should be the same to form a closed line",
        );
        check_error(r#"{"must":[{"key":"a","match":{"text":1}}]}"#, NO_MATCH);
        let deep = |n| format!("{}{}", r#"{"must":"#.repeat(n), "}".repeat(n)).replace(":}", ":[]}");
        check_error(&deep(70), "filters are nested more than 64 deep");
        check_error(&deep(200), "recursion limit exceeded");
    }

    #[test]
    fn conditions_that_test_nothing_are_named_with_their_path() {
        let read: Filter = serde_json::from_value(json!({
            "must": [{"key": "a"}],
            "should": [{"nested": {"key": "n", "filter": {"must_not": {"key": "b"}}}}],
            "min_should": {"conditions": [], "min_count": 0},
            "must_not": {"slice": {"total": 2, "index": 2}},
        }))
        .expect("a filter");
        let mut invalid = Invalid::new();
        read.validate("f", &mut invalid);
        let text = "Validation error: At least one field condition must be specified [{}]";
        let expected = format!(
            "[f.should[0].nested.filter.must_not[0].__all__: {text}; f.must[0].__all__: {text}; \
             f.must_not[0].slice.index: value 2 invalid, must be from 0 to 1; \
             f.min_should.min_count: value 0 invalid, must be 1 or larger]"
        );
        assert_eq!(invalid.to_string(), expected);
    }
}
