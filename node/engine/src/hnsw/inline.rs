//! Links with one-bit codes beside them: all neighbours of a point are estimated from one run of memory.
//!
//! For each link the signs of the rotated difference between its point and the one it starts from are kept, and two
//! factors that make the sum of a query's components with these signs an unbiased estimate of the link's similarity
//! (RaBitQ, Gao, Long 2024; beside the links as in SymphonyQG, Gou et al. 2025). A block holds 32 links: their
//! points, factors `scale` and `shift`, and the signs in the order that [`Isa::sum_groups`] reads.

use crate::config::Distance;
use crate::distance::isa::{BLOCK_LINKS, Isa, LINE_BYTES, per_isa};
use crate::error::Result;
use crate::file::hugepage::{HugeBuffer, Section};
use crate::file::{SealedFile, SealedWriter, cast};
use crate::quantization::{CodeQuery, ScalarCodes};

use super::graph::{Graph, NO_LINK};

const FORMAT: u32 = 1;
const HEADER_BYTES: u64 = 64;
/// Points, scales and shifts of a block.
const FACTORS_BYTES: usize = 3 * BLOCK_LINKS * 4;
/// Estimates of more components would not fit into 16 bits with any precision.
const WIDTH_MAX: usize = 8192;

/// The blocks of all points of a segment.
pub struct InlineLinks {
    len: u32,
    /// Blocks of a point.
    blocks: usize,
    /// Components of a rotated vector.
    width: usize,
    rows: Section,
}

/// Points that codes can be kept beside.
pub(crate) fn serves(codes: &ScalarCodes) -> bool {
    codes.is_rotated() && codes.width() <= WIDTH_MAX
}

impl InlineLinks {
    /// The blocks of a graph whose points have these codes.
    pub(crate) fn build(graph: &Graph, codes: &ScalarCodes, pool: &rayon::ThreadPool) -> Result<Self> {
        use rayon::prelude::*;
        assert!(serves(codes) && codes.len() == graph.shape.len);
        let (len, width) = (graph.shape.len, codes.width());
        let blocks = (graph.shape.m as usize * 2).div_ceil(BLOCK_LINKS);
        let row_bytes = blocks * block_bytes(width);
        let mut rows = HugeBuffer::zeroed(len as usize * row_bytes)?;
        pool.install(|| {
            rows.par_chunks_mut(row_bytes).enumerate().for_each_init(
                Scratch::default,
                |scratch, (point, row)| {
                    let links = graph.row(point as u32);
                    scratch.begin(codes, point as u32);
                    for (block, links) in row.chunks_exact_mut(block_bytes(width)).zip(chunks(links)) {
                        scratch.encode(codes, links, block);
                    }
                },
            );
        });
        Ok(Self { len, blocks, width, rows: Section::Ram(rows) })
    }

    /// Writes them as the body of a sealed file.
    pub(crate) fn write(&self, w: &mut SealedWriter) -> Result<()> {
        w.write(cast::bytes(&[FORMAT, self.len, self.blocks as u32, self.width as u32]))?;
        w.align(HEADER_BYTES)?;
        w.write(&self.rows)
    }

    /// Opens what [`Self::write`] wrote; every link is checked to lead to a point.
    pub(crate) fn open(file: &SealedFile, codes: &ScalarCodes, m: usize, ram: bool) -> Result<Self> {
        let header: &[u32] = cast::numbers(file.checked(0..HEADER_BYTES)?)?;
        let (len, width) = (codes.len(), codes.width());
        let blocks = (m * 2).div_ceil(BLOCK_LINKS);
        if header[..4] != [FORMAT, len, blocks as u32, width as u32] || !serves(codes) {
            return Err(file.corrupt("links with codes of another format or segment"));
        }
        let bytes = u64::from(len) * (blocks * block_bytes(width)) as u64;
        let rows = Section::load(file, HEADER_BYTES..HEADER_BYTES + bytes, ram)?;
        let all = Self { len, blocks, width, rows };
        let leads_nowhere = |links: &[u32]| links.iter().any(|&link| link >= len && link != NO_LINK);
        if all
            .rows
            .chunks_exact(block_bytes(width))
            .any(|b| leads_nowhere(cast::as_u32(&b[..BLOCK_LINKS * 4])))
        {
            return Err(file.corrupt("a link leads to no point"));
        }
        Ok(all)
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.rows.ram_bytes()
    }

    /// The blocks as walks read them.
    pub(super) fn reader(&self) -> InlineReader<'_> {
        InlineReader { rows: &self.rows, row_bytes: self.blocks * block_bytes(self.width), width: self.width }
    }
}

fn block_bytes(width: usize) -> usize {
    FACTORS_BYTES + width * 4
}

fn chunks(links: &[u32]) -> impl Iterator<Item = &[u32]> {
    links.chunks(BLOCK_LINKS).chain(std::iter::repeat(&[][..]))
}

/// Memory of one thread that encodes.
#[derive(Default)]
struct Scratch {
    /// The point that links start from, without the mean.
    from: Vec<f32>,
    /// It as the query's tables see it: with the mean, but for Euclid.
    reference: Vec<f32>,
    difference: Vec<f32>,
    from_squared: f32,
}

impl Scratch {
    fn begin(&mut self, codes: &ScalarCodes, point: u32) {
        self.from.resize(codes.width(), 0.0);
        self.difference.resize(codes.width(), 0.0);
        codes.decode(point, &mut self.from);
        self.from_squared = crate::distance::dot(&self.from, &self.from);
        self.reference.clear();
        self.reference.extend_from_slice(&self.from);
        if codes.distance() != Distance::Euclid {
            self.reference.iter_mut().zip(codes.mean()).for_each(|(v, m)| *v += m);
        }
    }

