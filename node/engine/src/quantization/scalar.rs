//! Scalar quantization, one byte a dimension: centred, and scaled for each vector (LVQ, Aguerrebere et al. 2023).
//!
//! The collection's mean is taken off, then each vector is laid over 254 steps of its own range, so that a vector
//! with one large component does not cost all others their resolution. `x ≈ mean + mid + step × (code - 128)`.
//!
//! `quantile` is accepted and echoed and changes nothing: it exists to keep a *global* range from being
//! stretched by outliers. Here each vector has its own range, and clipping it would only add error: cutting the
//! outermost percent of 384 normal components gives about 25 times the error of rounding to 254 steps.

use std::ops::Range;

use super::halves;
use super::kernels::{RowScale, fill_tables, quantize_query, quantize_row};
use super::lines::Lines;
use super::rotation::Rotation;
use super::sketch::{SketchQuery, Sketches};
use crate::config::Distance;
use crate::distance::{self, isa::LINE_BYTES};
use crate::error::Result;
use crate::file::cast;
use crate::file::hugepage::{HugeBuffer, Section};
use crate::file::{SealedFile, SealedWriter};

const KIND_SCALAR: u32 = 1;
/// The same of rotated vectors.
const KIND_ROTATED: u32 = 2;
/// The same with the halves of codes apart.
const KIND_HALVED: u32 = 3;
const HEADER_BYTES: u64 = 64;
/// Vectors of fewer components have no sketches unless nothing else is to stay in RAM: their codes are hardly longer.
const SKETCHED_MIN: usize = 256;
/// Vectors of fewer dimensions have none in any case: so few signs hardly tell points apart.
const SKETCHED_ONLY_MIN: usize = 64;
/// The code that stands for nothing.
const PAD: u8 = 128;

/// What is made of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeForm {
    Plain,
    /// As codes beside links want it.
    Rotated,
    /// Rotated too.
    Sketched,
}

impl CodeForm {
    /// Whether the halves of the codes of vectors so long are apart.
    fn is_halved(self, dim: usize) -> bool {
        self == CodeForm::Sketched && ScalarCodes::is_sketched(dim, false)
    }
}

/// Which parts of the codes are copied into RAM; the others are read from the mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodesInRam {
    None,
    /// All but the one-byte codes, which are read for what the sketches leave. Where a file has no sketches every
    /// comparison reads codes, so they are copied all the same.
    Sketches,
    All,
}

/// The codes of all vectors of one name in a segment.
pub struct ScalarCodes {
    distance: Distance,
    dim: usize,
    len: u32,
    /// Codes of a row, padded to whole lines with [`PAD`], or with zeros to twos of lines if their halves are apart.
    stride: usize,
    /// Rotated if the codes are.
    mean: Vec<f32>,
    rotation: Option<Rotation>,
    /// Whole, or their upper halves: see [`halves`].
    codes: Section,
    /// The lower halves, where they are apart.
    lower: Option<Section>,
    /// (mid, step) of each vector.
    scales: Section,
    /// For Cosine and Euclid the squared length of the centred vector, for Dot its product with the mean.
    terms: Section,
    /// See [`ScalarCodes::is_sketched`].
    sketches: Option<Sketches>,
}

/// A query prepared for the codes of one segment.
#[derive(Default)]
pub struct CodeQuery {
    /// `i8`, padded with zeros to whole lines.
    pub(crate) codes: Lines,
    /// What the codes stand for: the query, centred for Euclid, rotated if the codes of the points are.
    pub(crate) vector: Vec<f32>,
    /// For codes beside links: see [`CodeQuery::fill_tables`].
    pub(crate) tables: Lines,
    pub(crate) table_step: f32,
    /// See [`CodeQuery::fill_sketch`].
    pub(crate) sketch: SketchQuery,
    /// similarity = add + mid × mid_factor + step × step_factor × (Σ code × query - bias) [- term]
    pub(crate) add: f32,
    pub(crate) mid_factor: f32,
    pub(crate) step_factor: f32,
    pub(crate) bias: i32,
    pub(crate) with_terms: bool,
    /// Of `vector`.
    length: f32,
}

impl CodeQuery {
    /// Fills the tables from which codes beside links are estimated: for each four components the sums with all
    /// combinations of signs, in steps of `table_step`.
    pub(crate) fn fill_tables(&mut self) {
        self.table_step = fill_tables(&self.vector, self.tables.reset(self.vector.len() * 4));
    }
}

