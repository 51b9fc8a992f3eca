//! The bitmap of passing points. First everything that indexes know is put together; payloads are read only
//! for the points that this leaves undecided, and asked the whole filter, so that the answer is always
//! exact.

use super::estimate::condition_estimate;
use super::expr::{Condition, FieldCondition, FieldTest, Filter, MinShould};
use super::tri::{Bits, Tri};
use super::{PointSource, matches};
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::FieldSchema;
use crate::error::Result;
use crate::json_path::JsonPath;
use crate::payload_index::serves;

/// Payloads read between two looks at the cancel flag.
const PAYLOADS_PER_CHECK: usize = 64;

/// Setting so many bits from an index costs about as much as reading one payload.
const BITS_PER_PAYLOAD: u32 = 2048;

/// Up to so many conditions that have to hold are counted by bitmaps, more of them point by point.
const COUNTED_BY_BITMAPS: usize = 4;

/// What a filter gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The points that pass, exactly; deleted ones may be among them.
    pub passing: Bitset,
    /// Keys that were filtered on and that the source has no fitting index for.
    pub unindexed: Vec<String>,
}

/// The points of a source that pass a filter.
///
/// # Errors
/// [`crate::Error::Cancelled`], or what reading an index or payload gives.
pub fn evaluate(filter: &Filter, source: &dyn PointSource, cancel: &Cancel) -> Result<Evaluated> {
    evaluate_among(filter, source, None, cancel)
}

/// The same for some points only: payloads of others are not read, and none of them passes.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_among(
    filter: &Filter,
    source: &dyn PointSource,
    among: Option<&Bitset>,
    cancel: &Cancel,
) -> Result<Evaluated> {
    let len = source.len();
    let unindexed = unindexed(filter, &|key| source.index(key).map(|index| index.schema()));
    let tri = Evaluation { source, cancel }.filter(filter)?;
    let mut passing = tri.sure.into_bitset(len);
    let undecided = tri.possible.map(|possible| {
        let mut undecided = possible.into_bitset(len);
        undecided.and_not(&passing);
        undecided
    });
    if let Some(among) = among {
        passing.and(among);
    }
    if let Some(mut undecided) = undecided {
        if let Some(among) = among {
            undecided.and(among);
        }
        for (i, offset) in undecided.iter().enumerate() {
            if i % PAYLOADS_PER_CHECK == 0 {
                cancel.check()?;
            }
            let payload = source.payload(offset)?;
            if matches(filter, source.id(offset), &|name| source.has_vector(offset, name), &payload) {
                passing.set(offset);
            }
        }
    }
    Ok(Evaluated { passing, unindexed })
}

/// The keys of a filter that no index serves, each once, in the filter's order. What a collection's schema
/// says, this says of a collection; conditions inside `nested` count under their full path.
pub fn unindexed<'a>(
    filter: &Filter,
    schema_of: &dyn Fn(&JsonPath) -> Option<&'a FieldSchema>,
) -> Vec<String> {
    let mut keys = Vec::new();
    visit_tests(filter, None, &mut |key, test| {
        let served = schema_of(key).is_some_and(|schema| serves(schema, test));
        if !served && !keys.iter().any(|k| k == key.as_str()) {
            keys.push(key.as_str().to_owned());
        }
    });
    keys
}

/// Calls `visit` with every key, as a path from the payload's root, and test of a filter.
fn visit_tests(filter: &Filter, under: Option<&JsonPath>, visit: &mut dyn FnMut(&JsonPath, &FieldTest)) {
    let min_should = filter.min_should.iter().flat_map(|m| &m.conditions);
    for condition in filter.must.iter().chain(&filter.should).chain(min_should).chain(&filter.must_not) {
        match condition {
            Condition::Field(field) => {
                let key = full_path(under, &field.key);
                field.tests.iter().for_each(|test| visit(&key, test));
            }
            Condition::IsEmpty(key) => visit(&full_path(under, key), &FieldTest::IsEmpty(true)),
            Condition::IsNull(key) => visit(&full_path(under, key), &FieldTest::IsNull(true)),
            Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice(_) => {}
            Condition::Nested { key, filter } => {
                visit_tests(filter, Some(&full_path(under, key).each()), visit)
            }
            Condition::Filter(filter) => visit_tests(filter, under, visit),
        }
    }
}

