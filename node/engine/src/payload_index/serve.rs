//! Tests on values, answered by an index.

use std::ops::Range;

use super::column::Flags;
use super::dictionary::Dictionary;
use super::sorted::{Ordered, Sorted};
use super::{FieldIndex, Values};
use crate::bitset::Bitset;
use crate::config::{FieldSchema, FieldType};
use crate::error::Result;
use crate::filter::{Bounds, Cardinality, FieldTest};

/// Whether an index made by this schema serves a test.
pub fn serves(schema: &FieldSchema, test: &FieldTest) -> bool {
    match test {
        FieldTest::ValuesCount(_) | FieldTest::IsEmpty(_) | FieldTest::IsNull(_) => true,
        FieldTest::Keyword(_) | FieldTest::AnyKeyword(_) | FieldTest::ExceptKeyword(_) => {
            matches!(schema.kind, FieldType::Keyword | FieldType::Uuid)
        }
        FieldTest::Integer(_) | FieldTest::AnyInteger(_) | FieldTest::ExceptInteger(_) => {
            schema.kind == FieldType::Integer && schema.lookup != Some(false)
        }
        FieldTest::Range(_) => match schema.kind {
            FieldType::Float => true,
            FieldType::Integer => schema.range != Some(false),
            _ => false,
        },
        FieldTest::DatetimeRange(_) => schema.kind == FieldType::Datetime,
        FieldTest::Bool(_) => schema.kind == FieldType::Bool,
        FieldTest::Prefix(_) => schema.kind == FieldType::Keyword,
        FieldTest::Geo(_) => schema.kind == FieldType::Geo,
        FieldTest::Text(test) => schema.kind == FieldType::Text && *schema.text_params() == *test.params(),
    }
}

impl FieldIndex {
    /// The points that pass a test, exactly; none if this index can't serve it.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] if the file is not as it was written.
    pub fn evaluate(&self, test: &FieldTest) -> Result<Option<Bitset>> {
        if !serves(&self.schema, test) {
            return Ok(None);
        }
        let mut bits = Bitset::zeros(self.len);
        match (test, &self.values) {
            (FieldTest::ValuesCount(bounds), _) => self.presence.add_counted(bounds, &mut bits)?,
            (FieldTest::IsEmpty(wanted), _) => add_flag(&self.presence.empty, *wanted, &mut bits)?,
            (FieldTest::IsNull(wanted), _) => add_flag(&self.presence.null, *wanted, &mut bits)?,
            (FieldTest::Keyword(wanted), Values::Keyword(keys) | Values::Uuid(keys)) => {
                self.add_keys(keys, std::slice::from_ref(wanted), &mut bits)?;
            }
            (FieldTest::AnyKeyword(wanted), Values::Keyword(keys) | Values::Uuid(keys)) => {
                self.add_keys(keys, wanted, &mut bits)?;
            }
            (FieldTest::ExceptKeyword(unwanted), Values::Keyword(keys) | Values::Uuid(keys)) => {
                self.add_other_keys(keys, unwanted, &mut bits)?;
            }
            (FieldTest::Integer(wanted), Values::Integer { integers, .. }) => {
                integers.add_to(integers.equal(*wanted)?, &mut bits)?;
            }
            (FieldTest::AnyInteger(wanted), Values::Integer { integers, .. }) => {
                for &integer in wanted {
                    integers.add_to(integers.equal(integer)?, &mut bits)?;
                }
            }
            (FieldTest::ExceptInteger(unwanted), Values::Integer { integers, .. }) => {
                self.add_other_integers(integers, unwanted, &mut bits)?;
            }
            (FieldTest::Range(bounds), Values::Integer { integers, rest }) => {
                self.add_places(integers, within_floats(integers, bounds)?, &mut bits)?;
                rest.add_to(rest.within(bounds)?, &mut bits)?;
            }
            (FieldTest::Range(bounds), Values::Float(numbers)) => {
                self.add_places(numbers, numbers.within(bounds)?, &mut bits)?;
            }
            (FieldTest::DatetimeRange(bounds), Values::Datetime(times)) => {
                self.add_places(times, times.within(bounds)?, &mut bits)?;
            }
            (FieldTest::Bool(true), Values::Bool { yes, .. }) => yes.add_to(&mut bits)?,
            (FieldTest::Bool(false), Values::Bool { no, .. }) => no.add_to(&mut bits)?,
            (FieldTest::Prefix(start), Values::Keyword(keys)) => {
                for place in keys.starting_with(start.as_bytes())? {
                    keys.add_to(place, &mut bits)?;
                }
            }
            (FieldTest::Geo(area), Values::Geo(places)) => places.add_inside(area, &mut bits)?,
            (FieldTest::Text(test), Values::Text(texts)) => texts.add_passing(test, &mut bits)?,
            _ => return Ok(None),
        }
        Ok(Some(bits))
    }

