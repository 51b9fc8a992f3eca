//! What a filter needs: which indexes, and how many conditions of which size.

use std::collections::BTreeMap;

use quiver_api::collections::{FieldSchema, FieldType};
use quiver_api::filter::{Bound, Condition, Conditions, FieldCondition, Filter, Match, Scalar, Scalars};

use crate::collection::convert;
use crate::error::Result;

/// What a condition asks of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Keyword,
    /// A text that could be a UUID.
    KeywordOrUuid,
    Integer,
    Bool,
    Text,
    Phrase,
    Number,
    Datetime,
    Geo,
    /// How many values there are, and whether there are any: every index knows.
    Any,
}

impl Need {
    /// Types of index that serve it, in the order of their names.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Need::Keyword => &["keyword"],
            Need::KeywordOrUuid => &["keyword", "uuid"],
            Need::Integer => &["integer"],
            Need::Bool => &["bool"],
            Need::Text | Need::Phrase => &["text"],
            Need::Number => &["float", "integer"],
            Need::Datetime => &["datetime"],
            Need::Geo => &["geo"],
            Need::Any => &["bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid"],
        }
    }

    /// Whether an index serves it.
    pub fn is_served_by(self, schema: &FieldSchema) -> bool {
        let (kind, params) = match schema {
            FieldSchema::Type(kind) => (*kind, None),
            FieldSchema::Params(p) => (p.kind, Some(p)),
        };
        let is_on = |flag: Option<bool>| flag != Some(false);
        match self {
            Need::Any => true,
            Need::Keyword => kind == FieldType::Keyword,
            Need::KeywordOrUuid => matches!(kind, FieldType::Keyword | FieldType::Uuid),
            Need::Integer => kind == FieldType::Integer && params.is_none_or(|p| is_on(p.lookup)),
            Need::Bool => kind == FieldType::Bool,
            Need::Text => kind == FieldType::Text,
            Need::Phrase => {
                kind == FieldType::Text && params.is_some_and(|p| p.text.phrase_matching == Some(true))
            }
            Need::Number => {
                kind == FieldType::Float
                    || (kind == FieldType::Integer && params.is_none_or(|p| is_on(p.range)))
            }
            Need::Datetime => kind == FieldType::Datetime,
            Need::Geo => kind == FieldType::Geo,
        }
    }
}

/// The lists of conditions of a filter.
fn lists(filter: &Filter) -> impl Iterator<Item = &Condition> {
    let lists = [&filter.must, &filter.should, &filter.must_not].into_iter().flatten();
    let lists = lists.map(|Conditions(all)| all.as_slice());
    lists.chain(filter.min_should.iter().map(|m| m.conditions.as_slice())).flatten()
}

/// Conditions that test something themselves.
pub fn conditions(filter: &Filter) -> usize {
    let one = |condition: &Condition| match condition {
        Condition::Nested { nested } => conditions(&nested.filter),
        Condition::Filter(f) => conditions(f),
        _ => 1,
    };
    lists(filter).map(one).sum()
}

/// Values of the largest condition.
pub fn largest_condition(filter: &Filter) -> usize {
    let one = |condition: &Condition| match condition {
        Condition::Nested { nested } => largest_condition(&nested.filter),
        Condition::Filter(f) => largest_condition(f),
        Condition::HasId { has_id } => has_id.len(),
        Condition::Field(field) => {
            let values = match &field.matches {
                Some(Match::Any(list) | Match::Except(list)) => length(list),
                _ => 0,
            };
            values.max(field.geo_polygon.as_ref().map_or(0, |p| p.points()))
        }
        _ => 0,
    };
    lists(filter).map(one).max().unwrap_or(0)
}

fn length(list: &Scalars) -> usize {
    match list {
        Scalars::Keywords(all) => all.len(),
        Scalars::Integers(all) => all.len(),
    }
}

