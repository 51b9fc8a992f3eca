//! What the writer of a shard knows: all points, where each is, and how an operation of the log changes them.
//!
//! Applying is deterministic and idempotent: the same log gives the same points on every copy. It never touches a
//! file but to read a point of a sealed segment that is changed in part: the whole point is then written anew into the
//! mutable part, and the old one is marked deleted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::bounds::Bounds;
use super::defer::Deferral;
use super::read::View;
use super::scrub::Damage;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::Result;
use crate::filter::PointSource;
use crate::json_path::JsonPath;
use crate::operation::{LogOp, PointWrite};
use crate::payload::{PayloadMap, RawPayload};
use crate::payload_edit;
use crate::point_id::PointId;
use crate::segment::Deleted;
use crate::segment::builder::Source;
use crate::segment::mutable::{CHUNK_POINTS, Chunk, ChunkState, Row, Tail};
use crate::segment::sealed::{SealedSegment, SealedState};
use crate::vector::{NamedVectors, Vector, named};

/// Where a point of the mutable part is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Tail(u32),
    /// Number of the chunk, offset in it.
    Chunk(u64, u32),
}

/// Where a point is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    Mutable(Place),
    /// Place of the segment in the list, offset in it.
    Sealed(usize, u32),
}

/// The points of a shard.
pub struct State {
    pub seq: u64,
    pub term: u64,
    pub config: Arc<CollectionConfig>,
    pub indexes: Arc<BTreeMap<JsonPath, FieldSchema>>,
    pub sealed: Vec<SealedState>,
    /// Number of vector changes (created, dropped) so far in this process; a build that finds another number
    /// than it started with must not be published.
    pub vector_changes: u64,
    /// Points written so far in this process, each change counted.
    pub written: u64,
    first_chunk: u64,
    chunks: Vec<ChunkState>,
    tail: Tail,
    places: HashMap<PointId, Place, FixedState>,
    mutable_bytes: usize,
    tail_bytes: usize,
    pub(super) deferral: Deferral,
    pub(super) bounds: Bounds,
}

/// The mutable part at one moment, to be sealed.
pub struct Frozen {
    pub sources: Vec<Source>,
    /// The first chunk that is not in it.
    pub end: u64,
}

impl State {
    pub fn new(
        (seq, term): (u64, u64),
        config: CollectionConfig,
        indexes: BTreeMap<JsonPath, FieldSchema>,
        sealed: Vec<SealedState>,
    ) -> Self {
        Self {
            seq,
            term,
            config: Arc::new(config),
            indexes: Arc::new(indexes),
            sealed,
            vector_changes: 0,
            written: 0,
            first_chunk: 0,
            chunks: Vec::new(),
            tail: Tail::default(),
            places: HashMap::default(),
            mutable_bytes: 0,
            tail_bytes: 0,
            deferral: Deferral::default(),
            bounds: Bounds::default(),
        }
    }

    /// The state for readers; shares everything.
    pub fn view(&self, damage: &Damage) -> View {
        let chunks = self.chunks.iter().filter(|c| c.live() > 0).cloned().collect();
        self.view_of(self.sealed.clone(), chunks, self.tail.clone(), damage)
    }

    /// A state for readers with these parts.
    pub(super) fn view_of(
        &self,
        sealed: Vec<SealedState>,
        chunks: Vec<ChunkState>,
        tail: Tail,
        damage: &Damage,
    ) -> View {
        View::new(self.seq, self.config.clone(), self.indexes.clone(), sealed, chunks, tail, damage.clone())
            .bounded(self.bounds)
    }

    pub(super) fn mutable(&self) -> (&[ChunkState], &Tail) {
        (&self.chunks, &self.tail)
    }

    /// The operation that changed a point last.
    pub(super) fn seq_of(&self, found: Found) -> u64 {
        match found {
            Found::Mutable(Place::Tail(at)) => self.tail.rows()[at as usize].seq,
            Found::Mutable(Place::Chunk(number, offset)) => {
                self.chunks[(number - self.first_chunk) as usize].chunk.seq(offset)
            }
            Found::Sealed(i, offset) => self.sealed[i].segment.version(offset),
        }
    }

    /// Points of the mutable part.
    pub fn mutable_points(&self) -> usize {
        self.places.len()
    }

    /// Memory of the mutable part, dead points included.
    pub fn mutable_bytes(&self) -> usize {
        self.mutable_bytes + self.tail_bytes
    }

