//! Numbers and the points that have them, sorted by number: integers, floats, datetimes, counts.

use std::marker::PhantomData;
use std::ops::Range;

use super::column::Column;
use crate::bitset::Bitset;
use crate::error::Result;
use crate::filter::Bounds;

/// A number that keeps its order as an unsigned one.
pub(super) trait Ordered: Copy + PartialOrd {
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

const SIGN: u64 = 1 << 63;

impl Ordered for u64 {
    fn to_bits(self) -> u64 {
        self
    }
    fn from_bits(bits: u64) -> Self {
        bits
    }
}

impl Ordered for i64 {
    fn to_bits(self) -> u64 {
        self.cast_unsigned() ^ SIGN
    }
    fn from_bits(bits: u64) -> Self {
        (bits ^ SIGN).cast_signed()
    }
}

impl Ordered for f64 {
    fn to_bits(self) -> u64 {
        // Zero is one number, whatever its sign.
        let bits = f64::to_bits(self + 0.0);
        if bits & SIGN == 0 { bits ^ SIGN } else { !bits }
    }
    fn from_bits(bits: u64) -> Self {
        f64::from_bits(if bits & SIGN == 0 { !bits } else { bits ^ SIGN })
    }
}

/// Pairs of number and offset, each once, by number and then by offset.
pub(super) struct Sorted<T> {
    pub(super) keys: Column<u64>,
    pub(super) offsets: Column<u32>,
    number: PhantomData<T>,
}

impl<T: Ordered> Sorted<T> {
    pub(super) fn new(keys: Column<u64>, offsets: Column<u32>) -> Self {
        Self { keys, offsets, number: PhantomData }
    }

    pub(super) fn build(pairs: &[(T, u32)]) -> Self {
        let mut pairs: Vec<(u64, u32)> =
            pairs.iter().map(|&(number, offset)| (number.to_bits(), offset)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let keys = pairs.iter().map(|p| p.0).collect();
        Self::new(Column::Owned(keys), Column::Owned(pairs.iter().map(|p| p.1).collect()))
    }

    /// Number of pairs.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The places whose numbers pass; `starts` and `ends` are monotone: below a number that passes `starts`
    /// none does, above one that fails `ends` none passes.
    pub(super) fn places(
        &self,
        starts: impl Fn(T) -> bool,
        ends: impl Fn(T) -> bool,
    ) -> Result<Range<usize>> {
        let keys = self.keys.all()?;
        let start = keys.partition_point(|&key| !starts(T::from_bits(key)));
        let end = start + keys[start..].partition_point(|&key| ends(T::from_bits(key)));
        Ok(start..end)
    }

    /// The places of a range.
    pub(super) fn within(&self, bounds: &Bounds<T>) -> Result<Range<usize>> {
        self.places(|v| bounds.is_above_start(v), |v| bounds.is_below_end(v))
    }

    /// The places of one number.
    pub(super) fn equal(&self, number: T) -> Result<Range<usize>> {
        self.places(|v| v >= number, |v| v <= number)
    }

    /// Sets the bits of the points at these places.
    pub(super) fn add_to(&self, places: Range<usize>, bits: &mut Bitset) -> Result<()> {
        for &offset in self.offsets.part(places)? {
            bits.set(offset);
        }
        Ok(())
    }

    /// Number and offset at one place.
    pub(super) fn at(&self, place: usize) -> Result<(T, u32)> {
        Ok((T::from_bits(self.keys.at(place)?), self.offsets.at(place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_keep_the_order() {
        let floats =
            [f64::NEG_INFINITY, f64::MIN, -1.5, 0.0, f64::MIN_POSITIVE, 2.0, f64::MAX, f64::INFINITY];
        assert_eq!(Ordered::to_bits(-0.0), Ordered::to_bits(0.0));
        assert!(floats.windows(2).all(|w| Ordered::to_bits(w[0]) < Ordered::to_bits(w[1])));
        assert!(
            floats.iter().all(|f| <f64 as Ordered>::from_bits(Ordered::to_bits(*f)).to_bits() == f.to_bits())
        );
        let integers = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(integers.windows(2).all(|w| Ordered::to_bits(w[0]) < Ordered::to_bits(w[1])));
        assert!(integers.iter().all(|&i| <i64 as Ordered>::from_bits(Ordered::to_bits(i)) == i));
    }
}
