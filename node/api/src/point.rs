//! Ids, vectors and points as they stand in JSON.
//!
//! Vectors are the bulk of every upsert, so none of these types goes through serde's untagged buffering: one
//! look at the first token decides.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::schema::VectorsOutput;
use crate::shard_key::ShardKey;

/// An unsigned integer or a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointId {
    Num(u64),
    Uuid(Uuid),
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointId::Num(n) => n.fmt(f),
            PointId::Uuid(u) => u.hyphenated().fmt(f),
        }
    }
}

impl PointId {
    /// An id as it stands in a URL, where a number is a number.
    pub fn from_path(text: &str) -> Result<Self, String> {
        if let Ok(n) = text.parse() {
            return Ok(PointId::Num(n));
        }
        Uuid::try_parse(text)
            .map(PointId::Uuid)
            .map_err(|_| format!("Can not recognize \"{text}\" as point id"))
    }
}

fn not_an_id<E: de::Error>(shown: impl fmt::Display) -> E {
    E::custom(format_args!(
        "value {shown} is not a valid point ID, valid values are either an unsigned integer or a UUID"
    ))
}

struct PointIdVisitor;

impl Visitor<'_> for PointIdVisitor {
    type Value = PointId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a point ID: an unsigned integer or a UUID")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<PointId, E> {
        Ok(PointId::Num(n))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<PointId, E> {
        u64::try_from(n).map(PointId::Num).map_err(|_| not_an_id(n))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<PointId, E> {
        Err(not_an_id(n))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PointId, E> {
        Uuid::try_parse(text).map(PointId::Uuid).map_err(|_| not_an_id(text))
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(PointIdVisitor)
    }
}

impl Serialize for PointId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            PointId::Num(n) => s.serialize_u64(*n),
            PointId::Uuid(u) => s.collect_str(&u.hyphenated()),
        }
    }
}

/// One vector of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Sparse {
        indices: Vec<u32>,
        values: Vec<f32>,
    },
    /// Text or an image to be embedded by a model.
    Inference(Box<serde_json::Value>),
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Sparse<'a> {
            indices: &'a [u32],
            values: &'a [f32],
        }
        match self {
            Vector::Dense(v) => v.serialize(s),
            Vector::Multi(rows) => rows.serialize(s),
            Vector::Sparse { indices, values } => Sparse { indices, values }.serialize(s),
            Vector::Inference(object) => object.serialize(s),
        }
    }
}

/// A number that is finite as `f32`.
#[derive(Clone, Copy)]
struct Component(f32);

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let v = f32::deserialize(d)?;
        if v.is_finite() {
            Ok(Component(v))
        } else {
            Err(de::Error::custom("a vector component is not a finite number"))
        }
    }
}

/// First element of an array: it decides between a vector and a list of them.
enum Element {
    Number(f32),
    Row(Vec<f32>),
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or an array of numbers")
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Element, E> {
        let v = v as f32;
        if v.is_finite() {
            Ok(Element::Number(v))
        } else {
            Err(E::custom("a vector component is not a finite number"))
        }
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Element, E> {
        Ok(Element::Number(v as f32))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Element, E> {
        Ok(Element::Number(v as f32))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
        let mut row = Vec::new();
        while let Some(Component(v)) = seq.next_element()? {
            row.push(v);
        }
        Ok(Element::Row(row))
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ElementVisitor)
    }
}

pub(crate) fn vector_from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Vector, A::Error> {
    match seq.next_element::<Element>()? {
        None => Ok(Vector::Dense(Vec::new())),
        Some(Element::Number(first)) => {
            let mut all = Vec::with_capacity(seq.size_hint().unwrap_or(384) + 1);
            all.push(first);
            while let Some(Component(v)) = seq.next_element()? {
                all.push(v);
            }
            Ok(Vector::Dense(all))
        }
        Some(Element::Row(first)) => {
            let mut rows = vec![first];
            while let Some(row) = seq.next_element::<Vec<Component>>()? {
                rows.push(row.into_iter().map(|c| c.0).collect());
            }
            Ok(Vector::Multi(rows))
        }
    }
}

/// Reads an object key by key: indices and values go nowhere in between.
fn vector_from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vector, A::Error> {
    let (mut indices, mut values, mut rest) = (None, None, serde_json::Map::new());
    while let Some(key) = map.next_key::<String>()? {
        match key.as_str() {
            "indices" => indices = Some(map.next_value::<Vec<u32>>()?),
            "values" => values = Some(map.next_value::<Vec<Component>>()?),
            _ => drop(rest.insert(key, map.next_value()?)),
        }
    }
    match (indices, values) {
        (Some(indices), Some(values)) => {
            Ok(Vector::Sparse { indices, values: values.into_iter().map(|c| c.0).collect() })
        }
        (Some(_), None) => Err(de::Error::missing_field("values")),
        (None, Some(_)) => Err(de::Error::missing_field("indices")),
        (None, None) if rest.contains_key("model") => Ok(Vector::Inference(Box::new(rest.into()))),
        (None, None) => Err(de::Error::custom(NO_VECTOR)),
    }
}

const NO_VECTOR: &str = "data did not match any variant of untagged enum Vector";

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: an array of numbers, an array of such arrays, or {indices, values}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vector, A::Error> {
        vector_from_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vector, A::Error> {
        vector_from_map(map)
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(VectorVisitor).map_err(|e| unless_type(e, NO_VECTOR))
    }
}

/// The vectors of a point: the unnamed one, or a map.
#[derive(Clone, Debug, PartialEq)]
pub enum Vectors {
    Unnamed(Vector),
    Named(BTreeMap<String, Vector>),
}

impl Serialize for Vectors {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Vectors::Unnamed(v) => v.serialize(s),
            Vectors::Named(map) => map.serialize(s),
        }
    }
}

