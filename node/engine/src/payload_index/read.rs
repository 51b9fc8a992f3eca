//! The values of an index in order, for order_by, and counted, for facets.

use serde_json::Value;
use uuid::Uuid;

use super::sorted::{Ordered, Sorted};
use super::{FieldIndex, Values};
use crate::bitset::Bitset;
use crate::config::FieldType;
use crate::error::{Error, Result};
use crate::filter::expr::parse_uuid;

/// A value that points are ordered by; datetimes are microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OrderValue {
    Integer(i64),
    Float(f64),
}

/// A value that points are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FacetValue {
    Bool(bool),
    Integer(i64),
    Keyword(String),
    Uuid(Uuid),
}

impl FacetValue {
    /// The value that an index of a type counts a stored one as; none if it does not fit.
    pub fn of(kind: FieldType, value: &Value) -> Option<Self> {
        match (kind, value) {
            (FieldType::Bool, Value::Bool(b)) => Some(FacetValue::Bool(*b)),
            (FieldType::Integer, Value::Number(n)) => n.as_i64().map(FacetValue::Integer),
            (FieldType::Keyword, Value::String(s)) => Some(FacetValue::Keyword(s.clone())),
            (FieldType::Uuid, Value::String(s)) => parse_uuid(s).map(FacetValue::Uuid),
            _ => None,
        }
    }
}

impl FieldIndex {
    /// Whether points can be ordered by this index.
    pub fn is_ordered(&self) -> bool {
        match self.values {
            Values::Integer { .. } => self.schema.range != Some(false),
            Values::Float(_) | Values::Datetime(_) => true,
            _ => false,
        }
    }

    /// Values and the points that have them, in order, beginning with `from`; a point with several values
    /// comes once for each. Nothing if the index is not ordered.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is not as it was written.
    pub fn ordered(&self, ascending: bool, from: Option<OrderValue>) -> Result<InOrder<'_>> {
        if !self.is_ordered() {
            return Ok(Box::new(std::iter::empty()));
        }
        match &self.values {
            Values::Integer { integers: numbers, .. } | Values::Datetime(numbers) => {
                let reached = |v: i64, from: OrderValue| match from {
                    OrderValue::Integer(from) => v.cmp(&from).is_ge(),
                    OrderValue::Float(from) => v as f64 >= from,
                };
                let passed = |v: i64, from: OrderValue| match from {
                    OrderValue::Integer(from) => v > from,
                    OrderValue::Float(from) => v as f64 > from,
                };
                in_order(numbers, ascending, from, reached, passed, OrderValue::Integer)
            }
            Values::Float(numbers) => {
                let float = |from: OrderValue| match from {
                    OrderValue::Integer(from) => from as f64,
                    OrderValue::Float(from) => from,
                };
                let reached = move |v: f64, from: OrderValue| v >= float(from);
                let passed = move |v: f64, from: OrderValue| v > float(from);
                in_order(numbers, ascending, from, reached, passed, OrderValue::Float)
            }
            _ => Ok(Box::new(std::iter::empty())),
        }
    }

    /// The string at a place among those of a keyword or uuid index, in one order for all indexes of the type;
    /// `None` behind the last one, and of other types.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is not as it was written.
    pub fn string(&self, place: usize) -> Result<Option<&[u8]>> {
        match &self.values {
            Values::Keyword(keys) | Values::Uuid(keys) if place < keys.keys() => keys.key(place).map(Some),
            _ => Ok(None),
        }
    }

    /// The points that have the string at a place.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is not as it was written.
    pub fn points_with(&self, place: usize) -> Result<Box<dyn Iterator<Item = u32> + '_>> {
        match &self.values {
            Values::Keyword(keys) | Values::Uuid(keys) => keys.points(place),
            _ => Ok(Box::new(std::iter::empty())),
        }
    }

    /// Whether points can be counted by this index.
    pub fn has_facets(&self) -> bool {
        self.schema.has_facets()
    }

    /// Each value that some of the points have, with the number of those points; in no defined order, and a
    /// UUID written in two ways may come twice.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is not as it was written.
    pub fn facets(&self, among: &Bitset) -> Result<Vec<(FacetValue, u32)>> {
        let mut found = Vec::new();
        let mut add = |value: FacetValue, count: u32| {
            if count > 0 {
                found.push((value, count));
            }
        };
        match &self.values {
            Values::Keyword(keys) => {
                for i in 0..keys.keys() {
                    add(FacetValue::Keyword(utf8(keys.key(i)?)?.to_owned()), keys.count_among(i, among)?);
                }
            }
            Values::Uuid(keys) => {
                for i in 0..keys.keys() {
                    let uuid = match keys.key(i)? {
                        [0, bytes @ ..] => Uuid::from_slice(bytes).ok(),
                        [_, text @ ..] => parse_uuid(utf8(text)?),
                        [] => None,
                    };
                    if let Some(uuid) = uuid {
                        add(FacetValue::Uuid(uuid), keys.count_among(i, among)?);
                    }
                }
            }
            Values::Integer { integers, .. } if self.has_facets() => {
                let mut run: Option<(i64, u32)> = None;
                for place in 0..integers.len() {
                    let (integer, offset) = integers.at(place)?;
                    let one = u32::from(among.get(offset));
                    run = match run {
                        Some((value, count)) if value == integer => Some((value, count + one)),
                        Some((value, count)) => {
                            add(FacetValue::Integer(value), count);
                            Some((integer, one))
                        }
                        None => Some((integer, one)),
                    };
                }
                if let Some((value, count)) = run {
                    add(FacetValue::Integer(value), count);
                }
            }
            Values::Bool { yes, no } => {
                for (value, flags) in [(false, no), (true, yes)] {
                    let mut bits = flags.to_bitset(self.len)?;
                    bits.and(among);
                    add(FacetValue::Bool(value), bits.count());
                }
            }
            _ => {}
        }
        Ok(found)
    }
}

fn utf8(key: &[u8]) -> Result<&str> {
    std::str::from_utf8(key).map_err(|e| Error::corrupt("payload index", e.to_string()))
}

/// Values and offsets, read as they are asked for.
pub type InOrder<'a> = Box<dyn Iterator<Item = Result<(OrderValue, u32)>> + 'a>;

fn in_order<'a, T: Ordered + 'a>(
    numbers: &'a Sorted<T>,
    ascending: bool,
    from: Option<OrderValue>,
    reached: impl Fn(T, OrderValue) -> bool,
    passed: impl Fn(T, OrderValue) -> bool,
    wrap: fn(T) -> OrderValue,
) -> Result<InOrder<'a>> {
    let read = move |place| numbers.at(place).map(|(value, offset)| (wrap(value), offset));
    let reached = |v: T| from.is_none_or(|from| reached(v, from));
    let not_passed = |v: T| from.is_none_or(|from| !passed(v, from));
    Ok(if ascending {
        Box::new(numbers.places(reached, |_| true)?.map(read))
    } else {
        Box::new(numbers.places(|_| true, not_passed)?.rev().map(read))
    })
}
