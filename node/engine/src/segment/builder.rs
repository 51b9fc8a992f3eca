//! Writes a sealed segment from the live points of others.
//!
//! Everything is written into a folder that nobody knows, made durable, and renamed; it counts only when the manifest
//! names it. Points of several sources are merged by id, or by tenant and then by id.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::columns::{PayloadWriter, Versions};
use super::deleted::Deleted;
use super::ids::IdTable;
use super::multi::MultiWriter;
use super::mutable::ChunkState;
use super::sealed::{
    Meta, MultiMeta, SealedSegment, SparseMeta, VectorMeta, spec_of, wants_graph, write_index, write_meta,
};
use super::sparse::SparseBuilder;
use super::tenants::Ranks;
use super::vectors::{DROPPED, GraphPlan, VectorSpec, VectorsBuilder};
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::{Error, Result};
use crate::file::{Disk, FileEntry};
use crate::filter::PointSource;
use crate::json_path::JsonPath;
use crate::payload::PayloadMap;
use crate::payload_index::FieldIndexBuilder;
use crate::point_id::PointId;
use crate::shard::manifest::SegmentEntry;
use crate::vector::{MultiRow, SparseRow};

/// Points written between two looks at the cancel flag.
const POINTS_PER_CHECK: usize = 1024;

/// Where points come from, as they were at one moment.
pub enum Source {
    Chunk(ChunkState),
    Sealed(Arc<SealedSegment>, Deleted),
}

impl Source {
    fn points(&self) -> &dyn PointSource {
        match self {
            Source::Chunk(c) => &*c.chunk,
            Source::Sealed(s, _) => &**s,
        }
    }

    fn live(&self) -> Bitset {
        match self {
            Source::Chunk(c) => c.live_bits(),
            Source::Sealed(_, deleted) => deleted.live_bits(),
        }
    }

    fn version(&self, offset: u32) -> u64 {
        match self {
            Source::Chunk(c) => c.chunk.seq(offset),
            Source::Sealed(s, _) => s.version(offset),
        }
    }

    fn payload(&self, offset: u32) -> Result<&[u8]> {
        match self {
            Source::Chunk(c) => Ok(c.chunk.raw_payload(offset).as_bytes()),
            Source::Sealed(s, _) => s.payload_bytes(offset),
        }
    }

    fn vector(&self, offset: u32, name: &str) -> Result<Option<&[f32]>> {
        match self {
            Source::Chunk(c) => Ok(c.chunk.column(name).and_then(|c| c.get(offset))),
            Source::Sealed(s, _) => s.vector(offset, name),
        }
    }

    fn sparse_vector(&self, offset: u32, name: &str) -> Result<Option<SparseRow<'_>>> {
        match self {
            Source::Chunk(c) => Ok(c.chunk.sparse_column(name).and_then(|c| c.get(offset))),
            Source::Sealed(s, _) => s.sparse_vector(offset, name),
        }
    }

    fn multi_vector(&self, offset: u32, name: &str) -> Result<Option<MultiRow<'_>>> {
        match self {
            Source::Chunk(c) => Ok(c.chunk.multi_column(name).and_then(|c| c.get(offset))),
            Source::Sealed(s, _) => s.multi_vector(offset, name),
        }
    }
}

/// What a segment is built with.
pub struct Build<'a> {
    pub disk: &'a dyn Disk,
    /// The folder of all segments.
    pub segments: &'a Path,
    pub id: u64,
    pub config: &'a CollectionConfig,
    pub indexes: &'a BTreeMap<JsonPath, FieldSchema>,
    /// Whether vectors above the indexing threshold get a graph now.
    pub graphs: bool,
    /// Builds codes and graphs.
    pub pool: &'a rayon::ThreadPool,
    /// Threads of the pool that build a graph, at most.
    pub threads: usize,
    pub cancel: &'a Cancel,
}

/// A point of the new segment and where it comes from.
type Place = (PointId, u32, u32);

