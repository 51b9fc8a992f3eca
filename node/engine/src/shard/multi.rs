//! Searching by multivectors: points are compared in full (late interaction; Khattab, Zaharia 2020), those that the graph of
//! a segment leads to or, where it has none, all that pass.

use super::part::Part;
use super::read::View;
use super::search::{Best, Near, is_indexed, with_context};
use super::write::{wrong_kind, wrong_multi};
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::{Distance, VectorParams};
use crate::distance::Rule;
use crate::error::{Error, Result};
use crate::query::{Plan, Query, SearchOutcome, SearchRequest};
use crate::segment::multi::Asked;
use crate::vector::{MultiVector, named};

/// Points compared between two looks at the cancel flag.
const POINTS_PER_CHECK: usize = 64;
/// Candidates of a walk that names none, and points compared for each.
const EF_DEFAULT: usize = 128;
const COMPARED: u64 = 16;

impl View {
    fn multi_params(&self, name: &str) -> Result<&VectorParams> {
        match named(&self.config().vectors, name) {
            Some(params) if params.multivector => Ok(params),
            Some(_) => Err(wrong_multi()),
            None if named(&self.config().sparse_vectors, name).is_some() => Err(wrong_kind()),
            None => Err(Error::VectorName(name.to_owned())),
        }
    }

    /// The best points by multivectors, best first; equal scores by id. The similarity of two is the sum, over the vectors of
    /// the query, of the similarity to the point's vector that is most like it.
    pub fn search_multi(
        &self,
        request: &SearchRequest<MultiVector>,
        cancel: &Cancel,
    ) -> Result<SearchOutcome> {
        self.best_multi(request, cancel).inspect_err(|e| self.note(e))
    }

    fn best_multi(&self, request: &SearchRequest<MultiVector>, cancel: &Cancel) -> Result<SearchOutcome> {
        let params = self.multi_params(&request.using)?;
        let target = Target::of(&request.query, params)?;
        let higher = target.rule.is_some() || params.distance.higher_is_nearer();
        let mut best = Best::new(request.limit, higher);
        let mut plans = Vec::new();
        let indexed =
            |part: &Part| !request.params.indexed_only || is_indexed(*part, &request.using, self.config());
        for part in self.parts().filter(indexed) {
            let allowed = self.allowed(part, request.filter.as_ref(), cancel)?;
            let nearest = self.nearest(part, &target, request, &allowed)?;
            let mut offer = |offset| self.compare(part, offset, &request.using, &target, &mut best);
            match &nearest {
                Some(nearest) => in_steps(nearest.iter().copied(), cancel, &mut offer)?,
                None => in_steps(allowed.iter(), cancel, &mut offer)?,
            }
            if matches!(part, Part::Sealed(s) if named(s.segment.multi(), &request.using).is_some()) {
                plans.push(match (nearest, &request.filter) {
                    (Some(_), None) => Plan::Graph,
                    (Some(_), Some(_)) => Plan::FilteredGraph,
                    (None, _) => Plan::Scan,
                });
            }
        }
        let unindexed = self.unindexed(request.filter.as_ref());
        Ok(SearchOutcome { hits: best.into_hits(request.score_threshold), unindexed, plans })
    }

    /// The nearest points of a part, if its graph can tell.
    fn nearest(
        &self,
        part: Part<'_>,
        target: &Target,
        request: &SearchRequest<MultiVector>,
        allowed: &Bitset,
    ) -> Result<Option<Vec<u32>>> {
        let Part::Sealed(state) = part else { return Ok(None) };
        let multi = named(state.segment.multi(), &request.using);
        let (Some(multi), None) = (multi, &target.rule) else { return Ok(None) };
        let all = request.filter.is_none() && part.is_whole();
        let asked = Asked {
            query: target.examples[0].row().numbers,
            allowed: (!all).then_some(allowed),
            params: &request.params,
            limit: request.limit.min(multi.len() as usize),
        };
        with_context(|context| multi.walk(&asked, context))
    }