const NO_VECTOR_STRUCT: &str = "data did not match any variant of untagged enum VectorStruct";

struct VectorsVisitor;

impl<'de> Visitor<'de> for VectorsVisitor {
    type Value = Vectors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector or a map of named vectors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vectors, A::Error> {
        vector_from_seq(seq).map(Vectors::Unnamed)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vectors, E> {
        Err(E::custom(NO_VECTOR_STRUCT))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Vectors, E> {
        Err(E::custom(NO_VECTOR_STRUCT))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
        let mut named = BTreeMap::new();
        let mut inference = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match map.next_value_seed(NamedOrField)? {
                NamedValue::Vector(v) => drop(named.insert(key, v)),
                NamedValue::Field(v) => drop(inference.insert(key, v)),
            }
        }
        match (named.is_empty(), inference.contains_key("model")) {
            (_, false) if inference.is_empty() => Ok(Vectors::Named(named)),
            (true, true) => Ok(Vectors::Unnamed(Vector::Inference(Box::new(inference.into())))),
            _ => Err(de::Error::custom(NO_VECTOR_STRUCT)),
        }
    }
}

enum NamedValue {
    Vector(Vector),
    Field(serde_json::Value),
}

struct NamedOrField;

impl<'de> DeserializeSeed<'de> for NamedOrField {
    type Value = NamedValue;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<NamedValue, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NamedOrField {
    type Value = NamedValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a named vector")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<NamedValue, A::Error> {
        vector_from_seq(seq).map(NamedValue::Vector)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NamedValue, A::Error> {
        VectorVisitor.visit_map(map).map(NamedValue::Vector)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<NamedValue, E> {
        Ok(NamedValue::Field(text.into()))
    }
}

/// Errors about a type become the protocol's text; errors about the JSON itself, and missing fields, stay.
pub(crate) fn unless_type<E: de::Error>(error: E, text: &'static str) -> E {
    let shown = error.to_string();
    let about_type = shown.starts_with("invalid type") || shown.starts_with("invalid value");
    if about_type { E::custom(text) } else { error }
}

impl<'de> Deserialize<'de> for Vectors {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(VectorsVisitor).map_err(|e| unless_type(e, NO_VECTOR_STRUCT))
    }
}

/// JSON text as it came, which is never read again on the way to the engine and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawJson(Box<str>);

impl RawJson {
    /// Text that the caller knows to be one JSON value.
    pub fn from_json(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(s)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(d).map(|raw| Self(raw.into()))
    }
}

/// A payload as the client's own bytes: one JSON object, or null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Payload(pub Option<RawJson>);

impl Payload {
    /// The object's bytes; none if absent or null.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |raw| raw.get().as_bytes())
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(d)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => {}
            Some(b'n') => return Ok(Payload(None)),
            _ => {
                let shown: String = text.chars().take(40).collect();
                return Err(de::Error::custom(format!("invalid type: `{shown}`, expected a map")));
            }
        }
        // What the parser of whole values would refuse must not be stored: it is read that way later.
        let read =
            serde_json::from_str::<Readable>(text).map_err(|e| de::Error::custom(format!("payload: {e}")))?;
        Ok(Payload((!read.is_empty).then_some(raw)))
    }
}

