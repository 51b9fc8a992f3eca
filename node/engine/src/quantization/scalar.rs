//! Scalar quantization, one byte a dimension: centred, and scaled for each vector (LVQ, Aguerrebere et al. 2023).
//!
//! The collection's mean is taken off, then each vector is laid over 256 steps of its own range, so that a vector
//! with one large component does not cost all others their resolution. `x ≈ mean + mid + step × (code - 128)`.
//!
//! `quantile` is accepted and echoed and changes nothing: it exists to keep a *global* range from being
//! stretched by outliers. Here each vector has its own range, and clipping it would only add error: cutting the
//! outermost percent of 384 normal components gives about 25 times the error of rounding to 256 steps.

use std::ops::Range;

use super::kernels::{RowScale, quantize_query, quantize_row};
use crate::config::Distance;
use crate::distance::{self, isa::LINE_BYTES};
use crate::error::Result;
use crate::file::cast;
use crate::file::hugepage::{HugeBuffer, Section};
use crate::file::{SealedFile, SealedWriter};

const KIND_SCALAR: u32 = 1;
const HEADER_BYTES: u64 = 64;

/// The codes of all vectors of one name in a segment.
pub struct ScalarCodes {
    distance: Distance,
    dim: usize,
    len: u32,
    /// Bytes of a row, padded to whole lines; the padding is zero.
    stride: usize,
    mean: Vec<f32>,
    codes: Section,
    /// (mid, step) of each vector.
    scales: Section,
    /// For Cosine and Euclid the squared length of the centred vector, for Dot its product with the mean.
    terms: Section,
}

/// A query prepared for the codes of one segment.
#[derive(Clone, Debug, Default)]
pub struct CodeQuery {
    pub(crate) codes: Vec<i8>,
    centred: Vec<f32>,
    /// similarity = add + mid × mid_factor + step × step_factor × (Σ code × query - bias) [- term]
    pub(crate) add: f32,
    pub(crate) mid_factor: f32,
    pub(crate) step_factor: f32,
    pub(crate) bias: i32,
    pub(crate) with_terms: bool,
}

/// Bytes of a row of codes.
fn stride_of(dim: usize) -> usize {
    dim.next_multiple_of(LINE_BYTES)
}

impl ScalarCodes {
    /// Whether codes serve this metric. Manhattan has no product form, so it is compared on raw vectors.
    pub fn serves(distance: Distance) -> bool {
        distance != Distance::Manhattan
    }

