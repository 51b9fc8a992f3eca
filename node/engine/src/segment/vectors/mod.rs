//! The vectors of one name in a sealed segment: raw rows, codes, graph, and the choice between scan and graph.
//!
//! Three sealed files with a common prefix: `.raw` (always), `.codes` (unless the metric has none) and `.graph`
//! (when one was built). It knows offsets and bitmaps; ids, payloads and filters are the segment's business.

use std::path::Path;

use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{Distance, HnswConfig, Quantization};
use crate::error::{Error, Result};
use crate::file::{Disk, FileEntry};
use crate::query::{Plan, SearchParams};
use crate::segment::Deleted;

/// How the vectors of one name are kept and compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorSpec {
    pub dim: usize,
    pub distance: Distance,
    pub quantization: Option<Quantization>,
    pub hnsw: HnswConfig,
    /// Codes and links stay in the mapped files unless the quantization says `always_ram`.
    pub on_disk: bool,
}

/// Whether to make a graph, and from what.
#[derive(Clone, Copy)]
pub enum GraphPlan<'a> {
    /// None: the segment is small, or `m` is 0.
    None,
    /// From nothing.
    Build,
    /// From the graph of a merged segment, the other points being inserted into it.
    Grow {
        from: &'a SegmentVectors,
        /// For each offset of `from` the new one, or [`DROPPED`].
        new_offsets: &'a [u32],
    },
}

/// In [`GraphPlan::Grow`]: the point is not taken over.
pub const DROPPED: u32 = u32::MAX;

/// Writes the files of one named vector.
pub struct VectorsBuilder<'a> {
    pub disk: &'a dyn Disk,
    pub dir: &'a Path,
    /// File names are this and an extension.
    pub prefix: &'a str,
    pub spec: &'a VectorSpec,
    /// Graphs are built by its threads, up to `max_indexing_threads`.
    pub pool: &'a rayon::ThreadPool,
    pub cancel: &'a Cancel,
}

impl VectorsBuilder<'_> {
    /// Writes the files. `vector` is called once for each offset, ascending: it fills the zeroed row and says
    /// true, or false if the point lacks this vector. Rows of Cosine must be normalised already.
    pub fn write(
        &self,
        _len: u32,
        _vector: &mut dyn FnMut(u32, &mut [f32]) -> Result<bool>,
        _graph: GraphPlan,
    ) -> Result<Vec<FileEntry>> {
        Err(Error::BadInput("not built yet".into()))
    }
}

/// What is asked of one segment's vectors.
#[derive(Clone, Copy)]
pub struct VectorQuery<'a> {
    /// Normalised for Cosine.
    pub vector: &'a [f32],
    pub deleted: &'a Deleted,
    /// What the filter evaluated to; it may contain deleted points.
    pub passing: Option<&'a Bitset>,
    pub k: usize,
    pub params: &'a SearchParams,
}

/// Memory that searches use again; one for each thread.
#[derive(Default)]
pub struct SearchContext {}

/// The vectors of one name in a sealed segment, open.
pub struct SegmentVectors {}

impl SegmentVectors {
    /// Opens what [`VectorsBuilder::write`] wrote; `files` may name other files too.
    pub fn open(
        _disk: &dyn Disk,
        _dir: &Path,
        _prefix: &str,
        _spec: &VectorSpec,
        _files: &[FileEntry],
    ) -> Result<Self> {
        Err(Error::BadInput("not built yet".into()))
    }

    /// Number of points in the segment, with this vector or without.
    pub fn len(&self) -> u32 {
        0
    }

    /// Whether the segment has no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of points that have this vector.
    pub fn present(&self) -> u32 {
        0
    }

    /// Whether the point has this vector.
    pub fn has(&self, _offset: u32) -> bool {
        false
    }

    /// Whether searches can walk a graph.
    pub fn has_graph(&self) -> bool {
        false
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        0
    }

    /// The vector as it is stored; `None` if the point lacks it.
    pub fn raw(&self, _offset: u32) -> Result<Option<&[f32]>> {
        Ok(None)
    }

    /// The nearest points as (offset, score of the protocol), best first, equal scores by offset.
    pub fn search(
        &self,
        _query: &VectorQuery,
        _ctx: &mut SearchContext,
        _cancel: &Cancel,
    ) -> Result<(Vec<(u32, f32)>, Plan)> {
        Ok((Vec::new(), Plan::Scan))
    }
}
