//! The sparse vectors of one name: rows by point, postings by dimension, and the choice between them.
//!
//! [`SparseColumn`] holds those of a chunk in memory, [`SegmentSparse`] those of a sealed segment in two files, `.rows`
//! and `.postings`. Both are searched by the same code. They know offsets and bitmaps; ids, payloads and filters are
//! the segment's business.

mod builder;
mod column;
mod posting;
mod sealed;
mod search;
#[cfg(test)]
mod tests;

pub use builder::SparseBuilder;
pub use column::SparseColumn;
pub use posting::Posting;
pub use sealed::SegmentSparse;
pub use search::{SparseQuery, SparseScratch, SparseTarget};

use crate::error::Result;
use crate::vector::SparseRow;

/// Below so many points that pass each may be compared by itself, unless the vector's parameters say otherwise.
pub const FULL_SCAN_THRESHOLD: usize = 5_000;

/// Sparse vectors that can be searched.
pub trait SparseSource {
    /// Number of points, with this vector or without.
    fn points(&self) -> u32;
    /// Number of values of all points.
    fn entries(&self) -> u64;
    /// Which of 64 points have this vector; bits past the end are zero.
    fn presence_word(&self, word: usize) -> u64;
    /// The vector of a point; `None` if it lacks it.
    fn row(&self, offset: u32) -> Result<Option<SparseRow<'_>>>;
    /// The points that have a value of a dimension; `None` if there is none.
    fn posting(&self, dimension: u32) -> Result<Option<Posting<'_>>>;
}

/// The presence of 64 of `len` points of which all have the vector.
fn whole_word(len: u32, word: usize) -> u64 {
    match (len as usize).saturating_sub(word * 64) {
        0 => 0,
        rest if rest >= 64 => u64::MAX,
        rest => (1 << rest) - 1,
    }
}