    fn encode(&mut self, codes: &ScalarCodes, links: &[u32], block: &mut [u8]) {
        let (factors, signs) = block.split_at_mut(FACTORS_BYTES);
        let factors: &mut [u32] = bytemuck::cast_slice_mut(factors);
        let (points, factors) = factors.split_at_mut(BLOCK_LINKS);
        points.fill(NO_LINK);
        // A place without a link is never above anything.
        factors[BLOCK_LINKS..].fill(f32::NEG_INFINITY.to_bits());
        for (i, &link) in links.iter().enumerate() {
            points[i] = link;
            codes.decode(link, &mut self.difference);
            // SAFETY: all slices are as long as a rotated vector, and `signs` has 16 bytes for each four components.
            let encoded =
                unsafe { encode_any(&mut self.difference, &self.from, &self.reference, (signs, i)) };
            let Encoded { mut scale, mut shift, squared } = encoded;
            if codes.distance() == Distance::Euclid {
                scale *= 2.0;
                shift = 2.0 * shift - (squared - self.from_squared);
            }
            factors[i] = scale.to_bits();
            factors[BLOCK_LINKS + i] = shift.to_bits();
        }
    }
}

/// What is kept of one link beside its signs.
struct Encoded {
    scale: f32,
    shift: f32,
    /// Squared length of the link's point, without the mean.
    squared: f32,
}

per_isa! {
    unsafe fn encode_any(difference: &mut [f32], from: &[f32], reference: &[f32], place: (&mut [u8], usize)) -> Encoded
        => encode_with;
}

/// `difference` holds the link's point.
#[inline(always)]
unsafe fn encode_with<I: Isa>(
    difference: &mut [f32],
    from: &[f32],
    reference: &[f32],
    (signs, link): (&mut [u8], usize),
) -> Encoded {
    let (point, n) = (difference.as_ptr(), difference.len());
    // SAFETY: passed on to the caller.
    let squared = unsafe { I::dot(point, point, n) };
    difference.iter_mut().zip(from).for_each(|(d, f)| *d -= f);
    // SAFETY: passed on to the caller.
    let (length, along) = unsafe { (I::dot(point, point, n), I::dot(point, reference.as_ptr(), n)) };
    let (mut absolute, mut signed) = ([0f32; 4], [0f32; 4]);
    let groups = difference.chunks_exact(4).zip(reference.chunks_exact(4)).zip(signs.chunks_exact_mut(16));
    for ((difference, reference), signs) in groups {
        let mut code = 0u8;
        for i in 0..4 {
            absolute[i] += difference[i].abs();
            let positive = difference[i] > 0.0;
            signed[i] += if positive { reference[i] } else { -reference[i] };
            code |= u8::from(positive) << i;
        }
        signs[link % 16] |= if link < 16 { code } else { code << 4 };
    }
    let absolute: f32 = absolute.iter().sum();
    let scale = if absolute > 0.0 { length / absolute } else { 0.0 };
    Encoded { scale, shift: along - scale * signed.iter().sum::<f32>(), squared }
}

/// Blocks to be read by walks.
#[derive(Clone, Copy)]
pub(super) struct InlineReader<'a> {
    rows: &'a [u8],
    row_bytes: usize,
    width: usize,
}

impl<'a> InlineReader<'a> {
    /// Points of the links that start from a point, and what their similarity is estimated to be above its own.
    ///
    /// # Safety
    /// `from` is a point, `query` has tables for this width, the processor has the instruction set.
    #[inline(always)]
    pub(super) unsafe fn estimates<I: Isa>(
        &self,
        from: u32,
        query: &CodeQuery,
        mut take: impl FnMut(&'a [u32; BLOCK_LINKS], &[f32; BLOCK_LINKS]),
    ) {
        let row = self.rows.as_ptr().wrapping_add(from as usize * self.row_bytes);
        for block in 0..self.row_bytes / block_bytes(self.width) {
            let block = row.wrapping_add(block * block_bytes(self.width));
            // SAFETY: every point has its blocks; they are aligned to lines, and so are their parts.
            unsafe {
                let points: &'a [u32; BLOCK_LINKS] = &*block.cast();
                let [scales, shifts]: &[[f32; BLOCK_LINKS]; 2] = &*block.add(BLOCK_LINKS * 4).cast();
                let sums = I::sum_groups(block.add(FACTORS_BYTES), query.tables.as_ptr(), self.width / 4);
                let mut estimates = [0f32; BLOCK_LINKS];
                for i in 0..BLOCK_LINKS {
                    estimates[i] = shifts[i] + scales[i] * (f32::from(sums[i]) * query.table_step);
                }
                take(points, &estimates);
            }
        }
    }

    /// Asks for the blocks of a point.
    #[inline(always)]
    pub(super) fn prefetch<I: Isa>(&self, from: u32) {
        let row = self.rows.as_ptr().wrapping_add(from as usize * self.row_bytes);
        for line in 0..(self.row_bytes / LINE_BYTES).min(PREFETCH_LINES) {
            I::prefetch(row.wrapping_add(line * LINE_BYTES));
        }
    }
}

/// Lines of a row that are asked for; the processor itself goes on from there.
const PREFETCH_LINES: usize = 10;
