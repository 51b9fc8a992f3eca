//! Answers in groups, and the distances of points to each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Example, LookupFrom, NamedQueryVector, Prefetches, Query, QueryRequest, RecommendInput, SearchParams,
    Strategy,
};
use crate::filter::Filter;
use crate::point::{PointId, Record, ScoredPoint};
use crate::points::{WithPayload, WithVector};
use crate::shard_key::ShardKeySelector;

/// Another collection whose points are shown with the groups that their ids name.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum WithLookupInterface")]
pub enum LookupRecords {
    Collection(String),
    Parts {
        collection: String,
        /// Null is nothing; what is left out is all.
        #[serde(default = "whole_payload")]
        with_payload: Option<WithPayload>,
        #[serde(alias = "with_vector")]
        with_vectors: Option<WithVector>,
    },
}

fn whole_payload() -> Option<WithPayload> {
    Some(WithPayload::Bool(true))
}

/// Body of `query/groups`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct QueryGroupsRequest {
    pub prefetch: Option<Prefetches>,
    pub query: Option<Query>,
    pub using: Option<String>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub with_payload: Option<WithPayload>,
    pub lookup_from: Option<LookupFrom>,
    pub group_by: String,
    pub group_size: Option<usize>,
    pub limit: Option<usize>,
    pub with_lookup: Option<LookupRecords>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `search/groups`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct SearchGroupsRequest {
    pub vector: NamedQueryVector,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    pub group_by: String,
    pub group_size: u32,
    pub limit: u32,
    pub with_lookup: Option<LookupRecords>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `recommend/groups`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct RecommendGroupsRequest {
    pub positive: Option<Vec<Example>>,
    pub negative: Option<Vec<Example>>,
    pub strategy: Option<Strategy>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    pub using: Option<String>,
    pub lookup_from: Option<LookupFrom>,
    pub group_by: String,
    pub group_size: u32,
    pub limit: u32,
    pub with_lookup: Option<LookupRecords>,
    pub shard_key: Option<ShardKeySelector>,
}

impl QueryGroupsRequest {
    /// What is asked, without the groups.
    pub fn query(&self) -> QueryRequest {
        QueryRequest {
            prefetch: self.prefetch.clone(),
            query: self.query.clone(),
            using: self.using.clone(),
            filter: self.filter.clone(),
            params: self.params.clone(),
            score_threshold: self.score_threshold,
            limit: self.limit,
            offset: None,
            with_vector: self.with_vector.clone(),
            with_payload: self.with_payload.clone(),
            lookup_from: self.lookup_from.clone(),
            shard_key: self.shard_key.clone(),
        }
    }
}

impl From<SearchGroupsRequest> for QueryGroupsRequest {
    fn from(r: SearchGroupsRequest) -> Self {
        Self {
            prefetch: None,
            query: Some(Query::Vector(r.vector.vector)),
            using: Some(r.vector.name),
            filter: r.filter,
            params: r.params,
            score_threshold: r.score_threshold,
            with_vector: r.with_vector,
            with_payload: r.with_payload,
            lookup_from: None,
            group_by: r.group_by,
            group_size: Some(r.group_size as usize),
            limit: Some(r.limit as usize),
            with_lookup: r.with_lookup,
            shard_key: r.shard_key,
        }
    }
}

impl From<RecommendGroupsRequest> for QueryGroupsRequest {
    fn from(r: RecommendGroupsRequest) -> Self {
        let input = RecommendInput { positive: r.positive, negative: r.negative, strategy: r.strategy };
        Self {
            prefetch: None,
            query: Some(Query::Recommend(input)),
            using: r.using,
            filter: r.filter,
            params: r.params,
            score_threshold: r.score_threshold,
            with_vector: r.with_vector,
            with_payload: r.with_payload,
            lookup_from: r.lookup_from,
            group_by: r.group_by,
            group_size: Some(r.group_size as usize),
            limit: Some(r.limit as usize),
            with_lookup: r.with_lookup,
            shard_key: r.shard_key,
        }
    }
}

/// The payload value that makes a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum GroupId {
    Text(String),
    Unsigned(u64),
    Integer(i64),
}

/// One group, its best points first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PointGroup {
    pub hits: Vec<ScoredPoint>,
    pub id: GroupId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Record>,
}

/// Groups, that with the best point first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GroupsResult {
    pub groups: Vec<PointGroup>,
}

/// Body of the matrix calls.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct MatrixRequest {
    pub filter: Option<Filter>,
    /// How many points are drawn.
    pub sample: Option<usize>,
    /// How many of the others are answered for each.
    pub limit: Option<usize>,
    /// Read as `vector_name` too, so that a wrong name is refused under either.
    #[serde(alias = "vector_name")]
    pub using: Option<String>,
    pub shard_key: Option<ShardKeySelector>,
}

/// How near two points are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MatrixPair {
    pub a: PointId,
    pub b: PointId,
    pub score: f32,
}

/// The matrix as pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct MatrixPairs {
    pub pairs: Vec<MatrixPair>,
}

/// The matrix as places in the list of ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct MatrixOffsets {
    pub offsets_row: Vec<usize>,
    pub offsets_col: Vec<usize>,
    pub scores: Vec<f32>,
    pub ids: Vec<PointId>,
}
