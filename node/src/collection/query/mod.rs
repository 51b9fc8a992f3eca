//! The universal query: what it asks for is planned here and asked of the shards, from the innermost prefetch outwards.
//!
//! [`plan`] refuses what makes no sense, [`examples`] turns ids into vectors, [`fusion`] and [`formula`] score points that
//! prefetches found. What is left are searches and scrolls of the collection. Only the points that are answered are shown;
//! those in between are ids and scores.

pub mod examples;
pub mod formula;
pub mod fusion;
pub mod groups;
pub mod matrix;
pub mod mmr;
pub mod order;
pub mod plan;
mod rescore;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use quiver_api::filter::{Condition, Conditions, Filter};
use quiver_api::point::{PointId, Record, ScoredPoint};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::query::{Prefetch, Query, QueryRequest, SearchParams};
use quiver_api::shard_call::ShardSearch;

use super::Collection;
use super::registry::Registry;
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// Hits of a query or prefetch that names no limit.
pub const LIMIT: usize = 10;
/// Prefetches of one query that run at the same time.
const AT_ONCE: usize = 8;

/// A query with what it needs on its way.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub registry: &'a Registry,
    pub collection: &'a Collection,
    pub deadline: Deadline,
    /// What decides which points are drawn, in all parts of one request alike.
    pub seed: u64,
}

/// What is shown of the points that are answered.
#[derive(Clone)]
pub struct Shown {
    pub payload: WithPayload,
    pub vectors: WithVector,
    pub offset: usize,
}

impl Shown {
    /// Ids and scores.
    pub fn nothing() -> Self {
        Self { payload: WithPayload::Bool(false), vectors: WithVector::Bool(false), offset: 0 }
    }

    fn is_nothing(&self) -> bool {
        self.payload == WithPayload::Bool(false) && self.vectors == WithVector::Bool(false)
    }
}

/// A number that nobody knows beforehand.
pub fn random_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// A request as its outermost stage, and what is shown.
pub fn stage_of(r: QueryRequest) -> (Prefetch, Shown) {
    let shown = Shown {
        payload: r.with_payload.unwrap_or(WithPayload::Bool(false)),
        vectors: r.with_vector.unwrap_or(WithVector::Bool(false)),
        offset: r.offset.unwrap_or(0),
    };
    let stage = Prefetch {
        prefetch: r.prefetch,
        query: r.query,
        using: r.using,
        filter: r.filter,
        params: r.params,
        score_threshold: r.score_threshold,
        limit: r.limit,
        lookup_from: r.lookup_from,
    };
    (stage, shown)
}

