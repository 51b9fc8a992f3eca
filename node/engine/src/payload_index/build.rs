//! Builds an index from payloads.

use serde_json::Value;

use super::column::Flags;
use super::dictionary::DictionaryBuilder;
use super::geo::PlacesBuilder;
use super::presence::PresenceBuilder;
use super::sorted::Sorted;
use super::text::TextsBuilder;
use super::{FieldIndex, Values, uuid_key};
use crate::bitset::Bitset;
use crate::config::{FieldSchema, FieldType};
use crate::filter::expr::parse_uuid;
use crate::filter::{GeoPoint, parse_datetime};
use crate::json_path::JsonPath;
use crate::payload::PayloadMap;

/// Takes payloads in ascending order of their offsets; a point that never comes has no payload.
pub struct FieldIndexBuilder {
    schema: FieldSchema,
    key: JsonPath,
    len: u32,
    presence: PresenceBuilder,
    typed: Bitset,
    other: Bitset,
    values: Collected,
}

enum Collected {
    Keyword(DictionaryBuilder),
    Uuid(DictionaryBuilder),
    Integer { integers: Vec<(i64, u32)>, rest: Vec<(f64, u32)> },
    Float(Vec<(f64, u32)>),
    Datetime(Vec<(i64, u32)>),
    Bool { yes: Bitset, no: Bitset },
    Geo(PlacesBuilder),
    Text(Box<TextsBuilder>),
}

impl FieldIndexBuilder {
    /// An index over `len` offsets.
    pub fn new(schema: &FieldSchema, key: &JsonPath, len: u32) -> Self {
        let values = match schema.kind {
            FieldType::Keyword => Collected::Keyword(DictionaryBuilder::default()),
            FieldType::Uuid => Collected::Uuid(DictionaryBuilder::default()),
            FieldType::Integer => Collected::Integer { integers: Vec::new(), rest: Vec::new() },
            FieldType::Float => Collected::Float(Vec::new()),
            FieldType::Datetime => Collected::Datetime(Vec::new()),
            FieldType::Bool => Collected::Bool { yes: Bitset::zeros(len), no: Bitset::zeros(len) },
            FieldType::Geo => Collected::Geo(PlacesBuilder::default()),
            FieldType::Text => Collected::Text(Box::new(TextsBuilder::new(&schema.text_params()))),
        };
        Self {
            schema: schema.clone(),
            key: key.clone(),
            len,
            presence: PresenceBuilder::new(len),
            typed: Bitset::zeros(len),
            other: Bitset::zeros(len),
            values,
        }
    }

    /// The payload of one point.
    pub fn add(&mut self, offset: u32, payload: &PayloadMap) {
        assert!(offset < self.len, "an index is built for a known number of points");
        self.presence.add(offset, &self.key.raw_values(payload));
        for value in self.key.values(payload) {
            match self.values.add(offset, value) {
                Fit::Typed => self.typed.set(offset),
                Fit::Other => self.other.set(offset),
                Fit::Kept | Fit::Absent => {}
            }
        }
    }

    /// The index.
    pub fn finish(self) -> FieldIndex {
        let values = match self.values {
            Collected::Keyword(keys) => Values::Keyword(keys.finish(self.len)),
            Collected::Uuid(keys) => Values::Uuid(keys.finish(self.len)),
            Collected::Integer { integers, rest } => {
                Values::Integer { integers: Sorted::build(&integers), rest: Sorted::build(&rest) }
            }
            Collected::Float(numbers) => Values::Float(Sorted::build(&numbers)),
            Collected::Datetime(times) => Values::Datetime(Sorted::build(&times)),
            Collected::Bool { yes, no } => Values::Bool { yes: Flags::new(&yes), no: Flags::new(&no) },
            Collected::Geo(places) => Values::Geo(places.finish()),
            Collected::Text(texts) => Values::Text(texts.finish()),
        };
        FieldIndex {
            schema: self.schema,
            len: self.len,
            points: self.typed.count(),
            pairs: values.pairs().expect("what is in memory needs no check"),
            presence: self.presence.finish(),
            typed: Flags::new(&self.typed),
            other: Flags::new(&self.other),
            values,
        }
    }
}

/// How a value fits the index's type.
enum Fit {
    Typed,
    /// Of another type, and among the index's values all the same.
    Kept,
    /// Not null, and of another type.
    Other,
    Absent,
}

impl Collected {
    fn add(&mut self, offset: u32, value: &Value) -> Fit {
        match (self, value) {
            (_, Value::Null) => return Fit::Absent,
            (Collected::Keyword(keys), Value::String(text)) => {
                keys.add(text.as_bytes(), offset);
            }
            (Collected::Text(texts), Value::String(text)) => texts.add(text, offset),
            (Collected::Geo(places), value) => match GeoPoint::of(value) {
                Some(point) => places.add(point, offset),
                None => return Fit::Other,
            },
            (Collected::Uuid(keys), Value::String(text)) => {
                keys.add(&uuid_key(text), offset);
                if parse_uuid(text).is_none() {
                    return Fit::Kept;
                }
            }
            (Collected::Integer { integers, rest }, Value::Number(number)) => match number.as_i64() {
                Some(integer) => integers.push((integer, offset)),
                None => {
                    rest.extend(number.as_f64().map(|float| (float, offset)));
                    return Fit::Other;
                }
            },
            (Collected::Float(numbers), Value::Number(number)) => {
                numbers.extend(number.as_f64().map(|float| (float, offset)));
            }
            (Collected::Datetime(times), Value::String(text)) => match parse_datetime(text) {
                Some(time) => times.push((time, offset)),
                None => return Fit::Other,
            },
            (Collected::Bool { yes, .. }, Value::Bool(true)) => yes.set(offset),
            (Collected::Bool { no, .. }, Value::Bool(false)) => no.set(offset),
            _ => return Fit::Other,
        }
        Fit::Typed
    }
}
