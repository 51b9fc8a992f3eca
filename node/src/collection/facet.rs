//! Facets: values counted by every shard, put together here.

use std::collections::HashMap;

use quiver_api::facet::{FacetHit, FacetValue};
use quiver_api::filter::Filter;
use quiver_api::shard_call::{ShardAnswer, ShardRead};

use super::{Collection, unexpected};
use crate::error::Result;
use crate::pool::Deadline;

/// Values that each of several shards answers if the counts may be approximate: so many times the limit, and more.
const TIMES_LIMIT: usize = 4;
const AT_LEAST: usize = 1000;

impl Collection {
    /// The values of a field that most of the points have which pass, equal counts by value.
    pub async fn facet(
        &self,
        key: String,
        filter: Option<Filter>,
        limit: usize,
        exact: bool,
        deadline: Deadline,
    ) -> Result<Vec<FacetHit>> {
        // A value that is rare in each shard may be frequent in all of them together.
        let shards = self.routes.load().len();
        let wanted = match (shards, exact) {
            (0 | 1, _) => Some(limit),
            (_, true) => None,
            (_, false) => Some(limit.saturating_mul(TIMES_LIMIT).max(AT_LEAST)),
        };
        let read = ShardRead::Facet { key, filter: filter.clone(), limit: wanted };
        let mut counts: HashMap<FacetValue, u64> = HashMap::new();
        for answer in self.read_all(&read, deadline).await? {
            let ShardAnswer::Facets { hits, unindexed } = answer else { return Err(unexpected(&answer)) };
            self.note_unindexed(&unindexed, filter.iter());
            for hit in hits {
                *counts.entry(hit.value).or_default() += hit.count;
            }
        }
        let mut hits: Vec<FacetHit> =
            counts.into_iter().map(|(value, count)| FacetHit { value, count }).collect();
        hits.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        hits.truncate(limit);
        Ok(hits)
    }
}
