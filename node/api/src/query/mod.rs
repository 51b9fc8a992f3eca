//! Searches: the older forms and the universal query.

mod examples;
mod expression;
mod groups;
mod kinds;
mod older;
mod params;
mod search;
#[cfg(test)]
mod tests;

pub use examples::{
    ContextPair, DiscoverInput, Example, FeedbackInput, FeedbackItem, FeedbackStrategy, NaiveFactors,
    RecommendInput, Strategy,
};
pub use expression::{DecayKind, Expression, FormulaQuery, GeoPoint};
pub use groups::{
    GroupId, GroupsResult, LookupRecords, MatrixOffsets, MatrixPair, MatrixPairs, MatrixRequest, PointGroup,
    QueryGroupsRequest, RecommendGroupsRequest, SearchGroupsRequest,
};
pub use kinds::{Direction, Fusion, MMR_CANDIDATES_MAX, Mmr, OrderBy, Query, StartFrom};
pub use older::{DiscoverBatchRequest, DiscoverRequest, RecommendBatchRequest, RecommendRequest};
pub use params::{QuantizationSearchParams, SearchParams};
pub use search::{NamedQueryVector, SearchBatchRequest, SearchRequest};

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::points::{WithPayload, WithVector};
use crate::shard_key::ShardKeySelector;
use crate::validate::Invalid;

/// What a query works on instead of all points.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct Prefetch {
    pub prefetch: Option<Prefetches>,
    pub query: Option<Query>,
    pub using: Option<String>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    pub limit: Option<usize>,
    pub lookup_from: Option<LookupFrom>,
}

/// One prefetch or a list of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prefetches(pub Vec<Prefetch>);

impl<'de> Deserialize<'de> for Prefetches {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> de::Visitor<'de> for V {
            type Value = Prefetches;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a prefetch or a list of them")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Prefetches, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(Prefetches(all))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Prefetches, A::Error> {
                let one = Prefetch::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Prefetches(vec![one]))
            }
        }
        d.deserialize_any(V)
    }
}

impl Prefetch {
    /// What it works on itself.
    pub fn prefetches(&self) -> &[Prefetch] {
        self.prefetch.as_ref().map_or(&[], |all| &all.0)
    }

    /// Adds what is out of range, below `path`, which ends in a point.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        for (i, inner) in self.prefetches().iter().enumerate() {
            inner.validate(&format!("{path}prefetch[{i}]."), invalid);
        }
        invalid.at_least(&format!("{path}limit"), self.limit, 1);
        if let Some(params) = &self.params {
            params.validate(path, invalid);
        }
        if let Some(filter) = &self.filter {
            filter.validate(&format!("{path}filter"), invalid);
        }
        if let Some(query) = &self.query {
            query.validate(&format!("{path}query"), invalid);
        }
    }
}

/// Body of the universal query.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct QueryRequest {
    pub prefetch: Option<Prefetches>,
    pub query: Option<Query>,
    pub using: Option<String>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    pub limit: Option<usize>,
    pub offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub with_payload: Option<WithPayload>,
    pub lookup_from: Option<LookupFrom>,
    pub shard_key: Option<ShardKeySelector>,
}

impl QueryRequest {
    /// Whether any prefetch is given.
    pub fn has_prefetch(&self) -> bool {
        self.prefetch.as_ref().is_some_and(|all| !all.0.is_empty())
    }
}

/// Where a query by id takes its vector from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookupFrom {
    pub collection: String,
    pub vector: Option<String>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `query/batch`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct QueryBatchRequest {
    pub searches: Vec<QueryRequest>,
}
