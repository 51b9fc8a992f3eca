//! What a walk compares: the query with codes, or with raw rows. Inlined into loops compiled for each instruction set.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::multi::MultiRows;
use crate::config::Distance;
use crate::distance::isa::{Isa, LINE_BYTES};
use crate::distance::{Examples, cosine};
use crate::quantization::halves::{STEPS, TWICE_LOWEST};
use crate::quantization::sketch::Estimate;
use crate::quantization::{CodeQuery, ScalarCodes};

/// A query and the points it is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Space<'a> {
    Codes {
        codes: &'a ScalarCodes,
        query: &'a CodeQuery,
    },
    /// By the upper halves of codes.
    Halves {
        codes: &'a ScalarCodes,
        query: &'a CodeQuery,
    },
    /// By codes, but for points whose sketches say that they are too far away; the query's sketch is prepared.
    Sketched {
        codes: &'a ScalarCodes,
        query: &'a CodeQuery,
    },
    Raw {
        rows: &'a [f32],
        distance: Distance,
        query: &'a [f32],
    },
    /// By raw rows, each compared with several vectors.
    Examples {
        rows: &'a [f32],
        examples: &'a Examples,
    },
    /// Multivectors; the query's rows one behind the other.
    Multi {
        points: MultiRows<'a>,
        query: &'a [f32],
    },
}

impl Space<'_> {
    /// Number of points, so that every smaller offset may be scored.
    pub(crate) fn len(&self) -> u32 {
        match self {
            Space::Codes { codes, .. } | Space::Halves { codes, .. } | Space::Sketched { codes, .. } => {
                codes.len()
            }
            Space::Raw { rows, query, .. } => (rows.len() / query.len()) as u32,
            Space::Examples { rows, examples } => (rows.len() / examples.dim()) as u32,
            Space::Multi { points, .. } => points.len(),
        }
    }
}

/// Scores points against one query.
pub(crate) trait Scorer {
    /// Whether similarities are those of the metric, so that they can be compared with what points of the graph have.
    const BY_METRIC: bool = true;

    /// Similarities of four points.
    ///
    /// # Safety
    /// All offsets are below the space's length; the processor has the instruction set.
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4];

    /// Similarity of one point.
    ///
    /// # Safety
    /// As for [`Scorer::score4`].
    #[inline(always)]
    unsafe fn score1(&self, offset: u32) -> f32 {
        // SAFETY: passed on to the caller.
        let [score, ..] = unsafe { self.score4([offset; 4]) };
        score
    }

    /// Leaves out of `gathered` points that are hardly above `least`; asks for what `score4` will read of the others.
    ///
    /// # Safety
    /// As for [`Scorer::score4`].
    #[inline(always)]
    unsafe fn prune(&self, _gathered: &mut Vec<u32>, _least: f32) {}

    /// Asks for what will be read of this point first.
    fn prefetch(&self, offset: u32);
}

/// Scores by codes. `LINES`, if not 0, is the number of lines of a row, so that the kernel is unrolled.
pub(crate) struct CodeScorer<'a, I, const LINES: usize> {
    /// Whole, or their upper halves.
    codes: *const u8,
    /// The lower halves, if they are apart.
    lower: Option<*const u8>,
    scales: *const [f32; 2],
    terms: *const f32,
    query: &'a CodeQuery,
    lines: usize,
    isa: PhantomData<I>,
}

impl<'a, I: Isa, const LINES: usize> CodeScorer<'a, I, LINES> {
    pub(crate) fn new(codes: &'a ScalarCodes, query: &'a CodeQuery) -> Self {
        let lines = codes.stride() / LINE_BYTES;
        assert!(query.codes.len() == codes.stride() && (LINES == 0 || LINES == lines));
        let (rows, lower) = codes.codes();
        Self {
            codes: rows.as_ptr(),
            lower: lower.map(<[u8]>::as_ptr),
            scales: codes.scales().as_ptr(),
            terms: codes.terms().as_ptr(),
            query,
            lines,
            isa: PhantomData,
        }
    }

    #[inline(always)]
    fn lines(&self) -> usize {
        if LINES == 0 { self.lines } else { LINES }
    }