    /// How many points pass a test; none if this index can't serve it. Exact where a point has one value,
    /// and without reading what it counts.
    ///
    /// # Errors
    /// As [`FieldIndex::evaluate`].
    pub fn estimate(&self, test: &FieldTest) -> Result<Option<Cardinality>> {
        if !serves(&self.schema, test) {
            return Ok(None);
        }
        let exactly = |flags: &Flags, wanted: bool| -> Result<Option<Cardinality>> {
            let set = flags.count()?;
            Ok(Some(Cardinality::exactly(if wanted { set } else { self.len - set })))
        };
        let pairs = match (test, &self.values) {
            (FieldTest::ValuesCount(bounds), _) => self.presence.count_at_most(bounds)?,
            (FieldTest::IsEmpty(wanted), _) => return exactly(&self.presence.empty, *wanted),
            (FieldTest::IsNull(wanted), _) => return exactly(&self.presence.null, *wanted),
            (FieldTest::Bool(true), Values::Bool { yes, .. }) => return exactly(yes, true),
            (FieldTest::Bool(false), Values::Bool { no, .. }) => return exactly(no, true),
            (FieldTest::Keyword(wanted), Values::Keyword(keys) | Values::Uuid(keys)) => {
                let count = self.count_keys(keys, std::slice::from_ref(wanted))?;
                return Ok(Some(Cardinality::exactly(count as u32)));
            }
            (FieldTest::AnyKeyword(wanted), Values::Keyword(keys) | Values::Uuid(keys)) => {
                self.count_keys(keys, wanted)?
            }
            (FieldTest::ExceptKeyword(unwanted), Values::Keyword(keys) | Values::Uuid(keys)) => {
                return Ok(Some(self.all_but(self.count_keys(keys, unwanted)?)?));
            }
            (FieldTest::Integer(wanted), Values::Integer { integers, .. }) => {
                return Ok(Some(Cardinality::exactly(integers.equal(*wanted)?.len() as u32)));
            }
            (FieldTest::AnyInteger(wanted), Values::Integer { integers, .. }) => {
                count_integers(integers, wanted)?
            }
            (FieldTest::ExceptInteger(unwanted), Values::Integer { integers, .. }) => {
                return Ok(Some(self.all_but(count_integers(integers, unwanted)?)?));
            }
            (FieldTest::Range(bounds), Values::Integer { integers, rest }) => {
                (within_floats(integers, bounds)?.len() + rest.within(bounds)?.len()) as u64
            }
            (FieldTest::Range(bounds), Values::Float(numbers)) => numbers.within(bounds)?.len() as u64,
            (FieldTest::DatetimeRange(bounds), Values::Datetime(times)) => times.within(bounds)?.len() as u64,
            (FieldTest::Prefix(start), Values::Keyword(keys)) => {
                keys.pairs_of(keys.starting_with(start.as_bytes())?)?
            }
            (FieldTest::Geo(area), Values::Geo(places)) => {
                return Ok(Some(self.at_most(places.count_at_most(area)?)));
            }
            (FieldTest::Text(test), Values::Text(texts)) => {
                return Ok(Some(self.at_most(texts.count_at_most(test)?)));
            }
            _ => return Ok(None),
        };
        Ok(Some(self.of_pairs(pairs)))
    }

    /// Points, when so many pairs of value and point pass: as many if every point has one value.
    fn of_pairs(&self, pairs: u64) -> Cardinality {
        let max = pairs.min(u64::from(self.len));
        let min = if self.has_single_values() && self.other.is_all_zero() { max } else { u64::from(max > 0) };
        let per_point = (self.pairs as f64 / f64::from(self.points.max(1))).max(1.0);
        let expected = (pairs as f64 / per_point).ceil() as u64;
        Cardinality::new(min as u32, expected.min(max) as u32, max as u32)
    }

