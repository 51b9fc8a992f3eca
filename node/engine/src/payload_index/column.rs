//! Arrays of an index: in memory while it is built and for chunks of the mutable segment, or a part of a
//! sealed file, verified when it is first read.

use std::ops::Range;

use crate::bitset::Bitset;
use crate::error::Result;

/// An array of numbers.
pub(super) enum Column<T> {
    Owned(Vec<T>),
}

impl<T> Column<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Column::Owned(all) => all.len(),
        }
    }

    /// A part of the array; only its bytes are verified.
    pub(super) fn part(&self, range: Range<usize>) -> Result<&[T]> {
        match self {
            Column::Owned(all) => Ok(&all[range]),
        }
    }

    pub(super) fn all(&self) -> Result<&[T]> {
        self.part(0..self.len())
    }
}

/// One bit for each point. No words at all stand for all zeros.
pub(super) struct Flags(pub(super) Column<u64>);

impl Flags {
    pub(super) fn new(bits: &Bitset) -> Self {
        Self(Column::Owned(if bits.none() { Vec::new() } else { bits.words().to_vec() }))
    }

    pub(super) fn add_to(&self, bits: &mut Bitset) -> Result<()> {
        bits.or_words(self.0.all()?);
        Ok(())
    }

    pub(super) fn to_bitset(&self, len: u32) -> Result<Bitset> {
        let mut bits = Bitset::zeros(len);
        self.add_to(&mut bits)?;
        Ok(bits)
    }

    pub(super) fn count(&self) -> Result<u32> {
        Ok(self.0.all()?.iter().map(|word| word.count_ones()).sum())
    }

    pub(super) fn is_all_zero(&self) -> bool {
        self.0.len() == 0
    }
}