/// Any JSON, read as strictly as a `Value` and kept nowhere.
struct Readable {
    /// Of an object or an array: nothing is in it.
    is_empty: bool,
}

struct ReadableVisitor;

impl<'de> Visitor<'de> for ReadableVisitor {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable { is_empty: false })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable { is_empty: false })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable { is_empty: false })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable { is_empty: false })
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable { is_empty: false })
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable { is_empty: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Readable, A::Error> {
        let mut is_empty = true;
        while seq.next_element::<Readable>()?.is_some() {
            is_empty = false;
        }
        Ok(Readable { is_empty })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Readable, A::Error> {
        let mut is_empty = true;
        while map.next_entry::<Readable, Readable>()?.is_some() {
            is_empty = false;
        }
        Ok(Readable { is_empty })
    }
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ReadableVisitor)
    }
}

/// A point to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointStruct {
    pub id: PointId,
    #[serde(alias = "vectors")]
    pub vector: Vectors,
    #[serde(default)]
    pub payload: Payload,
}

/// A value that points are put in order by; datetimes are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OrderValue {
    Integer(i64),
    Float(f64),
}

/// A point as it is answered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    pub id: PointId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<RawJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<VectorsOutput>")]
    pub vector: Option<Vectors>,
    /// Of the shard that it lies in, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_key: Option<ShardKey>,
    /// By which it was put in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_value: Option<OrderValue>,
}

/// A point found by a search.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScoredPoint {
    pub id: PointId,
    pub version: u64,
    pub score: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<RawJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<VectorsOutput>")]
    pub vector: Option<Vectors>,
    /// Of the shard that it lies in, if that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_key: Option<ShardKey>,
    /// By which it was put in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_value: Option<OrderValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<Vectors, &str>) {
        match (serde_json::from_str::<Vectors>(json), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{json}"),
            (Err(e), Err(text)) => assert!(e.to_string().contains(text), "{json}: {e}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    #[test]
    fn every_form_of_vectors() {
        check("[1, 2.5]", Ok(Vectors::Unnamed(Vector::Dense(vec![1.0, 2.5]))));
        check("[[0,0],[3,4]]", Ok(Vectors::Unnamed(Vector::Multi(vec![vec![0.0, 0.0], vec![3.0, 4.0]]))));
        check("{}", Ok(Vectors::Named(BTreeMap::new())));
        check(r#"{"a":[1]}"#, Ok(Vectors::Named([("a".into(), Vector::Dense(vec![1.0]))].into())));
        check(
            r#"{"s":{"indices":[1],"values":[0.5]}}"#,
            Ok(Vectors::Named([("s".into(), Vector::Sparse { indices: vec![1], values: vec![0.5] })].into())),
        );
        for wrong in ["null", "\"x\"", "[\"a\"]", "[null]", "[1, \"a\"]", "3", "{\"a\": 1}"] {
            check(wrong, Err(NO_VECTOR_STRUCT));
        }
        check("[1, 2", Err("EOF while parsing a list at line 1 column 5"));
        check("[1e60]", Err("not a finite number"));
    }

    #[test]
    fn a_payload_that_could_not_be_read_again_is_refused() {
        for bad in ["[1]", "1", "\"x\"", r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#] {
            assert!(serde_json::from_str::<Payload>(bad).is_err(), "{bad}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
        assert!(serde_json::from_str::<Payload>(&deep).is_err());
        let bytes =
            |json: &str| serde_json::from_str::<Payload>(json).expect("a payload").as_bytes().to_vec();
        assert_eq!(
            bytes(r#"{ "b":1,"a":"ü" }"#),
            r#"{ "b":1,"a":"ü" }"#.as_bytes(),
            "bytes stay as they are"
        );
        assert_eq!(bytes("null"), b"");
        assert_eq!(bytes("{ }"), b"");
    }

    #[test]
    fn ids_are_unsigned_integers_or_uuids() {
        let id = |json: &str| serde_json::from_str::<PointId>(json);
        assert_eq!(id("18446744073709551615").expect("an id"), PointId::Num(u64::MAX));
        assert!(id("-1").is_err() && id("1.0").is_err());
        let text = id("\"abc\"").expect_err("not an id").to_string();
        assert!(text.starts_with("value abc is not a valid point ID, valid values are"), "{text}");
        let u = id("\"{936DA01F-9ABD-4D9D-80C7-02AF85C822A8}\"").expect("a UUID");
        assert_eq!(u.to_string(), "936da01f-9abd-4d9d-80c7-02af85c822a8");
    }
}