    /// Compares one point in full.
    fn compare(
        &self,
        part: Part<'_>,
        offset: u32,
        using: &str,
        target: &Target,
        best: &mut Best,
    ) -> Result<()> {
        let Some(point) = part.multi_vector(offset, using)? else { return Ok(()) };
        let nearness = best.nearness(target.score(|example| {
            let similarity = example.row().max_similarity(point, target.distance);
            // Products of very large numbers can be infinite, of both signs.
            if similarity.is_nan() { f32::MIN } else { similarity }
        }));
        if best.admits(nearness) {
            let (id, version) = (part.points().id(offset), part.version(offset));
            best.offer(Near { nearness, id, version });
        }
        Ok(())
    }

    /// What a search takes, about.
    pub fn multi_nanoseconds(&self, request: &SearchRequest<MultiVector>) -> u64 {
        let numbers = |v: &MultiVector| v.row().numbers.len() as u64;
        let asked = match (&request.query, Rule::of(&request.query)) {
            (Query::Nearest(vector), _) => numbers(vector),
            (_, Some((_, examples))) => examples.into_iter().map(numbers).sum(),
            (_, None) => 0,
        };
        // Eight numbers a nanosecond, and a step for each pair of rows.
        let dim = self.multi_params(&request.using).map_or(1, |p| p.size as u64);
        let pair = (asked / dim.max(1)).saturating_mul(10 + dim / 8);
        let ef = request.params.hnsw_ef.unwrap_or(EF_DEFAULT).max(request.limit) as u64;
        let graphs = !request.params.exact && matches!(request.query, Query::Nearest(_));
        let rows = |part: Part<'_>| match part {
            Part::Sealed(s) => named(&s.segment.meta().multi, &request.using).map_or(0, |m| {
                let all = u64::from(m.rows.points);
                let each = all / u64::from(m.points.max(1)) + 1;
                if graphs && m.rows.graph { all.min(ef.saturating_mul(each * COMPARED)) } else { all }
            }),
            // Not counted: there are few points in them.
            Part::Chunk(_) | Part::Tail(_) => u64::from(part.points().len()) * 8,
        };
        let filtering = request.filter.as_ref().map_or(0, |f| self.filter_nanoseconds(f));
        self.parts().map(|p| rows(p).saturating_mul(pair)).fold(filtering, u64::saturating_add)
    }
}

/// Calls `each` for some offsets, as long as nobody cancels.
fn in_steps(
    offsets: impl Iterator<Item = u32>,
    cancel: &Cancel,
    each: &mut impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    for (i, offset) in offsets.enumerate() {
        if i % POINTS_PER_CHECK == 0 {
            cancel.check()?;
        }
        each(offset)?;
    }
    Ok(())
}

/// What points are compared with, normalised for Cosine.
struct Target {
    distance: Distance,
    /// The single vector if there is no rule, else those of the rule, in its order.
    examples: Vec<MultiVector>,
    rule: Option<Rule>,
}

impl Target {
    /// # Errors
    /// [`Error::Dimension`] if one of the vectors has another number of dimensions.
    fn of(query: &Query<MultiVector>, params: &VectorParams) -> Result<Self> {
        let (rule, examples) = match (query, Rule::of(query)) {
            (Query::Nearest(vector), _) => (None, vec![vector]),
            (_, Some((rule, examples))) => (Some(rule), examples),
            (_, None) => return Err(wrong_multi()),
        };
        let prepared = |v: &MultiVector| {
            let mut v = v.clone();
            if v.row().dim != params.size {
                return Err(Error::Dimension { expected: params.size, got: v.row().dim });
            }
            v.vectors_mut().for_each(|vector| params.prepare(vector));
            Ok(v)
        };
        let examples = examples.into_iter().map(prepared).collect::<Result<_>>()?;
        Ok(Self { distance: params.distance, examples, rule })
    }

    /// The score of a point from its similarity to each vector.
    fn score(&self, similarity: impl Fn(&MultiVector) -> f32) -> f32 {
        match &self.rule {
            None => self.distance.score(similarity(&self.examples[0])),
            Some(rule) => rule.combine(self.examples.len(), |i| similarity(&self.examples[i])),
        }
    }
}
