//! What is asked of a shard, and what it answers.

use crate::filter::Filter;
use crate::payload::RawPayload;
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

/// The nearest points to a vector.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// Name of the vector; `""` for the unnamed one.
    pub using: String,
    /// As the client sent it: not normalised.
    pub vector: Vec<f32>,
    pub filter: Option<Filter>,
    pub params: SearchParams,
    /// How many; an offset is added by the caller, which also skips it after merging shards.
    pub limit: usize,
    /// Strict: only scores on the near side of it.
    pub score_threshold: Option<f32>,
}

/// One answer of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub id: PointId,
    /// Sequence number of the point's last change.
    pub version: u64,
    /// As the protocol shows it: a distance for Euclid and Manhattan.
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
