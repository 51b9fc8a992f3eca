//! Searches: the older form and the universal query, as far as they are served.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::filter::Filter;
use crate::point::{PointId, Vector, unless_type, vector_from_seq};
use crate::points::{WithPayload, WithVector};
use crate::shard_key::ShardKeySelector;
use crate::validate::Invalid;

/// How well and how fast, never what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_ef: Option<usize>,
    #[serde(default)]
    pub exact: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationSearchParams>,
    #[serde(default)]
    pub indexed_only: bool,
}

/// How quantized codes are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantizationSearchParams {
    #[serde(default)]
    pub ignore: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescore: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oversampling: Option<f64>,
}

impl SearchParams {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        invalid.at_least(&format!("{path}params.hnsw_ef"), self.hnsw_ef, 1);
        if let Some(o) = self.quantization.and_then(|q| q.oversampling).filter(|o| *o < 1.0 || !o.is_finite())
        {
            let shown = if o.fract() == 0.0 { format!("{o:.1}") } else { o.to_string() };
            invalid.add(
                format!("{path}params.quantization.oversampling"),
                format!("value {shown} invalid, must be 1.0 or larger"),
            );
        }
    }
}

/// The vector of the older search: unnamed, or with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedQueryVector {
    pub name: String,
    pub vector: Vector,
}

impl<'de> Deserialize<'de> for NamedQueryVector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SearchRequest {
    pub vector: NamedQueryVector,
    pub limit: usize,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub offset: Option<usize>,
    pub with_payload: Option<WithPayload>,
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `search/batch`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SearchBatchRequest {
    pub searches: Vec<SearchRequest>,
}

/// What the universal query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Nearest to a vector.
    Vector(Vector),
    /// Nearest to the vector of a point.
    Id(PointId),
    /// Nearest to one of the above, and unlike each other.
    Diverse(Box<Query>, Mmr),
    /// Another kind, by its name; parsed no further yet.
    Other(String),
}

/// How unlike each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Mmr {
    /// From 0, nearness alone, to 1; 0.5 unless given.
    #[serde(default)]
    pub diversity: Option<f32>,
    /// How many of the nearest to choose from; the limit unless given.
    #[serde(default)]
    pub candidates_limit: Option<usize>,
}

/// Candidates that may be chosen from.
pub const MMR_CANDIDATES_MAX: usize = 16_384;

impl Mmr {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        if let Some(d) = self.diversity.filter(|d| !(0.0..=1.0).contains(d)) {
            invalid.add(format!("{path}.diversity"), format!("value {d:?} invalid, must be from 0.0 to 1.0"));
        }
        if let Some(n) = self.candidates_limit {
            invalid.within(&format!("{path}.candidates_limit"), n, 1, MMR_CANDIDATES_MAX);
        }
    }
}

const NO_QUERY: &str = "Expected some form of vector, id, or a type of query";

const KINDS: [&str; 9] = [
    "recommend",
    "discover",
    "context",
    "order_by",
    "fusion",
    "rrf",
    "formula",
    "sample",
    "relevance_feedback",
];

/// Reads an object key by key: `nearest` holds the vector of almost every search, and goes nowhere in between.
fn query_from_map<'de, A: de::MapAccess<'de>>(mut map: A) -> Result<Query, A::Error> {
    let (mut query, mut rest) = (None, Map::new());
    while let Some(key) = map.next_key::<String>()? {
        if key == "nearest" {
            query = Some(map.next_value::<Query>()?);
        } else {
            rest.insert(key, map.next_value()?);
        }
    }
    if let Some(query) = query {
        let mmr = rest.remove("mmr").filter(|m| !m.is_null());
        let mmr = mmr.map(serde_json::from_value).transpose().map_err(de::Error::custom)?;
        return Ok(match mmr {
            Some(mmr) => Query::Diverse(Box::new(query), mmr),
            None => query,
        });
    }
    if rest.contains_key("indices") || rest.contains_key("model") {
        return serde_json::from_value(rest.into()).map(Query::Vector).map_err(de::Error::custom);
    }
    match KINDS.iter().find(|k| rest.contains_key(**k)) {
        Some(kind) => Ok(Query::Other((*kind).into())),
        None => Err(de::Error::custom(NO_QUERY)),
    }
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> de::Visitor<'de> for V {
            type Value = Query;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("some form of vector, id, or a type of query")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Query, E> {
                Ok(Query::Id(PointId::Num(n)))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Query, E> {
                Err(E::custom(NO_QUERY))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Query, E> {
                Err(E::custom(NO_QUERY))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Query, E> {
                Err(E::custom(NO_QUERY))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Query, E> {
                uuid::Uuid::try_parse(text)
                    .map(|u| Query::Id(PointId::Uuid(u)))
                    .map_err(|_| E::custom(NO_QUERY))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Query, A::Error> {
                vector_from_seq(seq).map(Query::Vector)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Query, A::Error> {
                query_from_map(map)
            }
        }
        d.deserialize_any(V).map_err(|e| unless_type(e, NO_QUERY))
    }
}

/// Body of the universal query.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct QueryRequest {
    pub prefetch: Option<Value>,
    pub query: Option<Query>,
    pub using: Option<String>,
    pub filter: Option<Filter>,
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    pub limit: Option<usize>,
    pub offset: Option<usize>,
    pub with_vector: Option<WithVector>,
    pub with_payload: Option<WithPayload>,
    pub lookup_from: Option<LookupFrom>,
    pub shard_key: Option<ShardKeySelector>,
}

impl QueryRequest {
    /// Whether any prefetch is given.
    pub fn has_prefetch(&self) -> bool {
        match &self.prefetch {
            None | Some(Value::Null) => false,
            Some(Value::Array(all)) => !all.is_empty(),
            Some(_) => true,
        }
    }
}

/// Where a query by id takes its vector from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookupFrom {
    pub collection: String,
    pub vector: Option<String>,
    pub shard_key: Option<ShardKeySelector>,
}

/// Body of `query/batch`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct QueryBatchRequest {
    pub searches: Vec<QueryRequest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<Query, &str>) {
        match (serde_json::from_str::<Query>(json), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{json}"),
            (Err(e), Err(text)) => assert!(e.to_string().starts_with(text), "{json}: {e}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    #[test]
    fn each_kind_of_query_is_told_apart() {
        let dense = || Ok(Query::Vector(Vector::Dense(vec![1.0, 2.0])));
        let id = || Ok(Query::Id(PointId::Num(7)));
        let sparse = || Ok(Query::Vector(Vector::Sparse { indices: vec![1], values: vec![2.0] }));
        check("[1, 2]", dense());
        check(r#"{"nearest":[1,2]}"#, dense());
        check("7", id());
        check(r#"{"nearest":7}"#, id());
        check(r#"{"indices":[1],"values":[2]}"#, sparse());
        check(r#"{"nearest":{"indices":[1],"values":[2]}}"#, sparse());
        check(r#"{"fusion":"rrf"}"#, Ok(Query::Other("fusion".into())));
        let mmr = Mmr { diversity: Some(0.5), candidates_limit: None };
        let nearest = Box::new(Query::Vector(Vector::Dense(vec![1.0])));
        check(r#"{"nearest":[1],"mmr":{"diversity":0.5}}"#, Ok(Query::Diverse(nearest, mmr)));
        check(r#"{"nearest":7,"mmr":null}"#, id());
        for wrong in [r#"{"foo":1}"#, "\"abc\"", "true", "-1", "1.5", "[\"a\"]"] {
            check(wrong, Err(NO_QUERY));
        }
    }
}