    /// Codes of `rows`, whose mean is `mean`. Also gives the sums of the codes, which building a graph needs.
    pub fn encode(
        distance: Distance,
        dim: usize,
        rows: &[f32],
        mean: Vec<f32>,
        pool: &rayon::ThreadPool,
    ) -> Result<(Self, Vec<i32>)> {
        use rayon::prelude::*;
        assert!(Self::serves(distance) && mean.len() == dim && rows.len().is_multiple_of(dim));
        let len = rows.len() / dim;
        let stride = stride_of(dim);
        let mut codes = HugeBuffer::zeroed(len * stride)?;
        let mut scales = HugeBuffer::zeroed(len * 8)?;
        let mut terms = HugeBuffer::zeroed(len * 4)?;
        let mut sums = vec![0i32; len];
        const BATCH: usize = 256;
        let scale_of: &mut [[f32; 2]] = bytemuck::cast_slice_mut(&mut scales);
        let term_of: &mut [f32] = bytemuck::cast_slice_mut(&mut terms);
        pool.install(|| {
            let outputs = codes.par_chunks_mut(stride * BATCH).zip(scale_of.par_chunks_mut(BATCH));
            let outputs = outputs.zip(term_of.par_chunks_mut(BATCH)).zip(sums.par_chunks_mut(BATCH));
            rows.par_chunks(dim * BATCH).zip(outputs).for_each(|(rows, (((codes, scales), terms), sums))| {
                let mut centred = vec![0f32; dim];
                for (i, row) in rows.chunks_exact(dim).enumerate() {
                    centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (v, m))| *c = v - m);
                    let RowScale { mid, step, code_sum } =
                        quantize_row(&centred, &mut codes[i * stride..][..dim]);
                    scales[i] = [mid, step];
                    sums[i] = code_sum;
                    terms[i] = match distance {
                        Distance::Dot => distance::dot(&centred, &mean),
                        _ => distance::dot(&centred, &centred),
                    };
                }
            });
        });
        let (codes, scales, terms) = (Section::Ram(codes), Section::Ram(scales), Section::Ram(terms));
        Ok((Self { distance, dim, len: len as u32, stride, mean, codes, scales, terms }, sums))
    }

    /// Writes them as the body of a sealed file.
    pub fn write(&self, w: &mut SealedWriter) -> Result<()> {
        let header = [KIND_SCALAR, self.dim as u32, self.len, self.stride as u32];
        w.write(cast::bytes(&header))?;
        w.align(HEADER_BYTES)?;
        for part in [cast::bytes(&self.mean), &self.scales, &self.terms, &self.codes] {
            w.write(part)?;
            w.align(LINE_BYTES as u64)?;
        }
        Ok(())
    }

    /// Opens what [`Self::write`] wrote; everything is verified here.
    pub fn open(file: &SealedFile, distance: Distance, dim: usize, len: u32, ram: bool) -> Result<Self> {
        let header: &[u32] = cast::numbers(file.checked(0..HEADER_BYTES)?)?;
        let stride = stride_of(dim);
        if header[..4] != [KIND_SCALAR, dim as u32, len, stride as u32] {
            return Err(file.corrupt("codes of another kind or shape than the segment's"));
        }
        let mut position = HEADER_BYTES;
        let mut section = |bytes: u64| -> Range<u64> {
            let range = position..position + bytes;
            position = range.end.next_multiple_of(LINE_BYTES as u64);
            range
        };
        let rows = u64::from(len);
        let mean = section(dim as u64 * 4);
        let mean = cast::numbers(file.checked(mean)?)?.to_vec();
        let scales = Section::load(file, section(rows * 8), ram)?;
        let terms = Section::load(file, section(rows * 4), ram)?;
        let codes = Section::load(file, section(rows * stride as u64), ram)?;
        Ok(Self { distance, dim, len, stride, mean, codes, scales, terms })
    }

    /// Number of rows.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        [&self.codes, &self.scales, &self.terms].iter().map(|s| s.ram_bytes()).sum::<u64>()
            + self.mean.len() as u64 * 4
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub(crate) fn scales(&self) -> &[[f32; 2]] {
        bytemuck::cast_slice(&self.scales)
    }

    pub(crate) fn terms(&self) -> &[f32] {
        bytemuck::cast_slice(&self.terms)
    }

    pub(crate) fn distance(&self) -> Distance {
        self.distance
    }

    pub(crate) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Prepares a query; similarities are those of [`Distance::similarity`].
    pub fn prepare(&self, query: &[f32], out: &mut CodeQuery) {
        self.prepare_as(query, self.distance == Distance::Euclid, out);
    }

    /// Prepares a stored vector for building: Cosine too is compared as Euclid then, which orders unit vectors alike
    /// and has the scale of distances that neighbour selection wants.
    pub(crate) fn prepare_to_build(&self, row: &[f32], out: &mut CodeQuery) {
        self.prepare_as(row, self.distance != Distance::Dot, out);
    }

    fn prepare_as(&self, query: &[f32], euclid: bool, out: &mut CodeQuery) {
        assert_eq!(query.len(), self.dim, "the shard checks dimensions");
        out.codes.clear();
        out.codes.resize(self.stride, 0);
        out.with_terms = euclid;
        let (scale, weight) = if euclid {
            out.centred.clear();
            out.centred.extend(query.iter().zip(&self.mean).map(|(v, m)| v - m));
            out.add = -distance::dot(&out.centred, &out.centred);
            (quantize_query(&out.centred, &mut out.codes), 2.0)
        } else {
            out.add = distance::dot(query, &self.mean);
            (quantize_query(query, &mut out.codes), 1.0)
        };
        out.mid_factor = weight * scale.sum;
        out.step_factor = weight * scale.step;
        out.bias = 128i32.wrapping_mul(scale.code_sum);
    }
}
