//! Filters as clients write them. The bytes choose points, indexes and a filter of the contract, which goes through the body of a query:
//! it is read, by both readers as the same, turned into the engine's, and passes the points that its definition says.

use std::collections::HashMap;

use quiver_api::fast::FastBody;
use quiver_api::query::QueryRequest;
use quiver_engine::config::{FieldSchema, FieldType};
use quiver_engine::filter::bind;
use quiver_engine::json_path::JsonPath;
use quiver_engine::payload::PayloadMap;
use quiver_node::collection::convert;
use serde_json::{Map, Value, json};

use super::filters::{Choices, DEPTH_MAX, FLOATS, INTEGERS, PATHS, Points, WORDS, hold};

const KINDS: [FieldType; 8] = [
    FieldType::Keyword,
    FieldType::Integer,
    FieldType::Float,
    FieldType::Bool,
    FieldType::Datetime,
    FieldType::Uuid,
    FieldType::Geo,
    FieldType::Text,
];
const TIMES: [&str; 5] = [
    "2014-01-01T00:00:00Z",
    "2014-01-01",
    "1969-12-31 23:59:59.5+01:00",
    "2014-01-01T01:00+0100",
    "9999-12-31",
];
const TEXTS: [&str; 5] = ["", "red", "The Redder red", "ü red", "red\u{0}"];
const DEGREES: [f64; 7] = [0.0, -0.0, 1.0, 45.5, -90.0, 90.0, 1e-9];

fn place(c: &mut Choices) -> Value {
    json!({"lat": c.of(&DEGREES), "lon": c.of(&DEGREES) * 2.0})
}

fn payload(c: &mut Choices) -> PayloadMap {
    let keys = c.list(3, |c| c.of(&["a", "b", "o", "n"]));
    let value = |c: &mut Choices| match c.next(4) {
        0 => place(c),
        1 => c.of(&TEXTS).into(),
        2 => c.list(2, |c| [c.of(&TIMES).into(), place(c)][c.next(2)].clone()).into(),
        _ => c.value(),
    };
    keys.into_iter().map(|key| (key.to_owned(), value(c))).collect()
}

fn bounds<T: Copy>(c: &mut Choices, all: &[T]) -> Value
where
    Value: From<T>,
{
    let names = ["lt", "lte", "gt", "gte"];
    let bounds =
        names.map(|name| (name.to_owned(), if c.next(2) == 1 { c.of(all).into() } else { Value::Null }));
    Map::from_iter(bounds).into()
}

/// A closed line of four or five points.
fn ring(c: &mut Choices) -> Value {
    let first = place(c);
    let mut points = vec![first.clone(), place(c), place(c)];
    points.extend(c.list(1, place));
    points.push(first);
    json!({ "points": points })
}

fn test(c: &mut Choices) -> (&'static str, Value) {
    let word = |c: &mut Choices| c.of(&WORDS);
    let text = |c: &mut Choices| c.of(&TEXTS);
    let integer = |c: &mut Choices| c.of(&INTEGERS);
    let asked = match c.next(17) {
        0 => return ("range", bounds(c, &FLOATS)),
        1 => return ("range", bounds(c, &TIMES)),
        2 => return ("values_count", bounds(c, &[0u64, 1, 2, u64::from(u32::MAX)])),
        3 => return ("is_empty", (c.next(2) == 1).into()),
        4 => return ("is_null", (c.next(2) == 1).into()),
        5 => return ("geo_bounding_box", json!({"top_left": place(c), "bottom_right": place(c)})),
        6 => return ("geo_radius", json!({"center": place(c), "radius": c.of(&[0.0, 1.0, 1e5, 3e7])})),
        7 => return ("geo_polygon", json!({"exterior": ring(c), "interiors": c.list(1, ring)})),
        8 => json!({"value": word(c)}),
        9 => json!({"value": integer(c)}),
        10 => json!({"value": c.next(2) == 1}),
        11 => json!({"any": c.list(3, word)}),
        12 => json!({"except": c.list(3, integer)}),
        13 => json!({"text": text(c)}),
        14 => json!({"text_any": text(c)}),
        15 => json!({"phrase": text(c)}),
        _ => json!({"prefix": word(c)}),
    };
    ("match", asked)
}

fn condition(c: &mut Choices, depth: usize) -> Value {
    let key = |c: &mut Choices| c.of(&PATHS);
    match c.next(if depth < DEPTH_MAX { 9 } else { 7 }) {
        0 | 1 => {
            let mut field = json!({"key": key(c)});
            for _ in 0..=c.next(2) {
                let (name, asked) = test(c);
                field[name] = asked;
            }
            field
        }
        2 => json!({"is_empty": {"key": key(c)}}),
        3 => json!({"is_null": {"key": key(c)}}),
        4 => json!({"has_id": c.list(3, |c| match c.next(2) {
            0 => json!(c.next(80)),
            _ => json!(format!("00000000-0000-0000-0000-0000000000{:02x}", c.next(80))),
        })}),
        5 => json!({"has_vector": c.of(&["all", "odd", "none", ""])}),
        6 => json!({"slice": {"total": 3, "index": c.next(3)}}),
        7 => json!({"nested": {"key": key(c), "filter": filter(c, depth + 1)}}),
        _ => filter(c, depth + 1),
    }
}

fn filter(c: &mut Choices, depth: usize) -> Value {
    let mut filter = Map::new();
    for name in ["must", "should", "must_not"] {
        let mut all = c.list(3, |c| condition(c, depth));
        match c.next(4) {
            0 => {}
            1 if all.len() == 1 => drop(filter.insert(name.to_owned(), all.remove(0))),
            2 if all.is_empty() => drop(filter.insert(name.to_owned(), Value::Null)),
            _ => drop(filter.insert(name.to_owned(), all.into())),
        }
    }
    let some = c.list(3, |c| condition(c, depth));
    if !some.is_empty() {
        filter.insert("min_should".to_owned(), json!({"conditions": some, "min_count": 1 + c.next(3)}));
    }
    // A condition has to say something: `{}` is none.
    if filter.is_empty() {
        filter.insert("must".to_owned(), json!([]));
    }
    filter.into()
}

/// Asks with one filter.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let payloads = choices.list(20, payload);
    let keys = choices.list(4, |c| (c.path(), FieldSchema::plain(c.of(&KINDS))));
    let body = json!({"filter": filter(&mut choices, 0), "limit": 1}).to_string();
    let read: QueryRequest = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
    if let Some(fast) = QueryRequest::read(body.as_bytes()) {
        assert_eq!(format!("{fast:?}"), format!("{read:?}"), "{body}");
    }
    let filter = convert::filter(read.filter.expect("the body has a filter"));
    let filter = filter.unwrap_or_else(|e| panic!("{}: {body}", e.text));
    let schemas: HashMap<JsonPath, FieldSchema> = keys.iter().cloned().collect();
    // The last of several indexes of a key is the one that is there, in both maps.
    let meant = bind(&filter, &|key| schemas.get(key)).into_owned();
    hold(Points::new(payloads, keys), &meant);
}
