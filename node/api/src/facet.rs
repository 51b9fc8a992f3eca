//! Facets: points counted by the values of a field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::shard_key::ShardKeySelector;

/// Body of POST `C/facet`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct FacetRequest {
    pub key: String,
    pub limit: Option<usize>,
    pub filter: Option<Filter>,
    pub exact: Option<bool>,
    pub shard_key: Option<ShardKeySelector>,
}

/// A value that points are counted by; the order is that of values of the same count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FacetValue {
    Bool(bool),
    Integer(i64),
    Keyword(String),
}

/// A value, and how many points have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FacetHit {
    pub value: FacetValue,
    pub count: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FacetResponse {
    pub hits: Vec<FacetHit>,
}
