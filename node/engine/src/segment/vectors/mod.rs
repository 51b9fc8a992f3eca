//! The vectors of one name in a sealed segment: raw rows, codes, graph, and the choice between scan and graph.
//!
//! Three sealed files with a common prefix: `.raw` (always), `.codes` (unless the metric has none) and `.graph`
//! (when one was built). It knows offsets and bitmaps; ids, payloads and filters are the segment's business.

mod builder;
mod raw;
pub(super) mod search;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use parking_lot::Mutex;

pub use crate::hnsw::SearchContext;
pub use builder::{GraphPlan, VectorsBuilder};

use crate::config::{Distance, HnswConfig, Quantization};
use crate::distance::Examples;
use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedFile};
use crate::hnsw::Graph;
use crate::hnsw::inline::InlineLinks;
use crate::quantization::{CodeForm, CodesInRam, ScalarCodes};
use crate::query::SearchParams;
use crate::segment::{Deleted, Passing};
use raw::RawRows;

/// In [`GraphPlan::Grow`]: the point is not taken over.
pub const DROPPED: u32 = u32::MAX;

const CODES_KIND: [u8; 8] = *b"VECCODES";
const GRAPH_KIND: [u8; 8] = *b"VECGRAPH";
const INLINE_KIND: [u8; 8] = *b"VECINLIN";

/// How the vectors of one name are kept and compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorSpec {
    pub dim: usize,
    pub distance: Distance,
    /// Codes are made in any case (Manhattan has none); this says which of them stay in RAM, and whether they do so when
    /// `on_disk` is set.
    pub quantization: Option<Quantization>,
    /// Links stay in RAM unless its `on_disk` is set.
    pub hnsw: HnswConfig,
    /// Codes stay in the mapped file unless the quantization says `always_ram`. Raw rows always do.
    pub on_disk: bool,
}

impl VectorSpec {
    /// Whether links get codes beside them. With the vectors' own codes they cost about `4 × dim` bytes more a point.
    fn wants_inline(&self) -> bool {
        self.hnsw.inline_storage == Some(true)
    }

    /// Whether the vectors are to have sketches.
    pub(crate) fn is_sketched(&self) -> bool {
        ScalarCodes::serves(self.distance) && ScalarCodes::is_sketched(self.dim, self.keeps_sketches_only())
    }

    fn keeps_sketches_only(&self) -> bool {
        self.quantization.is_some_and(|q| q.keeps_sketches_only())
    }

    fn code_form(&self) -> CodeForm {
        match (self.is_sketched(), self.wants_inline()) {
            (true, _) => CodeForm::Sketched,
            (false, true) => CodeForm::Rotated,
            (false, false) => CodeForm::Plain,
        }
    }

    fn codes_in_ram(&self) -> CodesInRam {
        let always = self.quantization.is_some_and(|q| q.always_ram());
        match (self.on_disk && !always, self.keeps_sketches_only()) {
            (true, _) => CodesInRam::None,
            (false, true) => CodesInRam::Sketches,
            (false, false) => CodesInRam::All,
        }
    }
}

/// What points are compared with.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Normalised for Cosine.
    Vector(&'a [f32]),
    Examples(&'a Examples),
}

impl<'a> Target<'a> {
    /// The vector; empty if there are several.
    fn vector(self) -> &'a [f32] {
        match self {
            Target::Vector(vector) => vector,
            Target::Examples(_) => &[],
        }
    }

    fn dim(self) -> usize {
        match self {
            Target::Vector(vector) => vector.len(),
            Target::Examples(examples) => examples.dim(),
        }
    }
}

/// What is asked of one segment's vectors.
#[derive(Clone, Copy)]
pub struct VectorQuery<'a> {
    pub target: Target<'a>,
    pub deleted: &'a Deleted,
    /// What the filter evaluated to; it may contain deleted points.
    pub passing: Option<&'a Passing>,
    pub k: usize,
    pub params: &'a SearchParams,
}

/// The vectors of one name in a sealed segment, open.
pub struct SegmentVectors {
    spec: VectorSpec,
    raw: RawRows,
    codes_file: Option<SealedFile>,
    graph_file: Option<SealedFile>,
    inline_file: Option<SealedFile>,
    hot: OnceLock<Hot>,
    loading: Mutex<()>,
}