    /// Asks for one of four bits or of eight a component, as they lie in `rows`.
    #[inline(always)]
    fn prefetch_row(&self, rows: *const u8, lines: usize, offset: u32) {
        let row = rows.wrapping_add(offset as usize * lines * LINE_BYTES);
        for line in 0..lines.min(16) {
            I::prefetch(row.wrapping_add(line * LINE_BYTES));
        }
    }

    /// Sums of products of the query with rows of half as many lines as it has.
    ///
    /// # Safety
    /// As for [`Scorer::score4`].
    #[inline(always)]
    unsafe fn half_sums(&self, half: *const u8, offsets: [u32; 4]) -> [i32; 4] {
        let lines = self.lines() / 2;
        // SAFETY: the offsets are rows, as the caller says; the query is one row long, as `new` asserts.
        unsafe {
            let rows = offsets.map(|o| half.add(o as usize * lines * LINE_BYTES));
            I::nibbles4(rows, self.query.codes.as_ptr().cast(), lines)
        }
    }

    /// Similarities from the sums of products of codes.
    ///
    /// # Safety
    /// As for [`Scorer::score4`].
    #[inline(always)]
    unsafe fn similarities(&self, offsets: [u32; 4], sums: [f32; 4]) -> [f32; 4] {
        let q = self.query;
        // SAFETY: the offsets are below the lengths of these arrays, which `ScalarCodes` keeps equal.
        unsafe {
            let mut out = [0f32; 4];
            for k in 0..4 {
                let [mid, step] = *self.scales.add(offsets[k] as usize);
                out[k] = q.add + mid * q.mid_factor + step * (sums[k] * q.step_factor);
            }
            if q.with_terms {
                for k in 0..4 {
                    out[k] -= *self.terms.add(offsets[k] as usize);
                }
            }
            out
        }
    }
}

impl<I: Isa, const LINES: usize> Scorer for CodeScorer<'_, I, LINES> {
    #[inline(always)]
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4] {
        // SAFETY: passed on to the caller; the query is one row long, as `new` asserts.
        unsafe {
            let sums = match self.lower {
                Some(lower) => {
                    let (upper, lower) =
                        (self.half_sums(self.codes, offsets), self.half_sums(lower, offsets));
                    std::array::from_fn(|k| upper[k].wrapping_mul(STEPS).wrapping_add(lower[k]))
                }
                None => {
                    let rows = offsets.map(|o| self.codes.add(o as usize * self.lines() * LINE_BYTES));
                    I::codes4(rows, self.query.codes.as_ptr().cast(), self.lines())
                }
            };
            self.similarities(offsets, sums.map(|sum| sum.wrapping_sub(self.query.bias) as f32))
        }
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        match self.lower {
            Some(lower) => {
                self.prefetch_row(self.codes, self.lines() / 2, offset);
                self.prefetch_row(lower, self.lines() / 2, offset);
            }
            None => self.prefetch_row(self.codes, self.lines(), offset),
        }
        I::prefetch(self.scales.wrapping_add(offset as usize).cast());
        if self.query.with_terms {
            I::prefetch(self.terms.wrapping_add(offset as usize).cast());
        }
    }
}

/// Scores by the upper halves of codes. `LINES` is that of whole rows.
pub(crate) struct HalvesScorer<'a, I, const LINES: usize> {
    codes: CodeScorer<'a, I, LINES>,
    /// What the sum of products would be if all upper halves were zero.
    lowest: f32,
}

impl<'a, I: Isa, const LINES: usize> HalvesScorer<'a, I, LINES> {
    pub(crate) fn new(codes: &'a ScalarCodes, query: &'a CodeQuery) -> Self {
        assert!(codes.is_halved());
        let codes = CodeScorer::new(codes, query);
        // The bias is the sum of the query's codes, 128 times.
        Self { codes, lowest: query.bias as f32 / 128.0 * (TWICE_LOWEST as f32 / 2.0) }
    }
}

