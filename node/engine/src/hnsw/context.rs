//! Memory that searches use again.

use super::search_beam::Beam;
use super::search_visited::Visited;
use crate::distance::TopK;
use crate::file::faults::Faults;
use crate::quantization::CodeQuery;

/// What one thread needs to search; grown to the largest segment it has seen. No search allocates but its answer.
#[derive(Default)]
pub struct SearchContext {
    pub(crate) visited: Visited,
    pub(crate) beam: Beam,
    pub(crate) top: TopK,
    /// Where a walk begins on its level; best first.
    pub(crate) seeds: Vec<(f32, u32)>,
    /// Offsets about to be scored.
    pub(crate) gather: Vec<u32>,
    /// The same, gathered one hop before.
    pub(crate) late: Vec<u32>,
    /// Similarities of those that were scored.
    pub(crate) scores: Vec<f32>,
    /// Neighbours that don't pass, whose own neighbours are looked at.
    pub(crate) through: Vec<u32>,
    /// For each of those gathered, what its similarity is hardly above.
    pub(crate) bounds: Vec<f32>,
    /// The same, partly in order.
    pub(crate) sorted: Vec<f32>,
    pub(crate) query: CodeQuery,
    /// Bitmap of the points that may be answered.
    pub(crate) allowed: Vec<u64>,
    /// What a walk or scan found: similarity by codes, offset; best first.
    pub(crate) found: Vec<(f32, u32)>,
    pub(crate) faults: Faults,
}
