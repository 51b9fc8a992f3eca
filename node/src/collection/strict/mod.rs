//! Strict mode: limits that a collection sets itself, checked before anything of a request runs.
//!
//! Reads are taken apart into [`Asked`], one for each search, prefetch or scroll; what is checked of them is in `check`,
//! without a collection. A collection without limits in force costs a request one look at its definition.

mod asked;
mod check;
mod filter;
mod rate;

use std::collections::BTreeMap;
use std::sync::Arc;

use quiver_api::collections::FieldSchema;
use quiver_api::filter::Filter;
use quiver_api::point::{Vector, Vectors};
use quiver_api::shard_call::{ShardWrite, Target};
use quiver_api::strict_mode::StrictMode;

pub use self::asked::Asked;
pub use self::rate::Rates;
use super::{Collection, Definition, field_index};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// Limits in force, and the collection whose they are.
pub struct Strict<'a> {
    collection: &'a Collection,
    definition: Arc<Definition>,
    limits: StrictMode,
}

impl Collection {
    /// The limits that are in force; none unless they are switched on.
    pub fn strict(&self) -> Option<Strict<'_>> {
        let definition = self.definition.load();
        let limits = definition.settings.strict_mode_config.as_ref()?;
        let limits = (limits.enabled == Some(true)).then(|| limits.clone())?;
        Some(Strict { collection: self, definition: Arc::clone(&definition), limits })
    }

    /// Refuses a read that asks for more than strict mode allows. `timeout` is what the request says, in seconds.
    pub async fn check_read<'a>(
        &self,
        timeout: Option<u64>,
        deadline: Deadline,
        asked: impl FnOnce() -> Vec<Asked<'a>>,
    ) -> Result<()> {
        match self.strict() {
            None => Ok(()),
            Some(strict) => strict.read(timeout, deadline, &asked()).await,
        }
    }

    /// The same for several reads in one request.
    pub async fn check_reads<'a>(
        &self,
        timeout: Option<u64>,
        deadline: Deadline,
        batch: usize,
        asked: impl FnOnce() -> Vec<Asked<'a>>,
    ) -> Result<()> {
        let Some(strict) = self.strict() else { return Ok(()) };
        check::limit(Some(batch), strict.limits.search_max_batchsize, "search batch size")?;
        strict.read(timeout, deadline, &asked()).await
    }

    /// Refuses a write that strict mode doesn't allow.
    pub async fn check_write(
        &self,
        timeout: Option<u64>,
        deadline: Deadline,
        write: &ShardWrite,
    ) -> Result<()> {
        self.node.quotas.check(&self.node.memory, write)?;
        match self.strict() {
            None => Ok(()),
            Some(strict) => strict.write(timeout, deadline, write).await,
        }
    }
}

