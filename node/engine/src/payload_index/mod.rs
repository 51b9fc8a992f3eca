//! Payload indexes: keyword, integer, float, bool, datetime, uuid, geo, text, each over the points of one sealed
//! segment or one chunk of the mutable segment.
//!
//! An index never changes an answer: what it serves, it serves exactly as the stored payloads would
//! (`filter::matches`). So it remembers every value that could make one of its tests pass, also those of
//! another type: an integer index knows the floats beside its integers. What it can't serve it says so.

mod build;
mod column;
mod dictionary;
mod geo;
mod presence;
mod read;
mod sealed;
mod serve;
mod sorted;
mod text;

pub use build::FieldIndexBuilder;
pub use read::{FacetValue, InOrder, OrderValue};
pub use sealed::FILE_KIND;
pub use serve::serves;

use std::borrow::Cow;

use column::Flags;
use dictionary::Dictionary;
use geo::Places;
use presence::Presence;
use sorted::Sorted;
use text::Texts;

use crate::config::FieldSchema;
use crate::error::Result;
use crate::json_path::JsonPath;
use crate::payload::PayloadMap;

/// The index of one key.
pub struct FieldIndex {
    schema: FieldSchema,
    /// Number of offsets of the segment.
    len: u32,
    /// Points that have a value of the index's type.
    points: u32,
    /// Pairs of point and value in `values`.
    pairs: u64,
    presence: Presence,
    /// Points that have a value of the index's type.
    typed: Flags,
    /// Points that have a value that is neither null nor in `values`; numbers that are no `i64` count here.
    other: Flags,
    values: Values,
}

/// The values of the index's type.
enum Values {
    Keyword(Dictionary),
    /// Keys as [`uuid_key`] makes them.
    Uuid(Dictionary),
    Integer {
        integers: Sorted<i64>,
        /// Numbers that are no `i64`, for ranges.
        rest: Sorted<f64>,
    },
    Float(Sorted<f64>),
    /// Microseconds.
    Datetime(Sorted<i64>),
    Bool {
        yes: Flags,
        no: Flags,
    },
    Geo(Places),
    Text(Texts),
}

impl FieldIndex {
    /// Builds an index over `len` points from their payloads in ascending order; points left out have none.
    /// To build several indexes in one pass over the payloads, use [`FieldIndexBuilder`].
    pub fn build<'a>(
        schema: &FieldSchema,
        len: u32,
        payloads: impl Iterator<Item = Result<(u32, Cow<'a, PayloadMap>)>>,
        key: &JsonPath,
    ) -> Result<Self> {
        let mut builder = FieldIndexBuilder::new(schema, key, len);
        for payload in payloads {
            let (offset, payload) = payload?;
            builder.add(offset, &payload);
        }
        Ok(builder.finish())
    }

    /// As it was asked for.
    pub fn schema(&self) -> &FieldSchema {
        &self.schema
    }

    /// Number of offsets it covers.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it covers no offsets.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Points that have a value of the index's type.
    pub fn points(&self) -> usize {
        self.points as usize
    }
}

impl Values {
    /// The dictionary's key of a string.
    fn key_of<'a>(&self, text: &'a str) -> Cow<'a, [u8]> {
        match self {
            Values::Uuid(_) => Cow::Owned(uuid_key(text)),
            _ => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// Pairs of point and value.
    fn pairs(&self) -> Result<u64> {
        Ok(match self {
            Values::Keyword(keys) | Values::Uuid(keys) => keys.pairs()?,
            Values::Integer { integers, .. } => integers.len() as u64,
            Values::Float(numbers) => numbers.len() as u64,
            Values::Datetime(times) => times.len() as u64,
            Values::Bool { yes, no } => u64::from(yes.count()?) + u64::from(no.count()?),
            Values::Geo(places) => places.len() as u64,
            Values::Text(texts) => texts.len() as u64,
        })
    }
}

/// The key of a string in a uuid index: sixteen bytes for a UUID in its usual form. Every other string is
/// kept as it is, because a filter compares strings, not UUIDs.
fn uuid_key(text: &str) -> Vec<u8> {
    match crate::filter::expr::parse_uuid(text) {
        Some(uuid) if uuid.hyphenated().encode_lower(&mut [0; 36]) == text => {
            [&[0], &uuid.as_bytes()[..]].concat()
        }
        _ => [&[1], text.as_bytes()].concat(),
    }
}
