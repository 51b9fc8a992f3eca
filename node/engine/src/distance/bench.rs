//! Kernels one by one and on a chosen instruction set, for benches/kernels.rs. Nothing of the product uses this.
//!
//! The set that [`choose`] names holds for the whole process from then on. What is prepared for one set is to be prepared
//! again for the next, since the codes of a query may be coarser there.

use std::sync::atomic::Ordering;

use super::isa::{BLOCK_LINKS, CHOSEN, Isa, IsaKind, LINE_BYTES, available, per_isa};
use crate::config::Distance;
use crate::quantization::lines::Lines;
use crate::quantization::rotation::Rotation;
use crate::quantization::{CodeForm, CodeQuery, ScalarCodes, kernels};

fn name(kind: IsaKind) -> &'static str {
    match kind {
        IsaKind::Portable => "portable",
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => "avx2",
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512 => "avx512",
        #[cfg(target_arch = "aarch64")]
        IsaKind::Neon => "neon",
    }
}

/// Names of the sets that this processor has, the best last.
pub fn sets() -> Vec<&'static str> {
    available().into_iter().map(name).collect()
}

/// Lets all kernels run on a set from now on. Panics if this processor lacks it.
pub fn choose(set: &str) {
    let kind = available().into_iter().find(|&kind| name(kind) == set);
    CHOSEN.store(kind.expect("a set that this processor has") as u8, Ordering::Relaxed);
}

/// Quantizes a row to one-byte codes. Panics if there is less room than components.
pub fn quantize_row(row: &[f32], codes: &mut [u8]) {
    kernels::quantize_row(row, codes);
}

/// What rotates vectors of so many dimensions, in place and padded to whole lines.
pub fn rotation(dim: usize) -> impl Fn(&mut [f32]) {
    let rotation = Rotation::new(dim);
    move |vector| rotation.apply(vector)
}

/// How many bits are set.
pub fn count_ones(words: &[u64]) -> usize {
    crate::bitset::ones::count_ones(words)
}

/// Points with codes and sketches, and a query prepared for them.
pub struct Points {
    codes: ScalarCodes,
    query: CodeQuery,
}

impl Points {
    /// Of vectors as long as the query. Panics unless their number is a multiple of four.
    pub fn new(rows: &[f32], query: &[f32]) -> Self {
        let dim = query.len();
        let len = rows.len() / dim;
        assert!(rows.len().is_multiple_of(4 * dim), "rows are scored four at a time");
        let mut mean = vec![0f32; dim];
        rows.chunks(dim).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / len as f32));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        let encoded = ScalarCodes::encode(Distance::Cosine, dim, rows, mean, CodeForm::Sketched, &pool);
        let (codes, _) = encoded.expect("memory");
        let mut prepared = CodeQuery::default();
        codes.prepare_sketch(query, &mut prepared);
        Self { codes, query: prepared }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.codes.len() as usize
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sums of products of the query's codes with each point's, of their upper halves where these are apart. Panics unless there is room for exactly all.
    pub fn sums(&self, out: &mut [[i32; 4]]) {
        assert_eq!(out.len() * 4, self.len());
        // SAFETY: there is room for each four points.
        unsafe { sums_any(self, out) }
    }

    /// What the points' similarities are hardly above, by their sketches. Panics unless there is room for exactly all.
    pub fn bounds(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.len());
        // SAFETY: there is room for each point.
        unsafe { bounds_any(self, out) }
    }
}

per_isa! { unsafe fn sums_any(points: &Points, out: &mut [[i32; 4]]) -> () => sums_with; }
per_isa! { unsafe fn bounds_any(points: &Points, out: &mut [f32]) -> () => bounds_with; }

/// As in walks and scans, the number of lines is known when those of 384 dimensions are compiled.
#[inline(always)]
unsafe fn sums_with<I: Isa>(points: &Points, out: &mut [[i32; 4]]) {
    // SAFETY: passed on to the caller; the number of lines is the points'.
    unsafe {
        match points.codes.stride() / LINE_BYTES {
            6 => sums_of::<I>(points, 6, out),
            lines => sums_of::<I>(points, lines, out),
        }
    }
}

#[inline(always)]
unsafe fn sums_of<I: Isa>(points: &Points, lines: usize, out: &mut [[i32; 4]]) {
    let (rows, query) = (points.codes.codes().0, points.query.codes.as_ptr().cast());
    let halved = points.codes.is_halved();
    let lines = if halved { lines / 2 } else { lines };
    for (four, sums) in out.iter_mut().enumerate() {
        let rows = [0, 1, 2, 3].map(|i| rows.as_ptr().wrapping_add((4 * four + i) * lines * LINE_BYTES));
        // SAFETY: the caller says that there are so many points, each of so many lines; the query has one row's.
        *sums = unsafe {
            match halved {
                true => I::nibbles4(rows, query, lines),
                false => I::codes4(rows, query, lines),
            }
        };
    }
}

#[inline(always)]
unsafe fn bounds_with<I: Isa>(points: &Points, out: &mut [f32]) {
    // SAFETY: passed on to the caller; the number of words is the query's.
    unsafe {
        match points.query.sketch.words() {
            6 => bounds_of::<I, 6>(points, out),
            _ => bounds_of::<I, 0>(points, out),
        }
    }
}

#[inline(always)]
unsafe fn bounds_of<I: Isa, const WORDS: usize>(points: &Points, out: &mut [f32]) {
    let (rows, row_bytes) = points.codes.sketches().expect("made with sketches").raw();
    let estimate = points.query.sketch.estimate();
    for (i, bound) in out.iter_mut().enumerate() {
        // SAFETY: the caller says that there are so many points; the query was prepared for them.
        *bound = unsafe { estimate.bound::<I, WORDS>(rows.wrapping_add(i * row_bytes)) };
    }
}

/// One block of codes beside links, and a query's tables for it.
pub struct Block {
    codes: Lines,
    tables: Lines,
}

impl Block {
    /// Panics unless the query has a multiple of 64 components and the codes half a byte for each four of them and each link.
    pub fn new(codes: &[u8], query: &[f32]) -> Self {
        assert!(query.len().is_multiple_of(64) && codes.len() == query.len() / 4 * BLOCK_LINKS / 2);
        let mut block = Self { codes: Lines::default(), tables: Lines::default() };
        let kept = block.codes.reset(codes.len());
        kept.iter_mut().zip(codes).for_each(|(to, &from)| *to = from as i8);
        kernels::fill_tables(query, block.tables.reset(query.len() * 4));
        block
    }

    /// For each link what its codes select from the tables.
    pub fn sums(&self) -> [i16; BLOCK_LINKS] {
        // SAFETY: a block is made with codes and tables of equally many groups, in fours of lines.
        unsafe { groups_any(&self.codes, &self.tables) }
    }
}

per_isa! { unsafe fn groups_any(codes: &Lines, tables: &Lines) -> [i16; BLOCK_LINKS] => groups_with; }

#[inline(always)]
unsafe fn groups_with<I: Isa>(codes: &Lines, tables: &Lines) -> [i16; BLOCK_LINKS] {
    // SAFETY: passed on to the caller.
    unsafe { I::sum_groups(codes.as_ptr(), tables.as_ptr(), codes.len() / 16) }
}
