//! Comparing multivectors in a graph: MaxSim of the query with every point that is met (Khattab, Zaharia 2020).

use std::marker::PhantomData;

use super::build_select::Pairs;
use super::search_space::{Scorer, similarity};
use crate::config::Distance;
use crate::distance::isa::{Isa, LINE_BYTES};

/// The multivectors of a segment: the rows of all points, and where those of each begin.
#[derive(Clone, Copy)]
pub(crate) struct MultiRows<'a> {
    pub(crate) rows: &'a [f32],
    /// One more than there are points, ascending, counted in rows; the last is their number.
    pub(crate) starts: &'a [u32],
    pub(crate) dim: usize,
    pub(crate) distance: Distance,
}

impl<'a> MultiRows<'a> {
    /// Number of points, with a vector or without.
    pub(crate) fn len(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// The rows of a point.
    #[inline(always)]
    pub(super) fn of(&self, offset: u32) -> &'a [f32] {
        let start = |offset: usize| self.starts[offset] as usize * self.dim;
        &self.rows[start(offset as usize)..start(offset as usize + 1)]
    }

    /// The sum, over the rows of one, of the similarity to the most similar row of the other.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn max_similarity<I: Isa>(&self, one: &[f32], other: &[f32]) -> f32 {
        let mut sum = 0.0;
        for a in one.chunks_exact(self.dim) {
            let mut best = f32::NEG_INFINITY;
            for b in other.chunks_exact(self.dim) {
                // SAFETY: both have `dim` numbers.
                let near = unsafe { similarity::<I>(self.distance, a.as_ptr(), b.as_ptr(), self.dim) };
                best = if near > best { near } else { best };
            }
            sum += best;
        }
        // Products of very large numbers can be infinite, of both signs.
        if sum.is_nan() { f32::MIN } else { sum }
    }
}

/// Scores by MaxSim with a multivector.
pub(crate) struct MultiScorer<'a, I> {
    points: MultiRows<'a>,
    query: &'a [f32],
    isa: PhantomData<I>,
}

impl<'a, I: Isa> MultiScorer<'a, I> {
    pub(crate) fn new(points: MultiRows<'a>, query: &'a [f32]) -> Self {
        Self { points, query, isa: PhantomData }
    }
}

impl<I: Isa> Scorer for MultiScorer<'_, I> {
    const BY_METRIC: bool = false;

    #[inline(always)]
    unsafe fn score1(&self, offset: u32) -> f32 {
        // SAFETY: passed on to the caller.
        unsafe { self.points.max_similarity::<I>(self.query, self.points.of(offset)) }
    }

    #[inline(always)]
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4] {
        let mut out = [0f32; 4];
        for k in 0..4 {
            // Batches that are not full repeat a point.
            out[k] = match k > 0 && offsets[k] == offsets[k - 1] {
                true => out[k - 1],
                // SAFETY: passed on to the caller.
                false => unsafe { self.score1(offsets[k]) },
            };
        }
        out
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        // From there on the processor sees by itself that rows are read.
        const LINES: usize = 8;
        for line in self.points.of(offset).chunks(LINE_BYTES / 4).take(LINES) {
            I::prefetch(line.as_ptr().cast());
        }
    }
}

/// MaxSim of two stored points, in both directions, each for one row.
pub(super) struct MultiPairs<'a>(pub(super) MultiRows<'a>);

/// Points of up to so many rows are compared in both directions at once.
const ROWS_AT_ONCE: usize = 256;

impl Pairs for MultiPairs<'_> {
    #[inline(always)]
    unsafe fn pair<I: Isa>(&self, a: u32, b: u32) -> f32 {
        let points = &self.0;
        // The sum is the same in both orders, so that equal points are known by it.
        let (a, b) = (points.of(a.min(b)), points.of(a.max(b)));
        let (rows_a, rows_b) = (a.len() / points.dim, b.len() / points.dim);
        let (there, back) = if rows_b <= ROWS_AT_ONCE {
            // SAFETY: passed on to the caller.
            unsafe { both_ways::<I>(points, a, b) }
        } else {
            // SAFETY: passed on to the caller.
            unsafe { (points.max_similarity::<I>(a, b), points.max_similarity::<I>(b, a)) }
        };
        there / rows_a as f32 + back / rows_b as f32
    }
}

/// MaxSim from one to the other and back; the other has [`ROWS_AT_ONCE`] rows at most.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn both_ways<I: Isa>(points: &MultiRows, one: &[f32], other: &[f32]) -> (f32, f32) {
    let mut back = [f32::NEG_INFINITY; ROWS_AT_ONCE];
    let mut there = 0.0;
    for a in one.chunks_exact(points.dim) {
        let mut best = f32::NEG_INFINITY;
        for (b, back) in other.chunks_exact(points.dim).zip(&mut back) {
            // SAFETY: both have `dim` numbers.
            let near = unsafe { similarity::<I>(points.distance, a.as_ptr(), b.as_ptr(), points.dim) };
            best = if near > best { near } else { best };
            *back = if near > *back { near } else { *back };
        }
        there += best;
    }
    let finite = |sum: f32| if sum.is_nan() { f32::MIN } else { sum };
    (finite(there), finite(back[..other.len() / points.dim].iter().sum()))
}