impl<I: Isa, const LINES: usize> Scorer for HalvesScorer<'_, I, LINES> {
    #[inline(always)]
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4] {
        // SAFETY: passed on to the caller.
        unsafe {
            let sums = self.codes.half_sums(self.codes.codes, offsets);
            self.codes.similarities(offsets, sums.map(|sum| sum as f32 * STEPS as f32 + self.lowest))
        }
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        self.codes.prefetch_row(self.codes.codes, self.codes.lines() / 2, offset);
        I::prefetch(self.codes.scales.wrapping_add(offset as usize).cast());
    }
}

/// Scores by codes after a look at the sketches.
pub(crate) struct SketchedScorer<'a, I, const LINES: usize> {
    codes: CodeScorer<'a, I, LINES>,
    pub(crate) sketches: SketchRows<I, LINES>,
}

/// The sketches that are compared with a query. `WORDS`, if not 0, is the number of words of a row.
pub(crate) struct SketchRows<I, const WORDS: usize> {
    rows: *const u8,
    row_bytes: usize,
    estimate: Estimate,
    isa: PhantomData<I>,
}

impl<I, const WORDS: usize> Clone for SketchRows<I, WORDS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, const WORDS: usize> Copy for SketchRows<I, WORDS> {}

impl<I: Isa, const WORDS: usize> SketchRows<I, WORDS> {
    /// Signs and factors of so few words fit into one line.
    const ONE_LINE: bool = WORDS == 6;

    #[inline(always)]
    fn row(&self, offset: u32) -> *const u8 {
        let bytes = if Self::ONE_LINE { LINE_BYTES } else { self.row_bytes };
        self.rows.wrapping_add(offset as usize * bytes)
    }

    /// What the similarity of a point is hardly above, by its sketch.
    ///
    /// # Safety
    /// As for [`Scorer::score4`].
    #[inline(always)]
    pub(crate) unsafe fn bound(&self, offset: u32) -> f32 {
        // SAFETY: every point has a row of as many words as the query.
        unsafe { self.estimate.bound::<I, WORDS>(self.row(offset)) }
    }

    /// Asks for the sketch of a point.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: u32) {
        let lines = if Self::ONE_LINE { 1 } else { self.row_bytes.div_ceil(LINE_BYTES) };
        for line in 0..lines {
            I::prefetch(self.row(offset).wrapping_add(line * LINE_BYTES));
        }
    }
}

impl<'a, I: Isa, const LINES: usize> SketchedScorer<'a, I, LINES> {
    pub(crate) fn new(codes: &'a ScalarCodes, query: &'a CodeQuery) -> Self {
        let (rows, row_bytes) = codes.sketches().expect("looked at only where there are some").raw();
        let words = query.sketch.words();
        assert!(words * 64 == codes.width() && (LINES == 0 || LINES == words));
        let (estimate, isa) = (query.sketch.estimate(), PhantomData);
        let sketches = SketchRows { rows, row_bytes, estimate, isa };
        assert!(!SketchRows::<I, LINES>::ONE_LINE || row_bytes == LINE_BYTES);
        Self { codes: CodeScorer::new(codes, query), sketches }
    }

    /// Asks for the codes of a point that its sketch left.
    #[inline(always)]
    pub(crate) fn prefetch_codes(&self, offset: u32) {
        self.codes.prefetch(offset);
    }
}

impl<I: Isa, const LINES: usize> Scorer for SketchedScorer<'_, I, LINES> {
    #[inline(always)]
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4] {
        // SAFETY: passed on to the caller.
        unsafe { self.codes.score4(offsets) }
    }

    #[inline(always)]
    unsafe fn prune(&self, gathered: &mut Vec<u32>, least: f32) {
        let mut kept = 0;
        for i in 0..gathered.len() {
            let offset = gathered[i];
            // SAFETY: passed on to the caller.
            if unsafe { self.sketches.bound(offset) } > least {
                self.codes.prefetch(offset);
                gathered[kept] = offset;
                kept += 1;
            }
        }
        gathered.truncate(kept);
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        self.sketches.prefetch(offset);
    }
}

/// Scores by raw rows.
pub(crate) struct RawScorer<'a, I> {
    rows: &'a [f32],
    distance: Distance,
    query: &'a [f32],
    isa: PhantomData<I>,
}

