//! The multivectors of a sealed segment, mapped.
//!
//! `.multi`: where the rows of each point begin. The rows themselves are in the file of [`SegmentVectors`], which takes each
//! for a point; `.maxsim` is a graph of the points, if there is one. Byte by byte: docs/storage-format.md. Blocks are
//! verified as they are read.

use std::path::Path;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::file::{Disk, FileEntry, SealedFile, SealedWriter, cast};
use crate::hnsw::Graph;
use crate::hnsw::build::{Material, Old};
use crate::hnsw::multi::MultiRows;
use crate::segment::vectors::{SegmentVectors, VectorSpec, VectorsBuilder};
use crate::vector::MultiRow;

const KIND: [u8; 8] = *b"VECMULTI";
const GRAPH_KIND: [u8; 8] = *b"VECMAXSM";
const FORMAT: u32 = 1;
const HEADER_BYTES: u64 = 64;

/// Where the rows of the points of a new segment begin.
pub struct MultiWriter {
    /// One number more than there are points: the last one is the number of rows.
    starts: Vec<u32>,
    points: u32,
}

impl Default for MultiWriter {
    fn default() -> Self {
        Self { starts: vec![0], points: 0 }
    }
}

impl MultiWriter {
    /// The next point, with so many rows; 0 if it lacks the vector.
    ///
    /// # Errors
    /// [`Error::BadInput`] if a segment would have 2³² rows.
    pub fn push(&mut self, rows: usize) -> Result<()> {
        let end = u64::from(self.rows()) + rows as u64;
        let end = u32::try_from(end).ok().filter(|&end| end < u32::MAX).ok_or_else(|| {
            Error::BadInput("the multivectors of one segment have fewer than 2^32 vectors together".into())
        })?;
        self.points += u32::from(rows > 0);
        self.starts.push(end);
        Ok(())
    }

    /// Of all points so far.
    pub fn rows(&self) -> u32 {
        *self.starts.last().expect("there is always one")
    }

    /// Points that have the vector.
    pub fn points(&self) -> u32 {
        self.points
    }

    /// For each point where its rows begin, and where those of the last one end.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Builds and writes the graph of the points whose rows `files` hold, from that of another segment if that is worth it:
    /// for each of its points the offset here, or that it is dropped.
    pub fn write_graph(
        &self,
        builder: &VectorsBuilder,
        files: &[FileEntry],
        old: Option<(&SegmentMulti, &[u32])>,
    ) -> Result<FileEntry> {
        let (dir, spec) = (builder.dir, builder.spec);
        let rows = SegmentVectors::open(builder.disk, dir, builder.prefix, spec, files)?;
        let points =
            MultiRows { rows: rows.all_raw()?, starts: &self.starts, dim: spec.dim, distance: spec.distance };
        let graph = old.map(|(from, _)| from.graph()).transpose()?.flatten();
        let old = graph.zip(old).map(|(graph, (_, new_offsets))| Old { graph, new_offsets });
        let present = |offset: u32| self.starts[offset as usize] < self.starts[offset as usize + 1];
        let graph = builder.graph(Material::Multi(points), points.len(), present, old)?;
        let path = dir.join(format!("{}.maxsim", builder.prefix));
        let mut out = SealedWriter::create(builder.disk, &path, GRAPH_KIND)?;
        graph.write(&mut out)?;
        out.finish()
    }

    /// Writes the file beside those of the rows.
    pub fn write(&self, disk: &dyn Disk, dir: &Path, prefix: &str) -> Result<FileEntry> {
        let mut out = SealedWriter::create(disk, &dir.join(format!("{prefix}.multi")), KIND)?;
        out.write(cast::bytes(&[FORMAT, self.starts.len() as u32 - 1, self.rows(), self.points]))?;
        out.align(HEADER_BYTES)?;
        out.write(cast::bytes(&self.starts))?;
        out.finish()
    }
}

/// The multivectors of one name in a sealed segment, open.
pub struct SegmentMulti {
    file: SealedFile,
    len: u32,
    present: u32,
    /// Each row as if it were a point.
    rows: SegmentVectors,
    graph_file: Option<SealedFile>,
    /// Loaded at the first search, or by [`Self::warm`].
    graph: OnceLock<Graph>,
    loading: Mutex<()>,
}

