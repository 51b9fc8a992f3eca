//! Writing the files of one named vector.

use std::path::Path;

use super::raw::{self, RawRows};
use super::{CODES_KIND, DROPPED, GRAPH_KIND, INLINE_KIND, SegmentVectors, VectorSpec};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedWriter};
use crate::hnsw::Graph;
use crate::hnsw::build::{Material, Old, Recipe, build};
use crate::hnsw::inline::{self, InlineLinks};
use crate::quantization::ScalarCodes;

/// One graph for the same points and offsets, whatever the machine; threads may change single links.
const SEED: u64 = 0x9d1c_35f7_0a2b_64e1;

/// A grown graph keeps at least this share of the old one's points, else it is built anew.
const KEPT_MIN: f64 = 0.8;

/// Candidates kept while a point is inserted, at most: memory is set aside for so many, whatever a collection asks for.
const EF_CONSTRUCT_MAX: usize = 1 << 14;

/// Whether to make a graph, and from what.
#[derive(Clone, Copy)]
pub enum GraphPlan<'a> {
    /// None: the segment is small.
    None,
    /// From nothing.
    Build,
    /// From the graph of a merged segment, the other points being inserted into it. Built anew if that segment has
    /// none, or one with other parameters, or if too many of its points are dropped.
    Grow {
        from: &'a SegmentVectors,
        /// For each offset of `from` the new one, or [`DROPPED`].
        new_offsets: &'a [u32],
    },
}

/// Writes the files of one named vector.
pub struct VectorsBuilder<'a> {
    pub disk: &'a dyn Disk,
    pub dir: &'a Path,
    /// File names are this and an extension.
    pub prefix: &'a str,
    pub spec: &'a VectorSpec,
    /// Whether codes are made; without them raw rows are compared.
    pub codes: bool,
    pub pool: &'a rayon::ThreadPool,
    /// Threads of the pool that build the graph, unless `max_indexing_threads` says fewer.
    pub threads: usize,
    pub cancel: &'a Cancel,
}

impl VectorsBuilder<'_> {
    /// Writes the files and makes their content durable; the caller syncs the folder. `vector` is called once for
    /// each offset, ascending: it fills the zeroed row and says true, or false if the point lacks this vector.
    /// Rows of Cosine must be normalised already. With `m` 0 there is never a graph.
    pub fn write(
        &self,
        len: u32,
        vector: &mut dyn FnMut(u32, &mut [f32]) -> Result<bool>,
        graph: GraphPlan,
    ) -> Result<Vec<FileEntry>> {
        let spec = self.spec;
        let mut checked = |offset: u32, row: &mut [f32]| {
            if offset.is_multiple_of(1024) {
                self.cancel.check()?;
            }
            vector(offset, row)
        };
        let written = raw::write(self.disk, &self.path("raw"), spec.dim, len, &mut checked)?;
        let mut files = vec![written.entry];
        let rows = RawRows::open(self.disk, self.dir, &files[0], spec)?;
        let all = rows.all()?;
        let codes = match self.codes && ScalarCodes::serves(spec.distance) {
            true => {
                let form = spec.code_form();
                Some(ScalarCodes::encode(spec.distance, spec.dim, all, written.mean, form, self.pool)?)
            }
            false => None,
        };
        self.cancel.check()?;
        if let Some((codes, _)) = &codes {
            let mut w = SealedWriter::create(self.disk, &self.path("codes"), CODES_KIND)?;
            codes.write(&mut w)?;
            files.push(w.finish()?);
        }
        if spec.hnsw.m > 0 && !matches!(graph, GraphPlan::None) {
            let material = match &codes {
                Some((codes, sums)) => Material::Codes { codes, sums, rows: all },
                None => Material::Raw { rows: all, dim: spec.dim, distance: spec.distance },
            };
            let old = match graph {
                GraphPlan::Grow { from, new_offsets } => {
                    from.graph()?.map(|graph| Old { graph, new_offsets })
                }
                _ => None,
            };
            self.write_graph(material, &rows, old, &mut files)?;
        }
        Ok(files)
    }

    fn write_graph(
        &self,
        material: Material,
        rows: &RawRows,
        old: Option<Old>,
        files: &mut Vec<FileEntry>,
    ) -> Result<()> {
        let graph = self.graph(material, rows.len(), |offset| rows.has(offset), old)?;
        let mut w = SealedWriter::create(self.disk, &self.path("graph"), GRAPH_KIND)?;
        graph.write(&mut w)?;
        files.push(w.finish()?);
        if let Material::Codes { codes, .. } = material
            && self.spec.wants_inline()
            && inline::serves(codes)
        {
            let mut w = SealedWriter::create(self.disk, &self.path("inline"), INLINE_KIND)?;
            InlineLinks::build(&graph, codes, self.pool)?.write(&mut w)?;
            files.push(w.finish()?);
        }
        Ok(())
    }

    /// Builds the graph of those of `len` points that are `present`, from an old one if that is worth it: with the same
    /// parameters, and most of its points taken over.
    pub(in crate::segment) fn graph(
        &self,
        material: Material,
        len: u32,
        present: impl Fn(u32) -> bool,
        old: Option<Old>,
    ) -> Result<Graph> {
        let hnsw = &self.spec.hnsw;
        let threads = match hnsw.max_indexing_threads {
            0 => self.threads,
            n => n.min(self.threads),
        };
        let recipe = Recipe {
            material,
            len,
            m: hnsw.m,
            ef_construct: hnsw.ef_construct.min(EF_CONSTRUCT_MAX).max(hnsw.m).max(8),
            threads,
            seed: SEED,
            whole_rows: self.spec.wants_inline(),
        };
        let worth_it = |old: &Old| {
            assert_eq!(old.new_offsets.len(), old.graph.shape.len as usize, "an offset for each old point");
            let shape = &old.graph.shape;
            let same = shape.m as usize == recipe.m && shape.ef_construct as usize == recipe.ef_construct;
            let kept = old.new_offsets.iter().filter(|&&new| new != DROPPED).count();
            same && kept as f64 >= KEPT_MIN * old.new_offsets.len() as f64
        };
        build(&recipe, present, old.filter(worth_it), self.pool, self.cancel)
    }

    fn path(&self, extension: &str) -> std::path::PathBuf {
        self.dir.join(format!("{}.{extension}", self.prefix))
    }
}
