//! Schemas of what is read by hand: the forms that each of them may have, as `GET /openapi.json` shows them.
//!
//! Everything else derives its schema from the fields that serde reads.
#![allow(dead_code, clippy::large_enum_variant)] // The shapes say what is read, and are never made.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use crate::document::Document;
use crate::filter::{Condition, Conditions};
use crate::point::{Payload, PointId, RawJson, Vector, Vectors};
use crate::points::{
    BatchVectors, DeletePayloadBody, DeletePayloadRequest, ParsedUpsert, PointsSelector, Selector,
    SetPayloadBody, SetPayloadRequest, UpsertBody,
};
use crate::quantization::{QuantizationConfig, QuantizationUpdate};
use crate::query::{
    ContextPair, Direction, DiscoverInput, Example, Expression, FeedbackInput, FormulaQuery, GeoPoint, Mmr,
    NamedQueryVector, OrderBy, Prefetch, Prefetches, Query, RecommendInput, StartFrom,
};

/// A type has the schema of another, under a name of its own.
macro_rules! same_schema {
    ($($name:literal: $type:ty => $shape:ty;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$shape>::json_schema(generator)
            }
        }
    )*};
}

same_schema! {
    "PointId": PointId => IdShape;
    "Vector": Vector => VectorShape;
    "Vectors": Vectors => VectorsShape;
    "BatchVectors": BatchVectors => BatchVectorsShape;
    "Payload": RawJson => Map<String, Value>;
    "PayloadOrNull": Payload => Option<Map<String, Value>>;
    "QuantizationUpdate": QuantizationUpdate => QuantizationUpdateShape;
    "Conditions": Conditions => OneOrMany<Condition>;
    "UpsertRequest": ParsedUpsert => UpsertBody;
    "PointsSelector": PointsSelector => Selector;
    "SetPayloadRequest": SetPayloadRequest => SetPayloadBody;
    "DeletePayloadRequest": DeletePayloadRequest => DeletePayloadBody;
    "Example": Example => ExampleShape;
    "Prefetches": Prefetches => OneOrMany<Prefetch>;
    "NamedQueryVector": NamedQueryVector => NamedQueryVectorShape;
    "OrderBy": OrderBy => OrderByShape;
    "Query": Query => QueryShape;
    "Expression": Expression => ExpressionShape;
}

/// One, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum IdShape {
    Number(u64),
    Uuid(UuidShape),
}

struct UuidShape;

impl JsonSchema for UuidShape {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Uuid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "uuid"})
    }
}

/// What a model makes a vector of; only documents have a model here.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum InferenceShape {
    Document(Document),
    Image { image: Value, model: String },
    Object { object: Value, model: String },
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum VectorShape {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Sparse { indices: Vec<u32>, values: Vec<f32> },
    Inference(Box<InferenceShape>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum VectorsShape {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Inference(Box<InferenceShape>),
    Named(BTreeMap<String, Vector>),
}

/// A vector in an answer.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(crate) enum VectorOutput {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Sparse { indices: Vec<u32>, values: Vec<f32> },
}

/// The vectors of a point in an answer.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(crate) enum VectorsOutput {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Named(BTreeMap<String, VectorOutput>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum BatchVectorsShape {
    Dense(Vec<Vec<f32>>),
    Multi(Vec<Vec<Vec<f32>>>),
    Inference(Vec<InferenceShape>),
    Named(BTreeMap<String, Vec<Vector>>),
}

#[derive(JsonSchema)]
enum Disabled {
    Disabled,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum QuantizationUpdateShape {
    Disabled(Disabled),
    Set(QuantizationConfig),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum ExampleShape {
    Vector(Vector),
    Id(PointId),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum NamedQueryVectorShape {
    Unnamed(Vec<f32>),
    Named { name: String, vector: Vector },
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum OrderByShape {
    Key(String),
    Long { key: String, direction: Option<Direction>, start_from: Option<StartFrom> },
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum FusionShape {
    Rrf,
    Dbsf,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum SampleShape {
    Random,
}

#[derive(JsonSchema)]
struct RrfShape {
    k: Option<usize>,
    weights: Option<Vec<f32>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum QueryShape {
    Example(ExampleShape),
    Nearest { nearest: Example, mmr: Option<Mmr> },
    Recommend { recommend: RecommendInput },
    Discover { discover: DiscoverInput },
    Context { context: Option<OneOrMany<ContextPair>> },
    OrderBy { order_by: OrderBy },
    Fusion { fusion: FusionShape },
    Rrf { rrf: RrfShape },
    Formula(FormulaQuery),
    Sample { sample: SampleShape },
    Feedback { relevance_feedback: FeedbackInput },
}

#[derive(JsonSchema)]
struct GeoDistanceShape {
    origin: GeoPoint,
    to: String,
}

#[derive(JsonSchema)]
struct DivShape {
    left: Expression,
    right: Expression,
    by_zero_default: Option<f64>,
}

#[derive(JsonSchema)]
struct PowShape {
    base: Expression,
    exponent: Expression,
}

#[derive(JsonSchema)]
struct DecayShape {
    x: Expression,
    target: Option<Expression>,
    scale: Option<f64>,
    midpoint: Option<f64>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum ExpressionShape {
    Constant(f64),
    Variable(String),
    Condition(Condition),
    GeoDistance { geo_distance: GeoDistanceShape },
    Datetime { datetime: String },
    DatetimeKey { datetime_key: String },
    Mult { mult: Vec<Expression> },
    Sum { sum: Vec<Expression> },
    Neg { neg: Expression },
    Abs { abs: Expression },
    Div { div: DivShape },
    Sqrt { sqrt: Expression },
    Pow { pow: PowShape },
    Exp { exp: Expression },
    Log10 { log10: Expression },
    Ln { ln: Expression },
    Linear { lin_decay: DecayShape },
    Exponential { exp_decay: DecayShape },
    Gauss { gauss_decay: DecayShape },
}

/// A number of threads, or `"auto"`.
pub(crate) fn threads(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "enum": ["auto"]}], "nullable": true})
}