/// A key of a filter that no index serves, and what it needs.
///
/// # Errors
/// If a key is no JSON path.
pub fn unindexed(filter: &Filter, indexes: &BTreeMap<String, FieldSchema>) -> Result<Option<(String, Need)>> {
    let mut needs = Vec::new();
    collect(filter, "", &mut needs);
    for (key, need) in needs {
        // Indexes are known by their path as it prints; a key may be written in another way.
        let path = convert::path(&key)?.to_string();
        if !indexes.get(&path).is_some_and(|schema| need.is_served_by(schema)) {
            return Ok(Some((key, need)));
        }
    }
    Ok(None)
}

/// Every key that a filter tests.
pub fn keys(filter: &Filter) -> Vec<String> {
    let mut needs = Vec::new();
    collect(filter, "", &mut needs);
    needs.into_iter().map(|(key, _)| key).collect()
}

fn collect(filter: &Filter, inside: &str, into: &mut Vec<(String, Need)>) {
    for condition in lists(filter) {
        match condition {
            Condition::Field(field) => {
                let key = format!("{inside}{}", field.key);
                into.extend(needs_of(field).into_iter().map(|need| (key.clone(), need)));
            }
            Condition::IsEmpty { is_empty: f } | Condition::IsNull { is_null: f } => {
                into.push((format!("{inside}{}", f.key), Need::Any));
            }
            Condition::Nested { nested } => {
                let array = nested.key.strip_suffix("[]").unwrap_or(&nested.key);
                collect(&nested.filter, &format!("{inside}{array}[]."), into);
            }
            Condition::Filter(f) => collect(f, inside, into),
            Condition::HasId { .. } | Condition::HasVector { .. } | Condition::Slice { .. } => {}
        }
    }
}

fn needs_of(field: &FieldCondition) -> Vec<Need> {
    let mut needs: Vec<Need> = field.matches.iter().filter_map(need_of_match).collect();
    if let Some(range) = &field.range {
        let bounds = [&range.lt, &range.lte, &range.gt, &range.gte];
        let is_text = bounds.into_iter().flatten().any(|b| matches!(b, Bound::Text(_)));
        needs.push(if is_text { Need::Datetime } else { Need::Number });
    }
    if field.geo_bounding_box.is_some() || field.geo_radius.is_some() || field.geo_polygon.is_some() {
        needs.push(Need::Geo);
    }
    if field.values_count.is_some() || field.is_empty.is_some() || field.is_null.is_some() {
        needs.push(Need::Any);
    }
    needs
}

