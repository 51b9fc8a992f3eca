//! One search over everything that a view holds.

use std::cell::RefCell;
use std::cmp::Ordering;

use super::part::Part;
use super::read::View;
use super::write::{wrong_kind, wrong_multi};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance};
use crate::distance::Examples;
use crate::error::{Error, Result};
use crate::filter::PointSource;
use crate::point_id::PointId;
use crate::query::{Hit, Plan, Query, SearchOutcome, SearchRequest};
use crate::segment::sealed::{SealedState, wants_graph};
use crate::segment::vectors::{SearchContext, Target, VectorQuery};
use crate::vector::named;

/// The best points of all parts by a dense vector.
pub fn run(view: &View, request: &SearchRequest, cancel: &Cancel) -> Result<SearchOutcome> {
    let config = view.config();
    let params = match named(&config.vectors, &request.using) {
        Some(params) if params.multivector => return Err(wrong_multi()),
        Some(params) => params,
        None if named(&config.sparse_vectors, &request.using).is_some() => return Err(wrong_kind()),
        None => return Err(Error::VectorName(request.using.clone())),
    };
    let examples = Examples::of(&request.query, params.distance, params.size)?
        .map(|examples| examples.rounded(params.datatype));
    let mut vector = Vec::new();
    if let Query::Nearest(query) = &request.query {
        if query.len() != params.size {
            return Err(Error::Dimension { expected: params.size, got: query.len() });
        }
        vector.clone_from(query);
        params.prepare(&mut vector);
    }
    let target = examples.as_ref().map_or(Target::Vector(&vector), Target::Examples);
    let mut best = Best::new(request.limit, examples.is_some() || params.distance.higher_is_nearer());
    let mut plans = Vec::new();
    let search = Search { view, request, target, distance: params.distance, cancel };
    for part in
        view.parts().filter(|p| !request.params.indexed_only || is_indexed(*p, &request.using, config))
    {
        match part {
            Part::Sealed(state) => plans.extend(search.sealed(state, &mut best)?),
            _ => search.scan(part, &mut best)?,
        }
    }
    let unindexed = view.unindexed(request.filter.as_ref());
    Ok(SearchOutcome { hits: best.into_hits(request.score_threshold), unindexed, plans })
}

thread_local! {
    /// Memory of this thread's searches.
    static CONTEXT: RefCell<SearchContext> = RefCell::default();
}

/// Calls `search` with the memory of this thread's searches.
pub(super) fn with_context<T>(search: impl FnOnce(&mut SearchContext) -> T) -> T {
    CONTEXT.with(|context| search(&mut context.borrow_mut()))
}

/// What every part is asked.
struct Search<'a> {
    view: &'a View,
    request: &'a SearchRequest,
    target: Target<'a>,
    distance: Distance,
    cancel: &'a Cancel,
}

impl Search<'_> {
    fn sealed(&self, state: &SealedState, best: &mut Best) -> Result<Option<Plan>> {
        let segment = &state.segment;
        let Some(vectors) = named(segment.vectors(), &self.request.using) else { return Ok(None) };
        let passing = match &self.request.filter {
            Some(filter) => Some(self.view.passing_sealed(segment, filter, self.cancel)?),
            None => None,
        };
        let query = VectorQuery {
            target: self.target,
            deleted: &state.deleted,
            passing: passing.as_deref(),
            k: self.request.limit.min(segment.len() as usize),
            params: &self.request.params,
        };
        let (found, plan) = with_context(|context| vectors.search(&query, context, self.cancel))?;
        for (offset, score) in found {
            let nearness = best.nearness(score);
            if !best.admits(nearness) {
                break;
            }
            best.offer(Near { nearness, id: segment.id(offset), version: segment.version(offset) });
        }
        Ok(Some(plan))
    }

    /// Scores every point of a mutable part that passes.
    fn scan(&self, part: Part<'_>, best: &mut Best) -> Result<()> {
        let passing = match &self.request.filter {
            Some(filter) => self.view.passing(part, filter, self.cancel)?,
            None => part.live_bits(),
        };
        self.cancel.check()?;
        let points = part.points();
        for offset in passing.iter() {
            let Some(v) = part.vector(offset, &self.request.using)? else { continue };
            let nearness = best.nearness(match self.target {
                Target::Vector(query) => self.distance.score(self.distance.similarity(query, v)),
                Target::Examples(examples) => examples.score(v),
            });
            if best.admits(nearness) {
                best.offer(Near { nearness, id: points.id(offset), version: part.version(offset) });
            }
        }
        Ok(())
    }
}

/// Whether `indexed_only` searches it: it has a graph, or is too small to need one.
pub(super) fn is_indexed(part: Part<'_>, using: &str, config: &CollectionConfig) -> bool {
    match part {
        Part::Sealed(s) => {
            let meta = s.segment.meta();
            let rows = named(&meta.multi, using).map(|multi| &multi.rows);
            let mut dense = named(&meta.vectors, using).into_iter().chain(rows);
            dense.all(|v| v.graph || !wants_graph(config, using, v.points))
        }
        _ => true,
    }
}

/// A scored point. The greatest is the farthest.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Near {
    /// The score, negative where lower scores are nearer.
    pub(super) nearness: f32,
    pub(super) id: PointId,
    pub(super) version: u64,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        other.nearness.total_cmp(&self.nearness).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The nearest points so far.
pub(super) struct Best {
    limit: usize,
    higher_is_nearer: bool,
    /// The nearest, and fewer again that were offered since they were picked.
    near: Vec<Near>,
    /// The farthest of those picked: what is farther is none of the nearest.
    farthest: Option<Near>,
}

impl Best {
    pub(super) fn new(limit: usize, higher_is_nearer: bool) -> Self {
        Self { limit, higher_is_nearer, near: Vec::with_capacity(limit.min(128)), farthest: None }
    }

    /// A score as something that is higher for nearer points; its own inverse.
    pub(super) fn nearness(&self, score: f32) -> f32 {
        if self.higher_is_nearer { score } else { -score }
    }

    /// Whether a point so near may be among the nearest.
    #[inline]
    pub(super) fn admits(&self, nearness: f32) -> bool {
        self.limit > 0 && self.farthest.is_none_or(|farthest| nearness >= farthest.nearness)
    }

    pub(super) fn offer(&mut self, near: Near) {
        if self.limit == 0 || self.farthest.is_some_and(|farthest| near > farthest) {
            return;
        }
        self.near.push(near);
        if self.near.len() == self.limit || self.near.len() >= self.limit.saturating_mul(2) {
            self.pick();
        }
    }

    /// Leaves the nearest of those offered.
    fn pick(&mut self) {
        let (_, &mut farthest, _) = self.near.select_nth_unstable(self.limit - 1);
        self.near.truncate(self.limit);
        self.farthest = Some(farthest);
    }

    pub(super) fn into_hits(mut self, threshold: Option<f32>) -> Vec<Hit> {
        if self.near.len() > self.limit {
            self.pick();
        }
        let mut near = std::mem::take(&mut self.near);
        near.sort_unstable();
        let near = near.into_iter();
        let passes = |n: &Near| threshold.is_none_or(|t| n.nearness > self.nearness(t));
        // A distance of zero is 0, not -0.
        let score = |n: Near| self.nearness(n.nearness) + 0.0;
        near.filter(passes).map(|n| Hit { id: n.id, version: n.version, score: score(n) }).collect()
    }
}
