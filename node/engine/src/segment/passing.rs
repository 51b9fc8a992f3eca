//! The points of a segment that pass a filter.

use crate::bitset::Bitset;
use crate::bitset::ones::list_ones;

/// One in so many, and fewer, are listed one by one too.
const LISTED_SHARE: u32 = 32;

/// What a filter evaluated to in one segment, ready for any number of searches.
#[derive(Debug)]
pub struct Passing {
    bits: Bitset,
    count: u32,
    /// Their offsets, ascending; empty unless they are few.
    listed: Vec<u32>,
}

impl From<Bitset> for Passing {
    fn from(bits: Bitset) -> Self {
        let count = bits.count();
        let few = count <= bits.len() / LISTED_SHARE;
        let mut listed = Vec::new();
        if few {
            list_ones(bits.words(), 0, &mut listed);
        }
        Self { bits, count, listed }
    }
}

impl Passing {
    /// One bit for each point of the segment.
    pub fn bits(&self) -> &Bitset {
        &self.bits
    }

    /// Number of points that pass.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The offsets of those that pass, ascending, if they are few.
    pub fn listed(&self) -> Option<&[u32]> {
        (self.listed.len() == self.count as usize).then_some(&self.listed)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bits.words().len() * 8 + self.listed.len() * 4
    }
}
