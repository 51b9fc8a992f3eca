//! Walking a graph by the codes beside its links.
//!
//! Neighbours enter the beam by estimate, unseen; a point's own code is read when its turn comes to be followed. A
//! point may be estimated from several sides and then is in the beam more than once, which makes up for estimates
//! that were too low.

use super::context::SearchContext;
use super::graph::NO_LINK;
use super::inline::InlineLinks;
use super::search::{Mode, Walk};
use super::search_entry::climb_from_entry;
use super::search_space::{CodeScorer, Scorer};
use crate::distance::isa::{Isa, LINE_BYTES, per_isa};
use crate::quantization::{CodeQuery, ScalarCodes};

/// Levels up to this one are left to the codes beside the links, which look at a whole row for the price of two points.
const LOWEST_LEVEL: u32 = 1;
/// Candidates that are asked for while one is followed.
const AHEAD: usize = 2;
/// Following a point costs as much as scoring so many.
const POINTS_PER_BLOCK: usize = 8;

/// Walks from the entry; the `keep` best points followed that may be answered are in `ctx.found` afterwards, by their
/// codes, best first. False: the budget did not suffice, or too little was found.
pub(crate) fn walk_inline(
    walk: &Walk,
    links: &InlineLinks,
    (codes, query): (&ScalarCodes, &CodeQuery),
    keep: usize,
    ctx: &mut SearchContext,
) -> bool {
    assert_eq!(codes.len(), walk.graph.shape.len, "graph and codes are of one segment");
    assert!(query.tables.len() == codes.width() * 4, "the query has tables");
    ctx.found.clear();
    if walk.graph.shape.entry == NO_LINK {
        return true;
    }
    // SAFETY: links lead to points, as `Graph` and `InlineLinks` check.
    unsafe { walk_any(walk, links, codes, query, keep, ctx) }
}

per_isa! {
    unsafe fn walk_any(walk: &Walk, links: &InlineLinks, codes: &ScalarCodes, query: &CodeQuery, keep: usize, ctx: &mut SearchContext) -> bool
        => walk_with;
}

#[inline(always)]
unsafe fn walk_with<I: Isa>(
    walk: &Walk,
    links: &InlineLinks,
    codes: &ScalarCodes,
    query: &CodeQuery,
    keep: usize,
    ctx: &mut SearchContext,
) -> bool {
    // SAFETY: passed on to the caller.
    unsafe {
        match codes.stride() / LINE_BYTES {
            6 => walk_in::<I, _>(walk, links, &CodeScorer::<I, 6>::new(codes, query), (query, keep), ctx),
            _ => walk_in::<I, _>(walk, links, &CodeScorer::<I, 0>::new(codes, query), (query, keep), ctx),
        }
    }
}

#[inline(always)]
unsafe fn walk_in<I: Isa, S: Scorer>(
    walk: &Walk,
    links: &InlineLinks,
    scorer: &S,
    (query, keep): (&CodeQuery, usize),
    ctx: &mut SearchContext,
) -> bool {
    let reader = links.reader();
    ctx.visited.reset(walk.graph.shape.len);
    // SAFETY: passed on to the caller.
    let start = unsafe { climb_from_entry::<I, S>(walk.graph, scorer, LOWEST_LEVEL) };
    let filtered = walk.mode != Mode::Plain;
    let SearchContext { visited, beam, top, found, .. } = ctx;
    top.reset(if filtered { keep.max(walk.ef) } else { keep });
    beam.reset(walk.beam);
    beam.begin(&[start]);
    let mut followed = 0;
    while let Some((_, from)) = beam.next() {
        if !visited.mark(from) {
            continue;
        }
        followed += 1;
        if filtered && followed * POINTS_PER_BLOCK > walk.budget {
            return false;
        }
        // SAFETY: the beam holds points.
        let score = unsafe { scorer.score1(from) };
        if walk.allow.allows(from) {
            top.push(score, from);
        }
        // SAFETY: as above.
        unsafe {
            reader.estimates::<I>(from, query, |points, estimates| {
                let mut rest = I::above(estimates, beam.worst() - score);
                while rest != 0 {
                    let i = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    let (estimate, point) = (score + estimates[i], points[i]);
                    // Others of this block may have taken its place.
                    if estimate > beam.worst() && !visited.contains(point) {
                        beam.insert::<I>(estimate, point);
                    }
                }
            });
        }
        for next in beam.ahead(AHEAD) {
            reader.prefetch::<I>(next);
            scorer.prefetch(next);
        }
    }
    found.extend_from_slice(top.as_slice());
    // Fewer: the filter passes little in the query's neighbourhood, whatever it passes elsewhere.
    !filtered || found.len() >= walk.ef
}