impl SegmentMulti {
    /// Opens what [`MultiWriter::write`] wrote and the rows beside it; `files` may name other files too.
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        prefix: &str,
        spec: &VectorSpec,
        files: &[FileEntry],
    ) -> Result<Self> {
        let file = SealedFile::open_entry(disk, dir, FileEntry::require(files, prefix, "multi")?, KIND)?;
        let header: &[u32] = cast::numbers(file.checked(0..HEADER_BYTES)?)?;
        let (len, rows, present) = (header[1], header[2], header[3]);
        if header[0] != FORMAT || file.len() != HEADER_BYTES + (u64::from(len) + 1) * 4 {
            return Err(file.corrupt("beginnings in another format, or not one for each point"));
        }
        let opened = SegmentVectors::open(disk, dir, prefix, spec, files)?;
        if opened.len() != rows {
            return Err(file.corrupt("another number of rows"));
        }
        let graph = FileEntry::find(files, prefix, "maxsim");
        let graph_file =
            graph.map(|entry| SealedFile::open_entry(disk, dir, entry, GRAPH_KIND)).transpose()?;
        let (graph, loading) = (OnceLock::new(), Mutex::new(()));
        Ok(Self { file, len, present, rows: opened, graph_file, graph, loading })
    }

    /// Loads and verifies what searches need.
    pub fn warm(&self) -> Result<()> {
        self.graph().map(|_| ())
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.graph.get().map_or(0, Graph::ram_bytes)
    }

    /// The graph of the points, if there is one.
    pub(super) fn graph(&self) -> Result<Option<&Graph>> {
        let Some(file) = &self.graph_file else { return Ok(None) };
        if let Some(graph) = self.graph.get() {
            return Ok(Some(graph));
        }
        let _one_loads = self.loading.lock();
        if let Some(graph) = self.graph.get() {
            return Ok(Some(graph));
        }
        if !self.starts()?.is_sorted() {
            return Err(self.file.corrupt("rows begin before those of the point before"));
        }
        let graph = Graph::open(file, self.len, !self.rows.spec().hnsw.on_disk)?;
        Ok(Some(self.graph.get_or_init(|| graph)))
    }

    /// Whether searches can walk a graph.
    pub fn has_graph(&self) -> bool {
        self.graph_file.is_some()
    }

    /// Everything that walks compare.
    pub(super) fn all(&self) -> Result<MultiRows<'_>> {
        let spec = self.rows.spec();
        let (rows, starts) = (self.rows.all_raw()?, self.starts()?);
        Ok(MultiRows { rows, starts, dim: spec.dim, distance: spec.distance })
    }

    /// Number of points in the segment, with this vector or without.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the segment has no points.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of points that have this vector.
    pub fn present(&self) -> u32 {
        self.present
    }

    /// The rows of all points, each by itself.
    pub fn rows(&self) -> &SegmentVectors {
        &self.rows
    }

    /// Where the rows of each point begin, and where those of the last one end.
    pub fn starts(&self) -> Result<&[u32]> {
        cast::numbers(self.file.checked(HEADER_BYTES..HEADER_BYTES + (u64::from(self.len) + 1) * 4)?)
    }

    /// Whether the point has this vector. Where that can't be read it has none; who reads the vector learns why.
    pub fn has(&self, offset: u32) -> bool {
        offset < self.len && self.range(offset).is_ok_and(|(start, end)| start < end)
    }

    /// The vectors of a point as they are stored; `None` if it has none.
    pub fn get(&self, offset: u32) -> Result<Option<MultiRow<'_>>> {
        if offset >= self.len {
            return Ok(None);
        }
        let (start, end) = self.range(offset)?;
        let numbers = self.rows.raw_rows(start..end)?;
        Ok((start < end).then_some(MultiRow { dim: self.rows.spec().dim, numbers }))
    }

    fn range(&self, offset: u32) -> Result<(u32, u32)> {
        let at = HEADER_BYTES + u64::from(offset) * 4;
        let bounds: &[u32] = cast::numbers(self.file.checked(at..at + 8)?)?;
        Ok((bounds[0], bounds[1]))
    }
}
