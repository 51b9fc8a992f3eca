//! One bit a dimension: the signs of a rotated, centred vector, and what makes of them an unbiased estimate of its
//! similarity to a query (RaBitQ, Gao, Long 2024).
//!
//! A sketch is a sixth of a vector's codes and most often one cache line. Walks and scans read sketches by the
//! thousand, and the codes of the few that they leave.

use std::ops::Range;

use super::kernels::{LANES, ROUNDING, largest_magnitude};
use super::lines::Lines;
use super::scalar::{CodeQuery, ScalarCodes};
use crate::config::Distance;
use crate::distance;
use crate::distance::isa::{Isa, LINE_BYTES, Levels, PLANES, per_isa};
use crate::error::Result;
use crate::file::SealedFile;
use crate::file::hugepage::{HugeBuffer, Section};

/// The largest level of a query's component.
const LEVEL_MAX: f32 = ((1 << PLANES) - 1) as f32;
/// Behind the signs of a row: scale, shift, number of ones.
const FACTORS_BYTES: usize = 12;

/// Deviations by which an estimate is taken to be too low at most. One point in twenty lies further off, and of those
/// only the few that are among the best are missed.
const UNDERESTIMATED: f32 = 1.6;

/// The sketches of all vectors of one name in a segment.
pub(crate) struct Sketches {
    rows: Section,
    /// Components, a multiple of 64.
    width: usize,
}

/// Bytes of a row: it lies within as few lines as it can.
fn row_bytes(width: usize) -> usize {
    let bytes = width / 8 + FACTORS_BYTES;
    if bytes <= LINE_BYTES / 2 { LINE_BYTES / 2 } else { bytes.next_multiple_of(LINE_BYTES) }
}

impl Sketches {
    /// Sketches of points from their codes, which are of rotated vectors.
    pub(super) fn encode(codes: &ScalarCodes, pool: &rayon::ThreadPool) -> Result<Self> {
        use rayon::prelude::*;
        const BATCH: usize = 256;
        let width = codes.width();
        assert!(width.is_multiple_of(64), "rotated vectors are whole words of bits");
        let bytes = row_bytes(width);
        let mut rows = HugeBuffer::zeroed(codes.len() as usize * bytes)?;
        pool.install(|| {
            rows.par_chunks_mut(bytes * BATCH).enumerate().for_each_init(
                Vec::new,
                |vector, (batch, rows)| {
                    vector.resize(width, 0f32);
                    for (i, row) in rows.chunks_exact_mut(bytes).enumerate() {
                        codes.decode((batch * BATCH + i) as u32, vector);
                        // SAFETY: the mean is as long as a decoded vector.
                        unsafe { encode_any(vector, codes.mean(), codes.distance(), row) }
                    }
                },
            );
        });
        Ok(Self { rows: Section::Ram(rows), width })
    }

    /// Bytes that the sketches of `len` points take.
    pub(super) fn bytes(len: u32, width: usize) -> u64 {
        u64::from(len) * row_bytes(width) as u64
    }

    /// Opens what was written of [`Self::rows`].
    pub(super) fn open(file: &SealedFile, range: Range<u64>, width: usize, ram: bool) -> Result<Self> {
        Ok(Self { rows: Section::load(file, range, ram)?, width })
    }

    pub(super) fn rows(&self) -> &Section {
        &self.rows
    }

    /// Rows as scorers read them: where they begin, and their bytes.
    pub(crate) fn raw(&self) -> (*const u8, usize) {
        (self.rows.as_ptr(), row_bytes(self.width))
    }
}

per_isa! {
    unsafe fn encode_any(vector: &[f32], mean: &[f32], distance: Distance, row: &mut [u8]) -> () => encode_with;
}

#[inline(always)]
unsafe fn encode_with<I: Isa>(vector: &[f32], mean: &[f32], distance: Distance, row: &mut [u8]) {
    let n = vector.len();
    // SAFETY: both are `n` long.
    let (squared, along) =
        unsafe { (I::dot(vector.as_ptr(), vector.as_ptr(), n), I::dot(vector.as_ptr(), mean.as_ptr(), n)) };
    let (mut absolute, mut signed, mut ones) = ([0f32; LANES], [0f32; LANES], 0u32);
    for ((vector, mean), bits) in
        vector.chunks_exact(64).zip(mean.chunks_exact(64)).zip(row.chunks_exact_mut(8))
    {
        let mut word = 0u64;
        for start in (0..64).step_by(LANES) {
            let (v, mean) = (&vector[start..][..LANES], &mean[start..][..LANES]);
            let mut bits = 0u32;
            for i in 0..LANES {
                let positive = v[i] > 0.0;
                bits |= u32::from(positive) << i;
                absolute[i] += v[i].abs();
                signed[i] += if positive { mean[i] } else { -mean[i] };
            }
            word |= u64::from(bits) << start;
        }
        ones += word.count_ones();
        bits.copy_from_slice(&word.to_le_bytes());
    }
    let (absolute, signed) = (absolute.iter().sum::<f32>(), signed.iter().sum::<f32>());
    let scale = if absolute > 0.0 { squared / absolute } else { 0.0 };
    let (scale, shift) = match distance {
        Distance::Euclid => (2.0 * scale, -squared),
        _ => (scale, along - scale * signed),
    };
    let at = n / 8;
    for (i, factor) in [scale, shift, ones as f32].into_iter().enumerate() {
        row[at + 4 * i..at + 4 * i + 4].copy_from_slice(&factor.to_le_bytes());
    }
}

