//! How many points a filter lets through, from indexes alone: what orders conditions and chooses plans.

use super::PointSource;
use super::expr::{Condition, FieldCondition, FieldTest, Filter};
use crate::error::Result;

/// A number of points: surely at least `min` and at most `max`, probably about `expected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cardinality {
    pub min: u32,
    pub expected: u32,
    pub max: u32,
}

impl Cardinality {
    pub fn new(min: u32, expected: u32, max: u32) -> Self {
        debug_assert!(min <= expected.max(min) && min <= max);
        Self { min, expected: expected.clamp(min, max), max }
    }

    pub fn exactly(count: u32) -> Self {
        Self { min: count, expected: count, max: count }
    }

    /// Nothing is known; half is as good a guess as any.
    fn unknown(len: u32) -> Self {
        Self { min: 0, expected: len / 2, max: len }
    }

    fn not(self, len: u32) -> Self {
        Self { min: len - self.max, expected: len - self.expected, max: len - self.min }
    }

    /// Both hold; the expectation takes them to be independent.
    fn and(self, other: Self, len: u32) -> Self {
        let min = (u64::from(self.min) + u64::from(other.min)).saturating_sub(u64::from(len)) as u32;
        let expected = u64::from(self.expected) * u64::from(other.expected) / u64::from(len.max(1));
        Self::new(min, expected as u32, self.max.min(other.max))
    }

    fn or(self, other: Self, len: u32) -> Self {
        self.not(len).and(other.not(len), len).not(len)
    }
}

/// How many points of a source pass a filter, deleted ones included.
///
/// # Errors
/// [`crate::Error::Corrupt`] if an index is not as it was written.
pub fn estimate(filter: &Filter, source: &dyn PointSource) -> Result<Cardinality> {
    let len = source.len();
    let mut all = Cardinality::exactly(len);
    for condition in &filter.must {
        all = all.and(condition_estimate(condition, source)?, len);
    }
    for condition in &filter.must_not {
        all = all.and(condition_estimate(condition, source)?.not(len), len);
    }
    if !filter.should.is_empty() {
        let mut any = Cardinality::exactly(0);
        for condition in &filter.should {
            any = any.or(condition_estimate(condition, source)?, len);
        }
        all = all.and(any, len);
    }
    if let Some(min_should) = &filter.min_should
        && !min_should.conditions.is_empty()
    {
        // At least one of them holds, or nothing is asked; how many more is not worth computing.
        let mut any = Cardinality::exactly(0);
        for condition in &min_should.conditions {
            any = any.or(condition_estimate(condition, source)?, len);
        }
        let guess = match min_should.min_count {
            0 => Cardinality::exactly(len),
            1 => any,
            _ => Cardinality { min: 0, ..any },
        };
        all = all.and(guess, len);
    }
    Ok(all)
}

pub(super) fn condition_estimate(condition: &Condition, source: &dyn PointSource) -> Result<Cardinality> {
    let len = source.len();
    Ok(match condition {
        Condition::Field(field) => field_estimate(field, source)?,
        Condition::IsEmpty(key) => test_estimate(key, &FieldTest::IsEmpty(true), source)?,
        Condition::IsNull(key) => test_estimate(key, &FieldTest::IsNull(true), source)?,
        Condition::HasId(ids) => {
            let max = u32::try_from(ids.len()).unwrap_or(len).min(len);
            Cardinality::new(0, max, max)
        }
        Condition::Slice(slice) => Cardinality::new(0, slice.share_of(len), len),
        Condition::HasVector(_) => Cardinality { min: 0, expected: len, max: len },
        Condition::Nested { .. } => Cardinality::unknown(len),
        Condition::Filter(filter) => estimate(filter, source)?,
    })
}

fn field_estimate(field: &FieldCondition, source: &dyn PointSource) -> Result<Cardinality> {
    let mut any = Cardinality::exactly(0);
    for test in &field.tests {
        any = any.or(test_estimate(&field.key, test, source)?, source.len());
    }
    Ok(any)
}

fn test_estimate(
    key: &crate::json_path::JsonPath,
    test: &FieldTest,
    source: &dyn PointSource,
) -> Result<Cardinality> {
    let known = match source.index(key) {
        Some(index) => index.estimate(test)?,
        None => None,
    };
    Ok(known.unwrap_or(Cardinality::unknown(source.len())))
}
