//! One request restricted to one shard: what a node runs itself, or sends to the peer that holds the shard.

use serde::{Deserialize, Serialize};

use crate::collections::{FieldSchema, VectorParams};
use crate::facet::FacetHit;
use crate::filter::Filter;
use crate::point::{OrderValue, Payload, PointId, PointStruct, Record, ScoredPoint, Vector};
use crate::points::{PointVectors, UpdateMode, WithPayload, WithVector};
use crate::query::SearchParams;
use crate::sparse::SparseVectorParams;

/// Ids or a filter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Ids(Vec<PointId>),
    Filter(Filter),
}

/// A change of one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardWrite {
    Upsert { points: Vec<PointStruct>, mode: UpdateMode, condition: Option<Filter> },
    Delete(Target),
    UpdateVectors { points: Vec<PointVectors>, condition: Option<Filter> },
    DeleteVectors { target: Target, names: Vec<String> },
    SetPayload { target: Target, payload: Payload, key: Option<String> },
    OverwritePayload { target: Target, payload: Payload },
    DeletePayload { target: Target, keys: Vec<String> },
    ClearPayload(Target),
    CreateIndex { field: String, schema: FieldSchema },
    DropIndex { field: String },
    CreateVector { name: String, params: VectorParams },
    CreateSparseVector { name: String, params: SparseVectorParams },
    DropVector { name: String },
}

/// A read of one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardRead {
    Search(ShardSearch),
    /// Several searches at once, answered in order.
    SearchBatch(Vec<ShardSearch>),
    Retrieve {
        ids: Vec<PointId>,
        payload: WithPayload,
        vectors: WithVector,
    },
    /// Ids only, from `from` on; the records are fetched for those that win.
    Scroll {
        filter: Option<Filter>,
        from: Option<PointId>,
        limit: usize,
        payload: WithPayload,
        vectors: WithVector,
    },
    /// In the order of a payload value.
    Ordered {
        filter: Option<Filter>,
        order: ShardOrder,
        limit: usize,
        payload: WithPayload,
        vectors: WithVector,
    },
    /// Any points, drawn by a seed.
    Sample {
        filter: Option<Filter>,
        seed: u64,
        limit: usize,
        payload: WithPayload,
        vectors: WithVector,
    },
    Count {
        filter: Option<Filter>,
    },
    /// The values of a field; those of most points if there is a limit.
    Facet {
        key: String,
        filter: Option<Filter>,
        limit: Option<usize>,
    },
    /// How many points have dimensions of sparse vectors, for their weights.
    SparseCounts(Vec<SparseCount>),
    Info,
}

/// Which points are counted: those that have the sparse vector, and each of some dimensions of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SparseCount {
    pub using: String,
    pub indices: Vec<u32>,
    pub filter: Option<Filter>,
}

/// What was counted, in the order of the indices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparseCounted {
    pub points: u64,
    pub with_index: Vec<u64>,
}

/// What points are scored by; ids are vectors already.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardQuery {
    Nearest(Vector),
    BestScore {
        positives: Vec<Vector>,
        negatives: Vec<Vector>,
    },
    SumScores {
        positives: Vec<Vector>,
        negatives: Vec<Vector>,
    },
    /// Pairs of a positive and a negative.
    Discover {
        target: Vector,
        pairs: Vec<(Vector, Vector)>,
    },
    Context(Vec<(Vector, Vector)>),
    Feedback {
        target: Vector,
        feedback: Vec<(Vector, f32)>,
        factors: [f32; 3],
    },
}

fn of_pairs(pairs: &[(Vector, Vector)]) -> impl Iterator<Item = &Vector> {
    pairs.iter().flat_map(|(positive, negative)| [positive, negative])
}

impl ShardQuery {
    /// Every vector of it.
    pub fn vectors(&self) -> Vec<&Vector> {
        match self {
            ShardQuery::Nearest(vector) => vec![vector],
            ShardQuery::BestScore { positives, negatives }
            | ShardQuery::SumScores { positives, negatives } => positives.iter().chain(negatives).collect(),
            ShardQuery::Discover { target, pairs } => {
                std::iter::once(target).chain(of_pairs(pairs)).collect()
            }
            ShardQuery::Context(pairs) => of_pairs(pairs).collect(),
            ShardQuery::Feedback { target, feedback, .. } => {
                std::iter::once(target).chain(feedback.iter().map(|(v, _)| v)).collect()
            }
        }
    }
}

impl ShardQuery {
    /// Every vector of it, to be changed in place.
    pub fn vectors_mut(&mut self) -> Vec<&mut Vector> {
        fn of_pairs(pairs: &mut [(Vector, Vector)]) -> impl Iterator<Item = &mut Vector> {
            pairs.iter_mut().flat_map(|(positive, negative)| [positive, negative])
        }
        match self {
            ShardQuery::Nearest(vector) => vec![vector],
            ShardQuery::BestScore { positives, negatives }
            | ShardQuery::SumScores { positives, negatives } => {
                positives.iter_mut().chain(negatives).collect()
            }
            ShardQuery::Discover { target, pairs } => {
                std::iter::once(target).chain(of_pairs(pairs)).collect()
            }
            ShardQuery::Context(pairs) => of_pairs(pairs).collect(),
            ShardQuery::Feedback { target, feedback, .. } => {
                std::iter::once(target).chain(feedback.iter_mut().map(|(v, _)| v)).collect()
            }
        }
    }
}

/// By which values points are put in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardOrder {
    pub key: String,
    pub ascending: bool,
    pub from: Option<OrderValue>,
}

/// The best points of one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardSearch {
    pub using: String,
    pub query: ShardQuery,
    pub filter: Option<Filter>,
    pub params: SearchParams,
    /// Offset included.
    pub limit: usize,
    pub score_threshold: Option<f32>,
    pub payload: WithPayload,
    pub vectors: WithVector,
}

/// One request to one shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardCall {
    Write(ShardWrite),
    Read(ShardRead),
}

/// What a shard answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardAnswer {
    /// Sequence number of the operation; 0 if nothing had to be changed.
    Written {
        seq: u64,
    },
    Found {
        points: Vec<ScoredPoint>,
        unindexed: Vec<String>,
    },
    FoundBatch {
        answers: Vec<Vec<ScoredPoint>>,
        unindexed: Vec<String>,
    },
    Records {
        points: Vec<Record>,
        unindexed: Vec<String>,
    },
    Counted {
        count: u64,
        unindexed: Vec<String>,
    },
    Facets {
        hits: Vec<FacetHit>,
        unindexed: Vec<String>,
    },
    SparseCounts(Vec<SparseCounted>),
    Info(ShardInfo),
}

/// Counts of one shard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShardInfo {
    pub points: u64,
    /// Points that are hidden until they are indexed; nothing where none ever is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<u64>,
    pub vectors: std::collections::BTreeMap<String, u64>,
    pub indexed_vectors: u64,
    pub segments: usize,
    /// `green`, `yellow`, `grey` or `red`.
    pub status: String,
    pub optimizer_error: Option<String>,
    pub queue: usize,
    pub bytes_disk: u64,
    pub bytes_ram: u64,
    /// Payloads as they are stored, those of deleted points until the optimizer removes them.
    #[serde(default)]
    pub payload_bytes: u64,
    /// Field, schema, points with a value.
    pub payload_schema: Vec<(String, FieldSchema, usize)>,
    pub last_seq: u64,
    /// A sentence for each file that does not hold what was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// An error of a shard, as it travels between nodes: the status code and text that the client gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardError {
    pub code: u16,
    pub error: String,
}