impl Asking<'_> {
    /// The points of a stage, best first. Every stage's filter holds for what is inside it too.
    pub fn answer(
        &self,
        stage: Prefetch,
        outer: Option<Filter>,
        shown: Shown,
    ) -> BoxFuture<'_, Result<Vec<ScoredPoint>>> {
        self.answer_stage(stage, outer, shown).boxed()
    }

    async fn answer_stage(
        &self,
        mut stage: Prefetch,
        outer: Option<Filter>,
        shown: Shown,
    ) -> Result<Vec<ScoredPoint>> {
        let filter = both(outer, stage.filter.take());
        let inner = stage.prefetch.take().unwrap_or_default().0;
        if inner.is_empty() {
            return self.leaf(stage, filter, shown).await;
        }
        // What is not to be found takes no place in a prefetch either.
        let named = match &stage.query {
            Some(query) => self.excluded(query, stage.lookup_from.as_ref())?,
            None => Vec::new(),
        };
        let filter = if named.is_empty() { filter } else { Some(without(named, filter)) };
        let asked = inner.into_iter().map(|p| self.answer(p, filter.clone(), Shown::nothing()));
        let lists: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        match stage.query.take() {
            Some(Query::Fusion(fusion)) => {
                let fused = fusion::fuse(&fusion, lists)?;
                self.show_best(fused, &stage, shown).await
            }
            Some(Query::Formula(query)) => {
                let scored = self.by_formula(*query, lists).await?;
                self.show_best(scored, &stage, shown).await
            }
            query => {
                let mut ids: Vec<PointId> = lists.iter().flatten().map(|p| p.id).collect();
                ids.sort_unstable();
                ids.dedup();
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                stage.query = query;
                // So few points are compared one by one; the params are those of a search in all of them.
                let idf = stage.params.take().and_then(|p| p.idf);
                stage.params = Some(SearchParams { exact: true, idf, ..SearchParams::default() });
                self.leaf(stage, both(filter, Some(among(ids))), shown).await
            }
        }
    }

    /// A stage that asks the collection.
    async fn leaf(&self, stage: Prefetch, filter: Option<Filter>, shown: Shown) -> Result<Vec<ScoredPoint>> {
        let limit = stage.limit.unwrap_or(LIMIT);
        let (all, offset) = (limit.saturating_add(shown.offset), shown.offset);
        let with = (shown.payload.clone(), shown.vectors.clone());
        let using = stage.using.unwrap_or_default();
        let (query, mmr) = match stage.query {
            None => {
                let (found, _) = self.collection.scroll(filter, None, all, with, self.deadline).await?;
                return Ok(unscored(found, offset));
            }
            Some(Query::OrderBy(order)) => {
                let found = self.collection.ordered(order, filter, all, with, self.deadline).await?;
                return Ok(unscored(found, offset));
            }
            Some(Query::Sample) => {
                let found = self.collection.sample(self.seed, filter, all, with, self.deadline).await?;
                return Ok(unscored(found, offset));
            }
            Some(Query::Diverse(nearest, mmr)) => (nearest.into(), Some(mmr)),
            Some(query) => (query, None),
        };
        let (query, named) = self.resolved(query, &using, stage.lookup_from).await?;
        let search = ShardSearch {
            using,
            query,
            filter: if named.is_empty() { filter } else { Some(without(named, filter)) },
            params: stage.params.unwrap_or_default(),
            limit: all,
            score_threshold: stage.score_threshold,
            payload: shown.payload,
            vectors: shown.vectors,
        };
        if let Some(mmr) = mmr {
            return self.diverse(search, mmr, limit, offset).await;
        }
        let mut found = self.collection.search(vec![(search, offset)], self.deadline).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The best of scored points, with what is shown of them.
    async fn show_best(
        &self,
        mut points: Vec<ScoredPoint>,
        stage: &Prefetch,
        shown: Shown,
    ) -> Result<Vec<ScoredPoint>> {
        points.retain(|p| stage.score_threshold.is_none_or(|t| p.score >= t));
        points.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        points.truncate(stage.limit.unwrap_or(LIMIT).saturating_add(shown.offset));
        points.drain(..shown.offset.min(points.len()));
        self.show(points, &shown).await
    }

    /// Fetches what is shown of points; one that was deleted meanwhile is left out.
    pub async fn show(&self, points: Vec<ScoredPoint>, shown: &Shown) -> Result<Vec<ScoredPoint>> {
        if shown.is_nothing() || points.is_empty() {
            return Ok(points);
        }
        let ids: Vec<PointId> = points.iter().map(|p| p.id).collect();
        let (payload, vectors) = (shown.payload.clone(), shown.vectors.clone());
        let records = self.collection.retrieve(ids, payload, vectors, self.deadline).await?;
        // Records come in the order that they were asked for, each once.
        let mut records = records.into_iter().peekable();
        let shown = |point: ScoredPoint| {
            let record = records.next_if(|r| r.id == point.id)?;
            Some(ScoredPoint { payload: record.payload, vector: record.vector, ..point })
        };
        Ok(points.into_iter().filter_map(shown).collect())
    }
}

/// Both filters.
pub fn both(a: Option<Filter>, b: Option<Filter>) -> Option<Filter> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let must = [a, b].into_iter().map(Condition::Filter).collect();
            Some(Filter { must: Some(Conditions(must)), ..Filter::default() })
        }
        (a, b) => a.or(b),
    }
}

/// A filter that only these points pass.
pub fn among(ids: Vec<PointId>) -> Filter {
    Filter { must: Some(Conditions(vec![Condition::HasId { has_id: ids }])), ..Filter::default() }
}

/// A filter that leaves points out: those that a query names are never its answer.
fn without(ids: Vec<PointId>, filter: Option<Filter>) -> Filter {
    let named = Conditions(vec![Condition::HasId { has_id: ids }]);
    let must = filter.map(|f| Conditions(vec![Condition::Filter(f)]));
    Filter { must, must_not: Some(named), ..Filter::default() }
}

/// Points that were not searched for, as the protocol shows them.
fn unscored(found: Vec<Record>, offset: usize) -> Vec<ScoredPoint> {
    let point = |r: Record| ScoredPoint {
        id: r.id,
        version: 0,
        score: 1.0,
        payload: r.payload,
        vector: r.vector,
        shard_key: r.shard_key,
        order_value: r.order_value,
    };
    found.into_iter().skip(offset).map(point).collect()
}

/// The collection that a request names beside its own.
pub fn other(registry: &Registry, name: &str) -> Result<std::sync::Arc<Collection>> {
    registry.find(name).ok_or_else(|| ApiError::not_found(format!("Collection {name} not found")))
}