impl<'a, I: Isa> RawScorer<'a, I> {
    pub(crate) fn new(rows: &'a [f32], distance: Distance, query: &'a [f32]) -> Self {
        Self { rows, distance, query, isa: PhantomData }
    }

    /// # Safety
    /// As for [`Scorer::score4`].
    #[inline(always)]
    pub(crate) unsafe fn score(&self, offset: u32) -> f32 {
        let (query, dim) = (self.query.as_ptr(), self.query.len());
        // SAFETY: the offset is below the number of rows.
        unsafe { similarity::<I>(self.distance, query, self.rows.as_ptr().add(offset as usize * dim), dim) }
    }
}

/// The similarity of two vectors of `dim` numbers.
///
/// # Safety
/// Both are as long; the processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn similarity<I: Isa>(distance: Distance, a: *const f32, b: *const f32, dim: usize) -> f32 {
    // SAFETY: passed on to the caller.
    unsafe {
        match distance {
            Distance::Cosine | Distance::Dot => I::dot(a, b, dim),
            Distance::CosineAsSent => cosine(I::dot(a, b, dim), I::dot(a, a, dim), I::dot(b, b, dim)),
            Distance::Euclid => -I::euclid(a, b, dim),
            Distance::Manhattan => -I::manhattan(a, b, dim),
        }
    }
}

impl<I: Isa> Scorer for RawScorer<'_, I> {
    #[inline(always)]
    unsafe fn score1(&self, offset: u32) -> f32 {
        // SAFETY: passed on to the caller.
        unsafe { self.score(offset) }
    }

    #[inline(always)]
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4] {
        let mut out = [0f32; 4];
        for k in 0..4 {
            // SAFETY: passed on to the caller.
            out[k] = unsafe { self.score(offsets[k]) };
        }
        out
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        let row: *const u8 = self.rows.as_ptr().wrapping_add(offset as usize * self.query.len()).cast();
        for line in 0..(self.query.len() * 4 / LINE_BYTES + 1).min(24) {
            I::prefetch(row.wrapping_add(line * LINE_BYTES));
        }
    }
}

/// Scores by the similarities of a raw row to several vectors.
pub(crate) struct ExampleScorer<'a, I> {
    rows: &'a [f32],
    examples: &'a Examples,
    /// Room for the similarities of a row to each of them.
    similarities: RefCell<Vec<f32>>,
    isa: PhantomData<I>,
}

impl<'a, I: Isa> ExampleScorer<'a, I> {
    pub(crate) fn new(rows: &'a [f32], examples: &'a Examples) -> Self {
        let similarities = RefCell::new(vec![0.0; examples.rows().len() / examples.dim().max(1)]);
        Self { rows, examples, similarities, isa: PhantomData }
    }
}

impl<I: Isa> Scorer for ExampleScorer<'_, I> {
    const BY_METRIC: bool = false;

    #[inline(always)]
    unsafe fn score1(&self, offset: u32) -> f32 {
        let (dim, distance) = (self.examples.dim(), self.examples.distance());
        let mut similarities = self.similarities.borrow_mut();
        let mut example = self.examples.rows().as_ptr();
        // In a loop of its own, for the reason that `score_all` gives.
        for value in similarities.iter_mut() {
            // SAFETY: the offset is below the number of rows; a row and an example have `dim` numbers each.
            unsafe {
                *value =
                    similarity::<I>(distance, example, self.rows.as_ptr().add(offset as usize * dim), dim);
                example = example.add(dim);
            }
        }
        self.examples.combine(|i| similarities[i])
    }

    #[inline(always)]
    unsafe fn score4(&self, offsets: [u32; 4]) -> [f32; 4] {
        let mut out = [0f32; 4];
        for k in 0..4 {
            // SAFETY: passed on to the caller.
            out[k] = unsafe { self.score1(offsets[k]) };
        }
        out
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        let dim = self.examples.dim();
        let row: *const u8 = self.rows.as_ptr().wrapping_add(offset as usize * dim).cast();
        for line in 0..(dim * 4 / LINE_BYTES + 1).min(24) {
            I::prefetch(row.wrapping_add(line * LINE_BYTES));
        }
    }
}
