//! Which points have a value at all, and how many: what serves is_empty, is_null and values_count by an
//! index of any type.

use serde_json::Value;

use super::column::Flags;
use super::sorted::Sorted;
use crate::bitset::Bitset;
use crate::error::Result;
use crate::filter::{Bounds, count_of, is_null_value};

/// One point may have several counts: one for each value at the path, a last array being one value.
pub(super) struct Presence {
    /// All counts are 0.
    pub(super) empty: Flags,
    /// Some value is null or holds a null.
    pub(super) null: Flags,
    /// Some count is 0; a missing field counts 0.
    pub(super) zero: Flags,
    /// Some count is 1.
    pub(super) one: Flags,
    /// Counts from 2 on.
    pub(super) many: Sorted<u64>,
}

impl Presence {
    pub(super) fn add_counted(&self, bounds: &Bounds<u64>, bits: &mut Bitset) -> Result<()> {
        if bounds.contains(0) {
            self.zero.add_to(bits)?;
        }
        if bounds.contains(1) {
            self.one.add_to(bits)?;
        }
        self.many.add_to(self.many.within(bounds)?, bits)
    }

    /// At most so many points have such a count.
    pub(super) fn count_at_most(&self, bounds: &Bounds<u64>) -> Result<u64> {
        let zero = if bounds.contains(0) { self.zero.count()? } else { 0 };
        let one = if bounds.contains(1) { self.one.count()? } else { 0 };
        Ok(u64::from(zero) + u64::from(one) + self.many.within(bounds)?.len() as u64)
    }
}

/// Collects it. A point that is never added is one that lacks the field.
pub(super) struct PresenceBuilder {
    empty: Bitset,
    null: Bitset,
    zero: Bitset,
    one: Bitset,
    many: Vec<(u64, u32)>,
}

impl PresenceBuilder {
    pub(super) fn new(len: u32) -> Self {
        Self {
            empty: Bitset::ones(len),
            null: Bitset::zeros(len),
            zero: Bitset::ones(len),
            one: Bitset::zeros(len),
            many: Vec::new(),
        }
    }

    /// The values at the path, a last array being one value.
    pub(super) fn add(&mut self, offset: u32, values: &[&Value]) {
        if !values.is_empty() {
            self.zero.unset(offset);
        }
        for value in values {
            if is_null_value(value) {
                self.null.set(offset);
            }
            match count_of(value) {
                0 => self.zero.set(offset),
                count => {
                    self.empty.unset(offset);
                    if count == 1 { self.one.set(offset) } else { self.many.push((count, offset)) }
                }
            }
        }
    }

    pub(super) fn finish(self) -> Presence {
        Presence {
            empty: Flags::new(&self.empty),
            null: Flags::new(&self.null),
            zero: Flags::new(&self.zero),
            one: Flags::new(&self.one),
            many: Sorted::build(&self.many),
        }
    }
}