pub(super) fn full_path(under: Option<&JsonPath>, key: &JsonPath) -> JsonPath {
    under.map_or_else(|| key.clone(), |under| under.join(key))
}

/// What indexes know.
struct Evaluation<'a> {
    source: &'a dyn PointSource,
    cancel: &'a Cancel,
}

impl Evaluation<'_> {
    fn filter(&self, filter: &Filter) -> Result<Tri> {
        let mut clauses: Vec<(u32, Clause)> = Vec::new();
        let len = self.source.len();
        for condition in &filter.must {
            clauses.push((condition_estimate(condition, self.source)?.expected, Clause::Is(condition)));
        }
        for condition in &filter.must_not {
            let passing = len - condition_estimate(condition, self.source)?.expected;
            clauses.push((passing, Clause::IsNot(condition)));
        }
        if !filter.should.is_empty() {
            clauses.push((len, Clause::Any(&filter.should)));
        }
        clauses.extend(
            filter.min_should.iter().filter(|m| !m.conditions.is_empty()).map(|m| (len, Clause::AtLeast(m))),
        );
        clauses.sort_by_key(|(expected, _)| *expected);

        let mut all = Tri::known(Bits::All);
        for (expected, clause) in clauses {
            self.cancel.check()?;
            let left = match all.possible() {
                Bits::All => len,
                possible => possible.count(len),
            };
            if left == 0 {
                return Ok(Tri::known(Bits::None));
            }
            // Few points are left: asking their payloads is cheaper than making this clause's bitmap.
            let cheap = matches!(clause, Clause::Is(Condition::HasId(_)));
            let next = if left.saturating_mul(BITS_PER_PAYLOAD) < expected && !cheap {
                Tri::unknown()
            } else {
                self.clause(&clause)?
            };
            all = all.and(next);
        }
        Ok(all)
    }

    fn clause(&self, clause: &Clause) -> Result<Tri> {
        match clause {
            Clause::Is(condition) => self.condition(condition),
            Clause::IsNot(condition) => Ok(self.condition(condition)?.not()),
            Clause::Any(conditions) => {
                conditions.iter().try_fold(Tri::known(Bits::None), |any, c| Ok(any.or(self.condition(c)?)))
            }
            Clause::AtLeast(min_should) => self.at_least(min_should),
        }
    }

    /// `reached[j]`: at least j of the conditions seen so far hold.
    fn at_least(&self, min_should: &MinShould) -> Result<Tri> {
        let wanted = min_should.min_count;
        if wanted > min_should.conditions.len() {
            return Ok(Tri::known(Bits::None));
        }
        if wanted > COUNTED_BY_BITMAPS {
            return self.at_least_counted(min_should);
        }
        let mut reached = vec![Tri::known(Bits::None); wanted + 1];
        reached[0] = Tri::known(Bits::All);
        for condition in &min_should.conditions {
            self.cancel.check()?;
            let holds = self.condition(condition)?;
            for j in (1..=wanted).rev() {
                let one_more = reached[j - 1].clone().and(holds.clone());
                let before = std::mem::replace(&mut reached[j], Tri::known(Bits::None));
                reached[j] = before.or(one_more);
            }
        }
        Ok(reached.swap_remove(wanted))
    }

    /// The same with a number for each point instead of a bitmap for each number.
    fn at_least_counted(&self, min_should: &MinShould) -> Result<Tri> {
        let len = self.source.len();
        let (mut sure, mut possible) = (vec![0usize; len as usize], vec![0usize; len as usize]);
        let mut decided = true;
        for condition in &min_should.conditions {
            self.cancel.check()?;
            let holds = self.condition(condition)?;
            decided &= holds.possible.is_none();
            add_one(&mut possible, holds.possible());
            add_one(&mut sure, &holds.sure);
        }
        let enough = |counts: &[usize]| -> Bits {
            Bits::Some(counts.iter().map(|&count| count >= min_should.min_count).collect())
        };
        Ok(Tri { sure: enough(&sure), possible: (!decided).then(|| enough(&possible)) })
    }

    fn condition(&self, condition: &Condition) -> Result<Tri> {
        let len = self.source.len();
        match condition {
            Condition::Field(field) => self.field(field, None),
            Condition::IsEmpty(key) => self.test(key, &FieldTest::IsEmpty(true)),
            Condition::IsNull(key) => self.test(key, &FieldTest::IsNull(true)),
            Condition::HasId(ids) => {
                let mut bits = Bitset::zeros(len);
                ids.iter().filter_map(|&id| self.source.offset_of(id)).for_each(|offset| bits.set(offset));
                Ok(Tri::known(Bits::Some(bits)))
            }
            Condition::HasVector(name) => Ok(Tri::known(Bits::Some(self.source.with_vector(name)))),
            Condition::Slice(slice) => {
                let bits = (0..len).map(|offset| slice.contains(self.source.id(offset))).collect();
                Ok(Tri::known(Bits::Some(bits)))
            }
            Condition::Nested { key, filter } => {
                let possible = self.element_filter(filter, &key.each())?;
                Ok(if possible == Bits::None { Tri::known(Bits::None) } else { Tri::at_most(possible) })
            }
            Condition::Filter(filter) => self.filter(filter),
        }
    }

    fn field(&self, field: &FieldCondition, under: Option<&JsonPath>) -> Result<Tri> {
        let key = full_path(under, &field.key);
        field.tests.iter().try_fold(Tri::known(Bits::None), |any, test| Ok(any.or(self.test(&key, test)?)))
    }

    fn test(&self, key: &JsonPath, test: &FieldTest) -> Result<Tri> {
        let found = match self.source.index(key) {
            Some(index) => index.evaluate(test)?,
            None => None,
        };
        Ok(found.map_or_else(Tri::unknown, |bits| Tri::known(Bits::Some(bits))))
    }

    /// The points that may have an array element that passes. An element that passes a test makes the whole
    /// path pass it; what an element lacks says nothing of the path.
    fn element_filter(&self, filter: &Filter, under: &JsonPath) -> Result<Bits> {
        let mut possible = Bits::All;
        for condition in &filter.must {
            self.cancel.check()?;
            possible = possible.and(self.element_condition(condition, under)?);
        }
        if !filter.should.is_empty() {
            let mut any = Bits::None;
            for condition in &filter.should {
                any = any.or(self.element_condition(condition, under)?);
            }
            possible = possible.and(any);
        }
        Ok(possible)
    }

    fn element_condition(&self, condition: &Condition, under: &JsonPath) -> Result<Bits> {
        match condition {
            Condition::Field(field) if field.tests.iter().all(is_of_values) => {
                let tri = self.field(field, Some(under))?;
                Ok(tri.possible.unwrap_or(tri.sure))
            }
            Condition::Field(_) | Condition::IsEmpty(_) => Ok(Bits::All),
            // An element whose value is null makes the path have one.
            Condition::IsNull(key) => {
                let tri = self.test(&under.join(key), &FieldTest::IsNull(true))?;
                Ok(tri.possible.unwrap_or(tri.sure))
            }
            Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice(_) => Ok(Bits::None),
            Condition::Nested { key, filter } => self.element_filter(filter, &under.join(key).each()),
            Condition::Filter(filter) => self.element_filter(filter, under),
        }
    }
}

fn add_one(counts: &mut [usize], bits: &Bits) {
    match bits {
        Bits::None => {}
        Bits::All => counts.iter_mut().for_each(|count| *count += 1),
        Bits::Some(bits) => bits.iter().for_each(|offset| counts[offset as usize] += 1),
    }
}

/// A part of a filter, all of which have to hold.
enum Clause<'a> {
    Is(&'a Condition),
    IsNot(&'a Condition),
    Any(&'a [Condition]),
    AtLeast(&'a MinShould),
}

/// Whether one value that passes makes the point pass, whatever others there are.
fn is_of_values(test: &FieldTest) -> bool {
    !matches!(test, FieldTest::ValuesCount(_) | FieldTest::IsEmpty(_) | FieldTest::IsNull(_))
}