impl Strict<'_> {
    async fn read(&self, timeout: Option<u64>, deadline: Deadline, asked: &[Asked<'_>]) -> Result<()> {
        let limits = &self.limits;
        check::limit(timeout, limits.max_timeout.map(|n| n as u64), "timeout")?;
        let must_be_indexed = limits.unindexed_filtering_retrieve == Some(false);
        let scans = limits.search_allow_exact == Some(false) && asked.iter().any(|a| a.scans.is_some());
        let fields = must_be_indexed && asked.iter().any(Asked::names_fields);
        let indexes = if fields || scans { Some(self.indexes(deadline).await?) } else { None };
        for one in asked {
            check::limit(one.limit, limits.max_query_limit, "limit")?;
            if let (true, Some(indexes)) = (must_be_indexed, &indexes) {
                check::indexed(one, indexes)?;
            }
            one.filter.map_or(Ok(()), |filter| check::filter_size(filter, limits))?;
            check::params(one, limits)?;
            if let (true, Some(using), Some(indexes)) = (scans, one.scans, &indexes) {
                check::graph(using, one.filter, &self.definition.settings, indexes)?;
            }
        }
        match limits.read_rate_limit {
            None => Ok(()),
            Some(per_minute) => self.collection.rates.read(asked.iter().map(Asked::cost).sum(), per_minute),
        }
    }

    async fn write(&self, timeout: Option<u64>, deadline: Deadline, write: &ShardWrite) -> Result<()> {
        let limits = &self.limits;
        check::limit(timeout, limits.max_timeout.map(|n| n as u64), "timeout")?;
        match write {
            ShardWrite::Upsert { points, .. } => {
                check::limit(Some(points.len()), limits.upsert_max_batchsize, "upsert limit")?;
                self.check_vectors(points.iter().map(|p| &p.vector))?;
                self.check_sizes(deadline, true).await?;
            }
            ShardWrite::UpdateVectors { points, .. } => {
                check::limit(Some(points.len()), limits.upsert_max_batchsize, "update limit")?;
                self.check_vectors(points.iter().map(|p| &p.vector))?;
                self.check_sizes(deadline, true).await?;
            }
            ShardWrite::SetPayload { .. } | ShardWrite::OverwritePayload { .. } => {
                self.check_sizes(deadline, false).await?;
            }
            ShardWrite::CreateIndex { field, .. } => return self.check_new_index(field, deadline).await,
            _ => {}
        }
        let filter = filter_of(write);
        if let Some(filter) = filter {
            if limits.unindexed_filtering_update == Some(false) {
                check::filter_indexed(filter, &self.indexes(deadline).await?)?;
            }
            check::filter_size(filter, limits)?;
        }
        match limits.write_rate_limit {
            None => Ok(()),
            Some(per_minute) => self.collection.rates.write(self.cost(write, deadline).await?, per_minute),
        }
    }

    /// Points that a write concerns. A filter is taken to find what it finds now if indexes know that, and half of all
    /// points otherwise: it would be odd to search through them all only to learn what the search costs.
    async fn cost(&self, write: &ShardWrite, deadline: Deadline) -> Result<usize> {
        Ok(match (write, target_of(write)) {
            (ShardWrite::Upsert { points, .. }, _) => points.len(),
            (ShardWrite::UpdateVectors { points, .. }, _) => points.len(),
            (_, Some(Target::Ids(ids))) => ids.len(),
            (_, Some(Target::Filter(filter))) => {
                let found = match check::filter_indexed(filter, &self.indexes(deadline).await?) {
                    Ok(()) => self.collection.count(Some(filter.clone()), deadline).await?,
                    Err(_) => self.collection.totals(deadline).await?.points / 2,
                };
                usize::try_from(found).unwrap_or(usize::MAX).max(1)
            }
            (_, None) => 1,
        })
    }

    /// Payload indexes by the path of their field.
    async fn indexes(&self, deadline: Deadline) -> Result<BTreeMap<String, FieldSchema>> {
        if let Some((_, shard)) = self.collection.local_shards().first() {
            let view = shard.view();
            let one = |(path, schema): (&quiver_engine::json_path::JsonPath, _)| {
                (path.to_string(), field_index::wire_field_schema(schema))
            };
            return Ok(view.indexes().iter().map(one).collect());
        }
        let totals = self.collection.totals(deadline).await?;
        Ok(totals.payload_schema.into_iter().map(|(path, (schema, _))| (path, schema)).collect())
    }

    /// Refuses what makes a collection larger that is as large as it may be, or a process that is.
    async fn check_sizes(&self, deadline: Deadline, is_point: bool) -> Result<()> {
        let limits = &self.limits;
        if let Some(limit) = limits.max_resident_memory_percent {
            check::memory(self.collection.node.memory.percent(), limit)?;
        }
        let (vectors, points) = (limits.max_collection_vector_size_bytes, limits.max_points_count);
        let (vectors, points) = if is_point { (vectors, points) } else { (None, None) };
        let payloads = limits.max_collection_payload_size_bytes;
        if (vectors, points, payloads) == (None, None, None) {
            return Ok(());
        }
        let totals = self.collection.totals(deadline).await?;
        let settings = &self.definition.settings;
        let bytes = settings.vectors.iter().map(|(name, params)| {
            let count = totals.vectors.get(name).copied().unwrap_or(0);
            count.saturating_mul(params.size as u64).saturating_mul(4)
        });
        check::size("vector", bytes.sum(), vectors)?;
        check::size("payload", totals.payload_bytes, payloads)?;
        match points {
            Some(limit) if totals.points >= limit as u64 => {
                Err(ApiError::bad_request(format!("Max points count limit of {limit} reached!")))
            }
            _ => Ok(()),
        }
    }

    fn check_vectors<'v>(&self, mut all: impl Iterator<Item = &'v Vectors>) -> Result<()> {
        let (multi, sparse) = (&self.limits.multivector_config, &self.limits.sparse_config);
        if multi.is_none() && sparse.is_none() {
            return Ok(());
        }
        let check = |name: &str, vector: &Vector| check::vector(name, vector, &self.limits);
        all.try_for_each(|vectors| match vectors {
            Vectors::Unnamed(vector) => check("", vector),
            Vectors::Named(map) => map.iter().try_for_each(|(name, vector)| check(name, vector)),
        })
    }

    async fn check_new_index(&self, field: &str, deadline: Deadline) -> Result<()> {
        let Some(limit) = self.limits.max_payload_index_count else { return Ok(()) };
        let indexes = self.indexes(deadline).await?;
        let field = super::convert::path(field)?.to_string();
        if indexes.contains_key(&field) || indexes.len() < limit {
            return Ok(());
        }
        Err(ApiError::strict(
            format!("Collection already has the maximum number of payload indices ({limit})"),
            "Please delete an existing index before creating a new one.",
        ))
    }
}

fn target_of(write: &ShardWrite) -> Option<&Target> {
    match write {
        ShardWrite::Delete(target) | ShardWrite::ClearPayload(target) => Some(target),
        ShardWrite::DeleteVectors { target, .. }
        | ShardWrite::SetPayload { target, .. }
        | ShardWrite::OverwritePayload { target, .. }
        | ShardWrite::DeletePayload { target, .. } => Some(target),
        _ => None,
    }
}

/// The filter that says which points a write concerns.
fn filter_of(write: &ShardWrite) -> Option<&Filter> {
    match (write, target_of(write)) {
        (_, Some(Target::Filter(filter))) => Some(filter),
        (ShardWrite::Upsert { condition, .. } | ShardWrite::UpdateVectors { condition, .. }, _) => {
            condition.as_ref()
        }
        _ => None,
    }
}