    /// Ids of the points of the mutable part.
    pub(super) fn mutable_ids(&self) -> Vec<PointId> {
        self.places.keys().copied().collect()
    }

    pub fn contains(&self, id: PointId) -> bool {
        self.find(id).is_some()
    }

    pub(super) fn find(&self, id: PointId) -> Option<Found> {
        if let Some(place) = self.places.get(&id) {
            return Some(Found::Mutable(*place));
        }
        self.sealed.iter().enumerate().find_map(|(i, s)| {
            let offset = s.segment.offset_of(id)?;
            (!s.deleted.contains(offset)).then_some(Found::Sealed(i, offset))
        })
    }

    /// Applies an operation of the log.
    pub fn apply(&mut self, seq: u64, term: u64, op: LogOp) -> Result<()> {
        debug_assert!(seq > self.seq, "operations are applied in order, each once");
        self.bounds = self.bounds.after(seq, term, &op);
        match op {
            LogOp::Noop | LogOp::Freeze { .. } => {}
            LogOp::Keep(range) => self.keep_only(range),
            LogOp::Upsert(points) => {
                for PointWrite { id, vectors, payload } in points {
                    let vectors = self.known(vectors);
                    self.put(Row::new(id, seq, vectors, payload))?;
                }
            }
            LogOp::Delete(ids) => ids.into_iter().for_each(|id| {
                self.deferral.forget(id);
                if let Some(found) = self.find(id) {
                    self.remove(id, found);
                }
            }),
            LogOp::UpdateVectors(points) => {
                for (id, vectors) in points {
                    let vectors = self.known(vectors);
                    self.edit(id, seq, |all, _| {
                        for (name, v) in vectors.iter() {
                            all.insert(name.to_owned(), v.clone());
                        }
                        Ok(())
                    })?;
                }
            }
            LogOp::DeleteVectors { ids, names } => self.edit_all(&ids, seq, |all, _| {
                names.iter().for_each(|n| drop(all.remove(n)));
                Ok(())
            })?,
            LogOp::SetPayload { ids, payload, key } => {
                let patch = payload.parse()?;
                self.edit_payloads(&ids, seq, |map| payload_edit::merge(map, &patch, key.as_ref()))?;
            }
            LogOp::OverwritePayload { ids, payload } => self.edit_all(&ids, seq, |_, p| {
                *p = payload.clone();
                Ok(())
            })?,
            LogOp::DeletePayload { ids, keys } => {
                self.edit_payloads(&ids, seq, |map| payload_edit::delete_keys(map, &keys))?
            }
            LogOp::ClearPayload { ids } => self.edit_all(&ids, seq, |_, p| {
                *p = RawPayload::empty();
                Ok(())
            })?,
            LogOp::CreateIndex { field, schema } => self.create_index(field, schema)?,
            LogOp::DropIndex { field } => self.drop_index(&field),
            LogOp::CreateVector { name, params } => {
                let mut config = (*self.config).clone();
                if config.vectors.insert(name, params.clone()) != Some(params) {
                    self.config = Arc::new(config);
                    self.vector_changes += 1;
                }
            }
            LogOp::CreateSparseVector { name, params } => {
                let mut config = (*self.config).clone();
                if config.sparse_vectors.insert(name, params) != Some(params) {
                    self.config = Arc::new(config);
                    self.vector_changes += 1;
                }
            }
            LogOp::DropVector { name } => self.drop_vector(&name)?,
        }
        (self.seq, self.term) = (seq, term);
        Ok(())
    }

    /// Without vectors that the collection doesn't have, or has otherwise: they were dropped after the write was
    /// checked.
    fn known(&self, vectors: NamedVectors) -> NamedVectors {
        let fits = |name: &str, v: &Vector| match v {
            Vector::Dense(v) => {
                named(&self.config.vectors, name).is_some_and(|p| !p.multivector && v.len() == p.size)
            }
            Vector::Multi(v) => {
                named(&self.config.vectors, name).is_some_and(|p| p.multivector && v.row().dim == p.size)
            }
            Vector::Sparse(_) => named(&self.config.sparse_vectors, name).is_some(),
        };
        if vectors.iter().all(|(name, v)| fits(name, v)) {
            return vectors;
        }
        vectors.iter().filter(|(n, v)| fits(n, v)).map(|(n, v)| (n.to_owned(), v.clone())).collect()
    }

