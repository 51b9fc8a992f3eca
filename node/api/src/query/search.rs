//! The older search by one vector.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::SearchParams;
use crate::filter::Filter;
use crate::point::Vector;
use crate::points::{WithPayload, WithVector};
use crate::shard_key::ShardKeySelector;

/// The vector of the older search: unnamed, or with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedQueryVector {
    pub name: String,
    pub vector: Vector,
}

impl<'de> Deserialize<'de> for NamedQueryVector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, JsonSchema)]
        struct Named {
            name: String,
            vector: Vector,
        }
        struct V;
        impl<'de> de::Visitor<'de> for V {
            type Value = NamedQueryVector;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a vector, or {name, vector}")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<NamedQueryVector, A::Error> {
                let vector = Vector::deserialize(de::value::SeqAccessDeserializer::new(seq))?;
                Ok(NamedQueryVector { name: String::new(), vector })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<NamedQueryVector, A::Error> {
                let named = Named::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(NamedQueryVector { name: named.name, vector: named.vector })
            }
        }
        d.deserialize_any(V)
    }
}

/// Body of the older search.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct SearchRequest {
    pub vector: NamedQueryVector,
    pub limit: usize,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub offset: Option<usize>,
    pub with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `search/batch`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct SearchBatchRequest {
    pub searches: Vec<SearchRequest>,
}
