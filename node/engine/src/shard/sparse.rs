//! Searching by sparse vectors, and counting how many points have each of their dimensions.

use std::cell::RefCell;

use super::part::Part;
use super::read::View;
use super::search::{Best, Near};
use super::write::wrong_kind;
use crate::bitset::Bitset;
use crate::cancel::Cancel;
use crate::config::SparseParams;
use crate::distance::Rule;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::query::{Query, SearchOutcome, SearchRequest};
use crate::segment::sparse::{FULL_SCAN_THRESHOLD, SparseQuery, SparseScratch, SparseSource, SparseTarget};
use crate::vector::{SparseRow, SparseVector, named};

/// Adding one value of a posting to a sum, and comparing one value of a row, take about so long.
const POSTING_NANOSECONDS: u64 = 2;
const VALUE_NANOSECONDS: u64 = 2;

/// How many points have each of some dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseCounts {
    /// Points that have the vector.
    pub points: u64,
    /// Of these, those that have each dimension, in the order they were asked for.
    pub with_dimension: Vec<u64>,
}

thread_local! {
    /// Memory of this thread's searches.
    static SCRATCH: RefCell<SparseScratch> = RefCell::default();
}

impl View {
    fn sparse_params(&self, name: &str) -> Result<SparseParams> {
        match named(&self.config().sparse_vectors, name) {
            Some(params) => Ok(*params),
            None if named(&self.config().vectors, name).is_some() => Err(wrong_kind()),
            None => Err(Error::VectorName(name.to_owned())),
        }
    }

    /// The best points by a sparse query, best first; equal scores by id. A single vector is compared with points that
    /// share a dimension with it, several with all that have the vector.
    pub fn search_sparse(
        &self,
        request: &SearchRequest<SparseVector>,
        cancel: &Cancel,
    ) -> Result<SearchOutcome> {
        self.best_sparse(request, cancel).inspect_err(|e| self.note(e))
    }

    fn best_sparse(&self, request: &SearchRequest<SparseVector>, cancel: &Cancel) -> Result<SearchOutcome> {
        let params = self.sparse_params(&request.using)?;
        let several = Rule::of(&request.query);
        let target = match (&request.query, &several) {
            (Query::Nearest(vector), _) => SparseTarget::Vector(vector.row()),
            (_, Some((rule, examples))) => SparseTarget::Examples(rule, examples),
            (_, None) => return Err(wrong_kind()),
        };
        let mut best = Best::new(request.limit, true);
        let mut plans = Vec::new();
        for part in self.parts() {
            let allowed = self.allowed(part, request.filter.as_ref(), cancel)?;
            if let Part::Tail(_) = part {
                scan_tail(part, &allowed, (&request.using, target), &mut best)?;
                continue;
            }
            let Some(source) = source(part, &request.using) else { continue };
            let query = SparseQuery {
                target,
                allowed: &|word| allowed.words()[word],
                passing: u64::from(allowed.count()),
                full_scan_threshold: params.full_scan_threshold.unwrap_or(FULL_SCAN_THRESHOLD),
                k: request.limit.min(allowed.len() as usize),
            };
            let (found, plan) = SCRATCH.with(|s| query.run(source, &mut s.borrow_mut(), cancel))?;
            if matches!(part, Part::Sealed(_)) {
                plans.push(plan);
            }
            for (offset, score) in found {
                if !best.admits(score) {
                    break;
                }
                best.offer(near(part, offset, score));
            }
        }
        let unindexed = self.unindexed(request.filter.as_ref());
        Ok(SearchOutcome { hits: best.into_hits(request.score_threshold), unindexed, plans })
    }

    /// The live points of a part that pass.
    pub(super) fn allowed(&self, part: Part<'_>, filter: Option<&Filter>, cancel: &Cancel) -> Result<Bitset> {
        match (filter, part) {
            (None, _) => Ok(part.live_bits()),
            (Some(filter), Part::Sealed(state)) => {
                let mut bits = self.passing_sealed(&state.segment, filter, cancel)?.bits().clone();
                state.deleted.remove_from(&mut bits);
                Ok(bits)
            }
            (Some(filter), _) => self.passing(part, filter, cancel),
        }
    }