per_isa! {
    unsafe fn levels_any(vector: &[f32], bytes: &mut [i8], planes: &mut [i8]) -> (f32, u32) => levels_with;
}

/// Rounds components to [`Levels`], of which each plane has `vector.len() / 8` bytes. Gives the value of one level, and the
/// sum of all.
#[inline(always)]
unsafe fn levels_with<I: Isa>(vector: &[f32], bytes: &mut [i8], planes: &mut [i8]) -> (f32, u32) {
    let largest = largest_magnitude(vector).max(f32::MIN_POSITIVE);
    let step = 2.0 * largest / LEVEL_MAX;
    let inverse = 1.0 / step;
    let plane_bytes = vector.len() / 8;
    let mut total = 0u32;
    for (word, (values, bytes)) in vector.chunks_exact(64).zip(bytes.chunks_exact_mut(64)).enumerate() {
        let mut levels = [0u8; 64];
        for ((level, byte), v) in levels.iter_mut().zip(bytes).zip(values) {
            *level = ((v + largest) * inverse + ROUNDING).to_bits() as u8;
            *byte = *level as i8;
        }
        total += levels.iter().map(|&level| u32::from(level)).sum::<u32>();
        for plane in 0..PLANES {
            let out = &mut planes[plane * plane_bytes + word * 8..][..8];
            for (byte, eight) in out.iter_mut().zip(levels.chunks_exact(8)) {
                let eight = u64::from_le_bytes(eight.try_into().expect("eight")) >> plane & LOWEST_BITS;
                // The lowest bits of eight bytes come together in the highest byte of the product.
                *byte = (eight.wrapping_mul(0x0102_0408_1020_4080) >> 56) as i8;
            }
        }
    }
    (step, total)
}

/// The lowest bit of each byte.
const LOWEST_BITS: u64 = 0x0101_0101_0101_0101;

/// A query as sketches are compared with it.
#[derive(Default)]
pub(crate) struct SketchQuery {
    /// A level for each component, as bytes and as planes.
    bytes: Lines,
    planes: Lines,
    words: usize,
    /// bound = add + shift + scale × (double_step × Σ bits × query - step_of_one × ones - lowered)
    add: f32,
    double_step: f32,
    step_of_one: f32,
    lowered: f32,
}

impl SketchQuery {
    /// For sketches of the points that `query` was prepared for.
    pub(crate) fn prepare(&mut self, codes: &ScalarCodes, query: &CodeQuery) {
        let vector = &query.vector;
        self.words = vector.len() / 64;
        self.add = query.add;
        let bytes = (vector.len() / 8 * PLANES).next_multiple_of(LINE_BYTES);
        let planes = self.planes.reset(bytes);
        // SAFETY: plain Rust, compiled for what the processor has.
        let (step, total) = unsafe { levels_any(vector, self.bytes.reset(vector.len()), planes) };
        (self.double_step, self.step_of_one) = (2.0 * step, LEVEL_MAX * step);
        // Of the levels, so that what rounding adds to all components alike is taken off again.
        let sum = step * (total as f32 - LEVEL_MAX / 2.0 * vector.len() as f32);
        let centred = if query.with_terms { 0.0 } else { distance::dot(codes.mean(), codes.mean()) };
        let squared =
            distance::dot(vector, vector) - if query.with_terms { 0.0 } else { 2.0 * query.add } + centred;
        // What a scale is multiplied by to be the deviation of an estimate.
        let noise =
            (squared.max(0.0) * (std::f32::consts::FRAC_PI_2 - 1.0) * std::f32::consts::FRAC_2_PI).sqrt();
        self.lowered = sum - UNDERESTIMATED * noise;
    }

    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// As it is compared with rows.
    pub(crate) fn estimate(&self) -> Estimate {
        Estimate {
            levels: Levels { bytes: self.bytes.as_ptr(), planes: self.planes.as_ptr().cast() },
            words: self.words,
            add: self.add,
            double_step: self.double_step,
            step_of_one: self.step_of_one,
            lowered: self.lowered,
        }
    }
}

/// A [`SketchQuery`] in as few values as loops over rows keep in registers; good as long as that one is unchanged.
#[derive(Clone, Copy)]
pub(crate) struct Estimate {
    levels: Levels,
    words: usize,
    add: f32,
    double_step: f32,
    step_of_one: f32,
    lowered: f32,
}

impl Estimate {
    /// What the similarity of a point is hardly above: its estimate, and `UNDERESTIMATED` deviations more.
    ///
    /// # Safety
    /// `row` is that of a point whose vector has as many components as the query's; the processor has the
    /// instruction set. `WORDS`, if not 0, is the query's [`SketchQuery::words`].
    #[inline(always)]
    pub(crate) unsafe fn bound<I: Isa, const WORDS: usize>(&self, row: *const u8) -> f32 {
        let words = if WORDS == 0 { self.words } else { WORDS };
        // SAFETY: a row has `words` words and three factors behind them, and there are 64 levels for each word.
        unsafe {
            let product = I::sum_set(row.cast(), self.levels, words);
            let [scale, shift, ones]: [f32; 3] = *row.add(words * 8).cast();
            let signed = self.double_step * product as f32 - self.step_of_one * ones - self.lowered;
            self.add + shift + scale * signed
        }
    }
}
