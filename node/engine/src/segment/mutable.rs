//! The mutable part of a shard: what was written since the last segment was sealed, in memory.
//!
//! New points go to the [`Tail`], a short list of whole points. When it is full it is frozen into a [`Chunk`]:
//! columns sorted by id, with payload indexes. Chunks never change; which of their points were deleted or
//! replaced since is kept beside them. Published states share everything that did not change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::bitset::Bitset;
use crate::config::{CollectionConfig, FieldSchema, VectorParams};
use crate::error::Result;
use crate::filter::PointSource;
use crate::json_path::JsonPath;
use crate::payload::{PayloadMap, RawPayload};
use crate::payload_index::{FieldIndex, FieldIndexBuilder};
use crate::point_id::PointId;
use crate::segment::multi::MultiColumn;
use crate::segment::sparse::SparseColumn;
use crate::vector::{NamedVectors, Vector, named};

/// Points of a full tail, and of a chunk. Few in tests, so that small ones have many chunks.
pub const CHUNK_POINTS: usize = if cfg!(test) { 16 } else { 512 };

/// One point of the tail; vectors are normalised where the distance asks for it.
#[derive(Debug)]
pub struct Row {
    pub id: PointId,
    /// Seq of its last change.
    pub seq: u64,
    pub vectors: NamedVectors,
    pub payload: RawPayload,
    parsed: OnceLock<PayloadMap>,
}

impl Row {
    pub fn new(id: PointId, seq: u64, vectors: NamedVectors, payload: RawPayload) -> Self {
        Self { id, seq, vectors, payload, parsed: OnceLock::new() }
    }

    /// The payload, parsed at the first use.
    pub fn map(&self) -> Result<&PayloadMap> {
        if let Some(map) = self.parsed.get() {
            return Ok(map);
        }
        let map = self.payload.parse()?;
        Ok(self.parsed.get_or_init(|| map))
    }

    /// Memory it takes, about.
    pub fn bytes(&self) -> usize {
        // Frozen, a sparse vector is kept by point and by dimension.
        let one = |v: &Vector| v.bytes() * if v.as_sparse().is_some() { 2 } else { 1 } + 48;
        let vectors: usize = self.vectors.iter().map(|(_, v)| one(v)).sum();
        96 + vectors + self.payload.as_bytes().len()
    }
}

/// The newest points, in no order.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    rows: Arc<Vec<Arc<Row>>>,
    /// Those of `rows`, side by side for look-ups.
    ids: Arc<Vec<PointId>>,
}

impl Tail {
    pub fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    /// The rows that `keep` wants.
    pub fn only(&self, keep: impl Fn(&Row) -> bool) -> Self {
        if self.rows.iter().all(|r| keep(r)) {
            return self.clone();
        }
        let rows: Vec<Arc<Row>> = self.rows.iter().filter(|r| keep(r)).cloned().collect();
        Self { ids: Arc::new(rows.iter().map(|r| r.id).collect()), rows: Arc::new(rows) }
    }

    /// Adds a point that is not there; gives its place.
    pub fn push(&mut self, row: Row) -> u32 {
        Arc::make_mut(&mut self.ids).push(row.id);
        let rows = Arc::make_mut(&mut self.rows);
        rows.push(Arc::new(row));
        rows.len() as u32 - 1
    }

    /// Puts a new state of the same point in its place.
    pub fn replace(&mut self, at: u32, row: Row) {
        assert_eq!(self.ids[at as usize], row.id, "a place keeps its point");
        Arc::make_mut(&mut self.rows)[at as usize] = Arc::new(row);
    }

    /// Takes a point out; gives the id of the one that now has its place, if any.
    pub fn remove(&mut self, at: u32) -> Option<PointId> {
        Arc::make_mut(&mut self.rows).swap_remove(at as usize);
        let ids = Arc::make_mut(&mut self.ids);
        ids.swap_remove(at as usize);
        ids.get(at as usize).copied()
    }
}

impl PointSource for Tail {
    fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    fn id(&self, offset: u32) -> PointId {
        self.ids[offset as usize]
    }

    fn offset_of(&self, id: PointId) -> Option<u32> {
        self.ids.iter().position(|x| *x == id).map(|i| i as u32)
    }

    fn payload(&self, offset: u32) -> Result<Cow<'_, PayloadMap>> {
        self.rows[offset as usize].map().map(Cow::Borrowed)
    }

    fn has_vector(&self, offset: u32, name: &str) -> bool {
        self.rows[offset as usize].vectors.get(name).is_some()
    }

    fn index(&self, _key: &JsonPath) -> Option<&FieldIndex> {
        None
    }
}

/// The vectors of one name in a chunk, row by row; zeros where a point has none.
#[derive(Debug)]
pub struct Column {
    pub dim: usize,
    pub rows: Vec<f32>,
    pub present: Bitset,
}

impl Column {
    pub fn get(&self, offset: u32) -> Option<&[f32]> {
        let at = offset as usize * self.dim;
        self.present.get(offset).then(|| &self.rows[at..at + self.dim])
    }
}

