//! What a read will take, guessed from numbers alone: whoever asks decides by it where the read runs.
//!
//! The figures are those of an older server core, so that the guess is rather too high than too low.

use super::part::Part;
use super::read::View;
use crate::filter::{Condition, Filter};
use crate::query::SearchRequest;
use crate::segment::sealed::SealedState;
use crate::vector::named;

/// One candidate of a walk through a graph: this, and so much for each dimension.
const STEP_NANOSECONDS: (u64, u64) = (600, 3);
/// Scoring one point in a scan; four dimensions take one more.
const SCORE_NANOSECONDS: u64 = 20;
/// Candidates of a walk that names none.
const EF_DEFAULT: usize = 128;
/// A walk that a filter makes longer: points that don't pass are walked through.
const FILTERED_WALK: u64 = 3;
/// Looking at the stored payload of a point.
const PAYLOAD_NANOSECONDS: u64 = 2_000;

impl View {
    /// What a filter takes, about: a bitmap for each condition if an index serves it, else a look at every payload.
    pub fn filter_nanoseconds(&self, filter: &Filter) -> u64 {
        let points = self.points();
        match self.unindexed(Some(filter)).is_empty() {
            true => (points + 10_000).saturating_mul(conditions(filter)),
            false => points.saturating_mul(PAYLOAD_NANOSECONDS),
        }
    }

    /// What a search takes, about.
    pub fn search_nanoseconds(&self, request: &SearchRequest) -> u64 {
        let dimensions = request.query.numbers() as u64;
        let candidates = request.params.hnsw_ef.unwrap_or(EF_DEFAULT).max(request.limit) as u64;
        let step = STEP_NANOSECONDS.0 + STEP_NANOSECONDS.1 * dimensions;
        let factor = if request.filter.is_some() { FILTERED_WALK } else { 1 };
        let walk = candidates.saturating_mul(step * factor);
        let scan = |points: u64| points.saturating_mul(SCORE_NANOSECONDS + dimensions / 4);
        let parts = self.parts().map(|part| match part {
            Part::Sealed(s) if has_graph(s, request) => walk,
            other => scan(u64::from(other.points().len())),
        });
        let searching = parts.fold(0, u64::saturating_add);
        let filtering = request.filter.as_ref().map_or(0, |f| self.filter_nanoseconds(f));
        searching.saturating_add(filtering)
    }
}

fn has_graph(state: &SealedState, request: &SearchRequest) -> bool {
    let vectors = &state.segment.meta().vectors;
    !request.params.exact && named(vectors, &request.using).is_some_and(|v| v.graph)
}

/// How many conditions there are, values of lists counted.
fn conditions(filter: &Filter) -> u64 {
    let lists = [&filter.must, &filter.should, &filter.must_not].into_iter().flatten();
    let min_should = filter.min_should.iter().flat_map(|m| &m.conditions);
    let one = |c: &Condition| match c {
        Condition::Filter(f) | Condition::Nested { filter: f, .. } => conditions(f),
        Condition::HasId(ids) => ids.len() as u64,
        _ => 1,
    };
    lists.chain(min_should).map(one).fold(0, u64::saturating_add)
}