    /// Points, when at most so many values pass, and probably most of them.
    fn at_most(&self, values: u64) -> Cardinality {
        let max = values.min(u64::from(self.len)) as u32;
        Cardinality::new(0, max, max)
    }

    /// Points that have a value beside those that so many pairs have.
    fn all_but(&self, unwanted: u64) -> Result<Cardinality> {
        let other = u64::from(self.other.count()?);
        let left = self.pairs.saturating_sub(unwanted);
        let max = (left + other).min(u64::from(self.len));
        let min = if self.has_single_values() { left.max(other) } else { other };
        Ok(Cardinality::new(min.min(max) as u32, max as u32, max as u32))
    }

    /// Whether every point that has a value of the index's type has one.
    fn has_single_values(&self) -> bool {
        self.pairs == u64::from(self.points)
    }

    /// Where keys are in the dictionary, ascending.
    fn places(&self, keys: &Dictionary, texts: &[String]) -> Result<Vec<usize>> {
        let mut places = Vec::new();
        for text in texts {
            places.extend(keys.find(&self.values.key_of(text))?);
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    fn count_keys(&self, keys: &Dictionary, texts: &[String]) -> Result<u64> {
        let mut count = 0;
        for place in self.places(keys, texts)? {
            count += u64::from(keys.count(place)?);
        }
        Ok(count)
    }

    fn add_keys(&self, keys: &Dictionary, wanted: &[String], bits: &mut Bitset) -> Result<()> {
        self.places(keys, wanted)?.into_iter().try_for_each(|place| keys.add_to(place, bits))
    }

    /// Points that have a value that is not listed.
    fn add_other_keys(&self, keys: &Dictionary, unwanted: &[String], bits: &mut Bitset) -> Result<()> {
        let unwanted = self.places(keys, unwanted)?;
        if self.has_single_values() {
            let mut listed = Bitset::zeros(self.len);
            unwanted.iter().try_for_each(|&place| keys.add_to(place, &mut listed))?;
            self.typed.add_to(bits)?;
            bits.and_not(&listed);
        } else {
            for place in (0..keys.keys()).filter(|place| unwanted.binary_search(place).is_err()) {
                keys.add_to(place, bits)?;
            }
        }
        self.other.add_to(bits)
    }

    /// Points that have a value that is not listed.
    fn add_other_integers(&self, integers: &Sorted<i64>, unwanted: &[i64], bits: &mut Bitset) -> Result<()> {
        let mut unwanted = unwanted.to_vec();
        unwanted.sort_unstable();
        unwanted.dedup();
        let mut next = 0;
        for integer in unwanted {
            let places = integers.equal(integer)?;
            integers.add_to(next..places.start, bits)?;
            next = places.end;
        }
        integers.add_to(next..integers.len(), bits)?;
        self.other.add_to(bits)
    }

    /// Sets the points at these places; where every point has one value and most are meant, all but the others.
    fn add_places<T: Ordered>(
        &self,
        sorted: &Sorted<T>,
        places: Range<usize>,
        bits: &mut Bitset,
    ) -> Result<()> {
        if places.len() * 2 <= sorted.len() || !self.has_single_values() {
            return sorted.add_to(places, bits);
        }
        let mut outside = Bitset::zeros(self.len);
        sorted.add_to(0..places.start, &mut outside)?;
        sorted.add_to(places.end..sorted.len(), &mut outside)?;
        self.typed.add_to(bits)?;
        bits.and_not(&outside);
        Ok(())
    }
}

fn add_flag(flags: &Flags, wanted: bool, bits: &mut Bitset) -> Result<()> {
    flags.add_to(bits)?;
    if !wanted {
        bits.not();
    }
    Ok(())
}

/// The places of integers in a range of floats. Integers are compared as floats, as they are without an
/// index; the conversion never turns their order round.
fn within_floats(integers: &Sorted<i64>, bounds: &Bounds<f64>) -> Result<Range<usize>> {
    integers.places(|v| bounds.is_above_start(v as f64), |v| bounds.is_below_end(v as f64))
}

fn count_integers(integers: &Sorted<i64>, wanted: &[i64]) -> Result<u64> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut count = 0;
    for integer in wanted {
        count += integers.equal(integer)?.len() as u64;
    }
    Ok(count)
}