/// Frozen points in the order of their ids.
pub struct Chunk {
    ids: Vec<PointId>,
    seqs: Vec<u64>,
    payloads: Vec<RawPayload>,
    columns: BTreeMap<String, Arc<Column>>,
    sparse: BTreeMap<String, Arc<SparseColumn>>,
    multi: BTreeMap<String, Arc<MultiColumn>>,
    indexes: BTreeMap<JsonPath, Arc<FieldIndex>>,
    bytes: usize,
    payload_bytes: usize,
    /// Shared by chunks that are made of each other.
    identity: Arc<()>,
}

impl Chunk {
    /// Freezes points in the order of their ids.
    pub fn freeze(
        rows: &[Arc<Row>],
        config: &CollectionConfig,
        indexes: &BTreeMap<JsonPath, FieldSchema>,
    ) -> Result<Self> {
        assert!(rows.is_sorted_by(|a, b| a.id < b.id), "a chunk is sorted by id, each once");
        let len = rows.len() as u32;
        let mut builders: Vec<_> =
            indexes.iter().map(|(key, schema)| FieldIndexBuilder::new(schema, key, len)).collect();
        if !builders.is_empty() {
            for (offset, row) in rows.iter().enumerate().filter(|(_, r)| !r.payload.is_empty()) {
                let map = row.map()?;
                builders.iter_mut().for_each(|b| b.add(offset as u32, map));
            }
        }
        let mut columns = BTreeMap::new();
        for (name, params) in &config.vectors {
            if let Some(column) = column_of(rows, name, params.size) {
                columns.insert(name.clone(), Arc::new(column));
            }
        }
        let mut sparse = BTreeMap::new();
        for name in config.sparse_vectors.keys() {
            let row = |r: &Arc<Row>| r.vectors.get(name).and_then(Vector::as_sparse).cloned();
            let vectors: Vec<_> = rows.iter().map(row).collect();
            if let Some(column) = SparseColumn::new(vectors.iter().map(|v| v.as_ref().map(|v| v.row()))) {
                sparse.insert(name.clone(), Arc::new(column));
            }
        }
        Ok(Self {
            sparse,
            multi: multi_columns(rows, config),
            ids: rows.iter().map(|r| r.id).collect(),
            seqs: rows.iter().map(|r| r.seq).collect(),
            payloads: rows.iter().map(|r| r.payload.clone()).collect(),
            columns,
            indexes: indexes
                .keys()
                .cloned()
                .zip(builders.into_iter().map(|b| Arc::new(b.finish())))
                .collect(),
            bytes: rows.iter().map(|r| r.bytes()).sum(),
            payload_bytes: rows.iter().map(|r| r.payload.as_bytes().len()).sum(),
            identity: Arc::new(()),
        })
    }

    pub fn seq(&self, offset: u32) -> u64 {
        self.seqs[offset as usize]
    }

    pub fn raw_payload(&self, offset: u32) -> &RawPayload {
        &self.payloads[offset as usize]
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        named(&self.columns, name).map(|c| &**c)
    }

    pub fn sparse_column(&self, name: &str) -> Option<&SparseColumn> {
        named(&self.sparse, name).map(|c| &**c)
    }

    pub fn multi_column(&self, name: &str) -> Option<&MultiColumn> {
        named(&self.multi, name).map(|c| &**c)
    }

    /// All vectors of a point.
    pub fn vectors(&self, offset: u32) -> NamedVectors {
        let vector = |(name, c): (&String, &Arc<Column>)| {
            c.get(offset).map(|v| (name.clone(), Vector::Dense(v.to_vec())))
        };
        let sparse = |(name, c): (&String, &Arc<SparseColumn>)| {
            c.get(offset).map(|v| (name.clone(), Vector::Sparse(v.to_vector())))
        };
        let multi = |(name, c): (&String, &Arc<MultiColumn>)| {
            c.get(offset).map(|v| (name.clone(), Vector::Multi(v.to_vector())))
        };
        let dense = self.columns.iter().filter_map(vector);
        dense
            .chain(self.sparse.iter().filter_map(sparse))
            .chain(self.multi.iter().filter_map(multi))
            .collect()
    }

    /// Memory it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of its payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The first offset whose id is not below `id`.
    pub fn lower_bound(&self, id: PointId) -> u32 {
        self.ids.partition_point(|x| *x < id) as u32
    }