impl Build<'_> {
    /// Writes the segment; `None` if no source has a live point.
    pub fn run(&self, sources: &[Source]) -> Result<Option<SegmentEntry>> {
        let mut places = places(sources);
        if places.is_empty() {
            return Ok(None);
        }
        let by_id = self.put_tenants_together(sources, &mut places)?;
        let temporary = self.segments.join(format!("tmp-{}", self.id));
        let built = self.write(sources, &places, by_id.as_deref(), &temporary);
        if built.is_err() && self.disk.exists(&temporary) {
            // Best effort: what stays is removed at the next start.
            let _ = self.disk.remove_dir_all(&temporary);
        }
        built.map(Some)
    }

    /// Puts places that are in the order of ids into that of tenants, if the collection has some. Where that is
    /// another order: for each id the offset that it has now.
    fn put_tenants_together(&self, sources: &[Source], places: &mut [Place]) -> Result<Option<Vec<u32>>> {
        let Some(ranks) = Ranks::of(sources.iter().map(Source::points), self.indexes)? else {
            return Ok(None);
        };
        self.cancel.check()?;
        let rank = |(_, source, offset): &Place| ranks.rank(*source, *offset);
        if places.is_sorted_by_key(rank) {
            return Ok(None);
        }
        // Both sorts merge runs: of the sources, whose tenants lie together, and of the tenants, whose ids ascend.
        places.sort_by_key(rank);
        let mut by_id: Vec<u32> = (0..places.len() as u32).collect();
        by_id.sort_by_key(|&offset| places[offset as usize].0);
        Ok(Some(by_id))
    }

    fn write(
        &self,
        sources: &[Source],
        places: &[Place],
        by_id: Option<&[u32]>,
        dir: &Path,
    ) -> Result<SegmentEntry> {
        if self.disk.exists(dir) {
            self.disk.remove_dir_all(dir).map_err(Error::io("remove an unfinished segment"))?;
        }
        self.disk.create_dir_all(dir).map_err(Error::io("create a segment's folder"))?;
        let ids = (0..places.len()).map(|i| places[by_id.map_or(i, |by_id| by_id[i] as usize)].0);
        let versions = places.iter().map(|(_, s, o)| sources[*s as usize].version(*o));
        let mut files = vec![
            IdTable::write(self.disk, &dir.join("ids"), ids, by_id)?,
            Versions::write(self.disk, &dir.join("versions"), versions)?,
        ];
        let mut meta = Meta::default();
        self.write_payloads(sources, places, dir, &mut files, &mut meta)?;
        for (i, (name, params)) in self.config.vectors.iter().enumerate() {
            if params.multivector {
                self.write_multi(sources, places, dir, (i, name), &mut files, &mut meta)?;
            } else {
                self.write_vectors(sources, places, dir, (i, name), &mut files, &mut meta)?;
            }
        }
        for (i, name) in self.config.sparse_vectors.keys().enumerate() {
            let (prefix, cancel) = (format!("s{i}"), self.cancel);
            let builder = SparseBuilder { disk: self.disk, dir, prefix: &prefix, cancel };
            let row = |new: u32| {
                let (_, source, offset) = places[new as usize];
                sources[source as usize].sparse_vector(offset, name)
            };
            let written = builder.write(places.len() as u32, &row)?;
            files.extend(written.files);
            let (points, entries) = (written.points, written.entries);
            meta.sparse.insert(name.clone(), SparseMeta { prefix, points, entries });
        }
        files.push(write_meta(self.disk, dir, &mut meta)?);
        self.disk.sync_dir(dir).map_err(Error::io("sync a segment's folder"))?;
        self.disk
            .rename(dir, &self.segments.join(self.id.to_string()))
            .map_err(Error::io("rename a segment's folder"))?;
        self.disk.sync_dir(self.segments).map_err(Error::io("sync the folder of segments"))?;
        Ok(SegmentEntry { id: self.id, points: places.len() as u32, files, deleted: None })
    }

    /// Payloads and their indexes, in one pass.
    fn write_payloads(
        &self,
        sources: &[Source],
        places: &[Place],
        dir: &Path,
        files: &mut Vec<FileEntry>,
        meta: &mut Meta,
    ) -> Result<()> {
        let mut builders: Vec<_> = self
            .indexes
            .iter()
            .map(|(key, schema)| FieldIndexBuilder::new(schema, key, places.len() as u32))
            .collect();
        let mut payloads = PayloadWriter::create(self.disk, &dir.join("payload"))?;
        for (new, (_, source, offset)) in places.iter().enumerate() {
            if new % POINTS_PER_CHECK == 0 {
                self.cancel.check()?;
            }
            let bytes = sources[*source as usize].payload(*offset)?;
            payloads.push(bytes)?;
            if !builders.is_empty() && !bytes.is_empty() {
                let map: PayloadMap =
                    serde_json::from_slice(bytes).map_err(|e| Error::corrupt("payload", e.to_string()))?;
                builders.iter_mut().for_each(|b| b.add(new as u32, &map));
            }
        }
        files.push(payloads.finish()?);
        for ((key, schema), builder) in self.indexes.iter().zip(builders) {
            let name = format!("index-{}", meta.next_file);
            meta.next_file += 1;
            files.push(write_index(self.disk, &dir.join(&name), &builder.finish())?);
            let index = super::sealed::IndexMeta { schema: schema.clone(), file: name };
            meta.indexes.insert(key.as_str().to_owned(), index);
        }
        Ok(())
    }

    fn write_vectors(
        &self,
        sources: &[Source],
        places: &[Place],
        dir: &Path,
        (number, name): (usize, &str),
        files: &mut Vec<FileEntry>,
        meta: &mut Meta,
    ) -> Result<()> {
        self.cancel.check()?;
        let params = &self.config.vectors[name];
        let spec = spec_of(self.config, params);
        let prefix = format!("v{number}");
        let vector = |(_, source, offset): &Place| sources[*source as usize].vector(*offset, name);
        let mut points = 0;
        for place in places {
            points += u32::from(sources[place.1 as usize].points().has_vector(place.2, name));
        }
        let graph = self.graphs && wants_graph(self.config, name, points);
        let from = |s: &SealedSegment| s.vectors().get(name).filter(|v| v.has_graph()).cloned();
        let grown = if graph { largest_graph(sources, places, from, |v| v.present()) } else { None };
        let plan = match &grown {
            Some((from, new_offsets)) => GraphPlan::Grow { from, new_offsets },
            None if graph => GraphPlan::Build,
            None => GraphPlan::None,
        };
        let mut fill = |new: u32, row: &mut [f32]| match vector(&places[new as usize])? {
            Some(v) => {
                row.copy_from_slice(v);
                Ok(true)
            }
            None => Ok(false),
        };
        let builder = self.vectors_builder(dir, &prefix, &spec, true);
        let written = builder.write(places.len() as u32, &mut fill, plan)?;
        let vector = vector_meta(prefix, &spec, &written, points);
        files.extend(written);
        meta.vectors.insert(name.to_owned(), vector);
        Ok(())
    }

    fn write_multi(
        &self,
        sources: &[Source],
        places: &[Place],
        dir: &Path,
        (number, name): (usize, &str),
        files: &mut Vec<FileEntry>,
        meta: &mut Meta,
    ) -> Result<()> {
        let spec = spec_of(self.config, &self.config.vectors[name]);
        let prefix = format!("m{number}");
        let vector = |place: usize| {
            let (_, source, offset) = places[place];
            sources[source as usize].multi_vector(offset, name)
        };
        let mut writer = MultiWriter::default();
        for place in 0..places.len() {
            if place % POINTS_PER_CHECK == 0 {
                self.cancel.check()?;
            }
            writer.push(vector(place)?.map_or(0, MultiRow::count))?;
        }
        let (points, rows, starts) = (writer.points(), writer.rows(), writer.starts());
        let mut place = 0;
        let mut fill = |row: u32, numbers: &mut [f32]| {
            while starts[place + 1] <= row {
                place += 1;
            }
            let at = (row - starts[place]) as usize * spec.dim;
            let read = vector(place)?.and_then(|v| v.numbers.get(at..at + spec.dim));
            let read = read.ok_or_else(|| Error::corrupt(&prefix, "fewer rows than there were before"))?;
            numbers.copy_from_slice(read);
            Ok(true)
        };
        let builder = self.vectors_builder(dir, &prefix, &spec, false);
        let mut written = builder.write(rows, &mut fill, GraphPlan::None)?;
        written.push(writer.write(self.disk, dir, &prefix)?);
        if self.graphs && wants_graph(self.config, name, rows) {
            let graph = |s: &'_ SealedSegment| s.multi().get(name).filter(|m| m.has_graph()).cloned();
            let grown = largest_graph(sources, places, graph, |m| m.present());
            let old = grown.as_ref().map(|(from, new_offsets)| (&**from, &new_offsets[..]));
            written.push(writer.write_graph(&builder, &written, old)?);
        }
        let rows = vector_meta(prefix, &spec, &written, rows);
        files.extend(written);
        meta.multi.insert(name.to_owned(), MultiMeta { points, rows });
        Ok(())
    }

    fn vectors_builder<'b>(
        &'b self,
        dir: &'b Path,
        prefix: &'b str,
        spec: &'b VectorSpec,
        codes: bool,
    ) -> VectorsBuilder<'b> {
        let (disk, pool, threads, cancel) = (self.disk, self.pool, self.threads, self.cancel);
        VectorsBuilder { disk, dir, prefix, spec, codes, pool, threads, cancel }
    }
}

