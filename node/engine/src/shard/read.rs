//! Reading a shard: one consistent state, never a lock.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bounds::Bounds;
use super::part::Part;
use super::scrub::Damage;
use super::search;
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::{Error, Result};
use crate::filter::{self, Filter, PointSource};
use crate::json_path::JsonPath;
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::{Record, SearchOutcome, SearchRequest, WithVectors};
use crate::segment::Passing;
use crate::segment::mutable::{ChunkState, Tail};
use crate::segment::sealed::{SealedSegment, SealedState};
use crate::vector::{NamedVectors, Vector};

/// The state of a shard after some write.
pub struct View {
    seq: u64,
    config: Arc<CollectionConfig>,
    indexes: Arc<BTreeMap<JsonPath, FieldSchema>>,
    sealed: Vec<SealedState>,
    chunks: Vec<ChunkState>,
    tail: Tail,
    points: u64,
    damage: Damage,
    bounds: Bounds,
}

impl View {
    pub(super) fn new(
        seq: u64,
        config: Arc<CollectionConfig>,
        indexes: Arc<BTreeMap<JsonPath, FieldSchema>>,
        sealed: Vec<SealedState>,
        chunks: Vec<ChunkState>,
        tail: Tail,
        damage: Damage,
    ) -> Self {
        let points = sealed.iter().map(|s| u64::from(s.deleted.live())).sum::<u64>()
            + chunks.iter().map(|c| u64::from(c.live())).sum::<u64>()
            + u64::from(tail.len());
        let bounds = Bounds::default();
        Self { seq, config, indexes, sealed, chunks, tail, points, damage, bounds }
    }

    pub(super) fn bounded(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// What the shard owns.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The last operation that it contains.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The configuration, with the vectors as the operations so far made them.
    pub fn config(&self) -> &CollectionConfig {
        &self.config
    }

    /// Number of points.
    pub fn points(&self) -> u64 {
        self.points
    }

    pub(super) fn shared_config(&self) -> &Arc<CollectionConfig> {
        &self.config
    }

    pub(super) fn sealed(&self) -> &[SealedState] {
        &self.sealed
    }

    pub(super) fn mutable(&self) -> (&[ChunkState], &Tail) {
        (&self.chunks, &self.tail)
    }

    /// Payload indexes of the shard.
    pub fn indexes(&self) -> &BTreeMap<JsonPath, FieldSchema> {
        &self.indexes
    }

    /// Everything that holds points, newest last.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let tail = (!self.tail.is_empty()).then_some(Part::Tail(&self.tail));
        self.sealed.iter().map(Part::Sealed).chain(self.chunks.iter().map(Part::Chunk)).chain(tail)
    }

    /// Keys of a filter that no index of the shard serves.
    pub fn unindexed(&self, filter: Option<&Filter>) -> Vec<String> {
        filter.map_or_else(Vec::new, |f| filter::unindexed(&self.bound(f), &|key| self.indexes.get(key)))
    }