    /// The same points with one index more, or another in its place.
    pub fn with_index(&self, key: &JsonPath, schema: &FieldSchema) -> Result<Self> {
        let mut builder = FieldIndexBuilder::new(schema, key, self.len());
        for (offset, payload) in self.payloads.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
            builder.add(offset as u32, &payload.parse()?);
        }
        let mut chunk = self.share();
        chunk.indexes.insert(key.clone(), Arc::new(builder.finish()));
        Ok(chunk)
    }

    /// The same points with one index less.
    pub fn without_index(&self, key: &JsonPath) -> Self {
        let mut chunk = self.share();
        chunk.indexes.remove(key);
        chunk
    }

    /// The same points without the vectors of one name.
    pub fn without_vector(&self, name: &str) -> Self {
        let mut chunk = self.share();
        chunk.columns.remove(name);
        chunk.sparse.remove(name);
        chunk.multi.remove(name);
        chunk
    }

    fn share(&self) -> Self {
        Self {
            ids: self.ids.clone(),
            seqs: self.seqs.clone(),
            payloads: self.payloads.clone(),
            columns: self.columns.clone(),
            sparse: self.sparse.clone(),
            multi: self.multi.clone(),
            indexes: self.indexes.clone(),
            bytes: self.bytes,
            payload_bytes: self.payload_bytes,
            identity: self.identity.clone(),
        }
    }
}

fn multi_columns(rows: &[Arc<Row>], config: &CollectionConfig) -> BTreeMap<String, Arc<MultiColumn>> {
    let column = |(name, params): (&String, &VectorParams)| {
        let vector = |r: &Arc<Row>| r.vectors.get(name).and_then(Vector::as_multi).cloned();
        let vectors: Vec<_> = rows.iter().map(vector).collect();
        let column = MultiColumn::new(params.size, vectors.iter().map(|v| v.as_ref().map(|v| v.row())))?;
        Some((name.clone(), Arc::new(column)))
    };
    config.vectors.iter().filter(|(_, params)| params.multivector).filter_map(column).collect()
}

fn column_of(rows: &[Arc<Row>], name: &str, dim: usize) -> Option<Column> {
    let mut column: Option<Column> = None;
    for (offset, row) in rows.iter().enumerate() {
        let Some(v) = row.vectors.get(name).and_then(Vector::as_dense) else { continue };
        let column = column.get_or_insert_with(|| Column {
            dim,
            rows: vec![0.0; rows.len() * dim],
            present: Bitset::zeros(rows.len() as u32),
        });
        column.rows[offset * dim..(offset + 1) * dim].copy_from_slice(v);
        column.present.set(offset as u32);
    }
    column
}

impl PointSource for Chunk {
    fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    fn id(&self, offset: u32) -> PointId {
        self.ids[offset as usize]
    }

    fn offset_of(&self, id: PointId) -> Option<u32> {
        self.ids.binary_search(&id).ok().map(|i| i as u32)
    }

    fn payload(&self, offset: u32) -> Result<Cow<'_, PayloadMap>> {
        self.payloads[offset as usize].parse().map(Cow::Owned)
    }

    fn has_vector(&self, offset: u32, name: &str) -> bool {
        named(&self.columns, name).is_some_and(|c| c.present.get(offset))
            || named(&self.sparse, name).is_some_and(|c| c.present.get(offset))
            || named(&self.multi, name).is_some_and(|c| c.present.get(offset))
    }

    fn with_vector(&self, name: &str) -> Bitset {
        let dense = named(&self.columns, name).map(|c| &c.present);
        let sparse = || named(&self.sparse, name).map(|c| &c.present);
        let present = dense.or_else(sparse).or_else(|| named(&self.multi, name).map(|c| &c.present));
        present.cloned().unwrap_or_else(|| Bitset::zeros(self.len()))
    }

    fn index(&self, key: &JsonPath) -> Option<&FieldIndex> {
        self.indexes.get(key).map(|i| &**i)
    }
}

/// A chunk and which of its points are gone.
#[derive(Clone)]
pub struct ChunkState {
    pub chunk: Arc<Chunk>,
    dead: Option<Arc<Bitset>>,
    live: u32,
}

impl ChunkState {
    pub fn new(chunk: Chunk) -> Self {
        Self { live: chunk.len(), chunk: Arc::new(chunk), dead: None }
    }

    /// The same points, seen through another chunk.
    pub fn with_chunk(&self, chunk: Chunk) -> Self {
        assert_eq!(chunk.len(), self.chunk.len(), "the same points");
        Self { chunk: Arc::new(chunk), dead: self.dead.clone(), live: self.live }
    }

    /// Number of points that are there.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Whether both hold the same points, possibly with other indexes or without a vector.
    pub fn same_points(&self, other: &ChunkState) -> bool {
        Arc::ptr_eq(&self.chunk.identity, &other.chunk.identity)
    }

    pub fn is_live(&self, offset: u32) -> bool {
        self.dead.as_ref().is_none_or(|d| !d.get(offset))
    }

    /// Marks a point as gone; it must be live.
    pub fn kill(&mut self, offset: u32) {
        assert!(self.is_live(offset), "a point goes once");
        let len = self.chunk.len();
        Arc::make_mut(self.dead.get_or_insert_with(|| Arc::new(Bitset::zeros(len)))).set(offset);
        self.live -= 1;
    }

    /// The points that are there.
    pub fn live_bits(&self) -> Bitset {
        let mut live = Bitset::ones(self.chunk.len());
        self.dead.iter().for_each(|d| live.and_not(d));
        live
    }
}
