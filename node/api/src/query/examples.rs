//! Queries by examples: points that are named by their id, or vectors.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::kinds::NO_QUERY;
use crate::point::{PointId, Vector, unless_type, vector_from_seq};
use crate::schema::OneOrMany;
use crate::validate::Invalid;

/// A vector, or the point whose vector is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    Id(PointId),
    Vector(Vector),
}

impl<'de> Deserialize<'de> for Example {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> de::Visitor<'de> for V {
            type Value = Example;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a vector or an id")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Example, E> {
                Ok(Example::Id(PointId::Num(n)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Example, E> {
                uuid::Uuid::try_parse(text)
                    .map(|u| Example::Id(PointId::Uuid(u)))
                    .map_err(|_| E::custom(NO_QUERY))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Example, A::Error> {
                vector_from_seq(seq).map(Example::Vector)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Example, A::Error> {
                let read = Vector::deserialize(de::value::MapAccessDeserializer::new(map));
                read.map(Example::Vector).map_err(|e: A::Error| {
                    // An object that is no vector at all could have been meant as anything.
                    let unknown = e.to_string().starts_with("data did not match");
                    if unknown { de::Error::custom(NO_QUERY) } else { e }
                })
            }
        }
        d.deserialize_any(V).map_err(|e| unless_type(e, NO_QUERY))
    }
}

/// How examples become a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    #[default]
    AverageVector,
    BestScore,
    SumScores,
}

/// What `recommend` holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct RecommendInput {
    #[serde(default)]
    pub positive: Option<Vec<Example>>,
    #[serde(default)]
    pub negative: Option<Vec<Example>>,
    #[serde(default)]
    pub strategy: Option<Strategy>,
}

impl RecommendInput {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        if [&self.positive, &self.negative].into_iter().flatten().all(Vec::is_empty) {
            invalid.add(
                format!("{path}.positives, negatives"),
                "Validation error: At least one positive or negative vector/id must be provided [{}]",
            );
        }
    }
}

/// A point is to be nearer to the one than to the other.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct ContextPair {
    pub positive: Example,
    pub negative: Example,
}

/// What `discover` holds.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct DiscoverInput {
    pub target: Example,
    #[serde(deserialize_with = "pairs")]
    #[schemars(with = "Option<OneOrMany<ContextPair>>")]
    pub context: Vec<ContextPair>,
}

/// One pair, a list of them, or null.
pub(super) fn pairs<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ContextPair>, D::Error> {
    struct V;
    impl<'de> de::Visitor<'de> for V {
        type Value = Vec<ContextPair>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a pair of examples or a list of them")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = seq.next_element()? {
                all.push(one);
            }
            Ok(all)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            ContextPair::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| vec![one])
        }
    }
    d.deserialize_any(V)
}

/// What `relevance_feedback` holds.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct FeedbackInput {
    pub target: Example,
    pub feedback: Vec<FeedbackItem>,
    pub strategy: FeedbackStrategy,
}

/// What was said about one point.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct FeedbackItem {
    pub example: Example,
    pub score: f32,
}

/// How feedback is used.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct FeedbackStrategy {
    pub naive: NaiveFactors,
}

/// Factors of the naive way.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct NaiveFactors {
    pub a: f32,
    pub b: f32,
    pub c: f32,
}

impl FeedbackInput {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        if self.feedback.is_empty() {
            invalid.add(
                format!("{path}.feedback"),
                "Validation error: feedback elements must be non-empty [{}]",
            );
        }
        let b = self.strategy.naive.b;
        if b.is_nan() || b < 0.0 {
            invalid.add(
                format!("{path}.strategy.naive.b"),
                format!("value {b:?} invalid, must be 0.0 or larger"),
            );
        }
    }
}