/// Bytes of a row of codes.
fn stride_of(dim: usize, halved: bool) -> usize {
    dim.next_multiple_of(if halved { halves::PAIR } else { LINE_BYTES })
}

impl ScalarCodes {
    /// Whether codes serve this metric. The others are compared on raw vectors: Manhattan has no product form, and codes
    /// don't say how long the vector was whose cosine is asked for.
    pub fn serves(distance: Distance) -> bool {
        !matches!(distance, Distance::Manhattan | Distance::CosineAsSent)
    }

    /// Whether vectors so long get sketches. `sketches_only`: nothing else of them is to stay in RAM.
    pub(crate) fn is_sketched(dim: usize, sketches_only: bool) -> bool {
        stride_of(dim, false) >= SKETCHED_MIN || (sketches_only && dim >= SKETCHED_ONLY_MIN)
    }

    /// Codes of `rows`, whose mean is `mean`. Also gives the sums of the codes, less 128 each, which building a graph needs; where
    /// their halves are apart, twice those of what the upper ones stand for.
    pub fn encode(
        distance: Distance,
        dim: usize,
        rows: &[f32],
        mut mean: Vec<f32>,
        form: CodeForm,
        pool: &rayon::ThreadPool,
    ) -> Result<(Self, Vec<i32>)> {
        use rayon::prelude::*;
        assert!(Self::serves(distance) && mean.len() == dim && rows.len().is_multiple_of(dim));
        let len = rows.len() / dim;
        let halved = form.is_halved(dim);
        let stride = stride_of(dim, halved);
        let rotation = (form != CodeForm::Plain).then(|| Rotation::new(dim));
        let width = rotation.as_ref().map_or(dim, Rotation::width);
        let mut codes = HugeBuffer::zeroed(len * stride)?;
        if stride > width && !halved {
            codes.fill(PAD);
        }
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
                let mut centred = vec![0f32; width];
                for (i, row) in rows.chunks_exact(dim).enumerate() {
                    centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (v, m))| *c = v - m);
                    centred[dim..].fill(0.0);
                    terms[i] = match distance {
                        Distance::Dot => distance::dot(&centred[..dim], &mean),
                        _ => distance::dot(&centred, &centred),
                    };
                    if let Some(rotation) = &rotation {
                        rotation.apply(&mut centred);
                    }
                    let RowScale { mid, step, code_sum } =
                        quantize_row(&centred, &mut codes[i * stride..][..width]);
                    scales[i] = [mid, step];
                    sums[i] = code_sum;
                }
            });
        });
        if let Some(rotation) = &rotation {
            mean.resize(width, 0.0);
            rotation.apply(&mut mean);
        }
        let (codes, scales, terms) = (Section::Ram(codes), Section::Ram(scales), Section::Ram(terms));
        let len = len as u32;
        let mut all = Self {
            distance,
            dim,
            len,
            stride,
            mean,
            rotation,
            codes,
            lower: None,
            scales,
            terms,
            sketches: None,
        };
        all.complete(form, &mut sums, pool)?;
        Ok((all, sums))
    }

    /// Adds to whole codes what goes with them.
    fn complete(&mut self, form: CodeForm, sums: &mut Vec<i32>, pool: &rayon::ThreadPool) -> Result<()> {
        if form == CodeForm::Sketched {
            self.sketches = Some(Sketches::encode(self, pool)?);
        }
        if form.is_halved(self.dim) {
            *sums = self.split(pool)?;
        }
        Ok(())
    }

    /// Takes the halves of codes apart. Gives the sums of what the upper ones stand for, twice.
    fn split(&mut self, pool: &rayon::ThreadPool) -> Result<Vec<i32>> {
        use rayon::prelude::*;
        let (half, width) = (self.stride / 2, self.width());
        let mut upper = HugeBuffer::zeroed(self.len as usize * half)?;
        let mut lower = HugeBuffer::zeroed(self.len as usize * half)?;
        let mut sums = vec![0i32; self.len as usize];
        pool.install(|| {
            let halves = upper.par_chunks_exact_mut(half).zip(lower.par_chunks_exact_mut(half));
            let rows = self.codes.par_chunks_exact(self.stride).zip(halves);
            rows.zip(sums.par_iter_mut()).with_min_len(256).for_each(|((codes, (upper, lower)), sum)| {
                halves::split(codes, upper, lower);
                *sum = halves::twice_sum(&codes[..width]);
            });
        });
        (self.codes, self.lower) = (Section::Ram(upper), Some(Section::Ram(lower)));
        Ok(sums)
    }

    /// Writes them as the body of a sealed file.
    pub fn write(&self, w: &mut SealedWriter) -> Result<()> {
        let kind = match (&self.rotation, &self.lower) {
            (Some(_), Some(_)) => KIND_HALVED,
            (Some(_), None) => KIND_ROTATED,
            (None, _) => KIND_SCALAR,
        };
        let sketched = u32::from(self.sketches.is_some());
        let header = [kind, self.dim as u32, self.len, self.stride as u32, sketched];
        w.write(cast::bytes(&header))?;
        w.align(HEADER_BYTES)?;
        let sketches: &[u8] = self.sketches.as_ref().map_or(&[], |s| s.rows());
        let lower: &[u8] = self.lower.as_deref().unwrap_or(&[]);
        for part in [cast::bytes(&self.mean), &self.scales, &self.terms, sketches, &self.codes, lower] {
            w.write(part)?;
            w.align(LINE_BYTES as u64)?;
        }
        Ok(())
    }

    /// Opens what [`Self::write`] wrote; everything is verified here. What codes the file has it says itself: settings
    /// may have changed since it was written.
    pub fn open(
        file: &SealedFile,
        distance: Distance,
        dim: usize,
        len: u32,
        in_ram: CodesInRam,
    ) -> Result<Self> {
        let ram = in_ram != CodesInRam::None;
        let header: &[u32] = cast::numbers(file.checked(0..HEADER_BYTES)?)?;
        let halved = header[0] == KIND_HALVED;
        let stride = stride_of(dim, halved);
        let rotated = halved || header[0] == KIND_ROTATED;
        if !(rotated || header[0] == KIND_SCALAR) || header[1..4] != [dim as u32, len, stride as u32] {
            return Err(file.corrupt("codes of another kind or shape than the segment's"));
        }
        let mut position = HEADER_BYTES;
        let mut section = |bytes: u64| -> Range<u64> {
            let range = position..position + bytes;
            position = range.end.next_multiple_of(LINE_BYTES as u64);
            range
        };
        let rows = u64::from(len);
        let rotation = rotated.then(|| Rotation::new(dim));
        let mean = section(rotation.as_ref().map_or(dim, Rotation::width) as u64 * 4);
        let mean = cast::numbers(file.checked(mean)?)?.to_vec();
        let scales = Section::load(file, section(rows * 8), ram)?;
        let terms = Section::load(file, section(rows * 4), ram)?;
        let sketches = match (&rotation, header[4]) {
            (Some(rotation), 1) => {
                let width = rotation.width();
                Some(Sketches::open(file, section(Sketches::bytes(len, width)), width, ram)?)
            }
            _ => None,
        };
        let codes_in_ram = ram && (in_ram == CodesInRam::All || sketches.is_none());
        let row_bytes = if halved { stride / 2 } else { stride } as u64;
        let codes = Section::load(file, section(rows * row_bytes), codes_in_ram)?;
        let lower = match halved {
            true => Some(Section::load(file, section(rows * row_bytes), codes_in_ram)?),
            false => None,
        };
        Ok(Self { distance, dim, len, stride, mean, rotation, codes, lower, scales, terms, sketches })
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
        let sketches = self.sketches.as_ref().map(Sketches::rows);
        let all = [&self.codes, &self.scales, &self.terms].into_iter().chain(&self.lower).chain(sketches);
        all.map(Section::ram_bytes).sum::<u64>() + self.mean.len() as u64 * 4
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Components that codes stand for: more than the dimensions if the vectors are rotated.
    pub(crate) fn width(&self) -> usize {
        self.mean.len()
    }

    /// Whether the halves of codes are apart.
    pub(crate) fn is_halved(&self) -> bool {
        self.lower.is_some()
    }

    /// Whether walks look at the upper halves of codes: in a mapped file sketches are fewer pages.
    pub(crate) fn is_walked_by_halves(&self) -> bool {
        self.is_halved() && self.codes.ram_bytes() > 0
    }

    pub(crate) fn is_rotated(&self) -> bool {
        self.rotation.is_some()
    }

    pub(crate) fn sketches(&self) -> Option<&Sketches> {
        self.sketches.as_ref()
    }

    /// Writes to `out` what the codes of a point stand for, without the mean.
    pub(crate) fn decode<'a>(&'a self, offset: u32, out: &mut [f32]) {
        let [mid, step] = self.scales()[offset as usize];
        let fill = |out: &mut [f32], codes: &[u8]| {
            out.iter_mut().zip(codes).for_each(|(v, &c)| *v = mid + step * (f32::from(c) - 128.0));
        };
        let row_bytes = self.row_bytes();
        let row = |rows: &'a [u8]| &rows[offset as usize * row_bytes..][..row_bytes];
        match &self.lower {
            None => fill(&mut out[..self.width()], row(&self.codes)),
            Some(lower) => {
                let lines = halves::joined(row(&self.codes), row(lower));
                lines.zip(out.chunks_mut(halves::PAIR)).for_each(|(codes, out)| fill(out, &codes));
            }
        }
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Codes, or their upper halves, and their lower halves, if they are apart.
    pub(crate) fn codes(&self) -> (&[u8], Option<&[u8]>) {
        (&self.codes, self.lower.as_deref())
    }

    /// Bytes of a row of each of [`Self::codes`].
    fn row_bytes(&self) -> usize {
        if self.is_halved() { self.stride / 2 } else { self.stride }
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

    /// [`Self::prepare`], for sketches too where there are some.
    pub(crate) fn prepare_sketch(&self, query: &[f32], out: &mut CodeQuery) {
        self.prepare(query, out);
        if self.sketches.is_none() {
            return;
        }
        let mut sketch = std::mem::take(&mut out.sketch);
        sketch.prepare(self, out);
        out.sketch = sketch;
    }

    /// Prepares a stored vector for building: Cosine too is compared as Euclid then, which orders unit vectors alike
    /// and has the scale of distances that neighbour selection wants.
    pub(crate) fn prepare_to_build(&self, row: &[f32], out: &mut CodeQuery) {
        self.prepare_as(row, self.distance != Distance::Dot, out);
    }

    /// How far similarities by codes are from the true ones, as a standard deviation: the roundings of the point's
    /// components and of the query's are independent of each other.
    pub(crate) fn noise(&self, query: &CodeQuery, offset: u32) -> f32 {
        self.noise_of(query, offset, 1)
    }

    /// The same for the upper halves of codes.
    pub(crate) fn noise_of_halves(&self, query: &CodeQuery, offset: u32) -> f32 {
        self.noise_of(query, offset, halves::STEPS)
    }

    /// Of a point whose components are rounded to so many steps of its codes.
    fn noise_of(&self, query: &CodeQuery, offset: u32, steps: i32) -> f32 {
        let [_, step] = self.scales()[offset as usize];
        let weight = if query.with_terms { 2.0 } else { 1.0 };
        // A sixth of the range that the codes cover is about the deviation of components, so that lengths follow.
        let length = step * (254.0 / 6.0) * (self.width() as f32).sqrt();
        let (of_point, of_query) = (weight * step * steps as f32 * query.length, query.step_factor * length);
        ((of_point * of_point + of_query * of_query) / 12.0).sqrt()
    }

    fn prepare_as(&self, query: &[f32], euclid: bool, out: &mut CodeQuery) {
        assert_eq!(query.len(), self.dim, "the shard checks dimensions");
        out.with_terms = euclid;
        out.vector.clear();
        out.vector.extend_from_slice(query);
        out.vector.resize(self.width(), 0.0);
        if let Some(rotation) = &self.rotation {
            rotation.apply(&mut out.vector);
        }
        let weight = if euclid {
            out.vector.iter_mut().zip(&self.mean).for_each(|(v, m)| *v -= m);
            out.add = -distance::dot(&out.vector, &out.vector);
            2.0
        } else {
            out.add = distance::dot(&out.vector, &self.mean);
            1.0
        };
        out.length = distance::dot(&out.vector, &out.vector).sqrt();
        let scale = quantize_query(&out.vector, out.codes.reset(self.stride));
        out.mid_factor = weight * scale.sum;
        out.step_factor = weight * scale.step;
        out.bias = 128i32.wrapping_mul(scale.code_sum);
    }
}
