//! One search over everything that a view holds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::part::Part;
use super::read::View;
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance};
use crate::distance;
use crate::error::{Error, Result};
use crate::point_id::PointId;
use crate::query::{Hit, Plan, SearchOutcome, SearchRequest};

/// Points scored between two looks at the cancel flag.
const POINTS_PER_CHECK: usize = 4096;

/// The nearest points of all parts.
pub fn run(view: &View, request: &SearchRequest, cancel: &Cancel) -> Result<SearchOutcome> {
    let config = view.config();
    let params =
        config.vectors.get(&request.using).ok_or_else(|| Error::VectorName(request.using.clone()))?;
    if request.vector.len() != params.size {
        return Err(Error::Dimension { expected: params.size, got: request.vector.len() });
    }
    let mut query = request.vector.clone();
    if params.distance == Distance::Cosine {
        distance::normalize(&mut query);
    }
    let mut best = Best::new(request.limit);
    let mut plans = Vec::new();
    for part in view.parts().filter(|p| !request.params.indexed_only || is_indexed(*p, config)) {
        scan(view, request, part, &query, params.distance, &mut best, cancel)?;
        if let Part::Sealed(_) = part {
            plans.push(Plan::Scan);
        }
    }
    Ok(SearchOutcome {
        hits: best.into_hits(params.distance, request.score_threshold),
        unindexed: view.unindexed(request.filter.as_ref()),
        plans,
    })
}

/// Scores every point of a part that passes.
fn scan(
    view: &View,
    request: &SearchRequest,
    part: Part<'_>,
    query: &[f32],
    distance: Distance,
    best: &mut Best,
    cancel: &Cancel,
) -> Result<()> {
    let passing = match &request.filter {
        Some(filter) => view.passing(part, filter, cancel)?,
        None => part.live_bits(),
    };
    let points = part.points();
    for (i, offset) in passing.iter().enumerate() {
        if i % POINTS_PER_CHECK == 0 {
            cancel.check()?;
        }
        let Some(v) = part.vector(offset, &request.using)? else { continue };
        let similarity = distance.similarity(query, v);
        if best.admits(similarity) {
            best.offer(Near { similarity, id: points.id(offset), version: part.version(offset) });
        }
    }
    Ok(())
}

/// Whether `indexed_only` searches it: it has a graph, or is too small to need one.
fn is_indexed(part: Part<'_>, config: &CollectionConfig) -> bool {
    let threshold = config.optimizers.indexing_threshold_kb as u64 * 1024;
    match part {
        Part::Sealed(s) => {
            threshold == 0
                || s.segment.vector_bytes() <= threshold
                || s.segment.meta().vectors.values().any(|v| v.graph)
        }
        _ => true,
    }
}

/// A scored point. The greatest is the farthest, so that a heap gives it away first.
#[derive(Clone, Copy, PartialEq)]
pub struct Near {
    /// Higher is nearer.
    pub similarity: f32,
    pub id: PointId,
    pub version: u64,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The nearest points so far.
pub struct Best {
    limit: usize,
    heap: BinaryHeap<Near>,
}

impl Best {
    pub fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    /// Whether a point of that similarity may be among the nearest.
    #[inline]
    pub fn admits(&self, similarity: f32) -> bool {
        self.heap.len() < self.limit || self.heap.peek().is_some_and(|worst| similarity >= worst.similarity)
    }

    pub fn offer(&mut self, near: Near) {
        if self.heap.len() < self.limit {
            self.heap.push(near);
        } else if self.heap.peek().is_some_and(|worst| near < *worst) {
            self.heap.pop();
            self.heap.push(near);
        }
    }

    fn into_hits(self, distance: Distance, threshold: Option<f32>) -> Vec<Hit> {
        let near = self.heap.into_sorted_vec().into_iter();
        let hits = near.map(|n| Hit { id: n.id, version: n.version, score: distance.score(n.similarity) });
        let passes = |hit: &Hit| match threshold {
            None => true,
            Some(t) if distance.higher_is_nearer() => hit.score > t,
            Some(t) => hit.score < t,
        };
        hits.filter(passes).collect()
    }
}