/// `None`: the answer is known without an index.
fn need_of_match(matches: &Match) -> Option<Need> {
    let keyword = |is_uuid: bool| if is_uuid { Need::KeywordOrUuid } else { Need::Keyword };
    let is_uuid = |text: &String| uuid::Uuid::try_parse(text).is_ok();
    Some(match matches {
        Match::Any(list) | Match::Except(list) if length(list) == 0 => return None,
        Match::Any(Scalars::Keywords(all)) | Match::Except(Scalars::Keywords(all)) => {
            keyword(all.iter().all(is_uuid))
        }
        Match::Any(Scalars::Integers(_)) | Match::Except(Scalars::Integers(_)) => Need::Integer,
        Match::Value(Scalar::Keyword(text)) => keyword(is_uuid(text)),
        Match::Value(Scalar::Integer(_)) => Need::Integer,
        Match::Value(Scalar::Bool(_)) => Need::Bool,
        Match::Text(_) | Match::TextAny(_) => Need::Text,
        Match::Phrase(_) => Need::Phrase,
        Match::Prefix(_) => Need::Keyword,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(filter: Value) -> Filter {
        serde_json::from_value(filter).expect("a filter")
    }

    /// `expected` is the key and the types that the condition needs, with these indexes.
    fn check(condition: Value, indexes: Value, expected: Option<(&str, &str)>) {
        let indexes: BTreeMap<String, FieldSchema> = serde_json::from_value(indexes).expect("indexes");
        let found = unindexed(&read(json!({"must": [condition.clone()]})), &indexes).expect("a path");
        let found = found.map(|(key, need)| (key, need.types().join(", ")));
        let expected = expected.map(|(key, types)| (key.to_owned(), types.to_owned()));
        assert_eq!(found, expected, "{condition} with {indexes:?}");
    }

    fn matches(value: Value) -> Value {
        json!({"key": "a", "match": value})
    }

    #[test]
    fn every_kind_of_condition_names_the_indexes_that_would_serve_it() {
        let uuid = "00000000-0000-0000-0000-000000000001";
        let geo = json!({"center": {"lon": 1, "lat": 1}, "radius": 1});
        let all = "bool, datetime, float, geo, integer, keyword, text, uuid";
        for (condition, types) in [
            (matches(json!({"value": "x"})), "keyword"),
            (matches(json!({"value": uuid})), "keyword, uuid"),
            (matches(json!({"value": 1})), "integer"),
            (matches(json!({"value": true})), "bool"),
            (matches(json!({"any": ["x", uuid]})), "keyword"),
            (matches(json!({"any": [uuid]})), "keyword, uuid"),
            (matches(json!({"except": [1]})), "integer"),
            (matches(json!({"text": "x"})), "text"),
            (matches(json!({"text_any": "x"})), "text"),
            (matches(json!({"phrase": "x"})), "text"),
            (matches(json!({"prefix": "x"})), "keyword"),
            (json!({"key": "a", "range": {"gt": 1}}), "float, integer"),
            (json!({"key": "a", "range": {"gt": "2020-01-01"}}), "datetime"),
            (json!({"key": "a", "geo_radius": geo}), "geo"),
            (json!({"key": "a", "values_count": {"gt": 1}}), all),
            (json!({"is_empty": {"key": "a"}}), all),
            (json!({"is_null": {"key": "a"}}), all),
        ] {
            check(condition, json!({}), Some(("a", types)));
        }
        let inner = json!({"nested": {"key": "n", "filter": {"must": [matches(json!({"value": 1}))]}}});
        check(inner.clone(), json!({}), Some(("n[].a", "integer")));
        check(inner, json!({"n[].a": "integer"}), None);
        for condition in [
            json!({"has_id": [1]}),
            json!({"has_vector": ""}),
            json!({"slice": {"total": 2, "index": 0}}),
            matches(json!({"any": []})),
            matches(json!({"except": []})),
        ] {
            check(condition, json!({}), None);
        }
    }

    #[test]
    fn an_index_serves_what_its_parameters_say() {
        let range = json!({"key": "a", "range": {"gt": 1}});
        check(range.clone(), json!({"a": "float"}), None);
        check(range.clone(), json!({"a": {"type": "integer", "range": true}}), None);
        check(range, json!({"a": {"type": "integer", "range": false}}), Some(("a", "float, integer")));
        let value = matches(json!({"value": 1}));
        check(value.clone(), json!({"a": {"type": "integer", "lookup": false}}), Some(("a", "integer")));
        check(value, json!({"a": "keyword"}), Some(("a", "integer")));
        let phrase = matches(json!({"phrase": "x"}));
        check(phrase.clone(), json!({"a": "text"}), Some(("a", "text")));
        check(phrase, json!({"a": {"type": "text", "phrase_matching": true}}), None);
        check(json!({"is_empty": {"key": "a"}}), json!({"a": "geo"}), None);
    }

    #[test]
    fn conditions_are_counted_through_all_levels() {
        let leaf = matches(json!({"any": [1, 2, 3]}));
        let filter = read(json!({
            "must": [leaf, {"should": [leaf, {"has_id": [1, 2, 3, 4]}]}],
            "min_should": {"conditions": [{"nested": {"key": "n", "filter": {"must_not": leaf}}}], "min_count": 1},
        }));
        assert_eq!((conditions(&filter), largest_condition(&filter)), (4, 4));
        assert_eq!((conditions(&Filter::default()), largest_condition(&Filter::default())), (0, 0));
    }
}