    /// How many of the points that pass have the vector, and how many of these each dimension.
    pub fn sparse_counts(
        &self,
        name: &str,
        dimensions: &[u32],
        filter: Option<&Filter>,
        cancel: &Cancel,
    ) -> Result<SparseCounts> {
        self.sparse_params(name)?;
        let mut counts = SparseCounts { points: 0, with_dimension: vec![0; dimensions.len()] };
        for part in self.parts() {
            cancel.check()?;
            if let Part::Tail(_) = part {
                self.count_tail(part, (name, dimensions, filter), &mut counts, cancel)?;
                continue;
            }
            let Some(source) = source(part, name) else { continue };
            let all = filter.is_none() && part.is_whole();
            let allowed = if all { None } else { Some(self.allowed(part, filter, cancel)?) };
            let words = 0..(source.points() as usize).div_ceil(64);
            let allowed_word = |w: usize| allowed.as_ref().map_or(u64::MAX, |bits| bits.words()[w]);
            counts.points += words
                .map(|w| u64::from((source.presence_word(w) & allowed_word(w)).count_ones()))
                .sum::<u64>();
            for (count, dimension) in counts.with_dimension.iter_mut().zip(dimensions) {
                let Some(posting) = source.posting(*dimension)? else { continue };
                *count += match &allowed {
                    None => posting.offsets.len() as u64,
                    Some(bits) => posting.offsets.iter().filter(|o| bits.get(**o)).count() as u64,
                };
            }
        }
        Ok(counts)
    }

    fn count_tail(
        &self,
        part: Part<'_>,
        (name, dimensions, filter): (&str, &[u32], Option<&Filter>),
        counts: &mut SparseCounts,
        cancel: &Cancel,
    ) -> Result<()> {
        for offset in self.allowed(part, filter, cancel)?.iter() {
            let Some(row) = part.sparse_vector(offset, name)? else { continue };
            counts.points += 1;
            for (count, dimension) in counts.with_dimension.iter_mut().zip(dimensions) {
                *count += u64::from(row.indices.binary_search(dimension).is_ok());
            }
        }
        Ok(())
    }

    /// What a search takes, about.
    pub fn sparse_nanoseconds(&self, request: &SearchRequest<SparseVector>) -> u64 {
        let sources = self.parts().filter_map(|part| source(part, &request.using));
        let examples = Rule::of(&request.query).map_or(0, |(_, examples)| examples.len() as u64);
        let one = |source: &dyn SparseSource| match &request.query {
            Query::Nearest(vector) => {
                // A file that can't be read is found by the search itself.
                let length =
                    |d: &u32| source.posting(*d).ok().flatten().map_or(0, |p| p.offsets.len() as u64);
                vector.row().indices.iter().map(length).sum::<u64>().saturating_mul(POSTING_NANOSECONDS)
            }
            _ => source.entries().saturating_mul(VALUE_NANOSECONDS).saturating_mul(examples),
        };
        let filtering = request.filter.as_ref().map_or(0, |f| self.filter_nanoseconds(f));
        sources.map(one).fold(filtering, u64::saturating_add)
    }
}

/// The vectors of that name with their index; the tail has none.
fn source<'a>(part: Part<'a>, name: &str) -> Option<&'a dyn SparseSource> {
    match part {
        Part::Sealed(s) => named(s.segment.sparse(), name).map(|v| &**v as &dyn SparseSource),
        Part::Chunk(c) => c.chunk.sparse_column(name).map(|v| v as &dyn SparseSource),
        Part::Tail(_) => None,
    }
}

fn near(part: Part<'_>, offset: u32, score: f32) -> Near {
    Near { nearness: score, id: part.points().id(offset), version: part.version(offset) }
}

/// Compares every point of the tail that passes.
fn scan_tail(
    part: Part<'_>,
    allowed: &Bitset,
    (using, target): (&str, SparseTarget<'_>),
    best: &mut Best,
) -> Result<()> {
    let mut similarities = Vec::new();
    for offset in allowed.iter() {
        let row: Option<SparseRow<'_>> = part.sparse_vector(offset, using)?;
        if let Some(score) = row.and_then(|row| target.score(row, &mut similarities))
            && best.admits(score)
        {
            best.offer(near(part, offset, score));
        }
    }
    Ok(())
}