    fn put(&mut self, row: Row) -> Result<()> {
        let id = row.id;
        self.written += 1;
        let found = self.find(id);
        self.before_change(id, found);
        match found {
            Some(Found::Mutable(Place::Tail(at))) => {
                let old = self.tail.rows()[at as usize].bytes();
                self.tail_bytes = self.tail_bytes + row.bytes() - old;
                self.tail.replace(at, row);
                return Ok(());
            }
            Some(found) => self.remove(id, found),
            None => {}
        }
        self.tail_bytes += row.bytes();
        let at = self.tail.push(row);
        self.places.insert(id, Place::Tail(at));
        if self.tail.len() as usize >= CHUNK_POINTS { self.freeze_tail() } else { Ok(()) }
    }

    pub(super) fn remove(&mut self, id: PointId, found: Found) {
        match found {
            Found::Sealed(i, offset) => drop(self.sealed[i].deleted.insert(offset)),
            Found::Mutable(Place::Chunk(number, offset)) => {
                self.places.remove(&id);
                self.chunks[(number - self.first_chunk) as usize].kill(offset);
            }
            Found::Mutable(Place::Tail(at)) => {
                self.places.remove(&id);
                self.tail_bytes -= self.tail.rows()[at as usize].bytes();
                if let Some(moved) = self.tail.remove(at) {
                    self.places.insert(moved, Place::Tail(at));
                }
            }
        }
    }

    /// Makes the tail a chunk.
    fn freeze_tail(&mut self) -> Result<()> {
        let mut rows = self.tail.rows().to_vec();
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_unstable_by_key(|r| r.id);
        let chunk = Chunk::freeze(&rows, &self.config, &self.indexes)?;
        let number = self.first_chunk + self.chunks.len() as u64;
        for (offset, row) in rows.iter().enumerate() {
            self.places.insert(row.id, Place::Chunk(number, offset as u32));
        }
        self.mutable_bytes += chunk.bytes();
        self.chunks.push(ChunkState::new(chunk));
        self.tail = Tail::default();
        self.tail_bytes = 0;
        Ok(())
    }

    /// Rewrites a point with what `change` makes of its vectors and payload; missing points are left out.
    fn edit(
        &mut self,
        id: PointId,
        seq: u64,
        change: impl FnOnce(&mut NamedVectors, &mut RawPayload) -> Result<()>,
    ) -> Result<()> {
        let Some(found) = self.find(id) else { return Ok(()) };
        let (mut vectors, mut payload) = match found {
            Found::Mutable(Place::Tail(at)) => {
                let row = &self.tail.rows()[at as usize];
                (row.vectors.clone(), row.payload.clone())
            }
            Found::Mutable(Place::Chunk(number, offset)) => {
                let chunk = &self.chunks[(number - self.first_chunk) as usize].chunk;
                (chunk.vectors(offset), chunk.raw_payload(offset).clone())
            }
            Found::Sealed(i, offset) => {
                let segment = &self.sealed[i].segment;
                let mut vectors = NamedVectors::new();
                for name in segment.vectors().keys() {
                    if let Some(v) = segment.vector(offset, name)? {
                        vectors.insert(name.clone(), Vector::Dense(v.to_vec()));
                    }
                }
                for name in segment.sparse().keys() {
                    if let Some(v) = segment.sparse_vector(offset, name)? {
                        vectors.insert(name.clone(), Vector::Sparse(v.to_vector()));
                    }
                }
                for name in segment.multi().keys() {
                    if let Some(v) = segment.multi_vector(offset, name)? {
                        vectors.insert(name.clone(), Vector::Multi(v.to_vector()));
                    }
                }
                (vectors, segment.raw_payload(offset)?)
            }
        };
        change(&mut vectors, &mut payload)?;
        self.put(Row::new(id, seq, vectors, payload))
    }

    fn edit_all(
        &mut self,
        ids: &[PointId],
        seq: u64,
        change: impl Fn(&mut NamedVectors, &mut RawPayload) -> Result<()>,
    ) -> Result<()> {
        ids.iter().try_for_each(|id| self.edit(*id, seq, &change))
    }

    fn edit_payloads(&mut self, ids: &[PointId], seq: u64, change: impl Fn(&mut PayloadMap)) -> Result<()> {
        self.edit_all(ids, seq, |_, payload| {
            let mut map = payload.parse()?;
            change(&mut map);
            *payload = RawPayload::from_map(&map);
            Ok(())
        })
    }