fn vector_meta(prefix: String, spec: &VectorSpec, written: &[FileEntry], points: u32) -> VectorMeta {
    let graph = written.iter().any(|f| f.name.ends_with(".graph") || f.name.ends_with(".maxsim"));
    let (hnsw, quantization) = (spec.hnsw, spec.quantization);
    VectorMeta { prefix, size: spec.dim, distance: spec.distance, hnsw, quantization, graph, points }
}

/// The largest of the graphs that sources have, and for each of its points the offset in the new segment.
fn largest_graph<G>(
    sources: &[Source],
    places: &[Place],
    graph: impl Fn(&SealedSegment) -> Option<Arc<G>>,
    points: impl Fn(&G) -> u32,
) -> Option<(Arc<G>, Vec<u32>)> {
    let graph = |source: &Source| match source {
        Source::Sealed(s, _) => graph(s),
        Source::Chunk(_) => None,
    };
    let graphs = sources.iter().enumerate().filter_map(|(i, s)| Some((i as u32, graph(s)?)));
    let (largest, from) = graphs.max_by_key(|(_, g)| points(g))?;
    let mut new_offsets = vec![DROPPED; sources[largest as usize].points().len() as usize];
    for (new, (_, source, offset)) in places.iter().enumerate() {
        if *source == largest {
            new_offsets[*offset as usize] = new as u32;
        }
    }
    Some((from, new_offsets))
}

/// The live points of all sources in the order of their ids.
fn places(sources: &[Source]) -> Vec<Place> {
    let mut places = Vec::new();
    for (s, source) in sources.iter().enumerate() {
        let points = source.points();
        places.extend(source.live().iter().map(|offset| (points.id(offset), s as u32, offset)));
    }
    // Each source is a run in order, which a stable sort merges.
    places.sort_by_key(|(id, _, _)| *id);
    places
}