/// What searches read at random, loaded at the first search or by [`SegmentVectors::warm`].
struct Hot {
    codes: Option<ScalarCodes>,
    graph: Option<Graph>,
    inline: Option<InlineLinks>,
}

impl SegmentVectors {
    /// Opens what [`VectorsBuilder::write`] wrote; `files` may name other files too. Codes and links are verified and
    /// brought into RAM at the first search, or by [`Self::warm`].
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        prefix: &str,
        spec: &VectorSpec,
        files: &[FileEntry],
    ) -> Result<Self> {
        let sealed = |extension: &str, kind| {
            FileEntry::find(files, prefix, extension)
                .map(|entry| SealedFile::open_entry(disk, dir, entry, kind))
                .transpose()
        };
        let raw = FileEntry::require(files, prefix, "raw")?;
        Ok(Self {
            spec: *spec,
            raw: RawRows::open(disk, dir, raw, spec)?,
            codes_file: sealed("codes", CODES_KIND)?,
            graph_file: sealed("graph", GRAPH_KIND)?,
            inline_file: sealed("inline", INLINE_KIND)?,
            hot: OnceLock::new(),
            loading: Mutex::new(()),
        })
    }

    /// Loads and verifies what searches need.
    pub fn warm(&self) -> Result<()> {
        self.hot().map(|_| ())
    }

    /// Number of points in the segment, with this vector or without.
    pub fn len(&self) -> u32 {
        self.raw.len()
    }

    /// Whether the segment has no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of points that have this vector.
    pub fn present(&self) -> u32 {
        self.raw.present()
    }

    /// Whether the point has this vector.
    pub fn has(&self, offset: u32) -> bool {
        self.raw.has(offset)
    }

    /// Whether searches can walk a graph.
    pub fn has_graph(&self) -> bool {
        self.graph_file.is_some()
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        let Some(hot) = self.hot.get() else { return 0 };
        hot.codes.as_ref().map_or(0, |c| c.ram_bytes())
            + hot.graph.as_ref().map_or(0, |g| g.ram_bytes())
            + hot.inline.as_ref().map_or(0, |i| i.ram_bytes())
    }

    /// The vector as it is stored; `None` if the point lacks it.
    pub fn raw(&self, offset: u32) -> Result<Option<&[f32]>> {
        if self.has(offset) { self.raw.row(offset).map(Some) } else { Ok(None) }
    }

    /// The vectors of some points, one behind the other; zeros where a point lacks it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are fewer points, or a block doesn't hold what was written.
    pub fn raw_rows(&self, points: Range<u32>) -> Result<&[f32]> {
        self.raw.rows(points)
    }

    /// All vectors, one behind the other, verified.
    pub fn all_raw(&self) -> Result<&[f32]> {
        self.raw.all()
    }

    /// How they are kept and compared.
    pub fn spec(&self) -> &VectorSpec {
        &self.spec
    }

    fn graph(&self) -> Result<Option<&Graph>> {
        Ok(self.hot()?.graph.as_ref())
    }

    fn hot(&self) -> Result<&Hot> {
        if let Some(hot) = self.hot.get() {
            return Ok(hot);
        }
        let _one_loads = self.loading.lock();
        if let Some(hot) = self.hot.get() {
            return Ok(hot);
        }
        let (spec, len) = (&self.spec, self.raw.len());
        let codes = self
            .codes_file
            .as_ref()
            .map(|file| ScalarCodes::open(file, spec.distance, spec.dim, len, spec.codes_in_ram()));
        let codes = codes.transpose()?;
        // Walks along links with codes read the plain ones on the upper levels only.
        let links_in_ram = self.inline_file.is_none() && !spec.hnsw.on_disk;
        let graph = self.graph_file.as_ref().map(|file| Graph::open(file, len, links_in_ram)).transpose()?;
        let inline = match (&codes, &graph, &self.inline_file) {
            // The graph's own `m`: the collection's may have been changed since it was built.
            (Some(codes), Some(graph), Some(file)) => {
                Some(InlineLinks::open(file, codes, graph.shape.m as usize, !spec.hnsw.on_disk)?)
            }
            _ => None,
        };
        let hot = Hot { codes, graph, inline };
        Ok(self.hot.get_or_init(|| hot))
    }
}