    fn create_index(&mut self, field: JsonPath, schema: FieldSchema) -> Result<()> {
        if self.indexes.get(&field) == Some(&schema) {
            return Ok(());
        }
        for state in &mut self.chunks {
            *state = state.with_chunk(state.chunk.with_index(&field, &schema)?);
        }
        Arc::make_mut(&mut self.indexes).insert(field, schema);
        self.forget_indexes();
        Ok(())
    }

    fn drop_index(&mut self, field: &JsonPath) {
        if Arc::make_mut(&mut self.indexes).remove(field).is_some() {
            for state in &mut self.chunks {
                *state = state.with_chunk(state.chunk.without_index(field));
            }
            self.forget_indexes();
        }
    }

    /// Hides indexes of sealed segments that the shard doesn't have (any more).
    pub fn forget_indexes(&mut self) {
        for sealed in &mut self.sealed {
            if let Some(segment) = sealed.segment.keep_indexes(&self.indexes) {
                sealed.segment = Arc::new(segment);
            }
        }
    }

    fn drop_vector(&mut self, name: &str) -> Result<()> {
        if !self.config.has_vector(name) {
            return Ok(());
        }
        // In chunks only, so that the tail needs no second way.
        self.freeze_tail()?;
        let mut config = (*self.config).clone();
        config.vectors.remove(name);
        config.sparse_vectors.remove(name);
        self.config = Arc::new(config);
        self.vector_changes += 1;
        for state in &mut self.chunks {
            *state = state.with_chunk(state.chunk.without_vector(name));
        }
        for sealed in &mut self.sealed {
            if let Some(segment) = sealed.segment.without_vector(name) {
                sealed.segment = Arc::new(segment);
            }
        }
        Ok(())
    }

    /// Takes over the settings of a new configuration; which vectors there are is the log's.
    pub fn set_config(&mut self, new: CollectionConfig) -> CollectionConfig {
        let vectors = self.config.vectors.clone();
        let mut sparse_vectors = self.config.sparse_vectors.clone();
        for (name, params) in &mut sparse_vectors {
            *params = new.sparse_vectors.get(name).copied().unwrap_or(*params);
        }
        let mut config = CollectionConfig { vectors, sparse_vectors, ..new };
        for (name, params) in &mut config.vectors {
            if let Some(wanted) = new.vectors.get(name) {
                params.hnsw = wanted.hnsw;
                params.quantization = wanted.quantization;
                params.on_disk = wanted.on_disk;
            }
        }
        self.config = Arc::new(config.clone());
        config
    }

    /// The whole mutable part as it is now; it goes on being part of the state until [`Self::drop_chunks`].
    pub fn freeze(&mut self) -> Result<Frozen> {
        self.freeze_tail()?;
        let sources = self.chunks.iter().filter(|c| c.live() > 0).cloned().map(Source::Chunk).collect();
        Ok(Frozen { sources, end: self.first_chunk + self.chunks.len() as u64 })
    }

    /// Forgets the chunks before `end`; their live points are in `sealed` now, those that died since are marked in it.
    pub fn replace_chunks(&mut self, end: u64, frozen: &[Source], mut sealed: Option<SealedState>) {
        let count = (end - self.first_chunk) as usize;
        for state in self.chunks.drain(..count) {
            self.mutable_bytes -= state.chunk.bytes();
            for offset in 0..state.chunk.len() {
                let id = state.chunk.id(offset);
                if matches!(self.places.get(&id), Some(Place::Chunk(n, _)) if *n < end) {
                    self.places.remove(&id);
                }
            }
            let Some(sealed) = &mut sealed else { continue };
            // What was live when the chunk was frozen and is not now.
            let was = frozen.iter().find_map(|s| match s {
                Source::Chunk(c) if c.same_points(&state) => Some(c),
                _ => None,
            });
            for offset in was
                .iter()
                .flat_map(|w| (0..state.chunk.len()).filter(|o| w.is_live(*o) && !state.is_live(*o)))
            {
                let id = state.chunk.id(offset);
                let new = sealed.segment.offset_of(id).expect("a point that was live is in the new segment");
                sealed.deleted.insert(new);
            }
        }
        self.first_chunk = end;
        self.sealed.extend(sealed);
    }
}

/// The points of `old` that were deleted between two states, marked in the segment that was built from it.
pub fn carry_deletions(old: &SealedSegment, now: &Deleted, before: &Deleted, new: &mut SealedState) {
    for offset in now.since(Some(before)) {
        let place =
            new.segment.offset_of(old.id(offset)).expect("a point that was live is in the new segment");
        new.deleted.insert(place);
    }
}
