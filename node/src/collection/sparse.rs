//! Sparse vectors of a collection: their settings, and the weights that statistics of all shards give to a query.

use std::collections::BTreeMap;

use quiver_api::collections::{CreateCollection, VectorParams};
use quiver_api::point::Vector;
use quiver_api::shard_call::{ShardAnswer, ShardRead, ShardSearch, SparseCount, SparseCounted};
use quiver_api::sparse::{Modifier, SparseVectorParams};
use quiver_engine::shard::View;
use quiver_engine::{Cancel, Error as EngineError};

use super::{Collection, convert, unexpected};
use crate::error::Result;
use crate::pool::Deadline;

/// Counting in so many points is over at once.
const SHORT_POINTS: u64 = 100_000;

/// The settings of one vector.
pub enum Configured<'a> {
    Dense(&'a VectorParams),
    Sparse(&'a SparseVectorParams),
}

/// The settings of the vector of that name, if there is one.
pub fn configured<'a>(settings: &'a CreateCollection, name: &str) -> Option<Configured<'a>> {
    let dense = settings.vectors.iter().find(|(known, _)| *known == name).map(|(_, p)| Configured::Dense(p));
    let sparse = settings.sparse_vectors.as_ref().and_then(|all| all.get(name)).map(Configured::Sparse);
    dense.or(sparse)
}

impl Configured<'_> {
    /// Refuses a vector of another kind, or of another number of dimensions.
    pub fn check(&self, vector: &Vector) -> Result<()> {
        match (self, vector) {
            (Configured::Sparse(_), Vector::Sparse { .. }) => Ok(()),
            (Configured::Sparse(_), Vector::Dense(_)) => Err(convert::wrong_kind()),
            (Configured::Sparse(_), other) => convert::dense(other).map(|_| ()),
            (Configured::Dense(params), Vector::Multi(rows)) if params.multivector_config.is_some() => {
                match rows.iter().map(Vec::len).find(|got| *got != params.size) {
                    Some(got) => Err(EngineError::Dimension { expected: params.size, got }.into()),
                    None => Ok(()),
                }
            }
            (Configured::Dense(params), vector) => match convert::dense(vector)?.len() {
                got if got != params.size => {
                    Err(EngineError::Dimension { expected: params.size, got }.into())
                }
                _ => Ok(()),
            },
        }
    }
}

/// Counts in one shard.
pub fn count(view: &View, count: SparseCount, cancel: &Cancel) -> Result<SparseCounted> {
    let filter = count.filter.map(convert::filter).transpose()?;
    let counted = view.sparse_counts(&count.using, &count.indices, filter.as_ref(), cancel)?;
    Ok(SparseCounted { points: counted.points, with_index: counted.with_dimension })
}

/// Whether counting is over so soon that it is not worth another thread.
pub fn is_short(view: &View, all: &[SparseCount]) -> bool {
    let dimensions: u64 = all.iter().map(|c| c.indices.len() as u64).sum();
    all.iter().all(|c| c.filter.is_none()) && view.points().saturating_mul(dimensions) <= SHORT_POINTS * 10
}

impl Collection {
    /// Multiplies the weights of sparse queries by the inverse document frequencies of their dimensions, where the
    /// collection says so. Statistics are those of all shards.
    pub(super) async fn weigh(
        &self,
        searches: &mut [(ShardSearch, usize)],
        deadline: Deadline,
    ) -> Result<()> {
        let definition = self.definition.load_full();
        let weighted = |s: &ShardSearch| match configured(&definition.settings, &s.using) {
            Some(Configured::Sparse(params)) => params.modifier == Some(Modifier::Idf),
            _ => false,
        };
        let mut searches: Vec<&mut ShardSearch> =
            searches.iter_mut().map(|(s, _)| s).filter(|s| weighted(s)).collect();
        if searches.is_empty() {
            return Ok(());
        }
        let read = ShardRead::SparseCounts(searches.iter().map(|s| count_of(s)).collect());
        let mut totals: Vec<SparseCounted> = Vec::new();
        for answer in self.read_all(&read, deadline).await? {
            let ShardAnswer::SparseCounts(counted) = answer else { return Err(unexpected(&answer)) };
            if totals.is_empty() {
                totals = counted;
                continue;
            }
            for (total, counted) in totals.iter_mut().zip(counted) {
                total.points += counted.points;
                total.with_index.iter_mut().zip(counted.with_index).for_each(|(all, n)| *all += n);
            }
        }
        let ShardRead::SparseCounts(counts) = read else { unreachable!("made above") };
        for ((search, count), total) in searches.iter_mut().zip(counts).zip(totals) {
            let idf = total.with_index.iter().map(|n| inverse_frequency(total.points, *n));
            let weights: BTreeMap<u32, f32> = count.indices.into_iter().zip(idf).collect();
            search.query.vectors_mut().into_iter().for_each(|v| multiply(v, &weights));
            search.params.idf = None;
        }
        Ok(())
    }
}

/// What has to be counted for a search.
fn count_of(search: &ShardSearch) -> SparseCount {
    let mut indices: Vec<u32> = Vec::new();
    for vector in search.query.vectors() {
        if let Vector::Sparse { indices: of_one, .. } = vector {
            indices.extend_from_slice(of_one);
        }
    }
    indices.sort_unstable();
    indices.dedup();
    let filter = search.params.idf.as_ref().and_then(|idf| idf.corpus()).cloned();
    SparseCount { using: search.using.clone(), indices, filter }
}

/// `ln((points - with + 0.5) / (with + 0.5) + 1)`.
fn inverse_frequency(points: u64, with: u64) -> f32 {
    let (points, with) = (points as f64, with as f64);
    ((points - with + 0.5) / (with + 0.5) + 1.0).ln() as f32
}

fn multiply(vector: &mut Vector, weights: &BTreeMap<u32, f32>) {
    if let Vector::Sparse { indices, values } = vector {
        indices.iter().zip(values).for_each(|(i, value)| *value *= weights.get(i).copied().unwrap_or(1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rarer_dimensions_weigh_more_and_none_less_than_nothing() {
        assert!((inverse_frequency(0, 0) - std::f32::consts::LN_2).abs() < 1e-6);
        assert!((inverse_frequency(3, 1) - (2.5f32 / 1.5 + 1.0).ln()).abs() < 1e-6);
        assert!(inverse_frequency(1000, 1) > inverse_frequency(1000, 2));
        assert!(inverse_frequency(1000, 1000) > 0.0);
    }
}