    /// A filter as it is meant under the shard's payload indexes.
    pub(super) fn bound<'f>(&self, filter: &'f Filter) -> Cow<'f, Filter> {
        filter::bind(filter, &|key| self.indexes.get(key))
    }

    /// The nearest points, best first; equal scores by id.
    pub fn search(&self, request: &SearchRequest, cancel: &Cancel) -> Result<SearchOutcome> {
        search::run(self, request, cancel).inspect_err(|e| self.damage.note(e))
    }

    /// Remembers an error that says that a file is damaged.
    pub(super) fn note(&self, error: &Error) {
        self.damage.note(error);
    }

    /// Where a point is.
    fn find(&self, id: PointId) -> Option<(Part<'_>, u32)> {
        self.parts().find_map(|part| {
            let offset = part.points().offset_of(id)?;
            part.is_live(offset).then_some((part, offset))
        })
    }

    /// Whether a point exists.
    pub fn contains(&self, id: PointId) -> bool {
        self.find(id).is_some()
    }

    /// Whether an existing point passes a filter; `None` if there is no such point.
    pub fn passes(&self, id: PointId, filter: &Filter) -> Result<Option<bool>> {
        let Some((part, offset)) = self.find(id) else { return Ok(None) };
        let points = part.points();
        let payload = points.payload(offset)?;
        let has_vector = |name: &str| points.has_vector(offset, name);
        Ok(Some(filter::matches(&self.bound(filter), id, &has_vector, &payload)))
    }

    /// The points that exist, in the order they were asked for.
    pub fn retrieve(&self, ids: &[PointId], payload: bool, vectors: &WithVectors) -> Result<Vec<Record>> {
        self.records(ids, payload, vectors).inspect_err(|e| self.damage.note(e))
    }

    fn records(&self, ids: &[PointId], payload: bool, vectors: &WithVectors) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            let Some((part, offset)) = self.find(*id) else { continue };
            records.push(Record {
                id: *id,
                version: part.version(offset),
                payload: if payload { part.payload(offset)? } else { RawPayload::empty() },
                vectors: self.vectors(part, offset, vectors)?,
            });
        }
        Ok(records)
    }

    fn vectors(&self, part: Part<'_>, offset: u32, wanted: &WithVectors) -> Result<NamedVectors> {
        let mut vectors = NamedVectors::new();
        for name in self.config.vectors.keys().filter(|name| wanted.wants(name)) {
            if let Some(v) = part.vector(offset, name)? {
                vectors.insert(name.clone(), Vector::Dense(v.to_vec()));
            } else if let Some(v) = part.multi_vector(offset, name)? {
                vectors.insert(name.clone(), Vector::Multi(v.to_vector()));
            }
        }
        for name in self.config.sparse_vectors.keys().filter(|name| wanted.wants(name)) {
            if let Some(v) = part.sparse_vector(offset, name)? {
                vectors.insert(name.clone(), Vector::Sparse(v.to_vector()));
            }
        }
        Ok(vectors)
    }

    /// Up to `limit` ids from `from` on (inclusive) in their order, and the keys filtered on without an index.
    pub fn scroll(
        &self,
        filter: Option<&Filter>,
        from: Option<PointId>,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<(Vec<PointId>, Vec<String>)> {
        let mut found: Vec<PointId> = Vec::new();
        let bound = filter.map(|f| self.bound(f));
        let filter = bound.as_deref();
        for part in self.parts() {
            let points = part.points();
            let passing = match filter {
                Some(f) => Some(self.passing(part, f, cancel)?),
                None => None,
            };
            let passes = |offset: &u32| match &passing {
                Some(bits) => bits.get(*offset),
                None => part.is_live(*offset),
            };
            let start = from.map_or(0, |id| part.lower_bound(id));
            let offsets = (start..points.len()).map(|place| part.offset_at(place)).filter(passes);
            if part.is_sorted() {
                found.extend(offsets.take(limit).map(|offset| points.id(offset)));
            } else {
                found.extend(
                    offsets.map(|offset| points.id(offset)).filter(|id| from.is_none_or(|f| *id >= f)),
                );
            }
        }
        // Every point is in one part only, so nothing comes twice.
        found.sort_unstable();
        found.truncate(limit);
        Ok((found, self.unindexed(filter)))
    }

    /// How many points pass, and the keys filtered on without an index.
    pub fn count(&self, filter: Option<&Filter>, cancel: &Cancel) -> Result<(u64, Vec<String>)> {
        let Some(f) = filter.map(|f| self.bound(f)) else { return Ok((self.points, Vec::new())) };
        let mut count = 0;
        for part in self.parts() {
            count += u64::from(self.passing(part, &f, cancel)?.count());
        }
        Ok((count, self.unindexed(Some(&*f))))
    }

    /// The live points of a part that pass.
    pub(super) fn passing(&self, part: Part<'_>, filter: &Filter, cancel: &Cancel) -> Result<Bitset> {
        cancel.check()?;
        let live = (!part.is_whole()).then(|| part.live_bits());
        let evaluated = filter::evaluate_among(&self.bound(filter), part.points(), live.as_ref(), cancel);
        Ok(evaluated.inspect_err(|e| self.damage.note(e))?.passing)
    }

    /// The points of a sealed segment that pass, deleted ones too.
    pub(super) fn passing_sealed(
        &self,
        segment: &SealedSegment,
        filter: &Filter,
        cancel: &Cancel,
    ) -> Result<Arc<Passing>> {
        cancel.check()?;
        segment.passing(&self.bound(filter), cancel).inspect_err(|e| self.damage.note(e))
    }

    /// All points that pass, in the order of their ids.
    pub fn ids_matching(&self, filter: &Filter, cancel: &Cancel) -> Result<Vec<PointId>> {
        Ok(self.scroll(Some(filter), None, usize::MAX, cancel)?.0)
    }

    /// Payload indexes with the number of points that have a value; deleted points count until the optimizer
    /// removes them.
    pub fn payload_schema(&self) -> Vec<(JsonPath, FieldSchema, usize)> {
        let points = |key: &JsonPath| {
            let tail = |t: &Tail| {
                let has = |r: &&Arc<crate::segment::mutable::Row>| {
                    r.map().is_ok_and(|m| key.any_value(m, |v| !v.is_null()))
                };
                t.rows().iter().filter(has).count()
            };
            self.parts()
                .map(|part| match part {
                    Part::Tail(t) => tail(t),
                    _ => part.points().index(key).map_or(0, |i| i.points()),
                })
                .sum()
        };
        self.indexes.iter().map(|(key, schema)| (key.clone(), schema.clone(), points(key))).collect()
    }

    /// One vector as it is stored; `PointNotFound` or `VectorNotFound` without it.
    pub fn vector_of(&self, id: PointId, name: &str) -> Result<Vector> {
        if !self.config.has_vector(name) {
            return Err(Error::VectorName(name.to_owned()));
        }
        let (part, offset) = self.find(id).ok_or(Error::PointNotFound(id))?;
        let dense = part.vector(offset, name)?.map(|v| Vector::Dense(v.to_vec()));
        let sparse = part.sparse_vector(offset, name)?.map(|v| Vector::Sparse(v.to_vector()));
        let multi = part.multi_vector(offset, name)?.map(|v| Vector::Multi(v.to_vector()));
        dense.or(sparse).or(multi).ok_or_else(|| Error::VectorNotFound(name.to_owned()))
    }
}
