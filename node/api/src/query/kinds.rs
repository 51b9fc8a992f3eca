//! What the universal query asks for: each kind, told apart by its key.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::{Map, Value};

use super::examples::{self, ContextPair, DiscoverInput, Example, FeedbackInput, RecommendInput};
use super::expression::FormulaQuery;
use crate::point::{PointId, Vector, unless_type, vector_from_seq};
use crate::validate::Invalid;

/// What the universal query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Nearest to a vector.
    Vector(Vector),
    /// Nearest to the vector of a point.
    Id(PointId),
    /// Nearest to one of the above, and unlike each other.
    Diverse(Example, Mmr),
    Recommend(RecommendInput),
    Discover(DiscoverInput),
    Context(Vec<ContextPair>),
    /// By a payload value.
    OrderBy(OrderBy),
    /// By the places or scores that prefetches gave.
    Fusion(Fusion),
    /// By a formula of scores and payload values.
    Formula(Box<FormulaQuery>),
    /// Any points.
    Sample,
    Feedback(Box<FeedbackInput>),
}

/// How unlike each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
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
            invalid.within(&format!("{path}.candidates_limit"), n, 0, MMR_CANDIDATES_MAX);
        }
    }
}

/// How several lists become one.
#[derive(Clone, Debug, PartialEq)]
pub enum Fusion {
    /// Reciprocal rank fusion; `None`: the protocol's defaults.
    Rrf { k: Option<usize>, weights: Option<Vec<f32>> },
    /// Distribution-based score fusion.
    Dbsf,
}

/// Which payload value decides the order.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderBy {
    pub key: String,
    pub direction: Direction,
    /// The first value that may be answered.
    pub start_from: Option<StartFrom>,
}

/// Which value comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Asc,
    Desc,
}

/// A value to begin with.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StartFrom {
    Integer(i64),
    Float(f64),
    Datetime(String),
}

impl<'de> Deserialize<'de> for OrderBy {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, JsonSchema)]
        struct Long {
            key: String,
            direction: Option<Direction>,
            start_from: Option<StartFrom>,
        }
        #[derive(Deserialize, JsonSchema)]
        #[serde(untagged, expecting = "data did not match any variant of untagged enum OrderByInterface")]
        enum Form {
            Key(String),
            Long(Long),
        }
        Ok(match Form::deserialize(d)? {
            Form::Key(key) => Self { key, direction: Direction::Asc, start_from: None },
            Form::Long(l) => {
                Self { key: l.key, direction: l.direction.unwrap_or_default(), start_from: l.start_from }
            }
        })
    }
}

impl Query {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        match self {
            Query::Vector(vector) => vector.validate(&format!("{path}.?"), invalid),
            Query::Diverse(_, mmr) => mmr.validate(&format!("{path}.mmr"), invalid),
            Query::Recommend(r) => r.validate(&format!("{path}.recommend"), invalid),
            Query::Feedback(f) => f.validate(&format!("{path}.relevance_feedback"), invalid),
            Query::Fusion(Fusion::Rrf { k, .. }) => invalid.at_least(&format!("{path}.rrf.k"), *k, 1),
            _ => {}
        }
    }
}

impl From<Example> for Query {
    fn from(example: Example) -> Self {
        match example {
            Example::Id(id) => Query::Id(id),
            Example::Vector(vector) => Query::Vector(vector),
        }
    }
}

pub(super) const NO_QUERY: &str = "Expected some form of vector, id, or a type of query";

/// Reads an object key by key: `nearest` holds the vector of almost every search, and goes nowhere in between.
fn query_from_map<'de, A: de::MapAccess<'de>>(mut map: A) -> Result<Query, A::Error> {
    let (mut nearest, mut rest) = (None, Map::new());
    while let Some(key) = map.next_key::<String>()? {
        if key == "nearest" {
            nearest = Some(map.next_value::<Example>()?);
        } else {
            rest.insert(key, map.next_value()?);
        }
    }
    if let Some(nearest) = nearest {
        let mmr = rest.remove("mmr").filter(|m| !m.is_null());
        return Ok(match mmr.map(part).transpose()? {
            Some(mmr) => Query::Diverse(nearest, mmr),
            None => nearest.into(),
        });
    }
    if rest.contains_key("indices") || rest.contains_key("model") {
        return part(rest.into()).map(Query::Vector);
    }
    other_query(rest)
}

fn part<T: de::DeserializeOwned, E: de::Error>(value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(E::custom)
}

fn other_query<E: de::Error>(mut rest: Map<String, Value>) -> Result<Query, E> {
    #[derive(Deserialize)]
    struct Rrf {
        k: Option<usize>,
        weights: Option<Vec<f32>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum FusionName {
        Rrf,
        Dbsf,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum SampleName {
        Random,
    }
    if let Some(v) = rest.remove("recommend") {
        return part(v).map(Query::Recommend);
    }
    if let Some(v) = rest.remove("discover") {
        return part(v).map(Query::Discover);
    }
    if let Some(v) = rest.remove("context") {
        return examples::pairs(v).map(Query::Context).map_err(E::custom);
    }
    if let Some(v) = rest.remove("order_by") {
        return part(v).map(Query::OrderBy);
    }
    if let Some(v) = rest.remove("fusion") {
        return Ok(Query::Fusion(match part(v)? {
            FusionName::Rrf => Fusion::Rrf { k: None, weights: None },
            FusionName::Dbsf => Fusion::Dbsf,
        }));
    }
    if let Some(v) = rest.remove("rrf") {
        let Rrf { k, weights } = part(v)?;
        return Ok(Query::Fusion(Fusion::Rrf { k, weights }));
    }
    if rest.contains_key("formula") {
        return part(rest.into()).map(Box::new).map(Query::Formula);
    }
    if let Some(v) = rest.remove("sample") {
        let SampleName::Random = part(v)?;
        return Ok(Query::Sample);
    }
    match rest.remove("relevance_feedback") {
        Some(v) => part(v).map(Box::new).map(Query::Feedback),
        None => Err(E::custom(NO_QUERY)),
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
