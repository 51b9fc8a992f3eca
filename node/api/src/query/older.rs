//! The older forms of recommend and discover, which the universal query took the place of.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    ContextPair, DiscoverInput, Example, LookupFrom, Query, QueryRequest, RecommendInput, SearchParams,
    Strategy,
};
use crate::filter::Filter;
use crate::points::{WithPayload, WithVector};
use crate::shard_key::ShardKeySelector;

/// Body of `recommend`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct RecommendRequest {
    pub positive: Option<Vec<Example>>,
    pub negative: Option<Vec<Example>>,
    pub strategy: Option<Strategy>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub limit: usize,
    pub offset: Option<usize>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    pub using: Option<String>,
    pub lookup_from: Option<LookupFrom>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `recommend/batch`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct RecommendBatchRequest {
    pub searches: Vec<RecommendRequest>,
}

/// Body of `discover`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct DiscoverRequest {
    pub target: Option<Example>,
    pub context: Option<Vec<ContextPair>>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub limit: usize,
    pub offset: Option<usize>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub using: Option<String>,
    pub lookup_from: Option<LookupFrom>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `discover/batch`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct DiscoverBatchRequest {
    pub searches: Vec<DiscoverRequest>,
}

impl From<RecommendRequest> for QueryRequest {
    fn from(r: RecommendRequest) -> Self {
        let input = RecommendInput { positive: r.positive, negative: r.negative, strategy: r.strategy };
        Self {
            query: Some(Query::Recommend(input)),
            using: r.using,
            filter: r.filter,
            params: r.params,
            score_threshold: r.score_threshold,
            limit: Some(r.limit),
            offset: r.offset,
            with_vector: r.with_vector,
            with_payload: r.with_payload,
            lookup_from: r.lookup_from,
            shard_key: r.shard_key,
            prefetch: None,
        }
    }
}

impl DiscoverRequest {
    /// As a universal query; it asks for nothing if there is neither a target nor a pair.
    pub fn into_query(self) -> QueryRequest {
        let context = self.context.unwrap_or_default();
        let query = match self.target {
            Some(target) => Some(Query::Discover(DiscoverInput { target, context })),
            None if context.is_empty() => None,
            None => Some(Query::Context(context)),
        };
        QueryRequest {
            query,
            using: self.using,
            filter: self.filter,
            params: self.params,
            limit: Some(self.limit),
            offset: self.offset,
            with_vector: self.with_vector,
            with_payload: self.with_payload,
            lookup_from: self.lookup_from,
            shard_key: self.shard_key,
            ..QueryRequest::default()
        }
    }
}
