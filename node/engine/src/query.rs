//! What is asked of a shard, and what it answers.

use crate::filter::Filter;
use crate::json_path::JsonPath;
use crate::payload::RawPayload;
pub use crate::payload_index::OrderValue;
use crate::point_id::PointId;
use crate::vector::NamedVectors;

/// Which way quantized codes are used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuantizationSearch {
    /// Don't use codes at all.
    pub ignore: bool,
    /// Score the best again with the raw vectors; `None`: the quantization's default.
    pub rescore: Option<bool>,
    /// Candidates for rescoring = limit × this, at least 1.
    pub oversampling: Option<f64>,
}

/// Search parameters; none of them changes which points may be answered, only how well.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SearchParams {
    pub hnsw_ef: Option<usize>,
    /// Compare with every point that passes the filter, on raw vectors.
    pub exact: bool,
    /// Leave out segments that are larger than the indexing threshold and have no graph yet.
    pub indexed_only: bool,
    pub quantization: QuantizationSearch,
}

/// What points are scored by. Vectors are as the client sent them: not normalised.
///
/// All kinds but the first score by the similarities to several vectors, where the similarity of Euclid is the negative
/// squared distance and that of Manhattan the negative distance; their scores are higher for better points, always.
///
/// `V` is a vector: dense, or a [`SparseVector`](crate::SparseVector).
#[derive(Clone, Debug, PartialEq)]
pub enum Query<V = Vec<f32>> {
    /// How near they are to a vector.
    Nearest(V),
    /// The best of the similarities decides: above zero if it is that of a positive, below if that of a negative.
    BestScore { positives: Vec<V>, negatives: Vec<V> },
    /// Similarities to the positives less those to the negatives.
    SumScores { positives: Vec<V>, negatives: Vec<V> },
    /// In how many pairs the positive is nearer; among equals, how near the target is.
    Discover { target: V, pairs: Vec<ContextPair<V>> },
    /// How far a point lies on the wrong side of pairs; 0 is best.
    Context { pairs: Vec<ContextPair<V>> },
    /// Nearness to a target, corrected by what was said about other points.
    Feedback { target: V, feedback: Vec<(V, f32)>, factors: FeedbackFactors },
}

/// A point is to be nearer to the one than to the other.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextPair<V = Vec<f32>> {
    pub positive: V,
    pub negative: V,
}

/// Factors of [`Query::Feedback`]: `a` of the target's similarity; `c` of the difference between two examples, together
/// with the difference of their scores to the power of `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedbackFactors {
    pub a: f32,
    pub b: f32,
    pub c: f32,
}

impl Query {
    /// How many numbers of examples each point is compared with.
    pub fn numbers(&self) -> usize {
        let all = |rows: &[Vec<f32>]| rows.iter().map(Vec::len).sum::<usize>();
        let of_pairs =
            |pairs: &[ContextPair]| pairs.iter().map(|p| p.positive.len() + p.negative.len()).sum::<usize>();
        match self {
            Query::Nearest(vector) => vector.len(),
            Query::BestScore { positives, negatives } | Query::SumScores { positives, negatives } => {
                all(positives) + all(negatives)
            }
            Query::Discover { target, pairs } => target.len() + of_pairs(pairs),
            Query::Context { pairs } => of_pairs(pairs),
            Query::Feedback { target, feedback, .. } => {
                target.len() + feedback.iter().map(|(v, _)| v.len()).sum::<usize>()
            }
        }
    }
}

/// The best points by a query.
#[derive(Clone, Debug)]
pub struct SearchRequest<V = Vec<f32>> {
    /// Name of the vector; `""` for the unnamed one.
    pub using: String,
    pub query: Query<V>,
    pub filter: Option<Filter>,
    pub params: SearchParams,
    /// How many; an offset is added by the caller, which also skips it after merging shards.
    pub limit: usize,
    /// Strict: only scores on the near side of it.
    pub score_threshold: Option<f32>,
}

/// By which values points are put in order.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderBy {
    pub key: JsonPath,
    pub ascending: bool,
    /// The first value that may be answered.
    pub from: Option<OrderValue>,
}

/// One answer of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub id: PointId,
    /// Sequence number of the point's last change.
    pub version: u64,
    /// As the protocol shows it: a distance for Euclid and Manhattan, if the query is a single vector.
    pub score: f32,
}

/// How a segment was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Every passing point was scored.
    Scan,
    /// The graph, points that don't pass being walked through.
    FilteredGraph,
    /// The graph without a filter.
    Graph,
}

/// What a search gives beside its hits.
#[derive(Clone, Debug, Default)]
pub struct SearchOutcome {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Payload keys that were filtered on without an index.
    pub unindexed: Vec<String>,
    /// One for each segment that was searched.
    pub plans: Vec<Plan>,
}

/// A stored point.
#[derive(Clone, Debug)]
pub struct Record {
    pub id: PointId,
    pub version: u64,
    pub payload: RawPayload,
    /// Only those asked for.
    pub vectors: NamedVectors,
}

/// Which vectors to return.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WithVectors {
    #[default]
    None,
    All,
    Names(Vec<String>),
}

impl WithVectors {
    /// Whether the vector of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        match self {
            WithVectors::None => false,
            WithVectors::All => true,
            WithVectors::Names(names) => names.iter().any(|n| n == name),
        }
    }
}
