//! Reading a shard: one consistent state, never a lock.

use crate::cancel::Cancel;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::Result;
use crate::filter::Filter;
use crate::json_path::JsonPath;
use crate::point_id::PointId;
use crate::query::{Record, SearchOutcome, SearchRequest, WithVectors};
use crate::vector::Vector;
use std::sync::Arc;

/// The state of a shard after some write.
#[derive(Default)]
pub struct View {
    seq: u64,
    config: Arc<CollectionConfig>,
}

impl View {
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
        0
    }

    /// The nearest points, best first; equal scores by id.
    pub fn search(&self, _request: &SearchRequest, _cancel: &Cancel) -> Result<SearchOutcome> {
        Ok(SearchOutcome::default())
    }

    /// The points that exist, in the order they were asked for.
    pub fn retrieve(&self, _ids: &[PointId], _payload: bool, _vectors: &WithVectors) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }

    /// Up to `limit` ids from `from` on (inclusive) in their order, and the keys filtered on without an index.
    pub fn scroll(
        &self,
        _filter: Option<&Filter>,
        _from: Option<PointId>,
        _limit: usize,
        _cancel: &Cancel,
    ) -> Result<(Vec<PointId>, Vec<String>)> {
        Ok((Vec::new(), Vec::new()))
    }

    /// How many points pass, and the keys filtered on without an index.
    pub fn count(&self, _filter: Option<&Filter>, _cancel: &Cancel) -> Result<(u64, Vec<String>)> {
        Ok((0, Vec::new()))
    }

    /// All points that pass, in the order of their ids.
    pub fn ids_matching(&self, _filter: &Filter, _cancel: &Cancel) -> Result<Vec<PointId>> {
        Ok(Vec::new())
    }

    /// Payload indexes with the number of points that have a value.
    pub fn payload_schema(&self) -> Vec<(JsonPath, FieldSchema, usize)> {
        Vec::new()
    }

    /// One vector as it is stored; `PointNotFound` or `VectorNotFound` without it.
    pub fn vector_of(&self, id: PointId, name: &str) -> Result<Vector> {
        let _ = name;
        Err(crate::error::Error::PointNotFound(id))
    }
}
